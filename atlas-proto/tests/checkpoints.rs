//! How losses are mended, told as stories: what is kept of a job, who is told of it, and what becomes of closures whose borrower
//! or lender is lost.

#[expect(dead_code, reason = "other stories use the rest")]
mod stage;

use std::time::Duration;

use atlas_engine::{Above, Key, Recorded};
use atlas_proto::domain::DomainPattern;
use atlas_proto::ids::NodeId;
use atlas_proto::ledger::{Source, State};
use atlas_proto::message::Message;
use atlas_proto::policy::Policy;

use stage::{JOB_ID, Stage, closure};

const LONG: Duration = Duration::from_secs(1000);
const SOON: Duration = Duration::from_secs(1);

fn asks(message: &Message) -> bool {
    matches!(message, Message::RequestCheckpoint { .. })
}

fn tells(message: &Message) -> bool {
    matches!(message, Message::GrantCheckpoint { .. })
}

fn entry(number: u8) -> Recorded {
    Recorded {
        key: Key([number; 32]),
        result: vec![number].into(),
        work: Duration::from_secs(u64::from(number)),
        above: Above::NONE,
    }
}

/// What the results of the stage's closures are kept under.
fn key_of_closures() -> Key {
    let closure = closure(1, LONG);
    closure.key()
}

/// A domain of servers with one worker each; the first of those that are given runs the root of a job and has lent a closure to the
/// second, which runs it.
struct Domain {
    stage: Stage,
    manager: NodeId,
    busy: NodeId,
    thief: NodeId,
    others: Vec<NodeId>,
}

fn domain(servers: usize) -> Domain {
    let mut stage = Stage::new();
    let manager = stage.manager("example.edu", None);
    let mut all: Vec<NodeId> = (0..servers).map(|_| stage.server(manager, 1)).collect();
    stage.submit(manager);
    stage.run_until("the root running", |s| all.iter().any(|&n| s.given(n) == 1));
    let busy = all.iter().position(|&node| stage.given(node) == 1);
    let busy = all.remove(busy.expect("one runs the root"));
    stage.spawn(busy, 1, 1, LONG);
    stage.run_until("a steal", |s| all.iter().any(|&n| s.given(n) == 1));
    let thief = all.iter().position(|&node| stage.given(node) == 1);
    let thief = all.remove(thief.expect("one has stolen"));
    Domain {
        stage,
        manager,
        busy,
        thief,
        others: all,
    }
}

fn first_after(stage: &Stage, to: NodeId, matches: fn(&Message) -> bool) -> Option<usize> {
    let mut log = stage.log.iter();
    log.position(|(_, at, message)| *at == to && matches(message))
}

/// What engines record goes to the manager of their domain, and from there to its driver, once for each key.
#[test]
fn what_an_engine_records_is_kept_by_the_manager_of_its_domain() {
    let mut domain = domain(2);
    let (stage, thief) = (&mut domain.stage, domain.thief);
    stage.record(thief, vec![entry(1), entry(2)]);
    stage.record(thief, vec![entry(2), entry(3)]);
    stage.run_for(SOON);
    let kept: Vec<Recorded> = stage.kept.values().flatten().cloned().collect();
    assert_eq!(kept, [entry(1), entry(2), entry(3)]);
    // The end of the job is the end of what was kept.
    let job = *stage.kept.keys().next().expect("there is a job");
    assert_eq!(stage.manager_ref(domain.manager).checkpoint_len(job), 3);
    stage.finish(domain.busy, 9);
    stage.run_until("the end", |s| !s.finished.is_empty());
    assert_eq!(stage.manager_ref(domain.manager).checkpoint_len(job), 0);
}

