#[atlas::spawn]
unsafe extern "C" fn any_number(n: u64, ...) {}

fn main() {}
