use std::error::Error;

// The error is not `Send`; it never leaves the strand.
#[atlas::main]
fn main() -> Result<(), Box<dyn Error>> {
    let n: u64 = "1".parse()?;
    assert_eq!(n, 1);
    Ok(())
}
