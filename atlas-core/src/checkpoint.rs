//! Checkpoints: results of finished children, by key.
//!
//! What a child computes follows from its task and its arguments, so its key is their hash. A runtime that was built
//! with [`Builder::checkpoints`](crate::Builder::checkpoints) tells its host of children that it would cost more to run
//! again than to keep ([`Host::recorded`](crate::Host::recorded)), and what is [remembered](crate::Runtime::remember) is
//! given in place of running a child. A key that nobody remembers, or bytes that are no result of the task, change
//! nothing: the child is run.
//!
//! This file has the words, the table, and the rules: when a result is worth to be kept ([`bytes_worth`]), how
//! deep joins are looked at ([`Depth`]) and how much of the time that may take ([`Credit`]). `trace.rs` applies them
//! to what runs.

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::Serialize;

use crate::portable::{Bounded, CodecError, guarded};
use crate::stats::Stats;
use crate::task::TaskId;

/// The name of a result: a hash of the task and its arguments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// What is kept of a child that has finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its name.
    pub key: Key,
    /// Its result in postcard.
    pub result: Vec<u8>,
    /// The workers' time that went into it and all that descends from it.
    pub work: Duration,
    /// The beginnings of the keys of the nearest closures above it, nearest first, as far as these are known. With the result of one of
    /// them nobody asks for this one.
    pub above: Vec<u64>,
}

impl Key {
    /// Of the child that runs this task with these arguments; none if they cannot be encoded. It is the hash of the
    /// task's number and of the arguments as they leave the process, so that whoever has a lent closure has its key.
    pub(crate) fn of_child(task: TaskId, args: &impl Serialize) -> Option<Self> {
        let _keying = Keying(KEYING.replace(true));
        let hashed = guarded(|| {
            let mut hashing = Hashing::new();
            hashing.update(&task.number().to_le_bytes());
            Ok(postcard::serialize_with_flavor(args, hashing)?)
        });
        hashed.ok().map(Self)
    }

    /// Its beginning, which names it well enough where a mistake costs nothing but work.
    #[must_use]
    pub fn short(self) -> u64 {
        let (short, _) = self.0.split_first_chunk().expect("a key is longer");
        u64::from_le_bytes(*short)
    }

    /// Of what the child with this key has said of itself while it ran.
    pub(crate) fn of_state(self) -> Self {
        let bytes = [STATE.as_bytes(), &self.0].concat();
        Self(blake3::hash(&bytes).into())
    }
}

/// True while this thread encodes arguments to hash them: a value is written as into a closure that leaves.
#[doc(hidden)]
#[must_use]
pub fn is_keying() -> bool {
    KEYING.get()
}

/// Puts back what was there, also when an encoder panics.
struct Keying(bool);

impl Drop for Keying {
    fn drop(&mut self) {
        KEYING.set(self.0);
    }
}

/// Hashes what postcard writes. Small arguments, which are most, never meet the hasher's state.
struct Hashing {
    buffer: [u8; BUFFER_BYTES],
    used: usize,
    hasher: Option<Box<blake3::Hasher>>,
}

impl Hashing {
    fn new() -> Self {
        Self {
            buffer: [0; BUFFER_BYTES],
            used: 0,
            hasher: None,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        if bytes.len() > BUFFER_BYTES - self.used {
            let hasher = self.hasher.get_or_insert_default();
            hasher.update(&self.buffer[..self.used]);
            self.used = 0;
            if bytes.len() >= BUFFER_BYTES {
                hasher.update(bytes);
                return;
            }
        }
        self.buffer[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
    }
}

impl postcard::ser_flavors::Flavor for Hashing {
    type Output = [u8; 32];

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.update(data);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        if let Some(place) = self.buffer.get_mut(self.used) {
            *place = byte;
            self.used += 1;
        } else {
            self.update(&[byte]);
        }
        Ok(())
    }

    fn finalize(mut self) -> postcard::Result<[u8; 32]> {
        let rest = &self.buffer[..self.used];
        let hash = match &mut self.hasher {
            None => blake3::hash(rest),
            Some(hasher) => hasher.update(rest).finalize(),
        };
        Ok(hash.into())
    }
}

/// A result in at most so many bytes; none if it takes more, or cannot be encoded.
pub(crate) fn encode_result(value: &impl Serialize, bytes_max: usize) -> Option<Vec<u8>> {
    let bytes = Bounded::new(bytes_max);
    let encoded: Result<_, CodecError> =
        guarded(|| Ok(postcard::serialize_with_flavor(value, bytes)?));
    encoded.ok()
}

/// What a runtime with checkpoints knows.
#[derive(Default)]
pub(crate) struct Checkpoints {
    table: RwLock<Table>,
    /// Entries that nobody has asked for yet. With none there is nothing to look up.
    unfound: AtomicUsize,
    /// Another number says that workers are to look at all depths again.
    round: AtomicU32,
    children_found: AtomicU64,
    children_recorded: AtomicU64,
}

#[derive(Default)]
struct Table {
    entries: HashMap<Key, Entry>,
    bytes: usize,
}

struct Entry {
    result: Arc<[u8]>,
    nanoseconds: u64,
    found: AtomicBool,
}

/// A result that was remembered.
pub(crate) struct Found {
    pub(crate) result: Arc<[u8]>,
    pub(crate) nanoseconds: u64,
}

impl Checkpoints {
    /// True if a look-up may find something.
    pub(crate) fn is_replaying(&self) -> bool {
        self.unfound.load(Ordering::Relaxed) > 0
    }

