//! Two runtimes that steal from each other over a bad network.
//!
//! Each side has a queue of messages and a thread that delivers them. A seeded
//! generator picks which message is next, whether it waits, comes twice, or (in
//! some modes) is lost. A lender gives up a borrower after a number of its own
//! steps. Whatever happens, a program's result is that of plain code.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use atlas::Runtime;
use atlas::host::{
    AcceptError, DecodeError, Host, Lease, Outcome, PortableClosure, ReturnError, Ticket,
};

use crate::programs::{
    fib, fib_next, fib_plain, mined, mix, queens, queens_plain, sorted, sorted_next, tree,
    tree_plain,
};

/// How bad the network is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    /// Late, twice, in any order.
    Disorderly,
    /// And one in eight is lost.
    Lossy,
}

enum Message {
    Hungry,
    Lend(Lease, Vec<u8>),
    Return(Lease, Outcome),
    Unwanted(Lease),
}

/// What happened, summed over both sides.
#[derive(Default, Debug)]
struct Counts {
    /// Closures accepted, by side.
    crossed: [AtomicU64; 2],
    returned: AtomicU64,
    unknown: AtomicU64,
    reclaimed: AtomicU64,
}

impl Counts {
    /// True if everything has happened that such a network can do.
    fn has_seen_all(&self, network: Network) -> bool {
        let [there, back] = &self.crossed;
        let always = [there, back, &self.returned, &self.unknown];
        let lossy = (network == Network::Lossy).then_some(&self.reclaimed);
        let mut counts = always.into_iter().chain(lossy);
        counts.all(|count| count.load(Ordering::Relaxed) > 0)
    }
}

/// One side's queue.
#[derive(Default)]
struct Inbox {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    messages: Vec<Message>,
    surplus: bool,
    stop: bool,
}

impl Inbox {
    fn change(&self, change: impl FnOnce(&mut Queue)) {
        change(&mut self.queue.lock().unwrap());
        self.changed.notify_one();
    }

    fn post(&self, message: Message) {
        self.change(|queue| queue.messages.push(message));
    }
}

/// What a side's runtime is told goes into the queues.
struct Wire {
    own: Arc<Inbox>,
    other: Arc<Inbox>,
}

impl Host for Wire {
    fn hungry(&self) {
        self.other.post(Message::Hungry);
    }

    fn surplus(&self) {
        self.own.change(|queue| queue.surplus = true);
    }

    fn finished(&self, ticket: Ticket, outcome: Outcome, _: Duration) {
        self.other.post(Message::Return(Lease(ticket.0), outcome));
    }

    fn unwanted(&self, lease: Lease) {
        self.other.post(Message::Unwanted(lease));
    }
}

/// The thread of one side.
struct Courier {
    side: usize,
    runtime: Arc<Runtime>,
    own: Arc<Inbox>,
    other: Arc<Inbox>,
    network: Network,
    random: u64,
    steps: u64,
    /// When each closure was lent.
    leases: BTreeMap<Lease, u64>,
    other_is_hungry: bool,
    counts: Arc<Counts>,
}

enum Step {
    Deliver(Message),
    Surplus,
    Nothing,
    Stop,
}

impl Courier {
    fn run(mut self) {
        loop {
            self.steps += 1;
            match self.next_step() {
                Step::Deliver(message) => self.deliver(message),
                Step::Surplus => self.lend(),
                Step::Nothing if self.runtime.idle_workers() > 0 => {
                    self.other.post(Message::Hungry);
                }
                Step::Nothing => {}
                Step::Stop => return,
            }
            if self.network == Network::Lossy {
                self.give_up_the_late();
            }
        }
    }

