//! The checkpoints of foreign jobs, those that were submitted elsewhere, on the disk: what their manager is to know of them after a
//! restart, or when a neighbour that was lost comes back with them.
//!
//! Each is kept as that of a job of one's own ([`records`]), within the same bounds, and all together within others: who was not heard of
//! for the longest goes first. Who has lent closures of a job may have forgotten it when it ends, and tells nobody; so what this manager
//! has not known for a day goes, too.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use atlas_proto::engine::Recorded;
use atlas_proto::ids::GlobalJobId;
use atlas_proto::limits::CHECKPOINTS_BYTES_MAX;
use redb::{
    Database, ReadableDatabase as _, ReadableTable, Table, TableDefinition, WriteTransaction,
};

use super::records::{self, Rows};
use super::writer::IfItFails;
use super::{OpenStoreError, RECORDS_PIECE, Store, Write};

/// What there is of each job, once that was looked at.
#[derive(Debug, Default)]
pub(super) struct Index(Option<BTreeMap<GlobalJobId, Kept>>);

/// As it lies on the disk.
type Row = (u64, u64, u64);

#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    /// When something was last written, or the job was last known here.
    seen_ms: u64,
    bytes: u64,
    /// The number of the next row.
    next: u64,
}

/// How much is kept of all of them.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    bytes: u64,
    jobs: usize,
}

impl Store {
    /// What was recorded here of a foreign job.
    pub(crate) fn foreign_records(&self, id: GlobalJobId) -> Result<Vec<Recorded>, OpenStoreError> {
        self.disk.read(|database| read(database, id))
    }

    /// Keeps results of a foreign job, some time soon: nothing depends on them.
    pub(crate) fn save_foreign_records(&self, id: GlobalJobId, entries: Vec<Recorded>) {
        let write = Write::ForeignRecords(id, now_ms(), entries);
        drop(self.order(write, IfItFails::Drop));
    }

    /// Nothing is kept of a foreign job any more. If the disk does not take that, age does it.
    pub(crate) fn end_foreign(&self, id: GlobalJobId) {
        drop(self.order(Write::EndForeign(id), IfItFails::Drop));
    }

    /// These jobs are known here. What was known for the last time long ago is not kept any more.
    pub(crate) fn tidy_foreign(&self, known: Vec<GlobalJobId>) {
        // Mostly there is nothing, and then nothing is written.
        if self.disk.read(all_jobs).is_ok_and(|jobs| jobs.is_empty()) {
            return;
        }
        let write = Write::TidyForeign(now_ms(), known);
        drop(self.order(write, IfItFails::Drop));
    }

    /// What was recorded here of all foreign jobs, as it would be written, in pieces of some size.
    pub(super) fn all_foreign_records(&self) -> Result<Vec<Write>, OpenStoreError> {
        let jobs = self.disk.read(all_jobs)?;
        let mut all = Vec::new();
        for (id, kept) in jobs {
            let entries = self.foreign_records(id)?;
            let pieces = entries.chunks(RECORDS_PIECE);
            let write =
                |piece: &[Recorded]| Write::ForeignRecords(id, kept.seen_ms, piece.to_vec());
            all.extend(pieces.map(write));
        }
        Ok(all)
    }
}

/// Milliseconds since 1970, by this machine's clock. Should it be set back or forth, something is kept for longer, or too short.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

impl Index {
    fn load(
        &mut self,
        jobs: &impl ReadableTable<u128, Row>,
    ) -> Result<&mut BTreeMap<GlobalJobId, Kept>, redb::Error> {
        let read = match self.0.take() {
            Some(known) => known,
            None => all(jobs)?,
        };
        Ok(self.0.insert(read))
    }
}

impl Kept {
    fn row(self) -> Row {
        (self.seen_ms, self.bytes, self.next)
    }
}

fn read(database: &Database, id: GlobalJobId) -> Result<Vec<Recorded>, redb::Error> {
    records::all(&database.begin_read()?.open_table(RECORDS)?, id.0)
}

