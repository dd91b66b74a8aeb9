//! The thread that writes: what comes together is one commit. What the disk does not take is refused, or owed.
//!
//! ```text
//!          a commit fails                       not due, and nobody waits for an answer
//!   well -----------------> troubled ---+---------------------------------------------> put off
//!    ^                         ^        |
//!    |                         +--------+ opened again, what is owed is written, and as much as there should be room for
//!    +----------------------------------+ that has gone well
//! ```
//!
//! What is owed is written before all that came later. So the record of a job's end is kept whenever there is room for
//! it, and nobody has to ask again.

use std::iter;
use std::mem;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use atlas_fs::daemon::chain;
use redb::{Database, TableDefinition};

use super::disk::Disk;
use super::{Done, Journal, SaveError, Sizes, Trouble, Write, commit};

/// Something to write.
pub(super) struct Order {
    pub(super) write: Write,
    pub(super) if_it_fails: IfItFails,
    pub(super) whose: Whose,
    pub(super) done: Done,
}

/// Whose change it is: this manager's own is safe when its journal says so, what it was told when it is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Own,
    Told,
}

/// What becomes of a write that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfItFails {
    /// Nothing depends on it, and it holds up nothing.
    Drop,
    /// Who asked waits for the answer, and is told.
    Refuse,
    /// It is true, whatever becomes of the disk: it is written as soon as that can be.
    Owe,
}

pub(super) struct Writer {
    disk: Arc<Disk>,
    journal: Arc<OnceLock<Journal>>,
    sizes: Sizes,
    owed: Vec<Order>,
    failed: Option<Failed>,
}

/// The last attempt has failed.
struct Failed {
    error: SaveError,
    failures: u32,
    due: Instant,
}

impl Writer {
    pub(super) fn new(disk: Arc<Disk>, journal: Arc<OnceLock<Journal>>) -> Self {
        Self {
            disk,
            journal,
            sizes: Sizes::default(),
            owed: Vec::new(),
            failed: None,
        }
    }

    /// Writes until nobody is there who could ask for it.
    pub(super) fn run(mut self, todo: &mpsc::Receiver<Order>) {
        while let Some(batch) = self.next(todo) {
            self.take(batch);
        }
    }

    /// What there is to write; nothing, if it is time for an attempt.
    fn next(&self, todo: &mpsc::Receiver<Order>) -> Option<Vec<Order>> {
        let Some(failed) = &self.failed else {
            return next_batch(todo);
        };
        let wait = failed.due.saturating_duration_since(Instant::now());
        match todo.recv_timeout(wait) {
            Ok(first) => Some(iter::once(first).chain(todo.try_iter()).collect()),
            Err(RecvTimeoutError::Timeout) => Some(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    fn take(&mut self, batch: Vec<Order>) {
        if let Some(failed) = &self.failed {
            if !is_worth_an_attempt(&batch, failed.due <= Instant::now()) {
                let error = failed.error.clone();
                return self.put_off(batch, &error);
            }
            if let Err(error) = self.mend() {
                return self.put_off(batch, &error);
            }
        }
        let Err(error) = self.write(&batch) else {
            return self.tell(batch);
        };
        // There may be room without what nobody depends on.
        let (dropped, rest): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|order| order.if_it_fails == IfItFails::Drop);
        let again = !dropped.is_empty() && !rest.is_empty();
        self.put_off(dropped, &error);
        let written = match again {
            true => self.mend().and_then(|()| self.write(&rest)),
            false => Err(error),
        };
        match written {
            Ok(()) => self.tell(rest),
            Err(error) => self.put_off(rest, &error),
        }
    }

    /// Opens the store again and writes what is owed. That alone may find room that others do not, so there must be some more before
    /// all is well.
    fn mend(&mut self) -> Result<(), SaveError> {
        if let Err(error) = self.disk.open_again() {
            return Err(self.note(chain(&error)));
        }
        if !self.owed.is_empty() {
            let owed = mem::take(&mut self.owed);
            if let Err(error) = self.write(&owed) {
                self.owed = owed;
                return Err(error);
            }
            self.tell(owed);
        }
        if let Err(error) = self.disk.with(try_room) {
            return Err(self.note(error.to_string()));
        }
        self.failed = None;
        self.disk.set_trouble(None);
        tracing::warn!("the manager's store is written again");
        Ok(())
    }

    fn write(&mut self, batch: &[Order]) -> Result<(), SaveError> {
        if batch.is_empty() {
            return Ok(());
        }
        let writes = batch.iter().map(|order| &order.write);
        let (disk, sizes) = (&self.disk, &mut self.sizes);
        match disk.with(|database| commit(database, writes, sizes)) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.note(error.to_string())),
        }
    }

    /// An attempt has failed. Gives what those are told who wait for it.
    fn note(&mut self, cause: String) -> SaveError {
        // They are of a commit that was not made.
        self.sizes = Sizes::default();
        let failures = self.failed.take().map_or(0, |failed| failed.failures) + 1;
        let due = Instant::now() + pause(failures);
        let error = SaveError::Disk {
            cause: cause.clone(),
        };
        self.failed = Some(Failed {
            error: error.clone(),
            failures,
            due,
        });
        let path = self.disk.path().to_owned();
        let trouble = Trouble {
            path,
            cause: cause.clone(),
        };
        if failures == 1 {
            tracing::error!("{trouble}");
        } else {
            tracing::debug!(failures, "{trouble}");
        }
        self.disk.set_trouble(Some(cause));
        error
    }

