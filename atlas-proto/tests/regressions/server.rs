//! A server, and what its siblings, its manager and its engines do to it.

use super::*;

/// A server, a member of its domain, and what its neighbours have said so far.
struct TheServer {
    server: Server,
    said: BTreeMap<NodeId, u32>,
}

impl TheServer {
    fn new() -> Self {
        let config = ServerConfig {
            node: NodeId(1),
            manager: ABOVE,
            workers: 4,
            incarnation: 1,
        };
        let mut server = Server::new(config, 1, NOW);
        server.handle_timeout(NOW);
        let mut this = Self {
            server,
            said: BTreeMap::new(),
        };
        let nonce = match this.sent().remove(0).1 {
            Message::JoinDomain { nonce, .. } => nonce,
            other => panic!("{other:?}"),
        };
        let epoch = MEMBER;
        let sent = this.hear(ABOVE, Message::WelcomeChild { nonce, epoch });
        assert!(matches!(sent[..], [(ABOVE, Message::ReportLoad(_))]));
        this
    }

    /// A packet in the session with a neighbour; what the server says to it.
    fn hear(&mut self, from: NodeId, message: Message) -> Vec<(NodeId, Message)> {
        self.hear_at(NOW, from, message)
    }

    fn hear_at(&mut self, now: Time, from: NodeId, message: Message) -> Vec<(NodeId, Message)> {
        let epoch = if from == ABOVE { MEMBER } else { Epoch(from.0) };
        let packet = numbered(&mut self.said, from, (epoch, MEMBER), message);
        self.server.handle_packet(now, from, packet);
        self.sent()
    }

    fn sent(&mut self) -> Vec<(NodeId, Message)> {
        std::iter::from_fn(|| self.server.poll_transmit())
            .map(checked)
            .collect()
    }

    fn commands(&mut self) -> Vec<EngineCommand> {
        std::iter::from_fn(|| self.server.poll_engine()).collect()
    }

    /// The engine of [`JOB`] runs one closure of the manager's and has `ready` closures of its own.
    fn busy(ready: u32) -> Self {
        let mut this = Self::new();
        this.hear(ABOVE, grant(JOB, &[1], 9));
        assert!(!this.given().is_empty());
        this.load(EngineLoad {
            idle: 0,
            stopped: 0,
            ready,
            oldest: vec![run(ready)],
        });
        this
    }

    fn load(&mut self, load: EngineLoad) {
        self.engine(NOW, EngineEvent::Load { job: JOB, load });
    }

    /// The engine says something; what the server says to others.
    fn engine(&mut self, now: Time, event: EngineEvent) -> Vec<(NodeId, Message)> {
        self.server.handle_engine(now, event);
        self.sent()
    }

    /// The closures that the engine was given since it was last asked.
    fn given(&mut self) -> Vec<Ticket> {
        let commands = self.commands().into_iter();
        commands
            .filter_map(|command| match command {
                EngineCommand::Accept { ticket, .. } => Some(ticket),
                _ => None,
            })
            .collect()
    }

    /// The first sibling steals; the server's question to its engine.
    fn asked(&mut self) -> EngineRequest {
        assert_eq!(self.hear(FIRST, steal(5)), []);
        match self.commands()[..] {
            [EngineCommand::Lend { request, .. }] => request,
            ref other => panic!("{other:?}"),
        }
    }

    fn lent(&mut self, request: EngineRequest, sizes: &[usize]) -> Vec<(NodeId, Message)> {
        let lent = |(at, &size): (usize, &usize)| Lent {
            lease: EngineLease(at as u64),
            closure: closure(size),
            accepted: false,
        };
        let closures = sizes.iter().enumerate().map(lent).collect();
        let event = EngineEvent::Lent {
            job: JOB,
            request,
            closures,
        };
        self.server.handle_engine(NOW, event);
        self.sent()
    }
}

#[test]
fn regression_a_nonsensical_load_of_an_engine_is_no_harm() {
    for (idle, ready) in [(u32::MAX, u32::MAX), (0, u32::MAX), (u32::MAX, 0)] {
        let mut server = TheServer::busy(0);
        server.load(EngineLoad {
            idle,
            stopped: ready,
            ready,
            oldest: [0, u32::MAX, 0, u32::MAX].map(run).into(),
        });
        server.hear(FIRST, steal(5));
        // Another job: the workers are shared anew.
        server.hear(ABOVE, grant(JobAlias(10), &[2], 9));
        assert!(server.server.load().hungry <= 4);
    }
}

