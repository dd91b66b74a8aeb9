//! A runtime with a host that only takes notes, for tests that take one step at a
//! time; and gates, to hold a task where the test wants it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atlas::host::{Host, Lease, LentClosure, Outcome, Recorded, Ticket};
use atlas::{Builder, Runtime};

/// What the host was told.
#[derive(Default, Debug)]
pub(crate) struct Told {
    pub(crate) hungry: usize,
    pub(crate) surplus: usize,
    pub(crate) finished: Vec<(Ticket, Outcome)>,
    pub(crate) unwanted: Vec<Lease>,
    pub(crate) recorded: Vec<Recorded>,
}

#[derive(Default)]
pub(crate) struct Notes {
    told: Mutex<Told>,
    changed: Condvar,
}

impl Notes {
    fn note(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told());
        self.changed.notify_all();
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // A test that failed must not end the process by a panic of its host.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `answer` gives something.
    pub(crate) fn wait_for<R>(
        &self,
        what: &str,
        mut answer: impl FnMut(&mut Told) -> Option<R>,
    ) -> R {
        let mut told = self.told();
        loop {
            if let Some(answer) = answer(&mut told) {
                return answer;
            }
            let (next, timeout) = self.changed.wait_timeout(told, PATIENCE).unwrap();
            told = next;
            assert!(
                !timeout.timed_out(),
                "waited in vain for {what}, told: {told:?}"
            );
        }
    }

    /// What it was told so far.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Told) -> R) -> R {
        look(&self.told())
    }

    /// Waits for the outcome of the closure with this ticket.
    pub(crate) fn outcome(&self, ticket: Ticket) -> Outcome {
        self.wait_for("an outcome", |told| {
            let at = told.finished.iter().position(|(done, _)| *done == ticket)?;
            Some(told.finished.swap_remove(at).1)
        })
    }
}

impl Host for Notes {
    fn hungry(&self) {
        self.note(|told| told.hungry += 1);
    }

    fn surplus(&self) {
        self.note(|told| told.surplus += 1);
    }

    fn finished(&self, ticket: Ticket, outcome: Outcome, _: Duration) {
        self.note(|told| told.finished.push((ticket, outcome)));
    }

    fn unwanted(&self, lease: Lease) {
        self.note(|told| told.unwanted.push(lease));
    }

    fn recorded(&self, recorded: Recorded, _uncovered: Duration) {
        self.note(|told| told.recorded.push(recorded));
    }
}

/// A runtime of one worker, and its host.
pub(crate) struct Rig {
    pub(crate) runtime: Runtime,
    pub(crate) notes: Arc<Notes>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(options: impl FnOnce(Builder) -> Builder) -> Self {
        let notes = Arc::new(Notes::default());
        let builder = Runtime::builder().workers(1).host(notes.clone());
        let runtime = options(builder).build().unwrap();
        Self { runtime, notes }
    }

    /// Waits until there is a closure to lend.
    pub(crate) fn lend_one(&self) -> LentClosure {
        loop {
            let seen = self.notes.look(|told| told.surplus);
            let lent = self.runtime.lend(1);
            assert!(lent.kept.is_empty(), "{:?}", lent.kept);
            if let Some(closure) = lent.closures.into_iter().next() {
                return closure;
            }
            self.notes
                .wait_for("surplus", |told| (told.surplus > seen).then_some(()));
        }
    }

    /// Runs a closure that was lent, and waits for what becomes of it.
    pub(crate) fn serve(&self, lent: &LentClosure) -> Outcome {
        let ticket = Ticket(lent.lease.0);
        self.runtime.accept(ticket, &lent.closure).unwrap();
        self.notes.outcome(ticket)
    }
}

/// Where a task waits until the test lets it pass, found by its number.
#[derive(Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    /// A closed gate and its number.
    pub(crate) fn closed() -> (u64, Arc<Self>) {
        let mut gates = GATES.lock().unwrap();
        let number = gates.len() as u64;
        let gate = Arc::<Self>::default();
        gates.insert(number, gate.clone());
        (number, gate)
    }

    pub(crate) fn find(number: u64) -> Arc<Self> {
        GATES.lock().unwrap()[&number].clone()
    }

    pub(crate) fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.open.lock().unwrap()
    }

    pub(crate) fn wait(&self) {
        let open = self.open.lock().unwrap();
        let (open, _) = self
            .changed
            .wait_timeout_while(open, PATIENCE, |open| !*open)
            .unwrap();
        assert!(*open, "waited in vain at a gate");
    }
}

static GATES: Mutex<BTreeMap<u64, Arc<Gate>>> = Mutex::new(BTreeMap::new());

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
