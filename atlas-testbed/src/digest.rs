//! How `testbed-job` and its tests tell of bytes that are too many to be shown.

/// Differs where anything of some length does. Tasks of tests are to be quick without optimisations, too.
#[must_use]
pub fn digest(data: &[u8]) -> u64 {
    let samples = data.chunks(1000).zip(1_u64..);
    samples.fold(0, |sum: u64, (chunk, at)| {
        sum.wrapping_add(at.wrapping_mul(u64::from(chunk[0])))
    })
}

/// Their number and their digest, for people.
#[must_use]
pub fn told(data: &[u8]) -> String {
    format!("{} bytes, {}", data.len(), digest(data))
}