#[test]
fn regression_closures_said_to_hold_all_the_work_there_is_do_not_overflow() {
    let mut server = TheServer::busy(0);
    for lease in 10..40 {
        server.hear(ABOVE, grant(JOB, &[lease], 9));
        server.hear(ABOVE, grant(JobAlias(lease), &[lease + 100], 9));
    }
    assert_eq!(server.server.load().surplus_work, Duration::MAX);
    server.hear(FIRST, steal(5));
}

#[test]
fn regression_a_crash_answers_the_steals_that_wait_for_the_engine() {
    let mut server = TheServer::busy(20);
    let question = server.asked();
    server.server.handle_engine(NOW, crashed(CrashKind::Died));
    assert_eq!(
        ends(&server.sent()),
        [(FIRST, RequestId(5), EndStealReason::NoSurplus)]
    );
    // An answer out of the grave is nobody's.
    assert_eq!(grants(&server.lent(question, &[9])), 0);
}

/// It was started again as soon as it had died, thousands of times a second.
#[test]
fn regression_an_engine_is_not_started_for_nothing() {
    let mut server = TheServer::new();
    server.hear(ABOVE, grant(JOB, &[1], 9));
    let started = |server: &mut TheServer| {
        let is_start = |command: &EngineCommand| matches!(command, EngineCommand::Start { .. });
        server.commands().into_iter().filter(is_start).count()
    };
    assert_eq!(started(&mut server), 1);
    server.server.handle_engine(NOW, crashed(CrashKind::Died));
    assert_eq!(started(&mut server), 0);
    server.hear(ABOVE, grant(JOB, &[2], 9));
    assert_eq!(started(&mut server), 1);
}

/// Four workers serve four jobs; the fifth has no engine yet, whoever speaks for it.
#[test]
fn regression_an_engine_that_is_not_started_is_asked_for_nothing() {
    let mut server = TheServer::new();
    for job in [1, 2, 3, 4, JOB.0] {
        server.hear(ABOVE, grant(JobAlias(job), &[job], 9));
    }
    let is_start = |command: &EngineCommand| matches!(command, EngineCommand::Start { .. });
    let started = server.commands().into_iter().filter(is_start);
    assert_eq!(started.count(), 4);
    let leases = vec![LeaseId(JOB.0)];
    server.hear(ABOVE, Message::AbortLeases { leases });
    server.load(EngineLoad {
        idle: 0,
        stopped: 0,
        ready: 20,
        oldest: vec![run(20)],
    });
    server.hear(FIRST, steal(5));
    assert_eq!(server.commands(), []);
}

#[test]
fn regression_a_retreat_answers_the_steals_that_wait_for_an_engine() {
    let mut server = TheServer::busy(20);
    server.asked();
    server.server.retreat(NOW);
    assert_eq!(
        ends(&server.sent()),
        [(FIRST, RequestId(5), EndStealReason::Leaving)]
    );
}

#[test]
fn regression_the_end_of_a_job_answers_the_steals_that_wait_for_its_engine() {
    let mut server = TheServer::busy(20);
    server.asked();
    let sent = server.hear(
        ABOVE,
        Message::EndJob {
            job: JOB,
            lost: false,
        },
    );
    assert_eq!(
        ends(&sent),
        [(FIRST, RequestId(5), EndStealReason::NoSurplus)]
    );
}

/// A sibling that became a member after the manager had told of the end never heard of it.
#[test]
fn regression_the_end_of_a_job_is_told_to_who_has_closures_of_it() {
    let mut server = TheServer::busy(20);
    let question = server.asked();
    server.lent(question, &[9, 9]);
    let sent = server.hear(
        ABOVE,
        Message::EndJob {
            job: JOB,
            lost: false,
        },
    );
    let leases = vec![LeaseId(1), LeaseId(2)];
    assert_eq!(sent, [(FIRST, Message::AbortLeases { leases })]);
    assert!(server.server.ledger().is_empty());
}

