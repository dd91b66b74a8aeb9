//! The fuzzers' bodies, fed with seeded inputs: what the fuzz targets check is checked with stable tools.

#[path = "support/fuzz_bodies.rs"]
mod fuzz_bodies;
#[path = "support/samples.rs"]
mod samples;

use atlas_proto::codec::{PROTOCOL_VERSION, encode};
use atlas_proto::rng::Rng;

const INPUTS: usize = 20_000;
/// Plays are longer: some hundred messages each.
const PLAYS: usize = 300;

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

#[test]
fn machines_hold_for_random_bytes() {
    let mut rng = Rng::new(3);
    for _ in 0..PLAYS {
        fuzz_bodies::machines(&random_play(&mut rng));
    }
}

/// Most of a play is the same, so that the machine comes to the same state; then it goes on otherwise.
#[test]
fn machines_hold_for_mutated_plays() {
    let mut rng = Rng::new(4);
    let plays: Vec<Vec<u8>> = (0..30).map(|_| random_play(&mut rng)).collect();
    for _ in 0..PLAYS {
        let mut bytes = plays[rng.below(plays.len())].clone();
        for _ in 0..=rng.below(4) {
            mutate(&mut bytes, &plays, &mut rng);
        }
        fuzz_bodies::machines(&bytes);
    }
}

/// What is said gets through: without this, the claims would hold for machines that hear nothing.
#[test]
fn machines_hear_what_random_bytes_say() {
    let mut rng = Rng::new(5);
    for machine in 0..3 {
        let mut sum = [0; 7];
        for _ in 0..100 {
            let mut bytes = random_play(&mut rng);
            bytes[0] = machine;
            let stats = fuzz_bodies::machines(&bytes);
            let counts = [
                stats.steals_asked,
                stats.closures_lent,
                stats.closures_borrowed,
                stats.closures_requeued,
                stats.results_late,
                stats.peers_lost,
                // A root manager has nobody who could ask it.
                stats.steals_refused + u64::from(machine == 1),
            ];
            sum.iter_mut()
                .zip(counts)
                .for_each(|(sum, count)| *sum += count);
        }
        assert!(sum.iter().all(|&sum| sum > 0), "machine {machine}: {sum:?}");
    }
}

fn random_play(rng: &mut Rng) -> Vec<u8> {
    let bytes = 1 + rng.below(3000);
    (0..bytes)
        .map(|_| rng.next_u64().to_le_bytes()[7])
        .collect()
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