    /// Takes entries in; what does not fit is left out, the least work first. Of two with one name the one with more work
    /// stays: a state that was kept later.
    pub(crate) fn remember(&self, mut entries: Vec<Recorded>) {
        self.round.fetch_add(1, Ordering::Relaxed);
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.work));
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let table = &mut *table;
        for Recorded {
            key, result, work, ..
        } in entries
        {
            let bytes = result.len() + ENTRY_BYTES;
            if table.bytes + bytes > REMEMBERED_BYTES_MAX {
                continue;
            }
            let entry = Entry {
                result: result.into(),
                nanoseconds: u64::try_from(work.as_nanos()).unwrap_or(u64::MAX),
                found: AtomicBool::new(false),
            };
            table.bytes += bytes;
            let was_found = match table.entries.entry(key) {
                Place::Vacant(place) => {
                    place.insert(entry);
                    true
                }
                Place::Occupied(mut place) => {
                    let is_later = place.get().nanoseconds < entry.nanoseconds;
                    let other = if is_later { place.insert(entry) } else { entry };
                    table.bytes -= other.result.len() + ENTRY_BYTES;
                    let found = if is_later { &other } else { place.get() };
                    found.found.swap(false, Ordering::Relaxed)
                }
            };
            if was_found {
                self.unfound.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Changes when workers are to look at all depths again.
    pub(crate) fn round(&self) -> u32 {
        self.round.load(Ordering::Relaxed)
    }

    /// Lets go of what was found by now, if that is all.
    pub(crate) fn tidy_up(&self) {
        if self.is_replaying() {
            return;
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if !self.is_replaying() {
            *table = Table::default();
        }
    }

    pub(crate) fn add_to(&self, stats: &mut Stats) {
        stats.children_found += self.children_found.load(Ordering::Relaxed);
        stats.children_recorded += self.children_recorded.load(Ordering::Relaxed);
    }

    pub(crate) fn count_found(&self) {
        self.children_found.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_recorded(&self) {
        self.children_recorded.fetch_add(1, Ordering::Relaxed);
    }

    /// The result with this name. It stays: a program may ask for the same again.
    pub(crate) fn find(&self, key: Key) -> Option<Found> {
        if !self.is_replaying() {
            return None;
        }
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let entry = table.entries.get(&key)?;
        if !entry.found.swap(true, Ordering::Relaxed) {
            self.unfound.fetch_sub(1, Ordering::Relaxed);
        }
        Some(Found {
            result: entry.result.clone(),
            nanoseconds: entry.nanoseconds,
        })
    }
}

/// What is known of the work in a subcomputation, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Worth {
    /// All that went in, results that were found included.
    pub(crate) total: u64,
    /// So much of it need not be done again, with what was recorded of its descendants.
    pub(crate) covered: u64,
    /// What it has cost to send those records, as far as no later one stands for them.
    pub(crate) sent: u64,
}

impl Worth {
    /// So much of it would have to be done again.
    pub(crate) fn uncovered(self) -> u64 {
        self.total.saturating_sub(self.covered)
    }
}

/// How many bytes a result may have to be kept; none if it is not, however small it is.
///
/// It is kept if what would be computed again without it costs twenty times the sending; or if it stands for
/// so many smaller records that it costs a quarter of those. So the records of a tree whose nodes give little are those of
/// its leaves and, a quarter as many each time, of its larger subtrees, and where each node gives all that its
/// children gave, they are those of the leaves alone.
pub(crate) fn bytes_worth(worth: Worth) -> Option<usize> {
    let affordable = (worth.uncovered() / WORTH).max((worth.sent / 4).min(worth.total / WORTH));
    let bytes = affordable.checked_sub(ENTRY_NANOSECONDS)? / BYTE_NANOSECONDS;
    Some(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// What it costs to send a result of so many bytes, in nanoseconds.
pub(crate) fn cost_of(bytes: usize) -> u64 {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    ENTRY_NANOSECONDS.saturating_add(bytes.saturating_mul(BYTE_NANOSECONDS))
}

/// How deep children are keyed and timed: to where most take less than [`SHORT_NANOSECONDS`]. Learnt from those that were
/// timed; forgotten at each round.
pub(crate) struct Depth {
    /// Children of this depth, and deeper ones, are left alone.
    limit: Cell<u32>,
    /// Short ones in a row.
    short: Cell<u32>,
    round: Cell<u32>,
    /// When it began.
    began: Cell<u64>,
}

impl Depth {
    pub(crate) fn new() -> Self {
        Self {
            limit: Cell::new(u32::MAX),
            short: Cell::new(0),
            round: Cell::new(0),
            began: Cell::new(0),
        }
    }

    /// True if a child of this depth is looked at.
    pub(crate) fn reaches(&self, depth: u32) -> bool {
        depth < self.limit.get()
    }

    /// A child of this depth has taken so many nanoseconds, or is known to.
    pub(crate) fn saw(&self, depth: u32, nanoseconds: u64, is_replaying: bool) {
        if nanoseconds >= SHORT_NANOSECONDS {
            self.short.set(0);
            let below = depth.saturating_add(2);
            self.limit.set(self.limit.get().max(below));
            return;
        }
        self.short.set(self.short.get() + 1);
        let short_max = if is_replaying {
            REPLAY_SHORT_MAX
        } else {
            SHORT_MAX
        };
        if self.short.get() >= short_max {
            self.limit.set(self.limit.get().min(depth));
        }
    }

    /// Begins a new round if there is another one, or the last is old: all depths are looked at once more.
    pub(crate) fn begin_round(&self, round: u32, now: u64) {
        let is_old = now.saturating_sub(self.began.get()) >= ROUND_NANOSECONDS;
        if is_old || self.round.get() != round {
            self.round.set(round);
            self.began.set(now);
            self.limit.set(u32::MAX);
            self.short.set(0);
        }
    }
}

/// How much time one worker may use for keys and records: a share of what passes.
pub(crate) struct Credit {
    nanoseconds: Cell<i64>,
    seen: Cell<u64>,
}

impl Credit {
    pub(crate) fn new() -> Self {
        Self {
            nanoseconds: Cell::new(CREDIT_MAX),
            seen: Cell::new(0),
        }
    }

    /// True if there is some left at this time.
    pub(crate) fn is_left(&self, now: u64, is_replaying: bool) -> bool {
        let passed = now.saturating_sub(self.seen.replace(now));
        let share = if is_replaying { REPLAY_SHARE } else { SHARE };
        let earned = i64::try_from(passed / share).unwrap_or(i64::MAX);
        let credit = self.nanoseconds.get().saturating_add(earned);
        self.nanoseconds.set(credit.min(CREDIT_MAX));
        credit >= 0
    }

    /// So much was used. The debt is what one interval earns, so that after that much time something is recorded
    /// again, whatever it costs.
    pub(crate) fn use_up(&self, nanoseconds: u64) {
        let used = i64::try_from(nanoseconds).unwrap_or(i64::MAX);
        let left = self.nanoseconds.get().saturating_sub(used);
        self.nanoseconds.set(left.max(-DEBT_MAX));
    }
}

thread_local! {
    static KEYING: Cell<bool> = const { Cell::new(false) };
}

/// What sets the name of a child's state apart from that of its result.
const STATE: &str = "state of a running task";
/// Arguments that are hashed without a copy elsewhere.
const BUFFER_BYTES: usize = 512;
/// To recompute it costs so many times what it costs to send.
const WORTH: u64 = 20;
/// What an entry costs on its way to a manager and in its table, whatever its size.
const ENTRY_NANOSECONDS: u64 = 20_000;
/// What each byte costs: 100 MB/s, which is a network's speed rather than a memory's.
const BYTE_NANOSECONDS: u64 = 10;
/// Half a percent of the time goes into records at most,
const SHARE: u64 = 200;
/// and two while there is something to be found.
const REPLAY_SHARE: u64 = 50;
/// What 10 seconds earn: a start or a burst is not held back by what comes later.
const CREDIT_MAX: i64 = 50_000_000;
/// What one second earns.
const DEBT_MAX: i64 = 5_000_000;
/// A child that takes less is left alone. Its key is a microsecond or two; what each costs beside that, in the caches of a
/// recursion and on the way to the manager's disk, is some 30 more.
pub(crate) const SHORT_NANOSECONDS: u64 = 8_000_000;
/// So many short ones in a row, as a child may be short beside one that is not.
const SHORT_MAX: u32 = 4;
/// As long as there is something to be found, it is looked for behind more short ones.
const REPLAY_SHORT_MAX: u32 = 64;
/// How long what was learnt of depths is believed.
const ROUND_NANOSECONDS: u64 = 1_000_000_000;
/// What is held for recomputation. A job's whole checkpoint at a manager has less.
const REMEMBERED_BYTES_MAX: usize = 1 << 30;
/// What an entry takes beside its result.
const ENTRY_BYTES: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_tasks_and_arguments_apart() {
        let [one, two] = [1, 2].map(TaskId::from_number);
        let key = |task, args: &str| Key::of_child(task, &(args,)).expect("text can be encoded");
        assert_eq!(key(one, "a"), key(one, "a"));
        assert_ne!(key(one, "a"), key(one, "b"));
        assert_ne!(key(one, "a"), key(two, "a"));
        assert_ne!(key(one, "a"), key(one, "a").of_state());
    }

    #[test]
    fn arguments_of_any_size_are_hashed_whole() {
        for bytes in [0, 400, 510, 511, 512, 513, 600, 1500, 100_000] {
            let text = "x".repeat(bytes);
            let mut expected = 7_u64.to_le_bytes().to_vec();
            expected.extend(postcard::to_stdvec(&(1_u8, &text, 2_u8)).expect("encodes"));
            let key = Key::of_child(TaskId::from_number(7), &(1_u8, text, 2_u8));
            assert_eq!(key, Some(Key(blake3::hash(&expected).into())), "{bytes}");
        }
    }

    #[test]
    fn result_is_worth_twenty_times_its_sending() {
        let of = |total, covered, sent| {
            bytes_worth(Worth {
                total,
                covered,
                sent,
            })
        };
        assert_eq!(of(399_999, 0, 0), None);
        assert_eq!(of(400_000, 0, 0), Some(0));
        assert_eq!(of(200_000_000, 0, 0), Some(998_000));
        // Its children are recorded: again only for a quarter of what they cost.
        assert_eq!(of(200_000_000, 200_000_000, cost_of(0) * 3), None);
        assert_eq!(of(200_000_000, 200_000_000, cost_of(0) * 4), Some(0));
        assert_eq!(of(100_000, 100_000, cost_of(0) * 1000), None);
    }

    #[test]
    fn depth_follows_what_is_seen() {
        let depth = Depth::new();
        depth.saw(30, 10, false);
        assert!(depth.reaches(30), "one that is short says little");
        (0..3).for_each(|_| depth.saw(30, 10, false));
        assert!(!depth.reaches(30) && depth.reaches(29));
        depth.saw(29, 20, false);
        assert!(!depth.reaches(29));
        depth.saw(12, SHORT_NANOSECONDS, false);
        assert!(depth.reaches(28) && !depth.reaches(29));
        (0..4).for_each(|_| depth.saw(9, 20, false));
        assert!(!depth.reaches(9));
        depth.saw(9, SHORT_NANOSECONDS, false);
        assert!(depth.reaches(10) && !depth.reaches(11));
        depth.begin_round(0, ROUND_NANOSECONDS - 1);
        assert!(!depth.reaches(11));
        depth.begin_round(1, 5);
        assert!(depth.reaches(1000));
    }

    #[test]
    fn credit_is_a_share_of_time_and_its_debt_one_interval() {
        let credit = Credit::new();
        credit.use_up(u64::MAX);
        assert!(!credit.is_left(0, false));
        assert!(!credit.is_left(999_000_000, false));
        assert!(credit.is_left(1_000_000_000, false));
        credit.use_up(1000);
        assert!(!credit.is_left(1_000_000_000, false));
        assert!(!credit.is_left(1_000_190_000, false));
        assert!(credit.is_left(1_000_200_000, false));
    }

    #[test]
    fn entries_are_found_until_all_were() {
        let entry = |number: u8| Recorded {
            key: Key([number; 32]),
            result: vec![number],
            work: Duration::from_secs(1),
            above: Vec::new(),
        };
        let checkpoints = Checkpoints::default();
        let earlier = Recorded {
            result: vec![9],
            work: Duration::from_millis(9),
            ..entry(1)
        };
        checkpoints.remember(vec![entry(1), entry(2), earlier]);
        checkpoints.remember(vec![entry(2)]);
        assert!(checkpoints.find(Key([3; 32])).is_none());
        let found = checkpoints.find(Key([1; 32])).expect("is remembered");
        assert_eq!(
            (&*found.result, found.nanoseconds),
            (&[1][..], 1_000_000_000)
        );
        assert!(
            checkpoints.find(Key([1; 32])).is_some(),
            "as long as another is left"
        );
        assert!(checkpoints.find(Key([2; 32])).is_some());
        assert!(!checkpoints.is_replaying());
    }
}