#[test]
fn regression_a_closure_that_is_too_large_stays() {
    let mut server = TheServer::busy(20);
    let question = server.asked();
    let sent = server.lent(question, &[CLOSURE_BYTES_MAX + 1]);
    assert_eq!(
        ends(&sent),
        [(FIRST, RequestId(5), EndStealReason::NoSurplus)]
    );
    let lease = EngineLease(0);
    assert_eq!(
        server.commands(),
        [EngineCommand::Reclaim { job: JOB, lease }]
    );
    assert_eq!(server.server.stats().closures_too_large, 1);
    assert_eq!(server.server.ledger().len(), 1);
}

#[test]
fn regression_large_closures_of_an_engine_go_in_several_grants() {
    let mut server = TheServer::busy(20);
    let question = server.asked();
    let sent = server.lent(question, &[CLOSURE_BYTES_MAX; 6]);
    let more: Vec<bool> = sent
        .iter()
        .filter_map(|(_, message)| match message {
            Message::GrantClosures { more, .. } => Some(*more),
            _ => None,
        })
        .collect();
    assert_eq!(more, [true, true, true, true, true, false]);
}

#[test]
fn regression_a_result_that_is_too_large_becomes_a_panic_that_says_so() {
    let mut server = TheServer::busy(0);
    let ticket = Ticket(1);
    let outcome = Outcome::Value(vec![0; CLOSURE_BYTES_MAX + 1].into());
    let finished = finished(outcome);
    let event = EngineEvent::Finished {
        job: JOB,
        ticket,
        finished,
    };
    server.server.handle_engine(NOW, event);
    let sent = server.sent();
    let results = sent.iter().find_map(|(to, message)| match message {
        Message::ReturnResults { results } if *to == ABOVE => Some(results),
        _ => None,
    });
    let Outcome::Panic(text) = &results.unwrap()[0].finished.outcome else {
        panic!("{results:?}");
    };
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.contains("3145729 bytes"), "{text}");
}

#[test]
fn regression_an_engine_finishes_only_what_it_was_given() {
    let mut server = TheServer::busy(20);
    let question = server.asked();
    server.lent(question, &[9]);
    // The first is running, of another job; the second is lent.
    for (job, ticket) in [(JobAlias(10), 1), (JOB, 2), (JOB, 99)] {
        let event = EngineEvent::Finished {
            job,
            ticket: Ticket(ticket),
            finished: finished(Outcome::Value([1].as_slice().into())),
        };
        server.server.handle_engine(NOW, event);
    }
    assert_eq!(server.server.stats().results_late, 3);
    assert_eq!(server.server.ledger().len(), 2);
}

#[test]
fn regression_no_membership_is_lost_by_forgetting_the_manager() {
    let mut server = TheServer::new();
    let forget = Message::ForgetPeer {
        peer: ABOVE,
        epoch: Epoch(u64::MAX),
    };
    server.hear(ABOVE, forget);
    assert_eq!(server.server.session(ABOVE), Some(MEMBER));
}

#[test]
fn regression_siblings_that_are_over_are_forgotten_in_their_turn() {
    let mut server = TheServer::new();
    for n in 0..FORGOTTEN_MAX as u64 + 9 {
        let (peer, epoch) = (NodeId(100 + n), Epoch(100 + n));
        server.hear(ABOVE, Message::ForgetPeer { peer, epoch });
    }
    assert_eq!(
        held(&server.server.bounds(), "forgotten siblings"),
        FORGOTTEN_MAX
    );
}

#[test]
fn regression_paths_of_nodes_without_a_session_are_bounded() {
    let mut server = TheServer::new();
    for n in 0..PATHS_MAX as u64 + 9 {
        server
            .server
            .handle_path(NOW, NodeId(100 + n), Path::ASSUMED);
    }
    assert!(held(&server.server.bounds(), "paths") <= PATHS_MAX);
}

#[test]
fn regression_jobs_of_which_nothing_is_here_make_room_for_others() {
    let mut server = TheServer::new();
    for n in 0..JOBS_MAX as u64 {
        assert_eq!(returns(&server.hear(FIRST, grant(JobAlias(n), &[n], 9))), 0);
        let leases = vec![LeaseId(n)];
        server.hear(FIRST, Message::AbortLeases { leases });
    }
    assert_eq!(held(&server.server.bounds(), "jobs"), JOBS_MAX);
    let sent = server.hear(
        FIRST,
        grant(JobAlias(JOBS_MAX as u64), &[JOBS_MAX as u64], 9),
    );
    assert_eq!(returns(&sent), 0);
    assert_eq!(held(&server.server.bounds(), "jobs"), JOBS_MAX);
}

