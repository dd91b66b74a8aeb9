#[atlas::spawn]
struct Board;

#[atlas::spawn]
impl Board {
    fn solve() {}
}

#[atlas::spawn]
mod tasks {}

#[atlas::spawn]
const N: u64 = 1;

fn main() {}
