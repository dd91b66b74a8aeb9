use atlas::prelude::*;

fn plain(x: u64) -> u64 {
    x
}

#[atlas::spawn]
fn id(x: u64) -> u64 {
    x
}

fn main() {
    join!(plain(1), id(2));
    spawn!(plain(1));
    let _: Next<u64> = spawn_next!(id(1) => plain());
}
