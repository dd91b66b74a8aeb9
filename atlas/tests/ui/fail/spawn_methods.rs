struct Board;

impl Board {
    #[atlas::spawn]
    fn by_value(self) -> u64 {
        1
    }

    #[atlas::spawn]
    fn by_reference(&self) -> u64 {
        1
    }

    #[atlas::spawn]
    fn makes() -> Self {
        Self
    }
}

trait Solve {
    #[atlas::spawn]
    fn solve(n: u64) -> u64;
}

fn main() {}