/// A closure whose borrower is lost comes back to its lender's engine when that knows what was finished of it, and not before.
#[test]
fn borrower_loss_brings_the_closure_back_with_its_checkpoint() {
    let mut domain = domain(2);
    let (stage, busy, thief) = (&mut domain.stage, domain.busy, domain.thief);
    stage.record(thief, vec![entry(1), entry(2)]);
    stage.run_for(SOON);
    // The answer takes its time.
    stage.lose(|_, _, message| tells(message));
    stage.kill(thief);
    stage.run_until("the question", |s| s.count(busy, domain.manager, asks) == 1);
    assert_eq!(stage.ready(busy), 0);
    let held = |s: &Stage| {
        let ledger = s.server_ref(busy).ledger();
        ledger
            .entries()
            .any(|(_, entry)| entry.state == State::Held)
    };
    assert!(held(stage));
    stage.lose(|_, _, _| false);
    stage.run_until("the closure", |s| s.ready(busy) == 1);
    assert_eq!(stage.remembered(busy), [entry(1), entry(2)]);
    assert!(!held(stage));
}

/// Who knows a part of the checkpoint is told the rest.
#[test]
fn a_checkpoint_is_told_once() {
    let mut domain = domain(3);
    let (stage, busy, other) = (&mut domain.stage, domain.busy, domain.others[0]);
    stage.record(domain.thief, vec![entry(1)]);
    stage.run_for(SOON);
    stage.kill(domain.thief);
    stage.run_until("another thief", |s| s.given(other) == 1);
    stage.record(other, vec![entry(2)]);
    stage.run_for(SOON);
    stage.kill(other);
    stage.run_until("the closure", |s| s.ready(busy) == 1);
    assert_eq!(stage.remembered(busy), [entry(1), entry(2)]);
    assert!(stage.count(busy, domain.manager, asks) >= 2);
}

/// Whoever had descendants of what was lost goes on for a while, and records what is finished: that is asked for, too, but not for ever.
#[test]
fn regression_what_is_recorded_soon_after_a_loss_is_asked_for() {
    let mut domain = domain(3);
    let (stage, busy, other) = (&mut domain.stage, domain.busy, domain.others[0]);
    stage.kill(domain.thief);
    stage.run_until("another thief", |s| s.given(other) == 1);
    stage.run_for(SOON * 2);
    stage.record(other, vec![entry(1)]);
    stage.run_for(SOON * 20);
    assert_eq!(stage.remembered(busy), [entry(1)]);
    let asked = stage.count(busy, domain.manager, asks);
    stage.run_for(SOON * 60);
    assert_eq!(stage.count(busy, domain.manager, asks), asked);
}

/// Nobody waits for a checkpoint for long: what is not known is computed.
#[test]
fn a_checkpoint_that_does_not_come_holds_nobody_up() {
    let mut domain = domain(2);
    let (stage, busy) = (&mut domain.stage, domain.busy);
    stage.record(domain.thief, vec![entry(1)]);
    stage.lose(|_, _, message| tells(message));
    stage.kill(domain.thief);
    stage.run_until("the question", |s| s.count(busy, domain.manager, asks) == 1);
    let asked = stage.now;
    stage.run_until("the closure", |s| s.ready(busy) == 1);
    assert!(stage.now.since(asked) <= Duration::from_secs(3));
    assert_eq!(stage.remembered(busy), []);
}

/// When the server that runs the root is lost, another one begins the root again: with the checkpoint, which it asks for first.
#[test]
fn a_closure_that_a_manager_lends_again_is_begun_with_its_checkpoint() {
    let mut domain = domain(2);
    let (stage, thief) = (&mut domain.stage, domain.thief);
    stage.record(domain.busy, vec![entry(1)]);
    stage.run_for(SOON);
    stage.kill(domain.busy);
    let root_at = |s: &Stage| {
        let ledger = s.server_ref(thief).ledger();
        let mut roots = ledger.entries().filter(|(_, e)| e.closure.kind.depth == 0);
        roots.any(|(_, entry)| entry.again)
    };
    stage.run_until("the root elsewhere", root_at);
    stage.finish(thief, 1);
    stage.run_until("the root running", |s| s.given(thief) == 1);
    // What the same machine was in the middle of is found, too.
    for known in [entry(1), orphan()] {
        assert!(stage.remembered(thief).contains(&known), "{known:?}");
    }
    let (asked, told) = (
        first_after(stage, domain.manager, asks),
        first_after(stage, thief, tells),
    );
    assert!(asked.is_some() && told > asked);
}

