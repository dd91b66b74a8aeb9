use std::rc::Rc;

struct Plain {
    _n: u64,
}

#[atlas::spawn]
fn takes(_: u64, plain: Plain) {
    drop(plain);
}

#[atlas::spawn]
fn shares(count: Rc<u64>) -> u64 {
    *count
}

#[atlas::spawn]
fn gives() -> Plain {
    Plain { _n: 1 }
}

#[atlas::spawn]
fn gives_later() -> atlas::Next<Plain> {
    unimplemented!()
}

fn main() {}
