//! Worlds drawn from seeds hold all that must always hold. `atlas-sim --seeds` runs many more.

use atlas_sim::check::run;
use atlas_sim::scenario::{FaultKind, Scenario};

/// Few enough for a debug build.
const SEEDS: std::ops::Range<u64> = 0..60;
const CHURN_SEEDS: std::ops::Range<u64> = 0..8;

#[test]
fn what_must_always_hold_holds_in_worlds_of_many_seeds() {
    let failed: Vec<String> = SEEDS
        .filter_map(|seed| Some((seed, run(&Scenario::swarm(seed)).err()?)))
        .map(|(seed, violation)| format!("seed {seed}: {violation}"))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn what_must_always_hold_holds_when_everything_goes_wrong() {
    let failed: Vec<String> = CHURN_SEEDS
        .filter_map(|seed| Some((seed, run(&Scenario::churned(seed)).err()?)))
        .map(|(seed, violation)| format!("seed {seed}: {violation}"))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// An orphan that was lent on, unbegun, came back to its holder by way of two thieves: it had a lender that had it of itself, and nobody ran it.
#[test]
fn regression_an_orphan_is_not_adopted_by_who_has_it_of_its_holder() {
    for seed in [2, 3] {
        assert!(run(&Scenario::churned(seed)).is_ok(), "{seed}");
    }
}

/// Two managers acted at once: `atlas-proto` tells it as a story.
#[test]
fn regression_a_standby_that_acted_in_vain_does_not_act_beside_its_manager() {
    assert!(run(&Scenario::churned(174)).is_ok());
}

/// A closure was lent to who had heard of the end of the job, by a server whose manager was killed before it could say so: it misses its manager
/// and starts over, and the checker did not know.
#[test]
fn regression_what_is_lent_after_the_end_is_missed_with_the_manager() {
    assert!(run(&Scenario::churned(1498)).is_ok());
}

#[test]
fn churned_worlds_lose_servers_managers_and_links() {
    let worlds: Vec<Scenario> = (0..60).map(Scenario::churned).collect();
    let some = |what: &dyn Fn(&Scenario) -> bool| {
        let count = worlds.iter().filter(|world| what(world)).count();
        count >= 15
    };
    let of_manager = |world: &Scenario| {
        let mut faults = world.faults.iter();
        faults.any(|fault| fault.kind == FaultKind::KillManager)
    };
    assert!(some(&of_manager));
    assert!(some(&|world| !world.network.cuts.is_empty()));
    assert!(some(&|world| world.network.lan.loss_ppm > 0));
    assert!(some(&|world| world.skew.drift_ppm > 1000));
    let kill = |world: &Scenario| {
        let mut faults = world.faults.iter();
        faults.any(|fault| fault.kind == FaultKind::Kill)
    };
    assert!(worlds.iter().all(kill));
    assert!(some(&|world| !world.standbys.is_empty()));
    let of_acting = |world: &Scenario| {
        let mut faults = world.faults.iter();
        faults.any(|fault| fault.kind == FaultKind::KillActing)
    };
    assert!(some(&of_acting));
    assert!(
        !worlds
            .iter()
            .any(|world| of_acting(world) && world.standbys.is_empty())
    );
}

#[test]
fn a_swarm_has_worlds_of_every_kind() {
    let worlds: Vec<Scenario> = SEEDS.map(Scenario::swarm).collect();
    let some = |what: &dyn Fn(&Scenario) -> bool| {
        let count = worlds.iter().filter(|world| what(world)).count();
        (5..55).contains(&count)
    };
    assert!(some(&|world| world.faults.is_empty()));
    assert!(some(&|world| world.borders.is_empty()));
    assert!(some(&|world| world.network.cuts.is_empty()));
    assert!(some(&|world| world.network.lan.loss_ppm > 0));
    assert!(some(&|world| world.network.lan.duplication_ppm > 0));
    assert!(some(&|world| world.network.lan.reordering_ppm > 0));
    assert!(some(&|world| world.levels == 3));
    assert!(some(&|world| world.workers == 1));
}

#[test]
fn one_seed_gives_one_world() {
    assert_eq!(Scenario::swarm(7), Scenario::swarm(7));
    assert_eq!(run(&Scenario::swarm(7)), run(&Scenario::swarm(7)));
}