#[test]
fn regression_nothing_lent_is_no_job() {
    let mut server = TheServer::new();
    server.hear(FIRST, grant(JOB, &[], 9));
    assert_eq!(held(&server.server.bounds(), "jobs"), 0);
}

/// Results flow to the manager all the time, and do not say what a report that was lost said.
#[test]
fn regression_a_lost_report_is_made_good_while_results_flow() {
    let mut server = TheServer::new();
    let leases: Vec<u64> = (0..100).collect();
    server.hear(ABOVE, grant(JOB, &leases, 9));
    let mut running = VecDeque::from(server.given());
    let (mut reports, mut results) = (Vec::new(), 0);
    for turn in 1..=STEPS {
        let now = NOW + STEP * turn;
        let finished = EngineEvent::Finished {
            job: JOB,
            ticket: running.pop_front().unwrap(),
            finished: finished(Outcome::Value(Vec::new().into())),
        };
        let mut sent = server.engine(now, finished);
        let load = EngineLoad::default();
        sent.extend(server.engine(now, EngineEvent::Load { job: JOB, load }));
        running.extend(server.given());
        results += returned(&sent);
        reports.extend(reported(&sent));
    }
    assert_eq!(results, STEPS as usize);
    assert!(server.server.load().surplus > 50, "half of it is left");
    assert!(reports.len() >= 2, "{reports:?}");
    assert!(reports.iter().all(|load| load.surplus > 50), "{reports:?}");
}

/// Closures that were stopped are no thief's to take, so whoever forgets them lets their job stand for ever.
#[test]
fn regression_what_was_stopped_gets_workers_again() {
    let mut server = TheServer::new();
    let other = JobAlias(JOB.0 + 1);
    server.hear(ABOVE, grant(JOB, &[1], 9));
    let of_job = EngineLoad {
        idle: 4,
        ..EngineLoad::default()
    };
    server.load(of_job);
    server.hear(ABOVE, grant(other, &[2, 3, 4, 5, 6, 7, 8, 9], 9));
    server.commands();
    let stopped = EngineLoad {
        stopped: 2,
        ..EngineLoad::default()
    };
    server.load(stopped);
    let given = server
        .commands()
        .into_iter()
        .find_map(|command| match command {
            EngineCommand::SetWorkers { job: JOB, workers } => Some(workers),
            _ => None,
        });
    assert_eq!(given, Some(2));
}

/// What no engine survives must not be lent to and fro for ever.
#[test]
fn closures_fail_after_so_many_engines() {
    for kind in [CrashKind::Died, CrashKind::Hopeless] {
        let mut server = TheServer::new();
        for life in 1..=ENGINE_CRASHES_MAX {
            let now = NOW + Duration::from_secs(1) * life;
            server.hear_at(now, ABOVE, grant(JOB, &[u64::from(life)], 9));
            let sent = server.engine(now, crashed(kind));
            let returned = sent.iter().any(|(_, message)| {
                matches!(
                    message,
                    Message::ReturnClosures {
                        reason: ReturnReason::EngineFailed,
                        ..
                    }
                )
            });
            let failed = sent.iter().any(|(_, message)| match message {
                Message::ReturnResults { results } => {
                    results[0].finished.outcome == Outcome::Panic(DIED.into())
                }
                _ => false,
            });
            let last = kind == CrashKind::Hopeless || life == ENGINE_CRASHES_MAX;
            assert_eq!((returned, failed), (!last, last), "engine {life}: {sent:?}");
        }
    }
}

