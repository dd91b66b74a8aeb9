//! A manager, and what its parent, its children and those who submit do to it.

use super::*;

const THIRD: NodeId = NodeId(5);

/// A manager below [`ABOVE`], with children.
struct TheManager {
    manager: Manager,
    said: BTreeMap<NodeId, u32>,
}

impl TheManager {
    fn new() -> Self {
        let config = ManagerConfig {
            node: NodeId(1),
            domain: "cs.example.edu".parse().unwrap(),
            parent: Some(ABOVE),
            policy: Policy::default(),
            incarnation: 1,
        };
        let mut manager = Manager::new(config, 1, NOW);
        manager.handle_timeout(NOW);
        let mut this = Self {
            manager,
            said: BTreeMap::new(),
        };
        this.welcome();
        this
    }

    fn welcome(&mut self) -> Vec<(NodeId, Message)> {
        let nonce = match self.sent().remove(0).1 {
            Message::JoinDomain { nonce, .. } => nonce,
            other => panic!("{other:?}"),
        };
        let epoch = MEMBER;
        self.hear(ABOVE, Message::WelcomeChild { nonce, epoch })
    }

    fn server(&mut self, node: NodeId, load: Load) {
        let child = ChildInfo::Server { workers: 4 };
        self.child(node, child, load);
    }

    fn sub_domain(&mut self, node: NodeId, domain: &str, load: Load) {
        let child = ChildInfo::Manager {
            domain: domain.parse().unwrap(),
            inflow: Policy::default().inflow().to_vec(),
        };
        self.child(node, child, load);
    }

    fn child(&mut self, node: NodeId, child: ChildInfo, load: Load) {
        self.hear(node, Message::JoinDomain { nonce: 1, child });
        self.hear(node, Message::ReportLoad(load));
    }

    /// Two sub-domains with work, which the parent has asked for: the questions to them.
    fn asked_for_both(&mut self) -> Vec<(NodeId, RequestId)> {
        self.sub_domain(FIRST, "lab.cs.example.edu", rich(1));
        self.sub_domain(SECOND, "sys.cs.example.edu", rich(1));
        let questions = |(to, message)| match message {
            Message::RequestSteal { request, .. } => Some((to, request)),
            _ => None,
        };
        let sent = self.hear(ABOVE, steal(5));
        let asked: Vec<_> = sent.into_iter().filter_map(questions).collect();
        assert_eq!(asked.len(), 2, "both are asked");
        asked
    }

    /// Jobs are submitted here.
    fn submit(&mut self, jobs: usize) {
        for _ in 0..jobs {
            let spec = (*spec()).clone();
            self.manager.submit(NOW, spec, closure(9)).unwrap();
        }
        self.sent();
    }

    fn epoch_of(&self, node: NodeId) -> Epoch {
        self.manager.session(node).unwrap_or(Epoch(1))
    }

    fn hear(&mut self, from: NodeId, message: Message) -> Vec<(NodeId, Message)> {
        self.hear_at(NOW, from, message)
    }

    fn hear_at(&mut self, now: Time, from: NodeId, message: Message) -> Vec<(NodeId, Message)> {
        let epoch = self.epoch_of(from);
        let packet = numbered(&mut self.said, from, (epoch, epoch), message);
        self.manager.handle_packet(now, from, packet);
        self.sent()
    }

    /// The first two messages of a link come in the wrong order: both are heard before anything is done about either.
    fn hear_together(&mut self, from: NodeId, first: Message, second: Message) {
        let epoch = self.epoch_of(from);
        for (seq, message) in [(2, second), (1, first)] {
            let packet = Packet {
                from: epoch,
                to: epoch,
                seq,
                ack: 0,
                message,
            };
            self.manager.handle_packet(NOW, from, packet);
        }
    }

    fn told(&mut self) -> Vec<ManagerEvent> {
        std::iter::from_fn(|| self.manager.poll_event()).collect()
    }

    fn sent(&mut self) -> Vec<(NodeId, Message)> {
        std::iter::from_fn(|| self.manager.poll_transmit())
            .map(checked)
            .collect()
    }
}

#[test]
fn regression_nothing_lent_is_no_job_of_a_manager() {
    let mut manager = TheManager::new();
    manager.hear(ABOVE, grant(JOB, &[], 9));
    assert_eq!(manager.manager.job_count(), 0);
}