fn orphan() -> Recorded {
    Recorded {
        key: key_of_closures(),
        result: vec![1].into(),
        work: Duration::from_secs(1),
        above: Above::NONE,
    }
}

/// What has begun when its lender is lost goes on for a while, and its result is kept: whoever computes it again finds it.
#[test]
fn an_orphan_that_finishes_is_recorded() {
    let mut domain = domain(3);
    let (stage, thief) = (&mut domain.stage, domain.thief);
    stage.kill(domain.busy);
    let orphaned = |s: &Stage| {
        let ledger = s.server_ref(thief).ledger();
        let mut entries = ledger.entries();
        entries.any(|(_, entry)| matches!(entry.source, Source::Orphan { .. }))
    };
    stage.run_until("the loss", orphaned);
    assert_eq!(stage.given(thief), 1, "it goes on");
    stage.finish(thief, 1);
    stage.run_for(SOON);
    let kept: Vec<Recorded> = stage.kept.values().flatten().cloned().collect();
    assert_eq!(kept, [orphan()]);
}

/// A lender is missed some seconds after it is lost. What its borrowers had finished by then was sent to nobody, and done again.
#[test]
fn regression_what_did_not_reach_a_dead_lender_is_found_by_who_runs_its_closures() {
    for servers in [2, 3] {
        let mut domain = domain(servers);
        let (stage, thief) = (&mut domain.stage, domain.thief);
        stage.kill(domain.busy);
        stage.finish(thief, 1);
        let all: Vec<NodeId> = domain.others.iter().copied().chain([thief]).collect();
        let runs = |s: &Stage| all.iter().copied().find(|&node| s.given(node) == 1);
        stage.run_until("the root elsewhere", |s| runs(s).is_some());
        let node = runs(stage).expect("one runs it");
        assert!(stage.remembered(node).contains(&orphan()), "{servers}");
        let kept: Vec<Recorded> = stage.kept.values().flatten().cloned().collect();
        assert_eq!(kept, [orphan()]);
    }
}

/// What arrived is the lender's to keep, and costs nothing more.
#[test]
fn what_reached_its_lender_is_not_recorded_by_its_borrower() {
    let mut domain = domain(2);
    let (stage, thief) = (&mut domain.stage, domain.thief);
    stage.finish(thief, 1);
    stage.run_for(SOON);
    stage.kill(domain.busy);
    stage.run_until("the root elsewhere", |s| s.given(thief) == 1);
    assert!(stage.kept.is_empty());
}

fn source_at(stage: &Stage, node: NodeId) -> Vec<Source> {
    let ledger = stage.server_ref(node).ledger();
    let inner = ledger.entries();
    let inner = inner.filter(|(_, entry)| entry.closure.kind.depth == 1);
    inner.map(|(_, entry)| entry.source).collect()
}

/// A domain whose second server has a child of the root that the lost first one ran; the third has the root now.
fn root_elsewhere() -> Domain {
    let mut domain = domain(3);
    let (stage, thief, other) = (&mut domain.stage, domain.thief, domain.others[0]);
    // Both have something to do, and the one that is to have the root has less.
    stage.spawn(thief, 2, 2, LONG);
    stage.run_until("another steal", |s| s.given(other) == 1);
    stage.kill(domain.busy);
    stage.run_for(SOON * 5);
    stage.finish(other, 1);
    stage.run_until("the root elsewhere", |s| s.given(other) == 1);
    domain
}