/// A server that could begin nothing was the first to ask for each job of its domain, and failed it, whoever else could have run it.
#[test]
fn regression_who_can_begin_no_engine_gives_back_and_asks_for_nothing_for_a_while() {
    let mut server = TheServer::new();
    let mut now = NOW;
    for attempt in 1..=ENGINES_NOT_BEGUN_MAX {
        let lease = u64::from(attempt);
        server.hear_at(now, ABOVE, grant(JOB, &[10 * lease], 9));
        let sent = server.engine(now, crashed(CrashKind::NotBegun));
        let returned = sent.iter().any(|(to, message)| {
            let reason = ReturnReason::NoRoom;
            let leases = vec![LeaseId(10 * lease)];
            (*to, message) == (ABOVE, &Message::ReturnClosures { leases, reason })
        });
        let failed = sent
            .iter()
            .any(|(_, message)| matches!(message, Message::ReturnResults { .. }));
        let last = attempt == ENGINES_NOT_BEGUN_MAX;
        assert_eq!((returned, failed), (!last, last), "{attempt}: {sent:?}");
        assert!(
            !sent
                .iter()
                .any(|(_, message)| matches!(message, Message::SuspectLeases { .. }))
        );

        // Meanwhile nothing is begun here, and nobody takes it for hungry.
        assert_eq!(server.server.load().hungry, 0);
        server.commands();
        let sent = server.hear_at(now, ABOVE, grant(JOB, &[10 * lease + 1], 9));
        assert!(matches!(
            sent[..],
            [
                (
                    ABOVE,
                    Message::ReturnClosures {
                        reason: ReturnReason::NoRoom,
                        ..
                    }
                ),
                ..
            ]
        ));
        assert_eq!(server.commands(), []);
        for _ in 0..1 << (attempt - 1) {
            assert_eq!(server.server.load().hungry, 0);
            now = now + Duration::from_secs(1);
            server.hear_at(now, ABOVE, Message::KeepAlive);
            server.server.handle_timeout(now);
        }
        assert_eq!(server.server.load().hungry, 4);
        server.sent();
    }
}

#[test]
fn an_engine_that_begins_ends_the_pauses_of_a_server_that_could_begin_none() {
    let mut server = TheServer::new();
    let mut now = NOW;
    // More often in all than would make a job fail in a row.
    for round in 0..ENGINES_NOT_BEGUN_MAX {
        for attempt in [1, 2] {
            let lease = u64::from(2 * round + attempt);
            server.hear_at(now, ABOVE, grant(JOB, &[lease], 9));
            let sent = server.engine(now, crashed(CrashKind::NotBegun));
            let returned = sent.iter().any(|(_, message)| {
                let reason = ReturnReason::NoRoom;
                let leases = vec![LeaseId(lease)];
                message == &Message::ReturnClosures { leases, reason }
            });
            assert!(returned, "attempt {attempt} of round {round}: {sent:?}");
            now = now + Duration::from_secs(u64::from(attempt));
            server.server.handle_timeout(now);
            assert_eq!(server.server.load().hungry, 4);
        }
        let lease = 100 + u64::from(round);
        server.hear_at(now, ABOVE, grant(JOB, &[lease], 9));
        let load = EngineLoad {
            idle: 3,
            ..EngineLoad::default()
        };
        server.engine(now, EngineEvent::Load { job: JOB, load });
        let leases = vec![LeaseId(lease)];
        server.hear_at(now, ABOVE, Message::AbortLeases { leases });
        server.engine(now, crashed(CrashKind::Died));
    }
}

fn crashed(kind: CrashKind) -> EngineEvent {
    let failure = DIED.into();
    EngineEvent::Crashed {
        job: JOB,
        crash: Crash { failure, kind },
    }
}

const DIED: &str = "the program was killed";

/// With one worker a parent runs its children itself, and nothing is measured but what the worker was given: of tasks that never
/// ran apart nothing was expected, and all stayed.
#[test]
fn regression_what_was_never_seen_apart_from_its_parent_leaves_its_domain() {
    let mut server = TheServer::new();
    let mut given = grant(JOB, &[1], 9);
    if let Message::GrantClosures { closures, .. } = &mut given {
        closures[0].closure.expected = Duration::ZERO;
    }
    server.hear(ABOVE, given);
    server.commands();
    let child = ClosureKind {
        task: TaskId(2),
        depth: kind().depth + 1,
    };
    let ready = ReadyRun {
        kind: child,
        closures: 6,
    };
    server.load(EngineLoad {
        idle: 0,
        stopped: 0,
        ready: 6,
        oldest: vec![ready],
    });
    let steal = |server: &mut TheServer, request| {
        let (request, terms) = (RequestId(request), from_afar());
        let sent = server.hear(ABOVE, Message::RequestSteal { request, terms });
        let lends = |command: &EngineCommand| matches!(command, EngineCommand::Lend { .. });
        let lent = server.commands().iter().any(lends);
        (lent, ends(&sent).len())
    };
    assert_eq!(steal(&mut server, 1), (false, 1), "nothing is known yet");
    let sample = Measured {
        kind: kind(),
        work: Duration::from_millis(200),
        finished: 0,
    };
    let samples = vec![sample];
    server.engine(NOW, EngineEvent::Measured { job: JOB, samples });
    assert!(server.server.load().surplus_work > Duration::from_secs(1));
    assert_eq!(steal(&mut server, 2), (true, 0));
}

