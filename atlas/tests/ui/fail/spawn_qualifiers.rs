#[atlas::spawn]
async fn waits(n: u64) -> u64 {
    n
}

#[atlas::spawn]
unsafe fn trusts(n: u64) -> u64 {
    n
}

#[atlas::spawn]
extern "C" fn crosses(n: u64) -> u64 {
    n
}

#[atlas::spawn]
async unsafe fn reports_all_at_once(n: &u64) -> ! {
    panic!("{n}")
}

fn main() {}