    fn next_step(&mut self) -> Step {
        let queue = self.own.queue.lock().unwrap();
        let (mut queue, _) = self
            .own
            .changed
            .wait_timeout_while(queue, STEP, |queue| {
                queue.messages.is_empty() && !queue.surplus && !queue.stop
            })
            .unwrap();
        if queue.stop {
            return Step::Stop;
        }
        if std::mem::take(&mut queue.surplus) {
            return Step::Surplus;
        }
        let [at, fate] = [0, 1].map(|_| {
            self.random = mix(self.random);
            usize::try_from(self.random >> 33).unwrap()
        });
        if queue.messages.is_empty() || fate % 4 == 0 {
            return Step::Nothing;
        }
        let at = at % queue.messages.len();
        let message = queue.messages.swap_remove(at);
        match fate % 16 {
            1 | 2 => queue.messages.push(message.copy()),
            3 | 5 if self.network == Network::Lossy => return Step::Nothing,
            _ => {}
        }
        Step::Deliver(message)
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Hungry => {
                self.other_is_hungry = true;
                self.lend();
            }
            Message::Lend(lease, bytes) => {
                let closure = PortableClosure::from_bytes(&bytes).unwrap();
                match self.runtime.accept(Ticket(lease.0), &closure) {
                    Ok(()) => add_one(&self.counts.crossed[self.side]),
                    Err(AcceptError::TicketInUse(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Message::Return(lease, outcome) => {
                match self.runtime.return_result(lease, outcome) {
                    Ok(()) => add_one(&self.counts.returned),
                    Err(ReturnError::Unknown(_)) => add_one(&self.counts.unknown),
                    Err(error) => panic!("{error}"),
                }
                self.leases.remove(&lease);
            }
            Message::Unwanted(lease) => {
                self.runtime.abort_accepted(Ticket(lease.0));
            }
        }
    }

    fn lend(&mut self) {
        if !self.other_is_hungry {
            return;
        }
        let lent = self.runtime.lend(1 + (self.random % 3) as usize);
        assert!(lent.kept.is_empty(), "{:?}", lent.kept);
        for one in lent.closures {
            self.other_is_hungry = false;
            self.leases.insert(one.lease, self.steps);
            self.other
                .post(Message::Lend(one.lease, one.closure.to_bytes()));
        }
    }

    fn give_up_the_late(&mut self) {
        let limit = self.steps.saturating_sub(LEASE_STEPS);
        let late = self.leases.extract_if(.., |_, lent| *lent < limit);
        for (lease, _) in late {
            if self.runtime.reclaim(lease) {
                add_one(&self.counts.reclaimed);
            }
        }
    }
}

impl Message {
    fn copy(&self) -> Self {
        match self {
            Self::Hungry => Self::Hungry,
            Self::Lend(lease, bytes) => Self::Lend(*lease, bytes.clone()),
            Self::Return(lease, outcome) => Self::Return(*lease, outcome.clone()),
            Self::Unwanted(lease) => Self::Unwanted(*lease),
        }
    }
}

/// Two runtimes and their couriers.
struct Pair {
    runtimes: [Arc<Runtime>; 2],
    inboxes: [Arc<Inbox>; 2],
    couriers: Vec<JoinHandle<()>>,
}

impl Pair {
    fn new(network: Network, seed: u64, counts: &Arc<Counts>) -> Self {
        let inboxes: [Arc<Inbox>; 2] = Default::default();
        let sides = [0, 1];
        let runtimes = sides.map(|side| {
            let wire = Wire {
                own: inboxes[side].clone(),
                other: inboxes[1 - side].clone(),
            };
            let workers = 1 + usize::from(mix(seed) >> side & 1 == 1);
            let runtime = Runtime::builder().workers(workers).host(Arc::new(wire));
            Arc::new(runtime.build().unwrap())
        });
        let couriers = sides.map(|side| {
            let courier = Courier {
                side,
                runtime: runtimes[side].clone(),
                own: inboxes[side].clone(),
                other: inboxes[1 - side].clone(),
                network,
                random: mix(seed ^ (side as u64) << 32),
                steps: 0,
                leases: BTreeMap::new(),
                other_is_hungry: false,
                counts: counts.clone(),
            };
            thread::spawn(move || courier.run())
        });
        Self {
            runtimes,
            inboxes,
            couriers: couriers.into(),
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for inbox in &self.inboxes {
            inbox.change(|queue| queue.stop = true);
        }
        for courier in self.couriers.drain(..) {
            courier.join().unwrap();
        }
    }
}

/// Runs the program on one side, or on both at once, for many seeds.
fn hold<R>(network: Network, program: impl Fn() -> R + Sync, expected: R)
where
    R: Send + Sync + PartialEq + std::fmt::Debug,
{
    let counts = Arc::new(Counts::default());
    let mut seed = 0;
    // Few seeds move nothing on a busy machine; then more of them are tried.
    while seed < SEEDS || (!counts.has_seen_all(network) && seed < 20 * SEEDS) {
        let pair = Pair::new(network, seed, &counts);
        thread::scope(|scope| {
            let who = [[true, false], [false, true], [true, true]][(seed % 3) as usize];
            for (runtime, runs) in pair.runtimes.iter().zip(who) {
                let (expected, program) = (&expected, &program);
                if runs {
                    scope.spawn(move || assert_eq!(&runtime.run(program), expected, "seed {seed}"));
                }
            }
        });
        drop(pair);
        seed += 1;
    }
    assert!(
        counts.has_seen_all(network),
        "{counts:?} after {seed} seeds"
    );
}

fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn direct_style_gives_the_sequential_result() {
    hold(Network::Disorderly, || fib(21), fib_plain(21));
    hold(Network::Lossy, || fib(21), fib_plain(21));
}

#[test]
fn continuations_give_the_sequential_result() {
    let program = || atlas::join(|| fib_next(19).sync(), || fib_next(19).sync()).0;
    hold(Network::Disorderly, program, fib_plain(19));
    hold(Network::Lossy, program, fib_plain(19));
}

#[test]
fn handles_give_the_sequential_result() {
    let expected = queens_plain(8, &mut Vec::new());
    hold(Network::Disorderly, || queens(8, Vec::new()), expected);
    hold(Network::Lossy, || queens(8, Vec::new()), expected);
}

#[test]
fn unbalanced_trees_give_the_sequential_result() {
    hold(Network::Disorderly, || tree(4, 0), tree_plain(4, 0));
    hold(Network::Lossy, || tree(4, 0), tree_plain(4, 0));
}

#[test]
fn large_arguments_and_results_arrive_whole() {
    let numbers: Vec<u64> = (0..20_000).map(mix).collect();
    let mut expected = numbers.clone();
    expected.sort_unstable();
    hold(
        Network::Disorderly,
        || sorted(numbers.clone()),
        expected.clone(),
    );
    hold(
        Network::Lossy,
        || sorted_next(numbers.clone()).sync(),
        expected,
    );
}

#[test]
fn panic_of_a_task_surfaces_wherever_it_ran() {
    let program = || {
        let panic = atlas::catch(|| mined(0, 2000, 1777)).unwrap_err();
        (panic.task().map(str::to_owned), panic.message().to_owned())
    };
    let message =
        "assertion `left != right` failed: stepped on mine 1777\n  left: 1777\n right: 1777";
    let expected = (Some("host::programs::mined".to_owned()), message.to_owned());
    hold(Network::Disorderly, program, expected.clone());
    hold(Network::Lossy, program, expected);
}

#[test]
fn closure_of_another_program_is_refused() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let closure = PortableClosure {
        task: atlas::host::TaskId::of_path("another_program::task"),
        args: Vec::new(),
    };
    let error = runtime.accept(Ticket(0), &closure).unwrap_err();
    assert!(matches!(
        error,
        AcceptError::Decode(DecodeError::UnknownTask(task)) if task == closure.task
    ));
}

const SEEDS: u64 = 24;
/// How long a courier waits for a message.
const STEP: Duration = Duration::from_millis(1);
/// After how many steps a borrower is given up.
const LEASE_STEPS: u64 = 40;