#[test]
fn regression_two_managers_do_not_go_on_expelling_each_other() {
    let mut manager = TheManager::new();
    let stranger = NodeId(50);
    assert_eq!(
        manager.hear(stranger, Message::KeepAlive),
        [(stranger, Message::ExpelChild)]
    );
    assert_eq!(manager.hear(stranger, Message::ExpelChild), []);
}

#[test]
fn regression_what_a_child_says_after_it_has_left_is_not_heard() {
    let mut manager = TheManager::new();
    let child = ChildInfo::Manager {
        domain: "lab.cs.example.edu".parse().unwrap(),
        inflow: Vec::new(),
    };
    manager.hear(FIRST, Message::JoinDomain { nonce: 1, child });
    manager.hear_together(FIRST, Message::LeaveDomain, grant(JOB, &[1], 9));
    assert_eq!(manager.manager.session(FIRST), None);
    assert!(manager.manager.ledger().is_empty());
    assert_eq!(manager.manager.job_count(), 0);
}

/// What one child was given bit by bit goes to the next in one go.
#[test]
fn regression_large_closures_that_were_gathered_go_in_several_grants() {
    let mut manager = TheManager::new();
    manager.server(FIRST, hungry(4));
    for leases in [[1, 2, 3], [4, 5, 6]] {
        let sent = manager.hear(ABOVE, grant(JOB, &leases, CLOSURE_BYTES_MAX));
        assert_eq!(grants(&sent), 3);
    }
    manager.server(SECOND, hungry(4));
    let sent = manager.hear(FIRST, Message::LeaveDomain);
    let to_second = sent.into_iter().filter(|(to, _)| *to == SECOND);
    assert_eq!(grants(&to_second.collect::<Vec<_>>()), 6);
}

#[test]
fn regression_one_grant_may_name_a_lease_twice() {
    let mut manager = TheManager::new();
    manager.server(FIRST, hungry(4));
    manager.hear(ABOVE, grant(JOB, &[1, 1], 9));
    assert_eq!(manager.manager.ledger().len(), 1);
    let leases = vec![LeaseId(1)];
    manager.hear(ABOVE, Message::AbortLeases { leases });
    assert!(manager.manager.ledger().is_empty());
}

#[test]
fn regression_jobs_that_no_server_could_be_sent_are_not_taken() {
    let mut manager = TheManager::new();
    let spec = (*spec()).clone();
    let engine = "x".repeat(ENGINE_NAME_BYTES_MAX + 1);
    let options = vec![0; ENGINE_OPTIONS_BYTES_MAX + 1].into();
    let long_name = JobSpec {
        engine,
        ..spec.clone()
    };
    let many_options = JobSpec {
        options,
        ..spec.clone()
    };
    let mut submit = |spec, bytes| manager.manager.submit(NOW, spec, closure(bytes));
    assert_eq!(
        submit(long_name, 0),
        Err(SubmitError::EngineNameTooLong { bytes: 33 })
    );
    assert_eq!(
        submit(many_options, 0),
        Err(SubmitError::OptionsTooLarge { bytes: 65_537 })
    );
    assert_eq!(
        submit(spec.clone(), CLOSURE_BYTES_MAX + 1),
        Err(SubmitError::ArgumentsTooLarge { bytes: 3_145_729 })
    );
    assert!(submit(spec, CLOSURE_BYTES_MAX).is_ok());
}

/// A surplus of which no work is expected is asked of nobody: the parent hears so.
#[test]
fn regression_a_steal_that_nobody_can_serve_is_answered() {
    let mut manager = TheManager::new();
    let surplus_work = Duration::ZERO;
    manager.server(
        FIRST,
        Load {
            surplus_work,
            ..rich(1)
        },
    );
    let near = Path {
        latency: Duration::ZERO,
        ..Path::ASSUMED
    };
    manager.manager.handle_path(NOW, FIRST, near);
    let sent = manager.hear(ABOVE, steal(5));
    assert_eq!(
        ends(&sent),
        [(ABOVE, RequestId(5), EndStealReason::NoSurplus)]
    );
    assert_eq!(held(&manager.manager.bounds(), "relays"), 0);
}

