//! What the fuzzers run, as plain functions: each takes any bytes, and panics if a claim is broken.
//!
//! The targets in `fuzz/` and the test `fuzz.rs` include this file, so that both check the same claims.

use atlas_proto::codec;

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