/// Who has begun a closure of a lost lender keeps it: whoever comes to it again lends it to that one, and to nobody else, though nobody
/// asks for work.
#[test]
fn regression_an_orphan_has_a_lender_again_when_what_it_descends_from_is_run_again() {
    let mut domain = root_elsewhere();
    let (stage, thief, other) = (&mut domain.stage, domain.thief, domain.others[0]);
    assert!(matches!(
        source_at(stage, thief)[..],
        [Source::Orphan { .. }]
    ));
    stage.spawn(other, 1, 1, LONG);
    let again = |s: &Stage| {
        let sources = source_at(s, thief);
        matches!(sources[..], [Source::Peer { lender, .. }] if lender == other)
    };
    stage.run_until("a lender", again);
    assert_eq!(stage.given(thief), 1, "it goes on, and is not begun anew");
    assert_eq!(
        (
            stage.ready(other),
            stage.server_ref(thief).stats().orphans_adopted
        ),
        (0, 1)
    );
    // Its result is the new lender's.
    stage.run_for(SOON * 30);
    stage.finish(thief, 7);
    stage.run_until("the result", |s| s.results(other) == [7]);
}

/// Who has an orphan may be the one that runs again what it descends from: its engine waits for what it runs itself.
#[test]
fn regression_an_orphan_goes_on_when_its_own_machine_comes_to_it() {
    let mut domain = domain(2);
    let (stage, thief) = (&mut domain.stage, domain.thief);
    stage.kill(domain.busy);
    stage.run_until("the root on the same machine", |s| s.given(thief) == 2);
    stage.spawn(thief, 1, 1, LONG);
    stage.run_for(SOON * 5);
    let adopted = |s: &Stage| s.server_ref(thief).stats().orphans_adopted;
    assert_eq!((stage.ready(thief), adopted(stage)), (0, 1), "it was lent");
    assert!(matches!(
        source_at(stage, thief)[..],
        [Source::Engine { .. }]
    ));
    stage.finish(thief, 7);
    stage.run_until("the result", |s| s.results(thief) == [7]);
    assert_eq!(
        stage.given(thief),
        1,
        "the root goes on, and runs nothing twice"
    );
}

/// Who has an orphan may be the one that asks for work: it is not given as what it is to begin.
#[test]
fn regression_an_orphan_goes_on_when_who_has_it_asks_for_work() {
    let mut domain = root_elsewhere();
    let (stage, thief, other) = (&mut domain.stage, domain.thief, domain.others[0]);
    // Nothing is left to do there but to wait.
    stage.wait_at_root(thief);
    stage.spawn(other, 1, 1, LONG);
    stage.run_for(SOON);
    assert_eq!(stage.given(thief), 1, "it goes on, and is not begun anew");
    assert_eq!(stage.server_ref(thief).stats().orphans_adopted, 1);
}

/// What a task that is not pure does is its next run's.
#[test]
fn what_is_not_pure_is_no_orphan() {
    let mut domain = domain(3);
    let (stage, thief) = (&mut domain.stage, domain.thief);
    stage.tell_impure(thief, closure(1, LONG).kind.task);
    stage.kill(domain.busy);
    stage.run_for(SOON * 5);
    assert_eq!(stage.server_ref(thief).stats().orphans, 0);
    assert!(source_at(stage, thief).is_empty(), "it was dropped");
}

/// Whoever runs it again would not look for it.
#[test]
fn a_result_that_a_lost_lender_did_not_get_is_kept_unless_its_task_is_impure() {
    for (impure, kept) in [(false, 1), (true, 0)] {
        let mut domain = domain(3);
        let (stage, thief) = (&mut domain.stage, domain.thief);
        if impure {
            stage.tell_impure(thief, closure(1, LONG).kind.task);
        }
        stage.kill(domain.busy);
        stage.finish(thief, 1);
        stage.run_for(SOON * 5);
        let finished = stage.server_ref(thief).stats().orphans_finished;
        let recorded = stage.manager_ref(domain.manager).stats().results_recorded;
        assert_eq!((finished, recorded), (kept, kept), "impure: {impure}");
    }
}

/// A job that runs in one domain, of which a server of another has a child.
struct StolenAcross {
    stage: Stage,
    /// The manager of the first domain.
    cs: NodeId,
    /// Runs the root, there.
    first: NodeId,
    /// Has the child.
    elsewhere: NodeId,
}