#[test]
fn regression_children_that_have_all_the_work_there_is_do_not_overflow() {
    let mut manager = TheManager::new();
    for node in [FIRST, SECOND] {
        let all = Load {
            surplus_work: Duration::MAX,
            reach: Duration::MAX,
            hungry: u32::MAX,
            ..rich(1)
        };
        manager.server(node, all);
    }
    manager.manager.handle_path(
        NOW,
        FIRST,
        Path {
            latency: Duration::MAX,
            bytes_per_s: 0,
        },
    );
    assert_eq!(manager.manager.load().surplus_work, Duration::MAX);
    manager.hear(ABOVE, steal(5));
}

#[test]
fn regression_a_child_that_answers_no_steal_is_asked_for_a_few() {
    let mut manager = TheManager::new();
    manager.server(FIRST, rich(1));
    let mut asked = 0;
    let steals = 2 * ASKS_PER_CHILD_MAX;
    for n in 0..steals {
        let sent = manager.hear(ABOVE, steal(n as u64));
        let to_child = sent.iter().filter(|(to, message)| {
            *to == FIRST && matches!(message, Message::RequestSteal { .. })
        });
        let (now_asked, refused) = (to_child.count(), ends(&sent).len());
        assert_eq!(now_asked + refused, 1);
        asked += now_asked;
        let version = u32::try_from(n).unwrap() + 2;
        manager.hear(FIRST, Message::ReportLoad(rich(version)));
    }
    assert_eq!(asked, ASKS_PER_CHILD_MAX);
}

#[test]
fn regression_versions_of_reports_wrap_around() {
    let mut manager = TheManager::new();
    manager.server(FIRST, rich(1));
    let mut report = |version, surplus| {
        let load = Load {
            surplus,
            ..rich(version)
        };
        manager.hear(FIRST, Message::ReportLoad(load));
        manager.manager.load().surplus
    };
    // A report from 2^31 ahead is one from behind, whoever says so.
    assert_eq!(report(u32::MAX, 50), 40);
    for (version, surplus) in [(1 << 31, 51), (u32::MAX, 52), (0, 53), (1, 54)] {
        assert_eq!(report(version, surplus), surplus);
    }
    assert_eq!(report(u32::MAX, 55), 54, "an old one, late");
}

#[test]
fn regression_the_reports_of_a_new_membership_count_from_one() {
    let mut manager = TheManager::new();
    manager.server(FIRST, hungry(4));
    manager.hear(ABOVE, Message::ExpelChild);
    manager.manager.handle_timeout(NOW);
    let sent = manager.welcome();
    let versions = sent.iter().find_map(|(to, message)| match message {
        Message::ReportLoad(load) if *to == ABOVE => Some(load.version),
        _ => None,
    });
    assert_eq!(versions, Some(1));
}

/// A steal passed on at each of several levels was answered by as many grants as there were servers that gave.
#[test]
fn regression_what_children_give_for_one_steal_goes_up_together() {
    let mut manager = TheManager::new();
    let asked = manager.asked_for_both();
    let ((one, request), (other, other_request)) = (asked[0], asked[1]);
    let sent = manager.hear(one, grant_for(request, &[1], true));
    assert_eq!(grants(&sent), 0, "more is to come");
    let sent = manager.hear(one, grant_for(request, &[2, 3], false));
    assert_eq!(grants(&sent), 0, "the other has not answered");
    let sent = manager.hear(other, nothing(other_request));
    let (to, given) = match &sent[..] {
        [(to, Message::GrantClosures { closures, more, .. })] => (*to, (closures.len(), *more)),
        other => panic!("one grant ends the steal: {other:?}"),
    };
    assert_eq!((to, given), (ABOVE, (3, false)));
}

#[test]
fn regression_what_was_gathered_does_not_wait_for_a_child_that_is_silent() {
    let mut manager = TheManager::new();
    let asked = manager.asked_for_both();
    let (child, request) = asked[0];
    assert_eq!(
        grants(&manager.hear(child, grant_for(request, &[1, 2], false))),
        0
    );
    let due = manager.manager.poll_timeout().expect("it is due");
    assert!(due <= NOW + Duration::from_millis(100));
    manager.manager.handle_timeout(due);
    let sent = manager.sent();
    assert_eq!(
        (grants(&sent), ends(&sent)),
        (1, vec![]),
        "the steal goes on"
    );
    let (child, request) = asked[1];
    let sent = manager.hear(child, nothing(request));
    assert_eq!(
        ends(&sent),
        [(ABOVE, RequestId(5), EndStealReason::Done)],
        "something was given"
    );
}

