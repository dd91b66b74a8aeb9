//! Any bytes as a packet.
#![no_main]

#[expect(dead_code, reason = "the bodies of other targets are there, too")]
#[path = "../../atlas-proto/tests/support/fuzz_bodies.rs"]
mod fuzz_bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_bodies::decode(bytes));