fn stolen_across() -> StolenAcross {
    let mut stage = Stage::new();
    let top = stage.manager("example.edu", None);
    let cs = stage.manager("cs.example.edu", Some(top));
    let bio = stage.manager("bio.example.edu", Some(top));
    stage.run_for(SOON);
    stage.submit(top);
    let first = stage.server(cs, 1);
    stage.run_until("the root running", |s| s.given(first) == 1);
    stage.spawn(first, 1, 1, LONG);
    let elsewhere = stage.server(bio, 1);
    stage.run_until("a steal across domains", |s| s.given(elsewhere) == 1);
    StolenAcross {
        stage,
        cs,
        first,
        elsewhere,
    }
}

/// What crosses managers goes on in the other domain: the manager of the first one has a lender for it again.
#[test]
fn an_orphan_in_another_domain_goes_on_there() {
    let StolenAcross {
        mut stage,
        cs,
        first,
        elsewhere,
    } = stolen_across();
    let second = stage.server(cs, 1);
    stage.run_for(SOON);
    stage.kill(first);
    stage.run_until("the root elsewhere", |s| s.given(second) == 1);
    stage.spawn(second, 1, 1, LONG);
    stage.run_for(SOON * 30);
    assert_eq!(stage.given(elsewhere), 1, "it goes on");
    assert_eq!(stage.manager_ref(cs).stats().orphans_adopted, 1);
    stage.finish(elsewhere, 7);
    stage.run_until("the result", |s| s.results(second) == [7]);
}

/// A closure that ran in one domain runs again in another one: what a server of the first has of it goes on.
struct RunAgainBeyond {
    stage: Stage,
    /// Has the closure's child, in the first domain.
    thief: NodeId,
    /// Runs the closure now.
    beyond: NodeId,
}

fn run_again_beyond(policy: Policy) -> RunAgainBeyond {
    let mut stage = Stage::new();
    let top = stage.manager("example.edu", None);
    let cs = stage.manager("cs.example.edu", Some(top));
    let bio = stage.manager_with("bio.example.edu", Some(top), policy);
    stage.run_for(SOON);
    stage.submit(top);
    let root = stage.server(cs, 1);
    stage.run_until("the root running", |s| s.given(root) == 1);
    stage.spawn(root, 1, 1, LONG);
    let lost = stage.server(cs, 1);
    stage.run_until("a steal", |s| s.given(lost) == 1);
    stage.spawn(lost, 1, 2, LONG);
    let thief = stage.server(cs, 1);
    stage.run_until("another steal", |s| s.given(thief) == 1);
    // It has enough to do, but nothing that is worth a move.
    stage.spawn(thief, 1, 3, Duration::from_millis(1));
    let beyond = stage.server(bio, 1);
    stage.run_for(SOON);
    stage.kill(lost);
    stage.run_until("the closure back", |s| s.ready(root) == 1);
    stage.run_until("a steal across domains", |s| s.given(beyond) == 1);
    stage.spawn(beyond, 1, 2, LONG);
    RunAgainBeyond {
        stage,
        thief,
        beyond,
    }
}

#[test]
fn regression_an_orphan_goes_on_when_what_it_descends_from_is_run_again_in_another_domain() {
    let RunAgainBeyond {
        mut stage,
        thief,
        beyond,
    } = run_again_beyond(Policy::default());
    stage.run_for(SOON * 30);
    assert_eq!(stage.given(thief), 1, "it goes on, and is not begun anew");
    assert_eq!(stage.server_ref(thief).stats().orphans_adopted, 1);
    assert_eq!(stage.ready(beyond), 0, "it was lent");
    stage.finish(thief, 7);
    stage.run_until("the result", |s| s.results(beyond) == [7]);
}

/// What may not leave its domain does not, also where who has it already would go on with it.
#[test]
fn an_orphan_is_not_sought_where_work_may_not_go() {
    let stays = Policy::new(vec![DomainPattern::ANY], Vec::new()).unwrap();
    let RunAgainBeyond {
        mut stage,
        thief,
        beyond,
    } = run_again_beyond(stays);
    stage.run_for(SOON * 30);
    assert_eq!(stage.server_ref(thief).stats().orphans_adopted, 0);
    assert_eq!(stage.ready(beyond), 1, "it has stayed");
}

