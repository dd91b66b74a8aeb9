//! The checkpoints of jobs that have not ended, on the disk: what their manager is to know of them after a restart.
//!
//! The machine decides what is worth keeping, and tells what is new; what it evicts later is not told. So the table of a job grows
//! to twice what the machine may keep, and is then cut down by the machine's own rule: what was dearest stays.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;

use atlas_proto::control::JobId;
use atlas_proto::engine::Recorded;
use atlas_proto::limits::CHECKPOINT_BYTES_MAX;
use redb::{ReadableDatabase as _, ReadableTable, Table, TableDefinition, WriteTransaction};

/// How much there is of each job, as far as it was looked at.
#[derive(Debug, Default)]
pub(super) struct Sizes(BTreeMap<JobId, usize>);

type Key<'a> = (u64, &'a [u8; 32]);

/// All that is kept of a job.
pub(super) fn read(database: &redb::Database, job: JobId) -> Result<Vec<Recorded>, redb::Error> {
    let table = database.begin_read()?.open_table(RECORDS)?;
    all(&table, job)
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
    entries: &[Recorded],
) -> Result<(), redb::Error> {
    let mut table = write.open_table(RECORDS)?;
    let size = match sizes.0.entry(job) {
        Place::Occupied(size) => size.into_mut(),
        Place::Vacant(place) => place.insert(all(&table, job)?.iter().map(Recorded::size).sum()),
    };
    for recorded in entries {
        put(&mut table, job, recorded)?;
        *size += recorded.size();
    }
    if *size > SIZE_MAX {
        *size = cut(&mut table, job)?;
    }
    Ok(())
}

/// The job has ended: nothing of it is computed again.
pub(super) fn remove(
    write: &WriteTransaction,
    sizes: &mut Sizes,
    job: JobId,
) -> Result<(), redb::Error> {
    sizes.0.remove(&job);
    let mut table = write.open_table(RECORDS)?;
    table.retain_in(keys(job), |_, _| false)?;
    Ok(())
}

/// Nothing is kept of any job.
pub(super) fn clear(write: &WriteTransaction, sizes: &mut Sizes) -> Result<(), redb::Error> {
    *sizes = Sizes::default();
    write.open_table(RECORDS)?.retain(|_, _| false)?;
    Ok(())
}

fn put(
    table: &mut Table<'_, Key<'static>, &'static [u8]>,
    job: JobId,
    recorded: &Recorded,
) -> Result<(), redb::Error> {
    let bytes = super::encode(recorded)?;
    table.insert((job.0, &recorded.key.0), &bytes[..])?;
    Ok(())
}

/// Leaves what was dearest; gives its size.
fn cut(
    table: &mut Table<'_, Key<'static>, &'static [u8]>,
    job: JobId,
) -> Result<usize, redb::Error> {
    let mut entries = all(table, job)?;
    entries.sort_unstable_by_key(|recorded| std::cmp::Reverse(recorded.work));
    table.retain_in(keys(job), |_, _| false)?;
    let mut size = 0;
    for recorded in &entries {
        if size + recorded.size() <= CHECKPOINT_BYTES_MAX {
            size += recorded.size();
            put(table, job, recorded)?;
        }
    }
    Ok(size)
}

/// What cannot be read is left out: it is computed again.
fn all(
    table: &impl ReadableTable<Key<'static>, &'static [u8]>,
    job: JobId,
) -> Result<Vec<Recorded>, redb::Error> {
    let mut entries = Vec::new();
    for entry in table.range(keys(job))? {
        let (_, bytes) = entry?;
        entries.extend(postcard::from_bytes::<Recorded>(bytes.value()).ok());
    }
    Ok(entries)
}

fn keys(job: JobId) -> std::ops::RangeInclusive<Key<'static>> {
    (job.0, &[0; 32])..=(job.0, &[0xff; 32])
}

const RECORDS: TableDefinition<'_, Key<'_>, &[u8]> = TableDefinition::new("records");
const SIZE_MAX: usize = 2 * CHECKPOINT_BYTES_MAX;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use atlas_engine::Key;
    use redb::Database;

    use super::*;

    fn recorded(number: u8, bytes: usize) -> Recorded {
        Recorded {
            key: Key([number; 32]),
            result: vec![number; bytes].into(),
            work: Duration::from_secs(u64::from(number)),
        }
    }

    fn write<T>(database: &Database, change: impl FnOnce(&WriteTransaction) -> T) -> T {
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
            insert(write, &mut sizes, other, &[recorded(9, 10)]).unwrap();
            for number in 1..=33 {
                insert(write, &mut sizes, one, &[recorded(number, part)]).unwrap();
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
}
