use atlas::prelude::*;

#[atlas::spawn]
fn double(x: u64) -> u64 {
    2 * x
}

/// Documented, and public as some linkers want it.
#[atlas::main]
pub fn main() {
    let (a, b) = join!(double(1), double(2));
    assert_eq!(a + b, 6);
}