/// What is held for a parent that is gone would be held for ever.
#[test]
fn regression_what_was_gathered_for_a_lost_parent_feeds_the_next_hungry_child() {
    let mut manager = TheManager::new();
    let (child, request) = manager.asked_for_both()[0];
    manager.hear(child, grant_for(request, &[1, 2], false));
    let other = if child == FIRST { SECOND } else { FIRST };
    manager.hear(
        other,
        Message::ReportLoad(Load {
            version: 2,
            ..hungry(4)
        }),
    );
    let sent = manager.hear(ABOVE, Message::ExpelChild);
    let fed = sent
        .iter()
        .filter(|(to, message)| *to == other && matches!(message, Message::GrantClosures { .. }));
    assert_eq!(fed.count(), 1, "{sent:?}");
}

/// As a server's, but of what is below it.
#[test]
fn regression_a_lost_report_of_a_domain_is_made_good_while_results_flow() {
    let mut manager = TheManager::new();
    manager.server(FIRST, hungry(4));
    let leases: Vec<u64> = (0..100).collect();
    let sent = manager.hear(ABOVE, grant(JOB, &leases, 9));
    let lent = sent.iter().find_map(|(to, message)| match message {
        Message::GrantClosures { closures, .. } if *to == FIRST => Some(closures.clone()),
        _ => None,
    });
    let mut lent = lent.unwrap().into_iter();
    manager.hear(FIRST, Message::ReportLoad(rich(2)));
    let (mut reports, mut results) = (Vec::new(), 0);
    for turn in 1..=STEPS {
        let result = LeaseResult {
            lease: lent.next().unwrap().lease,
            finished: finished(Outcome::Value(Vec::new().into())),
        };
        let results_of_one = Message::ReturnResults {
            results: vec![result],
        };
        let sent = manager.hear_at(NOW + STEP * turn, FIRST, results_of_one);
        results += returned(&sent);
        reports.extend(reported(&sent));
    }
    assert_eq!(results, STEPS as usize);
    let repeated = reports.iter().filter(|load| load.surplus == 40);
    let turns = (STEP * STEPS).as_secs() / (2 * KEEP_ALIVE).as_secs();
    assert!(repeated.count() as u64 >= turns, "{reports:?}");
}

/// A root that its domain has no server for was in no report, and no steal found it.
#[test]
fn regression_roots_that_no_child_takes_are_surplus() {
    let mut manager = TheManager::new();
    manager.submit(3);
    let load = manager.manager.load();
    assert_eq!((load.workers, load.surplus), (0, 3));
    assert!(load.surplus_work > Duration::ZERO);
    let sent = manager.hear(ABOVE, steal_share(5, Share::of(1, 2)));
    let (to, given, left) = match &sent[..] {
        [(to, Message::GrantClosures { load, closures, .. })] => {
            (*to, closures.len(), load.surplus)
        }
        other => panic!("one grant ends the steal: {other:?}"),
    };
    assert_eq!((to, given, left), (ABOVE, 1, 2));
    manager.server(FIRST, hungry(4));
    assert_eq!(manager.manager.load().surplus, 0, "the others have a place");
}

#[test]
fn regression_roots_of_several_jobs_go_in_grants_of_which_the_last_ends_the_steal() {
    let mut manager = TheManager::new();
    manager.submit(3);
    let sent = manager.hear(ABOVE, steal(5));
    let more = sent.iter().map(|(_, message)| match message {
        Message::GrantClosures { more, request, .. } => (*more, *request),
        other => panic!("{other:?}"),
    });
    let request = Some(RequestId(5));
    let expected = [(true, request), (true, request), (false, request)];
    assert_eq!(more.collect::<Vec<_>>(), expected);
    assert_eq!(manager.manager.load().surplus, 0);
}