/// Jobs took turns at the workers of their domain while others were idle: of what nobody has begun nothing was known.
#[test]
fn regression_a_root_for_which_there_is_no_worker_leaves_its_domain() {
    let mut server = TheServer::new();
    let root = ClosureKind { depth: 0, ..kind() };
    for job in 1..=5 {
        let mut given = grant(JobAlias(job), &[job], 9);
        if let Message::GrantClosures { closures, .. } = &mut given {
            let closure = &mut closures[0].closure;
            (closure.kind, closure.expected) = (root, Duration::ZERO);
        }
        server.hear(ABOVE, given);
    }
    let load = server.server.load();
    assert_eq!(
        (load.hungry, load.surplus),
        (0, 1),
        "four workers, five jobs"
    );
    assert!(load.surplus_work > from_afar().work_min);
    let (request, terms) = (RequestId(1), from_afar());
    let sent = server.hear(ABOVE, Message::RequestSteal { request, terms });
    // It came from there: it goes back rather than being lent.
    assert_eq!((returns(&sent), server.server.load().surplus), (1, 0));
}

/// The terms of a steal for a domain that is far away.
fn from_afar() -> StealTerms {
    StealTerms {
        share: Share::HALF,
        idle: true,
        work_min: Duration::from_millis(100),
        work_min_per_kib: Duration::from_millis(8),
        destination: Some(Destination {
            domain: "bio.example.edu".parse().unwrap(),
            inflow: Policy::default().inflow().to_vec(),
        }),
    }
}

/// A sibling whose membership is over may not know of it yet.
#[test]
fn results_of_a_sibling_that_is_over_are_dropped_and_counted() {
    let mut server = TheServer::busy(20);
    let question = server.asked();
    server.lent(question, &[9]);
    let epoch = Epoch(FIRST.0);
    server.hear(ABOVE, Message::ForgetPeer { peer: FIRST, epoch });
    let result = LeaseResult {
        lease: LeaseId(1),
        finished: finished(Outcome::Value([1].as_slice().into())),
    };
    let results = vec![result; 3];
    server.hear(FIRST, Message::ReturnResults { results });
    let stats = server.server.stats();
    assert_eq!((stats.results_stale, stats.results_late), (3, 0));
    let told = server.commands();
    let result = |command: &EngineCommand| matches!(command, EngineCommand::ReturnResult { .. });
    assert!(!told.iter().any(result), "{told:?}");
}

/// A manager was killed and started again, and a server that nothing bound to it said nothing to its next life for three seconds.
#[test]
fn regression_a_manager_that_is_reached_again_is_spoken_to_at_once() {
    let mut server = TheServer::new();
    let later = NOW + Duration::from_millis(10);
    server.server.handle_timeout(later);
    assert_eq!(server.sent(), []);
    server.server.handle_reached(later);
    assert_eq!(server.sent(), [(ABOVE, Message::KeepAlive)]);
    // It knows nothing of this server, or does not hear that it asks.
    let joins = |sent: Vec<(NodeId, Message)>| {
        let join = |(_, message): &(NodeId, Message)| matches!(message, Message::JoinDomain { .. });
        sent.iter().filter(|sent| join(sent)).count()
    };
    server.hear_at(later, ABOVE, Message::ExpelChild);
    for joined in [1, 0] {
        server.server.handle_timeout(later);
        assert_eq!(joins(server.sent()), joined);
    }
    server.server.handle_reached(later);
    assert_eq!(joins(server.sent()), 1);
}