fn all_jobs(database: &Database) -> Result<BTreeMap<GlobalJobId, Kept>, redb::Error> {
    all(&database.begin_read()?.open_table(JOBS)?)
}

fn all(jobs: &impl ReadableTable<u128, Row>) -> Result<BTreeMap<GlobalJobId, Kept>, redb::Error> {
    let rows = jobs.iter()?.map(|row| {
        let (id, kept) = row?;
        let (seen_ms, bytes, next) = kept.value();
        let kept = Kept {
            seen_ms,
            bytes,
            next,
        };
        Ok((GlobalJobId(id.value()), kept))
    });
    rows.collect()
}

/// Makes the tables, so that they can be read.
pub(super) fn create(write: &WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(JOBS)?;
    write.open_table(RECORDS)?;
    Ok(())
}

/// Keeps results of a job, within the bounds of one and of all.
pub(super) fn insert(
    write: &WriteTransaction,
    index: &mut Index,
    (id, seen_ms): (GlobalJobId, u64),
    entries: &[&Recorded],
) -> Result<(), redb::Error> {
    insert_within(write, index, (id, seen_ms), entries, BOUNDS)
}

fn insert_within(
    write: &WriteTransaction,
    index: &mut Index,
    (id, seen_ms): (GlobalJobId, u64),
    entries: &[&Recorded],
    bounds: Bounds,
) -> Result<(), redb::Error> {
    let mut jobs = write.open_table(JOBS)?;
    let mut rows = write.open_table(RECORDS)?;
    let known = index.load(&jobs)?;
    let kept = known.entry(id).or_default();
    let mut size = records::Size::new(kept.bytes, kept.next);
    size.add(&mut rows, id.0, entries)?;
    *kept = Kept {
        seen_ms,
        bytes: size.bytes(),
        next: size.next(),
    };
    jobs.insert(id.0, kept.row())?;
    while let Some(oldest) = too_much(known, id, bounds) {
        forget(known, &mut jobs, &mut rows, oldest)?;
    }
    Ok(())
}

/// Of more than there is room for, the one that was not heard of for the longest, but not the one that was written to now.
fn too_much(
    known: &BTreeMap<GlobalJobId, Kept>,
    now: GlobalJobId,
    bounds: Bounds,
) -> Option<GlobalJobId> {
    let bytes: u64 = known.values().map(|kept| kept.bytes).sum();
    if bytes <= bounds.bytes && known.len() <= bounds.jobs {
        return None;
    }
    let others = known.iter().filter(|(id, _)| **id != now);
    let oldest = others.min_by_key(|(_, kept)| kept.seen_ms);
    oldest.map(|(&id, _)| id)
}

/// Nothing is kept of a job.
pub(super) fn remove(
    write: &WriteTransaction,
    index: &mut Index,
    id: GlobalJobId,
) -> Result<(), redb::Error> {
    let mut jobs = write.open_table(JOBS)?;
    let known = index.load(&jobs)?;
    if known.contains_key(&id) {
        forget(known, &mut jobs, &mut write.open_table(RECORDS)?, id)?;
    }
    Ok(())
}

fn forget(
    known: &mut BTreeMap<GlobalJobId, Kept>,
    jobs: &mut Table<'_, u128, Row>,
    rows: &mut Table<'_, Rows, &'static [u8]>,
    id: GlobalJobId,
) -> Result<(), redb::Error> {
    known.remove(&id);
    jobs.remove(id.0)?;
    records::remove_rows(rows, id.0)
}

/// These are known now; others go when that was long ago.
pub(super) fn tidy(
    write: &WriteTransaction,
    index: &mut Index,
    now_ms: u64,
    here: &[GlobalJobId],
) -> Result<(), redb::Error> {
    let mut jobs = write.open_table(JOBS)?;
    let mut rows = write.open_table(RECORDS)?;
    let known = index.load(&jobs)?;
    let mut old = Vec::new();
    for (&id, kept) in &mut *known {
        // A clock that was ahead must not keep something for longer.
        if here.contains(&id) || kept.seen_ms > now_ms {
            kept.seen_ms = now_ms;
            jobs.insert(id.0, kept.row())?;
        } else if now_ms - kept.seen_ms > KEPT_FOR_MS {
            old.push(id);
        }
    }
    for id in old {
        forget(known, &mut jobs, &mut rows, id)?;
    }
    Ok(())
}

