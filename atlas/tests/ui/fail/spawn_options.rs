#[atlas::spawn(pure)]
fn unknown() {}

#[atlas::spawn(impure = true)]
fn valued() {}

#[atlas::spawn(impure, impure)]
fn twice() {}

#[atlas::spawn(workers = 4, retries(2))]
fn several() {}

fn main() {}
