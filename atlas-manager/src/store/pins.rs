//! The versions of files by URL that jobs have seen first, until the jobs end: what is run again after a restart is to read what it
//! has read before.

use atlas_proto::control::JobId;
use redb::{ReadableDatabase as _, TableDefinition, WriteTransaction};

/// The BLAKE3 hash of a URL, and the version.
pub(crate) type Pin = ([u8; 32], Vec<u8>);

type Key<'a> = (u64, &'a [u8; 32]);

/// All that is pinned for a job.
pub(super) fn read(database: &redb::Database, job: JobId) -> Result<Vec<Pin>, redb::Error> {
    let table = database.begin_read()?.open_table(PINS)?;
    let mut pins = Vec::new();
    for entry in table.range(keys(job))? {
        let (key, version) = entry?;
        pins.push((*key.value().1, version.value().to_vec()));
    }
    Ok(pins)
}

/// Makes the table, so that it can be read.
pub(super) fn create(write: &WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(PINS)?;
    Ok(())
}

pub(super) fn insert(
    write: &WriteTransaction,
    job: JobId,
    pins: &[Pin],
) -> Result<(), redb::Error> {
    let mut table = write.open_table(PINS)?;
    for (url, version) in pins {
        table.insert((job.0, url), &version[..])?;
    }
    Ok(())
}

/// The job has ended.
pub(super) fn remove(write: &WriteTransaction, job: JobId) -> Result<(), redb::Error> {
    let mut table = write.open_table(PINS)?;
    table.retain_in(keys(job), |_, _| false)?;
    Ok(())
}

/// Nothing is pinned for any job.
pub(super) fn clear(write: &WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(PINS)?.retain(|_, _| false)?;
    Ok(())
}

fn keys(job: JobId) -> std::ops::RangeInclusive<Key<'static>> {
    (job.0, &[0; 32])..=(job.0, &[0xff; 32])
}

const PINS: TableDefinition<'_, Key<'_>, &[u8]> = TableDefinition::new("pins");

#[cfg(test)]
mod tests {
    use redb::Database;

    use super::*;

    #[test]
    fn pins_of_a_job_go_with_it_and_others_stay() {
        let backend = redb::backends::InMemoryBackend::new();
        let database = Database::builder().create_with_backend(backend).unwrap();
        let [one, other] = [JobId(1), JobId(2)];
        let pins = |byte: u8| vec![([byte; 32], vec![byte]), ([byte + 1; 32], vec![])];
        let write = database.begin_write().unwrap();
        create(&write).unwrap();
        insert(&write, one, &pins(1)).unwrap();
        insert(&write, other, &pins(0xfe)).unwrap();
        write.commit().unwrap();
        assert_eq!(read(&database, one).unwrap(), pins(1));
        let write = database.begin_write().unwrap();
        remove(&write, one).unwrap();
        write.commit().unwrap();
        assert_eq!(read(&database, one).unwrap(), []);
        assert_eq!(read(&database, other).unwrap(), pins(0xfe));
    }
}