/// Beyond that time it would only do once more what others do already.
#[test]
fn an_orphan_that_takes_too_long_is_given_up() {
    let mut domain = domain(3);
    let (stage, thief) = (&mut domain.stage, domain.thief);
    stage.kill(domain.busy);
    let orphans = |s: &Stage| {
        let ledger = s.server_ref(thief).ledger();
        let orphans = ledger.entries();
        orphans
            .filter(|(_, entry)| matches!(entry.source, Source::Orphan { .. }))
            .count()
    };
    stage.run_until("the loss", |s| orphans(s) == 1);
    let lost = stage.now;
    stage.run_until("the end of patience", |s| orphans(s) == 0);
    assert!(stage.now.since(lost) >= Duration::from_secs(4));
    let root = |entry: &atlas_proto::ledger::Entry| entry.closure.kind.depth == 0;
    let held = stage.server_ref(thief).ledger();
    assert!(held.entries().all(|(_, entry)| root(entry)));
}

/// What an engine lends while it runs something again may have been finished in part, too: its thief asks before it begins.
#[test]
fn what_descends_from_a_lost_closure_is_lent_with_the_word() {
    let mut domain = domain(3);
    let (stage, busy, other) = (&mut domain.stage, domain.busy, domain.others[0]);
    stage.record(domain.thief, vec![entry(1)]);
    stage.run_for(SOON);
    stage.kill(domain.thief);
    // The only closure that is ready comes back, and goes to the other server: again.
    stage.run_until("another thief", |s| s.given(other) == 1);
    assert_eq!(stage.count(other, domain.manager, asks), 1);
    assert_eq!(stage.remembered(other), [entry(1)]);
    assert_eq!(stage.remembered(busy), [entry(1)]);
}

/// A manager that was killed begins its jobs anew, with what its driver has kept.
#[test]
fn a_restarted_manager_begins_its_job_anew_with_what_was_kept() {
    let mut stage = Stage::new();
    let manager = stage.manager("example.edu", None);
    let job = stage.submit_again(manager, vec![entry(1), entry(2)]);
    stage.restore(manager, job, vec![entry(3)]);
    assert!(stage.kept.is_empty(), "it is kept already");
    let server = stage.server(manager, 1);
    stage.run_until("the root running", |s| s.given(server) == 1);
    assert_eq!(stage.remembered(server), [entry(1), entry(2), entry(3)]);
}

/// A sub-domain that is lent a closure again asks its parent, and tells its own servers.
#[test]
fn a_manager_below_is_told_by_its_parent() {
    let mut stage = Stage::new();
    let top = stage.manager("example.edu", None);
    let cs = stage.manager("cs.example.edu", Some(top));
    stage.run_for(SOON);
    stage.submit_again(top, vec![entry(1)]);
    // It runs in the sub-domain, and there is killed again.
    let first = stage.server(cs, 1);
    stage.run_until("the root running", |s| s.given(first) == 1);
    stage.run_until("the parent's answer", |s| s.count(top, cs, tells) == 1);
    stage.kill(first);
    let second = stage.server(cs, 1);
    stage.run_until("the root elsewhere", |s| s.given(second) == 1);
    assert_eq!(stage.remembered(second), [entry(1)]);
}

/// A domain below another one, whose only server runs the root of a job of the one above.
struct Below {
    stage: Stage,
    top: NodeId,
    cs: NodeId,
    server: NodeId,
}

fn below() -> Below {
    let mut stage = Stage::new();
    let top = stage.manager("example.edu", None);
    let cs = stage.manager("cs.example.edu", Some(top));
    stage.run_for(SOON);
    stage.submit(top);
    let server = stage.server(cs, 1);
    stage.run_until("the root running", |s| s.given(server) == 1);
    Below {
        stage,
        top,
        cs,
        server,
    }
}

/// Larger than all that a parent is told in an interval.
fn large(number: u8) -> Recorded {
    Recorded {
        result: vec![number; 600 << 10].into(),
        ..entry(number)
    }
}

