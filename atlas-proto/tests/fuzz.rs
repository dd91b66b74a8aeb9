//! The fuzzers' bodies, fed with seeded inputs: what the fuzz targets check is checked with stable tools.

#[path = "support/fuzz_bodies.rs"]
mod fuzz_bodies;
#[path = "support/samples.rs"]
mod samples;

use atlas_proto::codec::{PROTOCOL_VERSION, encode};
use atlas_proto::rng::Rng;

const INPUTS: usize = 20_000;

#[test]
fn decode_holds_for_random_bytes() {
    let mut rng = Rng::new(1);
    for _ in 0..INPUTS {
        let mut bytes = vec![PROTOCOL_VERSION];
        for _ in 0..rng.below(64) {
            bytes.push(byte(&mut rng));
        }
        fuzz_bodies::decode(&bytes);
    }
}

#[test]
fn decode_holds_for_mutated_packets() {
    let packets = samples::packets();
    let seeds: Vec<Vec<u8>> = packets
        .iter()
        .map(|packet| encode(packet).unwrap().to_vec())
        .collect();
    let mut rng = Rng::new(2);
    for _ in 0..INPUTS {
        let mut bytes = seeds[rng.below(seeds.len())].clone();
        for _ in 0..=rng.below(4) {
            mutate(&mut bytes, &seeds, &mut rng);
        }
        fuzz_bodies::decode(&bytes);
    }
}

/// Changes, inserts or removes a byte, or goes on as another packet does.
fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.below(bytes.len());
    match rng.below(5) {
        0 => bytes[at] ^= 1 << rng.below(8),
        1 => bytes[at] = byte(rng),
        2 => bytes.insert(at, byte(rng)),
        3 if bytes.len() > 1 => drop(bytes.remove(at)),
        _ => {
            let other = &seeds[rng.below(seeds.len())];
            bytes.truncate(at);
            bytes.extend_from_slice(&other[rng.below(other.len())..]);
        }
    }
}

/// Any byte; often one of those at the edge of a number's length.
fn byte(rng: &mut Rng) -> u8 {
    let edges = [0, 1, 0x7f, 0x80, 0xff];
    let any = rng.next_u64().to_le_bytes()[0];
    edges.get(rng.below(10)).copied().unwrap_or(any)
}
