//! Peers and engines that say anything, to a server, a root manager and a manager with a parent.
//!
//! What is claimed is checked by `support/adversary.rs` after each input.

#[path = "support/adversary.rs"]
mod adversary;
#[path = "support/arbitrary.rs"]
mod arbitrary;
#[path = "support/choices.rs"]
mod choices;
#[path = "support/known.rs"]
mod known;
#[path = "support/machine.rs"]
mod machine;

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use atlas_proto::message::Message;
use atlas_proto::rng::Rng;

use adversary::{Subject, play};

const CASES: u32 = 200;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..4000)
}

/// What peers say beside what the bytes make them say.
fn phrases() -> impl Strategy<Value = Vec<Message>> {
    vec(arbitrary::packet().prop_map(|packet| packet.message), 0..20)
}

fn check(subject: Subject, bytes: &[u8], phrases: &[Message]) {
    let mut world = play(subject, bytes, phrases);
    let (silent, _) = world.fall_silent(500);
    assert!(
        silent > Duration::from_secs(10),
        "500 timeouts in {silent:?}"
    );
}

/// A server and its engine, a manager and its children: the longest silence that a test can wait for.
#[test]
fn left_alone_a_machine_waits_more_than_it_works() {
    let mut rng = Rng::new(6);
    for subject in Subject::ALL {
        let bytes: Vec<u8> = (0..3000).map(|_| rng.next_u64().to_le_bytes()[7]).collect();
        let (silent, _) = play(subject, &bytes, &[]).fall_silent(10_000);
        assert!(
            silent > Duration::from_secs(1000),
            "{subject:?}: 10,000 timeouts in {silent:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: CASES,
        max_shrink_iters: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_server_keeps_its_claims_whatever_it_is_told(
        bytes in bytes(), phrases in phrases(),
    ) {
        check(Subject::Server, &bytes, &phrases);
    }

    #[test]
    fn a_root_manager_keeps_its_claims_whatever_it_is_told(
        bytes in bytes(), phrases in phrases(),
    ) {
        check(Subject::Root, &bytes, &phrases);
    }

    #[test]
    fn a_manager_keeps_its_claims_whatever_it_is_told(
        bytes in bytes(), phrases in phrases(),
    ) {
        check(Subject::Manager, &bytes, &phrases);
    }
}