/// What is recorded in a sub-domain its own manager's driver keeps, as long as the job lives.
#[test]
fn what_a_sub_domain_has_recorded_is_kept_there_until_the_job_ends() {
    let Below {
        mut stage,
        top,
        cs,
        server,
    } = below();
    stage.record(server, vec![entry(1), entry(2)]);
    stage.record(server, vec![entry(2), large(3)]);
    stage.run_for(SOON * 3);
    let kept = |s: &Stage, node| s.foreign.get(&(node, JOB_ID)).cloned().unwrap_or_default();
    assert_eq!(kept(&stage, cs), [entry(1), entry(2), large(3)]);
    // Above, where it was submitted, it is kept as what it is: the domain's own, and only what was told.
    assert_eq!(kept(&stage, top), []);
    let above: Vec<Recorded> = stage.kept.values().flatten().cloned().collect();
    assert_eq!(above, [entry(2), entry(1)]);
    stage.finish(server, 9);
    stage.run_until("the end", |s| !s.finished.is_empty());
    stage.run_for(SOON);
    assert!(stage.foreign.is_empty());
}

/// Its parent has it, and is asked each time.
#[test]
fn what_a_parent_has_told_is_not_kept_below() {
    let mut stage = Stage::new();
    let top = stage.manager("example.edu", None);
    let cs = stage.manager("cs.example.edu", Some(top));
    stage.run_for(SOON);
    stage.submit_again(top, vec![entry(1)]);
    let server = stage.server(cs, 1);
    stage.run_until("the answer", |s| s.remembered(server) == [entry(1)]);
    assert!(stage.foreign.is_empty());
    // So there is nothing to be removed either.
    stage.run_until("the root running", |s| s.given(server) == 1);
    stage.finish(server, 9);
    stage.run_until("the end", |s| !s.finished.is_empty());
    stage.run_for(SOON);
}

/// The manager of a sub-domain that was killed has what its domain recorded, though its parent never heard of it; and tells its parent.
#[test]
fn a_restarted_manager_below_has_what_its_domain_recorded() {
    let Below {
        mut stage,
        top,
        cs,
        server,
    } = below();
    let records = |message: &Message| matches!(message, Message::RecordResults { .. });
    stage.lose(move |_, to, message| to == top && records(message));
    stage.record(server, vec![entry(1), large(2), large(3)]);
    stage.run_for(SOON * 3);
    assert!(stage.kept.is_empty(), "the parent has heard of nothing");
    stage.kill(cs);
    stage.kill(server);
    stage.run_for(SOON * 30);
    stage.lose(|_, _, _| false);
    stage.restart(cs);
    let second = stage.server(cs, 1);
    stage.run_until("the root again", |s| s.given(second) == 1);
    let mut remembered = stage.remembered(second).to_vec();
    remembered.sort_by_key(|recorded| recorded.key);
    assert_eq!(remembered, [entry(1), large(2), large(3)]);
    assert_eq!(stage.manager_ref(cs).stats().results_restored, 3);
    // Of all that, the dearest that it can be told.
    stage.run_for(SOON * 3);
    let above: Vec<Recorded> = stage.kept.values().flatten().cloned().collect();
    assert_eq!(above, [entry(1)]);
    // What was kept once is not kept again, and goes with the job.
    assert_eq!(stage.foreign[&(cs, JOB_ID)].len(), 3);
    stage.finish(second, 9);
    stage.run_until("the end", |s| !s.finished.is_empty());
    stage.run_for(SOON);
    assert!(stage.foreign.is_empty());
}

/// Who loses its parent drops the parent's jobs, and finds what it knew of one when a later life of the parent begins that anew.
#[test]
fn what_a_domain_recorded_outlives_the_manager_above() {
    let Below {
        mut stage,
        top,
        cs,
        server,
    } = below();
    stage.record(server, vec![large(1)]);
    stage.run_for(SOON * 3);
    stage.kill(top);
    stage.run_for(SOON * 30);
    assert_eq!(stage.manager_ref(cs).job_count(), 0);
    stage.restart(top);
    stage.submit_again(top, Vec::new());
    stage.run_until("the root again", |s| s.given(server) == 1);
    assert_eq!(stage.remembered(server), [large(1)]);
}

