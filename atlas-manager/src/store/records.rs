//! The checkpoints of jobs that have not ended, on the disk: what their manager is to know of them after a restart.
//!
//! The machine decides what is worth keeping, and tells what is new; what it evicts later is not told. So the table of a job grows
//! to twice what the machine may keep, and is then cut down: what is below a closure whose result is there is left out, since
//! whoever begins after a restart does not ask for it, and of the rest what was dearest stays.
//! What comes together is one value, behind all that came before: a table with a row for each result copies its pages for each of them.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet};

use atlas_engine::{Key, ShortKey};
use atlas_proto::control::JobId;
use atlas_proto::engine::Recorded;
use atlas_proto::limits::CHECKPOINT_BYTES_MAX;
use redb::{ReadableDatabase as _, ReadableTable, Table, TableDefinition, WriteTransaction};

/// How much there is of each job, as far as it was looked at.
#[derive(Debug, Default)]
pub(super) struct Sizes(BTreeMap<JobId, Size>);

/// By job, and by when they came.
pub(super) type Rows = (u128, u64);

/// How much there is of one job.
#[derive(Debug)]
pub(super) struct Size {
    bytes: usize,
    /// The number of the next row.
    next: u64,
}

/// All that is kept of a job, by name.
pub(super) fn read(database: &redb::Database, job: JobId) -> Result<Vec<Recorded>, redb::Error> {
    let table = database.begin_read()?.open_table(RECORDS)?;
    all(&table, number(job))
}

/// Makes the table, so that it can be read.
pub(super) fn create(write: &WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(RECORDS)?;
    Ok(())
}

/// Keeps results of a job, within twice the bound.
pub(super) fn insert(
    write: &WriteTransaction,
    sizes: &mut Sizes,
    job: JobId,
    entries: &[&Recorded],
) -> Result<(), redb::Error> {
    let mut table = write.open_table(RECORDS)?;
    let size = match sizes.0.entry(job) {
        Place::Occupied(size) => size.into_mut(),
        Place::Vacant(place) => place.insert(Size {
            bytes: all(&table, number(job))?.iter().map(Recorded::size).sum(),
            next: next_row(&table, number(job))?,
        }),
    };
    size.add(&mut table, number(job), entries)
}

/// The job has ended: nothing of it is computed again.
pub(super) fn remove(
    write: &WriteTransaction,
    sizes: &mut Sizes,
    job: JobId,
) -> Result<(), redb::Error> {
    sizes.0.remove(&job);
    remove_rows(&mut write.open_table(RECORDS)?, number(job))
}

/// Nothing is kept of any job.
pub(super) fn clear(write: &WriteTransaction, sizes: &mut Sizes) -> Result<(), redb::Error> {
    *sizes = Sizes::default();
    write.open_table(RECORDS)?.retain(|_, _| false)?;
    Ok(())
}

impl Size {
    pub(super) fn new(bytes: u64, next: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self { bytes, next }
    }

    pub(super) fn bytes(&self) -> u64 {
        u64::try_from(self.bytes).unwrap_or(u64::MAX)
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Keeps results behind those that are there, of more than twice the bound the dearest.
    pub(super) fn add(
        &mut self,
        table: &mut Table<'_, Rows, &'static [u8]>,
        job: u128,
        entries: &[&Recorded],
    ) -> Result<(), redb::Error> {
        put(table, job, self.next, entries)?;
        self.next += 1;
        self.bytes += entries
            .iter()
            .map(|recorded| recorded.size())
            .sum::<usize>();
        if self.bytes > SIZE_MAX {
            self.bytes = cut(table, job, self.next)?;
            self.next += 1;
        }
        Ok(())
    }
}

pub(super) fn remove_rows(
    table: &mut Table<'_, Rows, &'static [u8]>,
    job: u128,
) -> Result<(), redb::Error> {
    table.retain_in(rows(job), |_, _| false)?;
    Ok(())
}

fn put(
    table: &mut Table<'_, Rows, &'static [u8]>,
    job: u128,
    row: u64,
    entries: &[&Recorded],
) -> Result<(), redb::Error> {
    let bytes = super::encode(&entries)?;
    table.insert((job, row), &bytes[..])?;
    Ok(())
}

/// Leaves what was dearest of what nothing covers, in one row; gives its size.
fn cut(
    table: &mut Table<'_, Rows, &'static [u8]>,
    job: u128,
    row: u64,
) -> Result<usize, redb::Error> {
    let mut entries = all(table, job)?;
    let known: BTreeSet<ShortKey> = entries.iter().map(|entry| entry.key.short()).collect();
    let is_known = |above: &ShortKey| known.contains(above);
    entries.retain(|entry| !entry.above.keys().iter().any(is_known));
    entries.sort_by_key(|recorded| std::cmp::Reverse(recorded.work));
    remove_rows(table, job)?;
    let mut size = 0;
    let kept: Vec<&Recorded> = entries
        .iter()
        .filter(|recorded| {
            let fits = size + recorded.size() <= CHECKPOINT_BYTES_MAX;
            size += if fits { recorded.size() } else { 0 };
            fits
        })
        .collect();
    put(table, job, row, &kept)?;
    Ok(size)
}

/// What cannot be read is left out: it is computed again. Of two with one name the later counts.
pub(super) fn all(
    table: &impl ReadableTable<Rows, &'static [u8]>,
    job: u128,
) -> Result<Vec<Recorded>, redb::Error> {
    let mut entries = BTreeMap::<Key, Recorded>::new();
    for row in table.range(rows(job))? {
        let (_, bytes) = row?;
        let read = postcard::from_bytes::<Vec<Recorded>>(bytes.value());
        let read = read.unwrap_or_default().into_iter();
        entries.extend(read.map(|recorded| (recorded.key, recorded)));
    }
    Ok(entries.into_values().collect())
}

fn next_row(
    table: &impl ReadableTable<Rows, &'static [u8]>,
    job: u128,
) -> Result<u64, redb::Error> {
    let last = table.range(rows(job))?.next_back().transpose()?;
    Ok(last.map_or(0, |(place, _)| place.value().1 + 1))
}

fn rows(job: u128) -> std::ops::RangeInclusive<Rows> {
    (job, 0)..=(job, u64::MAX)
}

fn number(job: JobId) -> u128 {
    u128::from(job.0)
}

const RECORDS: TableDefinition<'_, Rows, &[u8]> = TableDefinition::new("results");
const SIZE_MAX: usize = 2 * CHECKPOINT_BYTES_MAX;

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use atlas_engine::Above;
    use redb::Database;