#[test]
fn regression_a_root_that_came_back_undone_waits_again() {
    let mut manager = TheManager::new();
    manager.submit(1);
    let sent = manager.hear(ABOVE, steal(5));
    let leases = match &sent[..] {
        [(_, Message::GrantClosures { closures, .. })] => vec![closures[0].lease],
        other => panic!("{other:?}"),
    };
    let reason = ReturnReason::NoRoom;
    manager.hear(ABOVE, Message::ReturnClosures { leases, reason });
    assert_eq!(manager.manager.load().surplus, 1);
    assert_eq!(grants(&manager.hear(ABOVE, steal(6))), 1);
}

/// What the parent has just lent is not in the queue for the parent to steal.
#[test]
fn regression_only_roots_wait() {
    let mut manager = TheManager::new();
    manager.hear_together(ABOVE, grant(JOB, &[1], 9), steal(5));
    let sent = manager.sent();
    let refused = (ABOVE, RequestId(5), EndStealReason::NoSurplus);
    assert_eq!((ends(&sent), returns(&sent)), (vec![refused], 1));
}

/// A hungry child beside one with much work, and one that has no worker for the little that it has.
fn with_stranded_and_rich() -> (TheManager, Vec<(NodeId, Message)>) {
    let mut manager = TheManager::new();
    manager.sub_domain(FIRST, "lab.cs.example.edu", rich(1));
    let stranded = Load {
        workers: 0,
        surplus: 10,
        surplus_work: Duration::from_secs(100),
        ..rich(1)
    };
    manager.sub_domain(SECOND, "sys.cs.example.edu", stranded);
    let child = ChildInfo::Manager {
        domain: "net.cs.example.edu".parse().unwrap(),
        inflow: Policy::default().inflow().to_vec(),
    };
    manager.hear(THIRD, Message::JoinDomain { nonce: 1, child });
    let sent = manager.hear(THIRD, Message::ReportLoad(hungry(4)));
    (manager, sent)
}

fn asked(sent: &[(NodeId, Message)]) -> Vec<(NodeId, Share)> {
    let question = |(to, message): &(NodeId, Message)| match message {
        Message::RequestSteal { terms, .. } => Some((*to, terms.share)),
        _ => None,
    };
    sent.iter().filter_map(question).collect()
}

#[test]
fn regression_what_nobody_in_its_domain_can_do_is_fetched_first_one_for_each_worker() {
    let (_, sent) = with_stranded_and_rich();
    let [(child, share)] = asked(&sent)[..] else {
        panic!("one steal: {sent:?}");
    };
    assert_eq!((child, share.of_count(10)), (SECOND, 4));
}

#[test]
fn regression_what_nobody_in_its_domain_can_do_is_not_too_little_for_the_parent() {
    let (mut manager, _) = with_stranded_and_rich();
    let sent = manager.hear(ABOVE, steal(5));
    let children: Vec<NodeId> = asked(&sent).into_iter().map(|(child, _)| child).collect();
    assert_eq!(children, [SECOND, FIRST]);
}

/// A server became a member after the end of a job was told, and a sibling that had not heard of it yet lent it a closure.
#[test]
fn regression_a_server_that_records_for_a_job_that_is_over_is_told_so() {
    let mut manager = TheManager::new();
    manager.server(FIRST, hungry(4));
    let (job, lost, entries) = (JOB, false, Vec::new());
    let sent = manager.hear(FIRST, Message::RecordResults { job, entries });
    assert_eq!(sent, [(FIRST, Message::EndJob { job, lost })]);
}

/// Each server that was stopped in order counted as one that had fallen silent.
#[test]
fn regression_a_child_that_leaves_is_not_lost() {
    let mut manager = TheManager::new();
    manager.server(FIRST, hungry(4));
    manager.server(SECOND, hungry(4));
    manager.hear(FIRST, Message::LeaveDomain);
    assert_eq!(manager.manager.children().count(), 1);
    assert_eq!(manager.manager.stats().peers_lost, 0);
    let nonce = 2;
    let child = ChildInfo::Server { workers: 4 };
    manager.hear(SECOND, Message::JoinDomain { nonce, child });
    assert_eq!(manager.manager.stats().peers_lost, 1, "it has joined anew");
}

