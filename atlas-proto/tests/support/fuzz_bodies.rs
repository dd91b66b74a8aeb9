//! What the fuzzers run, as plain functions: each takes any bytes, and panics if a claim is broken.
//!
//! The targets in `fuzz/` and the test `fuzz.rs` include this file, so that both check the same claims.

#[path = "adversary.rs"]
mod adversary;
#[path = "choices.rs"]
mod choices;
#[path = "known.rs"]
mod known;
#[path = "machine.rs"]
mod machine;

use std::time::Duration;

use atlas_proto::codec;
use atlas_proto::stats::Stats;

use adversary::Subject;

/// Whatever decodes is a packet that can be sent on: at the same length, with the same meaning.
pub(crate) fn decode(bytes: &[u8]) {
    let Ok(packet) = codec::decode(bytes) else {
        return;
    };
    let encoded = codec::encode(&packet).expect("what was taken in can be sent on");
    assert_eq!(encoded.len(), bytes.len());
    assert_eq!(encoded.len(), codec::encoded_len(&packet));
    let again = codec::decode(&encoded).expect("what was encoded decodes");
    assert_eq!(again, packet);
}

/// The first byte chooses a machine, the others what it is told. Its claims are those of `adversary.rs`; left
/// alone, it then waits for longer than it is busy. Gives what the machine has counted.
pub(crate) fn machines(bytes: &[u8]) -> Stats {
    let (&first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let subject = Subject::ALL[usize::from(first) % Subject::ALL.len()];
    let (silent, stats) = adversary::play(subject, rest, &[]).fall_silent(TIMEOUTS);
    assert!(silent > TIMEOUTS_TAKE, "{TIMEOUTS} timeouts in {silent:?}");
    stats
}

const TIMEOUTS: usize = 300;
const TIMEOUTS_TAKE: Duration = Duration::from_secs(5);
