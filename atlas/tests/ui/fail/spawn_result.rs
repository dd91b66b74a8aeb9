#[atlas::spawn]
fn never(n: u64) -> ! {
    panic!("{n}")
}

#[atlas::spawn]
fn opaque(n: u64) -> impl Iterator<Item = u64> {
    0..n
}

#[atlas::spawn]
fn borrowed(_: u64) -> &'static str {
    "text"
}

fn main() {}
