//! The work of closures, as a host is told of it.

mod support;

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use atlas::Runtime;
use atlas::host::{Host, Measured, Outcome, PortableClosure, TaskId, Ticket};
use atlas::prelude::*;
use support::DEADLINE;

/// Uses the processor for so many milliseconds in each of `2^depth` leaves, in joins, handles and continuations by
/// turns.
#[atlas::spawn]
fn burn(depth: u32, milliseconds: u64) -> u64 {
    if depth == 0 {
        return spin(milliseconds);
    }
    match depth % 3 {
        0 => {
            let other = spawn!(burn(depth - 1, milliseconds));
            burn(depth - 1, milliseconds) + other.sync()
        }
        1 => {
            let (a, b) = join!(burn(depth - 1, milliseconds), burn(depth - 1, milliseconds));
            a + b
        }
        _ => burn_next(depth, milliseconds).sync(),
    }
}

#[atlas::spawn]
fn burn_next(depth: u32, milliseconds: u64) -> Next<u64> {
    spawn_next!(burn(depth - 1, milliseconds), burn(depth - 1, milliseconds) => sum())
}

#[atlas::spawn]
fn sum(a: u64, b: u64) -> u64 {
    a + b
}

/// Runs until this thread has used so much of a processor, and joins meanwhile; one.
fn spin(milliseconds: u64) -> u64 {
    let began = thread_time();
    while thread_time() - began < Duration::from_millis(milliseconds) {
        atlas::join(|| (), || ());
    }
    1
}

/// From the system's table: it is not the clock that is tested.
fn thread_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let nanoseconds = stat.split_whitespace().next().expect("three numbers");
    Duration::from_nanos(nanoseconds.parse().expect("a number"))
}

struct Notes(Mutex<mpsc::Sender<(Ticket, Outcome, Duration)>>);

impl Host for Notes {
    fn hungry(&self) {}
    fn surplus(&self) {}
    fn finished(&self, ticket: Ticket, outcome: Outcome, work: Duration) {
        let tell = self.0.lock().expect("no panic");
        let _ = tell.send((ticket, outcome, work));
    }
}

fn burning(depth: u32, milliseconds: u64) -> PortableClosure {
    PortableClosure {
        task: TaskId::of_path("measuring::burn"),
        args: postcard::to_stdvec(&(depth, milliseconds)).expect("numbers"),
    }
}

struct Rig {
    runtime: Runtime,
    told: mpsc::Receiver<(Ticket, Outcome, Duration)>,
}

impl Rig {
    fn new(workers: usize) -> Self {
        let (tell, told) = mpsc::channel();
        let host = Arc::new(Notes(Mutex::new(tell)));
        let builder = Runtime::builder().workers(workers).host(host);
        let runtime = builder.measured(true).build().expect("threads");
        Self { runtime, told }
    }

    fn finished(&self) -> (u64, Duration) {
        let (_, outcome, work) = self.told.recv_timeout(DEADLINE).expect("it ends");
        let Outcome::Value(bytes) = outcome else {
            panic!("{outcome:?}");
        };
        (postcard::from_bytes(&bytes).expect("a number"), work)
    }
}

fn works(measured: &[Measured]) -> Duration {
    measured.iter().map(|sample| sample.work).sum()
}

#[test]
fn work_of_an_accepted_closure_is_that_of_all_that_descends_from_it() {
    for workers in [1, 3] {
        let rig = Rig::new(workers);
        let closure = burning(5, 2);
        let begun = Instant::now();
        rig.runtime
            .accept_at(Ticket(1), &closure, 7)
            .expect("one program");
        let (leaves, work) = rig.finished();
        assert_eq!(leaves, 32);
        let burned = Duration::from_millis(2 * leaves);
        // All workers all the time is the most that it can keep.
        let kept_max = || begun.elapsed() * u32::try_from(workers).expect("few");
        assert!(
            work >= burned && work <= kept_max(),
            "{work:?} for {burned:?} on {workers} workers"
        );
        let measured = rig.runtime.take_measured();
        let own = measured.iter().find(|sample| sample.depth == 7);
        let own = own.expect("the closure itself");
        assert_eq!((own.task, own.finished), (closure.task, 1));
        // A continuation that made way for its parent leaves its stack after it.
        assert!(
            own.work >= work && own.work <= kept_max(),
            "{:?} for {work:?}",
            own.work
        );
        assert!(
            measured.iter().all(|sample| sample.depth >= 7),
            "{measured:?}"
        );
    }
}

#[test]
fn work_that_goes_on_is_told_when_it_is_asked_for() {
    let rig = Rig::new(1);
    rig.runtime
        .accept(Ticket(1), &burning(0, 300))
        .expect("one program");
    let began = Instant::now();
    let mut seen = Duration::ZERO;
    while seen < Duration::from_millis(20) {
        assert!(began.elapsed() < DEADLINE, "nothing is told");
        thread::sleep(Duration::from_millis(5));
        seen += works(&rig.runtime.take_measured());
    }
    assert!(rig.told.try_recv().is_err(), "told before the end");
    let (_, work) = rig.finished();
    assert_eq!(seen + works(&rig.runtime.take_measured()), work);
}

#[test]
fn work_of_a_lent_child_is_added_where_it_comes_back() {
    let rig = Rig::new(1);
    rig.runtime
        .accept(Ticket(1), &burning(1, 20))
        .expect("one program");
    let began = Instant::now();
    let lent = loop {
        assert!(began.elapsed() < DEADLINE, "nothing is lent");
        if let Some(lent) = rig.runtime.lend(1).closures.pop() {
            if lent.depth == 1 {
                break lent;
            }
            // The accepted one itself, which had not begun.
            assert!(rig.runtime.reclaim(lent.lease));
        }
    };
    let elsewhere = Duration::from_secs(1000);
    let one = Outcome::Value(postcard::to_stdvec(&1_u64).expect("a number"));
    rig.runtime
        .return_measured(lent.lease, one, elsewhere)
        .expect("lent");
    let (leaves, work) = rig.finished();
    assert_eq!(leaves, 2);
    assert!(
        work > elsewhere && work < elsewhere + Duration::from_secs(1),
        "{work:?}"
    );
    let measured = rig.runtime.take_measured();
    let child = measured.iter().find(|sample| sample.depth == 1);
    let child = child.expect("the lent one");
    assert_eq!((child.work, child.finished), (elsewhere, 1));
}