    /// What is on the disk is told to whoever waits for it, when it is safe.
    fn tell(&self, orders: Vec<Order>) {
        for order in orders {
            let journal = self.journal.get();
            match journal.filter(|_| order.whose == Whose::Own) {
                Some(journal) => journal(order.write, order.done),
                None => drop(order.done.send(Ok(()))),
            }
        }
    }

    /// What was not written is owed, or refused.
    fn put_off(&mut self, orders: Vec<Order>, why: &SaveError) {
        for order in orders {
            match order.if_it_fails {
                IfItFails::Drop => {}
                IfItFails::Refuse => drop(order.done.send(Err(why.clone()))),
                IfItFails::Owe => owe(&mut self.owed, order),
            }
        }
    }
}

/// What there is to write: what nothing depends on waits for others for a while, but holds up nothing.
fn next_batch(todo: &mpsc::Receiver<Order>) -> Option<Vec<Order>> {
    let mut batch = vec![todo.recv().ok()?];
    let end = Instant::now() + RECORDS_WAIT;
    let may_wait = |order: &Order| order.if_it_fails == IfItFails::Drop;
    while batch.last().is_some_and(may_wait) {
        match todo.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(next) => batch.push(next),
            Err(_) => break,
        }
    }
    batch.extend(todo.try_iter());
    Some(batch)
}

/// The disk that has failed is tried again when that is due, and for whoever waits for an answer: it may have room by now.
fn is_worth_an_attempt(batch: &[Order], is_due: bool) -> bool {
    is_due
        || batch
            .iter()
            .any(|order| order.if_it_fails == IfItFails::Refuse)
}

/// All tokens together are one record, of which the last counts; all else is owed once for each job at hand, or file that it reads.
fn owe(owed: &mut Vec<Order>, order: Order) {
    if let Write::Tokens(_) = order.write {
        owed.retain(|older| !matches!(older.write, Write::Tokens(_)));
    }
    owed.push(order);
}

/// Between two attempts, after so many that have failed.
fn pause(failures: u32) -> Duration {
    let doubled = failures.saturating_sub(1).min(PAUSE_DOUBLINGS_MAX);
    PAUSE * 2_u32.pow(doubled)
}

/// Writes and removes as much as most commits take.
fn try_room(database: &Database) -> Result<(), redb::Error> {
    for filled in [true, false] {
        let mut transaction = database.begin_write()?;
        transaction.set_two_phase_commit(true);
        {
            let mut room = transaction.open_table(ROOM)?;
            if filled {
                room.insert((), &vec![0; ROOM_BYTES][..])?;
            } else {
                room.remove(())?;
            }
        }
        transaction.commit()?;
    }
    Ok(())
}

/// Empty, but for a moment after a disk was full.
const ROOM: TableDefinition<'_, (), &[u8]> = TableDefinition::new("room");
/// Some thousand jobs' records.
const ROOM_BYTES: usize = 1 << 20;
/// So long results may wait for others before they are written together: an interval. They are lost if the manager dies then.
const RECORDS_WAIT: Duration = Duration::from_secs(1);
/// After the first failure, to see whether there is room for less.
const PAUSE: Duration = Duration::from_millis(125);
/// Up to two seconds: people who have made room look whether that helped, and opening a store takes little beside that.
const PAUSE_DOUBLINGS_MAX: u32 = 4;

#[cfg(test)]
mod tests {
    use atlas_net::identity::Tokens;
    use atlas_proto::control::JobId;
    use tokio::sync::oneshot;

    use super::*;

    fn order(write: Write, if_it_fails: IfItFails) -> Order {
        let (done, _) = oneshot::channel();
        Order {
            write,
            if_it_fails,
            whose: Whose::Own,
            done,
        }
    }

    #[test]
    fn a_disk_that_has_failed_is_tried_again_when_due_or_for_who_waits() {
        let records = || order(Write::Records(JobId(1), Vec::new()), IfItFails::Drop);
        let end = || order(Write::Forget(vec![JobId(1)]), IfItFails::Owe);
        let new = || order(Write::Tokens(Tokens::default()), IfItFails::Refuse);
        assert!(!is_worth_an_attempt(&[], false));
        assert!(!is_worth_an_attempt(&[records(), end()], false));
        assert!(is_worth_an_attempt(&[records(), new()], false));
        assert!(is_worth_an_attempt(&[], true));
    }

    #[test]
    fn attempts_become_rarer_and_never_end() {
        let pauses: Vec<u128> = (1..8).map(|failures| pause(failures).as_millis()).collect();
        assert_eq!(pauses, [125, 250, 500, 1000, 2000, 2000, 2000]);
        assert_eq!(pause(u32::MAX).as_millis(), 2000);
    }

    #[test]
    fn of_the_tokens_only_the_last_are_owed() {
        let mut owed = Vec::new();
        let tokens = || order(Write::Tokens(Tokens::default()), IfItFails::Owe);
        for order in [
            tokens(),
            order(Write::Life(7), IfItFails::Owe),
            order(Write::Forget(vec![JobId(1)]), IfItFails::Owe),
            tokens(),
        ] {
            owe(&mut owed, order);
        }
        let are_tokens = owed
            .iter()
            .map(|order| matches!(order.write, Write::Tokens(_)));
        assert_eq!(are_tokens.collect::<Vec<_>>(), [false, false, true]);
    }
}