/// Who lends closures says what the job is called everywhere, and may call two jobs the same: what is kept goes with the last of them.
#[test]
fn what_is_kept_of_two_jobs_of_one_number_goes_with_the_last() {
    let mut manager = TheManager::new();
    manager.server(FIRST, hungry(4));
    let mut aliases = Vec::new();
    for (number, theirs) in [(1, JobAlias(1)), (2, JobAlias(2))] {
        manager.hear(ABOVE, grant(theirs, &[number], 8));
        let told = manager.told();
        let [ManagerEvent::ForeignJobBegun { job, id }] = told[..] else {
            panic!("a job that is new: {told:?}");
        };
        assert_eq!(id, spec().id);
        aliases.push(job);
    }
    for (job, number) in aliases.into_iter().zip(1..) {
        let entries = vec![Recorded {
            key: Key([number; 32]),
            result: vec![number].into(),
            work: Duration::from_secs(1),
            above: Above::NONE,
        }];
        let kept = ManagerEvent::ForeignCheckpointRecorded {
            id: spec().id,
            entries: entries.clone(),
        };
        manager.hear(FIRST, Message::RecordResults { job, entries });
        assert_eq!(manager.told(), [kept]);
    }
    let end = |job| Message::EndJob { job, lost: false };
    manager.hear(ABOVE, end(JobAlias(1)));
    assert_eq!(manager.told(), []);
    manager.hear(ABOVE, end(JobAlias(2)));
    let id = spec().id;
    assert_eq!(manager.told(), [ManagerEvent::ForeignJobEnded { id }]);
}

/// The leases of what was granted to a child.
fn leases(sent: &[(NodeId, Message)], child: NodeId) -> Vec<LeaseId> {
    let granted = |(to, message): &(NodeId, Message)| match message {
        Message::GrantClosures { closures, .. } if *to == child => closures.clone(),
        _ => Vec::new(),
    };
    let closures = sent.iter().flat_map(granted);
    closures.map(|leased| leased.lease).collect()
}

fn results(leases: &[LeaseId]) -> Message {
    let result = |&lease: &LeaseId| LeaseResult {
        lease,
        finished: finished(Outcome::Value([1].as_slice().into())),
    };
    Message::ReturnResults {
        results: leases.iter().map(result).collect(),
    }
}

#[test]
fn results_that_come_late_twice_or_from_a_membership_that_is_over_are_dropped_and_counted() {
    let mut manager = TheManager::new();
    manager.server(FIRST, hungry(4));
    let sent = manager.hear(ABOVE, grant(JOB, &[1, 2], 9));
    let [one, other] = leases(&sent, FIRST)[..] else {
        panic!("both are lent: {sent:?}");
    };
    let counts = |manager: &TheManager| {
        let stats = manager.manager.stats();
        (
            stats.results_late,
            stats.packets_doubled,
            stats.results_stale,
        )
    };

    assert_eq!(returned(&manager.hear(FIRST, results(&[one]))), 1);
    assert_eq!(counts(&manager), (0, 0, 0));
    // Once more, and one that was never lent.
    let never = LeaseId(999);
    assert_eq!(returned(&manager.hear(FIRST, results(&[one, never]))), 0);
    assert_eq!(counts(&manager), (2, 0, 0));
    // The same packet again is not looked into.
    let epoch = manager.epoch_of(FIRST);
    let last = Packet {
        from: epoch,
        to: epoch,
        seq: manager.said[&FIRST],
        ack: 0,
        message: results(&[one, never]),
    };
    manager.manager.handle_packet(NOW, FIRST, last);
    assert_eq!(returned(&manager.sent()), 0);
    assert_eq!(counts(&manager), (2, 1, 0));

    // It joins anew: what it had is given up, and what it still says of that is too late.
    let child = ChildInfo::Server { workers: 4 };
    manager.hear(FIRST, Message::JoinDomain { nonce: 2, child });
    let stale = Packet {
        from: epoch,
        to: epoch,
        seq: manager.said[&FIRST] + 1,
        ack: 0,
        message: results(&[other, never]),
    };
    manager.manager.handle_packet(NOW, FIRST, stale);
    let sent = manager.sent();
    assert_eq!(returned(&sent), 0);
    assert!(sent.contains(&(FIRST, Message::ExpelChild)), "{sent:?}");
    assert_eq!(counts(&manager), (2, 1, 2));
}
