use std::process::Termination;

#[atlas::main]
fn main() -> impl Termination {}