/// Nothing is kept of any job.
pub(super) fn clear(write: &WriteTransaction, index: &mut Index) -> Result<(), redb::Error> {
    *index = Index::default();
    write.open_table(JOBS)?.retain(|_, _| false)?;
    write.open_table(RECORDS)?.retain(|_, _| false)?;
    Ok(())
}

/// When each was seen, its size, and the number of its next row.
const JOBS: TableDefinition<'_, u128, Row> = TableDefinition::new("foreign jobs");
const RECORDS: TableDefinition<'_, Rows, &[u8]> = TableDefinition::new("foreign results");
/// As much as a manager has of all jobs in its memory. Jobs come and go sooner than four thousand are known that have recorded something.
const BOUNDS: Bounds = Bounds {
    bytes: CHECKPOINTS_BYTES_MAX as u64,
    jobs: 4096,
};
/// A manager that is away for longer has been given up by who waits for its results.
const KEPT_FOR_MS: u64 = 24 * 3600 * 1000;
/// So often it is looked for what is too old: seldom enough to cost nothing.
pub(crate) const TIDY_EVERY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::super::Everything;
    use super::super::records::tests::{recorded, write};
    use super::super::tests::reopened;
    use super::*;

    fn database() -> Database {
        let backend = redb::backends::InMemoryBackend::new();
        let database = Database::builder().create_with_backend(backend).unwrap();
        write(&database, |write| create(write).unwrap());
        database
    }

    fn numbers(database: &Database, id: GlobalJobId) -> Vec<u8> {
        let kept = read(database, id).unwrap();
        kept.iter().map(|recorded| recorded.key.0[0]).collect()
    }

    const ONE: GlobalJobId = GlobalJobId(1);
    const OTHER: GlobalJobId = GlobalJobId(u128::MAX);
    const THIRD: GlobalJobId = GlobalJobId(3);

    #[test]
    fn what_is_kept_of_a_job_goes_with_it_and_others_stay() {
        let database = database();
        // The index is read anew, as after a restart.
        for (at, number) in [(1, 7), (2, 8)] {
            let mut index = Index::default();
            write(&database, |write| {
                insert(write, &mut index, (ONE, at), &[&recorded(number, 10)]).unwrap();
                insert(write, &mut index, (OTHER, at), &[&recorded(number, 10)]).unwrap();
            });
        }
        assert_eq!(numbers(&database, ONE), [7, 8]);
        let mut index = Index::default();
        write(&database, |write| remove(write, &mut index, ONE).unwrap());
        assert!(numbers(&database, ONE).is_empty());
        assert_eq!(numbers(&database, OTHER), [7, 8]);
        write(&database, |write| clear(write, &mut index).unwrap());
        assert!(numbers(&database, OTHER).is_empty());
        assert!(all_jobs(&database).unwrap().is_empty());
    }

    #[test]
    fn the_dearest_of_a_job_stays() {
        let database = database();
        let part = atlas_proto::limits::CHECKPOINT_BYTES_MAX / 16;
        let mut index = Index::default();
        write(&database, |write| {
            for number in 1..=33 {
                insert(write, &mut index, (ONE, 1), &[&recorded(number, part)]).unwrap();
            }
        });
        // As of a job of one's own.
        assert_eq!(numbers(&database, ONE), (18..=33).collect::<Vec<_>>());
    }

    #[test]
    fn of_more_than_there_is_room_for_what_was_seen_last_stays() {
        let entry = recorded(1, 100);
        let size = u64::try_from(entry.size()).unwrap();
        let of_bytes = Bounds {
            bytes: 2 * size,
            jobs: 9,
        };
        let of_jobs = Bounds {
            bytes: u64::MAX,
            jobs: 2,
        };
        for bounds in [of_bytes, of_jobs] {
            let database = database();
            let mut index = Index::default();
            write(&database, |write| {
                for (id, at) in [(ONE, 2), (OTHER, 1), (THIRD, 3)] {
                    insert_within(write, &mut index, (id, at), &[&entry], bounds).unwrap();
                }
            });
            let left: Vec<_> = all_jobs(&database).unwrap().into_keys().collect();
            assert_eq!(left, [ONE, THIRD], "{bounds:?}");
            assert!(numbers(&database, OTHER).is_empty());
            assert_eq!(numbers(&database, ONE), [1]);
        }
        // What has come now stays, though it is too much.
        let database = database();
        let entries = [recorded(1, 100), recorded(2, 100), recorded(3, 100)];
        let entries: Vec<&Recorded> = entries.iter().collect();
        let mut index = Index::default();
        write(&database, |write| {
            insert_within(write, &mut index, (ONE, 1), &entries, of_bytes).unwrap();
        });
        assert_eq!(numbers(&database, ONE), [1, 2, 3]);
    }

    #[test]
    fn what_nobody_has_known_for_a_day_goes() {
        let database = database();
        let mut index = Index::default();
        let day = KEPT_FOR_MS;
        let jobs = || all_jobs(&database).unwrap().into_keys();
        write(&database, |write| {
            // The clock was ahead when the last was written.
            for (id, at) in [(ONE, 5), (OTHER, 6), (THIRD, 9 * day)] {
                insert(write, &mut index, (id, at), &[&recorded(1, 10)]).unwrap();
            }
            tidy(write, &mut index, 5 + day, &[]).unwrap();
        });
        assert_eq!(jobs().count(), 3);
        write(&database, |write| {
            tidy(write, &mut index, 6 + day, &[OTHER]).unwrap()
        });
        assert_eq!(jobs().collect::<Vec<_>>(), [THIRD, OTHER]);
        write(&database, |write| {
            tidy(write, &mut index, 6 + 2 * day, &[]).unwrap();
        });
        assert_eq!(jobs().collect::<Vec<_>>(), [OTHER]);
        assert!(numbers(&database, THIRD).is_empty());
        assert_eq!(numbers(&database, OTHER), [1]);
    }

    #[test]
    fn a_store_has_them_when_it_is_opened_again_and_tells_them_a_standby() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.save_foreign_records(ONE, vec![recorded(1, 10)]);
        store.save_foreign_records(OTHER, vec![recorded(2, 10)]);
        store.save_foreign_records(ONE, vec![recorded(3, 10)]);
        // It ends before anything of it is written.
        store.save_foreign_records(THIRD, vec![recorded(4, 10)]);
        store.end_foreign(THIRD);
        store.settle().blocking().unwrap();
        drop(store);
        let store = reopened(folder.path()).unwrap();
        let known = [recorded(1, 10), recorded(3, 10)];
        assert_eq!(store.foreign_records(ONE).unwrap(), known);
        assert_eq!(store.foreign_records(THIRD).unwrap(), []);

        let standby = Store::in_memory().unwrap();
        standby.save_foreign_records(THIRD, vec![recorded(5, 10)]);
        let everything = store.everything().unwrap();
        let told = standby.take(Write::Everything(Box::<Everything>::new(everything)));
        told.blocking().unwrap();
        for write in store.all_records().unwrap() {
            standby.take(write).blocking().unwrap();
        }
        assert_eq!(standby.foreign_records(ONE).unwrap(), known);
        assert_eq!(standby.foreign_records(OTHER).unwrap(), [recorded(2, 10)]);
        assert_eq!(standby.foreign_records(THIRD).unwrap(), []);
        // What was written a moment ago is not old.
        store.tidy_foreign(Vec::new());
        store.settle().blocking().unwrap();
        assert_eq!(store.foreign_records(ONE).unwrap(), known);
    }
}