    use super::*;

    pub(in crate::store) fn recorded(number: u8, bytes: usize) -> Recorded {
        Recorded {
            key: Key([number; 32]),
            result: vec![number; bytes].into(),
            work: Duration::from_secs(u64::from(number)),
            above: Above::NONE,
        }
    }

    pub(in crate::store) fn write<T>(
        database: &Database,
        change: impl FnOnce(&WriteTransaction) -> T,
    ) -> T {
        let write = database.begin_write().unwrap();
        let done = change(&write);
        write.commit().unwrap();
        done
    }

    #[test]
    fn the_dearest_of_a_job_stays_and_others_are_left_alone() {
        let backend = redb::backends::InMemoryBackend::new();
        let database = Database::builder().create_with_backend(backend).unwrap();
        let mut sizes = Sizes::default();
        let (one, other) = (JobId(1), JobId(2));
        let part = CHECKPOINT_BYTES_MAX / 16;
        write(&database, |write| {
            insert(write, &mut sizes, other, &[&recorded(9, 10)]).unwrap();
            for number in 1..=33 {
                insert(write, &mut sizes, one, &[&recorded(number, part)]).unwrap();
            }
        });
        let kept = read(&database, one).unwrap();
        let numbers: Vec<u8> = kept.iter().map(|recorded| recorded.key.0[0]).collect();
        // With the 32nd it was too much: sixteen parts and their names are more than the whole, so fifteen stayed.
        assert_eq!(numbers, (18..=33).collect::<Vec<_>>());
        assert_eq!(read(&database, other).unwrap(), [recorded(9, 10)]);
        write(&database, |write| remove(write, &mut sizes, one).unwrap());
        assert_eq!(read(&database, one).unwrap(), []);
        assert_eq!(read(&database, other).unwrap().len(), 1);
    }

    #[test]
    fn what_is_below_a_known_result_is_left_out_first() {
        let backend = redb::backends::InMemoryBackend::new();
        let database = Database::builder().create_with_backend(backend).unwrap();
        let mut sizes = Sizes::default();
        let job = JobId(1);
        let part = CHECKPOINT_BYTES_MAX / 16;
        let below = |number, above: u8| Recorded {
            above: [Key([above; 32]).short()].into_iter().collect(),
            ..recorded(number, part)
        };
        write(&database, |write| {
            insert(write, &mut sizes, job, &[&recorded(100, 10)]).unwrap();
            for number in 1..=31 {
                // Every other one is below what is known, the rest below what is not.
                let above = if number % 2 == 0 { 100 } else { 101 };
                insert(write, &mut sizes, job, &[&below(number + 32, above)]).unwrap();
            }
            insert(write, &mut sizes, job, &[&recorded(1, part)]).unwrap();
        });
        let kept = read(&database, job).unwrap();
        let numbers: Vec<u8> = kept.iter().map(|recorded| recorded.key.0[0]).collect();
        let odd = (33..=63).step_by(2);
        let mut expected: Vec<u8> = odd.collect();
        expected.push(100);
        // Sixteen parts and their names are more than the whole.
        assert_eq!(expected.remove(0), 33);
        assert_eq!(numbers, expected);
    }
}