/// A job of one sub-domain goes by way of its parent to another one. When the manager of the first is lost, the job is over for the
/// others, but has not ended: what they have recorded is there when it comes back.
#[test]
fn what_others_have_recorded_outlives_the_manager_of_the_job() {
    let mut stage = Stage::new();
    let top = stage.manager("example.edu", None);
    let cs = stage.manager("cs.example.edu", Some(top));
    let bio = stage.manager("bio.example.edu", Some(top));
    stage.run_for(SOON);
    let server = stage.server(bio, 1);
    stage.submit(cs);
    stage.run_until("the root elsewhere", |s| s.given(server) == 1);
    stage.record(server, vec![entry(1), large(2)]);
    stage.run_for(SOON * 3);
    // Each has what was recorded below it: the one between what it was told.
    let kept = |s: &Stage, node| s.foreign.get(&(node, JOB_ID)).map_or(0, Vec::len);
    assert_eq!((kept(&stage, bio), kept(&stage, top)), (2, 1));
    stage.kill(cs);
    stage.run_for(SOON * 30);
    assert_eq!(stage.manager_ref(bio).job_count(), 0);
    assert_eq!((kept(&stage, bio), kept(&stage, top)), (2, 1));
    stage.restart(cs);
    stage.submit_again(cs, Vec::new());
    stage.run_until("the root again", |s| s.given(server) == 1);
    let remembered = stage.remembered(server);
    assert!(remembered.contains(&entry(1)) && remembered.contains(&large(2)));
    stage.finish(server, 9);
    stage.run_until("the end", |s| !s.finished.is_empty());
    stage.run_for(SOON);
    assert!(stage.foreign.is_empty(), "it has ended for all");
}

/// A server comes, is lent a closure, and is lost.
fn lose_a_thief(stage: &mut Stage, domain: NodeId, lender: NodeId) {
    let thief = stage.server(domain, 1);
    stage.run_for(SOON);
    if stage.given(thief) == 0 {
        stage.spawn(lender, 1, 1, LONG);
    }
    stage.run_until("a steal at home", |s| s.given(thief) == 1);
    stage.kill(thief);
    stage.run_until("the closure back", |s| s.ready(lender) == 1);
}

/// What was lent out of a domain was recorded in another: who asks in the first is told of it when the common parent was asked.
#[test]
fn regression_what_was_recorded_in_another_domain_is_found_in_ones_own() {
    let StolenAcross {
        mut stage,
        cs,
        first,
        elsewhere,
    } = stolen_across();
    stage.record(elsewhere, vec![entry(1)]);
    stage.run_for(SOON * 3);
    lose_a_thief(&mut stage, cs, first);
    assert_eq!(stage.remembered(first), [entry(1)]);
}

/// What a hundred servers of other domains finish in some seconds a domain is told, not the dearest tenth of it: the rest would be done
/// again.
#[test]
fn regression_a_domain_is_told_all_that_others_did_while_they_are_hundreds() {
    let StolenAcross {
        mut stage,
        cs,
        first,
        elsewhere,
    } = stolen_across();
    let results: Vec<Recorded> = (0..500_u16)
        .map(|number| Recorded {
            key: Key::of(atlas_proto::ids::TaskId(7), &number.to_le_bytes()),
            ..entry(1)
        })
        .collect();
    stage.record(elsewhere, vec![entry(2)]);
    stage.run_for(SOON * 3);
    // The first time everything is told; from then on, so much for each second.
    lose_a_thief(&mut stage, cs, first);
    stage.record(elsewhere, results.clone());
    stage.run_for(SOON * 3);
    lose_a_thief(&mut stage, cs, first);
    let remembered = stage.remembered(first);
    let missing = results.iter().filter(|entry| !remembered.contains(entry));
    assert_eq!(missing.count(), 0);
}
