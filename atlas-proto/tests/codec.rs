//! Packets survive the way over the wire; damaged ones are refused, or are other packets, but never a panic.

#[path = "support/arbitrary.rs"]
mod arbitrary;
#[expect(dead_code, reason = "the bodies of other fuzzers are there, too")]
#[path = "support/fuzz_bodies.rs"]
mod fuzz_bodies;
#[path = "support/names.rs"]
mod names;
#[path = "support/samples.rs"]
mod samples;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use atlas_proto::codec::{PROTOCOL_VERSION, decode, encode, encoded_len};
use atlas_proto::message::Message;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

/// Version stability. One line for each sample: the message's name and the packet's bytes.
const GOLDEN: &str = include_str!("golden/packets.txt");

#[test]
fn every_message_keeps_its_bytes() {
    let mut now = format!("version {PROTOCOL_VERSION}\n");
    for packet in samples::packets() {
        let encoded = encode(&packet).unwrap();
        let hex = encoded.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        writeln!(now, "{} {hex}", names::name(&packet.message)).unwrap();
    }
    assert!(
        now == GOLDEN,
        "the bytes of packets have changed, so that nodes of the version before would misread them. \
         If that was not meant, undo the change of order, type or name. If it was, add 1 to \
         PROTOCOL_VERSION unless it has gone up since the last release, and replace \
         tests/golden/packets.txt by:\n{now}"
    );
}

#[test]
fn golden_bytes_decode_to_the_samples() {
    let lines: Vec<&str> = GOLDEN.lines().skip(1).collect();
    let samples = samples::packets();
    assert_eq!(lines.len(), samples.len());
    for (line, packet) in lines.iter().zip(samples) {
        let (name, hex) = line.split_once(' ').unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let encoded: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        assert_eq!(name, names::name(&packet.message));
        assert_eq!(decode(&encoded), Ok(packet), "{line}");
    }
}

#[test]
fn every_message_has_a_sample_and_is_drawn() {
    let names = |messages: Vec<Message>| messages.iter().map(names::name).collect::<BTreeSet<_>>();
    let all: BTreeSet<&str> = names::NAMES.iter().copied().collect();
    let sampled = samples::packets().into_iter().map(|packet| packet.message);
    assert_eq!(names(sampled.collect()), all);

    let mut runner = TestRunner::deterministic();
    let mut draw = || {
        arbitrary::message()
            .new_tree(&mut runner)
            .unwrap()
            .current()
    };
    assert_eq!(names((0..1000).map(|_| draw()).collect()), all);
}

proptest! {
    #[test]
    fn packets_survive_the_wire(packet in arbitrary::packet()) {
        let encoded = encode(&packet).unwrap();
        prop_assert_eq!(encoded.len(), encoded_len(&packet));
        prop_assert_eq!(decode(&encoded), Ok(packet));
    }

    #[test]
    fn truncated_packets_are_refused(packet in arbitrary::packet()) {
        let encoded = encode(&packet).unwrap();
        for len in 0..encoded.len() {
            prop_assert!(decode(&encoded[..len]).is_err(), "{} of {} bytes", len, encoded.len());
        }
    }

    #[test]
    fn flipped_bits_are_refused_or_make_another_packet(
        packet in arbitrary::packet(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..4),
    ) {
        let mut encoded = encode(&packet).unwrap().to_vec();
        for (at, bit) in flips {
            let at = at.index(encoded.len());
            encoded[at] ^= 1 << bit;
        }
        fuzz_bodies::decode(&encoded);
    }
}
