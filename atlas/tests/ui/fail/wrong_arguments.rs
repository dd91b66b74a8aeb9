use atlas::prelude::*;

#[atlas::spawn]
fn id(x: u64) -> u64 {
    x
}

#[atlas::spawn]
fn name(x: String) -> String {
    x
}

fn main() {
    join!(id(1, 2), id());
    join!(id("text"), name("text"));
    spawn!(id());
    let _: Next<u64> = spawn_next!(id(1), id(2) => id());
    let _: Next<String> = spawn_next!(id(1) => name());
}
