use atlas::prelude::*;

#[atlas::spawn]
fn id(x: u64) -> u64 {
    x
}

fn main() {
    spawn!();
    spawn!(id(1), id(2));
    spawn!(|| id(1));
    spawn!(id);
}
