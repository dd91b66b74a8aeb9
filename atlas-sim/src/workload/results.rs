//! Results of nodes that engines remember, each once for a whole world.
//!
//! After a loss a thousand engines remember the same hundred thousand results. So a result is here once, at a place, and an engine
//! remembers places: one bit each.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use atlas_engine::Key;

/// A result, and the work that it took.
pub(crate) type Done = (u64, u64);

/// The results of a tree's nodes that anybody remembers.
#[derive(Debug, Default)]
pub(crate) struct Results(Mutex<Table>);

/// Where they are, to be looked into.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// By name. Nobody asks in which order they are.
    places: Places,
    done: Vec<Done>,
}

/// Some of them.
#[derive(Debug, Default)]
pub(crate) struct PlaceSet(Vec<u64>);

#[expect(
    clippy::disallowed_types,
    reason = "it is looked into, and never gone through"
)]
type Places = std::collections::HashMap<u64, u32, BuildHasherDefault<AsItIs>>;

/// What is a hash already needs no other.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Results {
    /// For one look, or for many in a row.
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The place of a result from now on; none if another one is there under its name.
    pub(crate) fn keep(&mut self, name: u64, done: Done) -> Option<u32> {
        let next = u32::try_from(self.done.len()).expect("memory ends before 2^32 results");
        let place = *self.places.entry(name).or_insert(next);
        if place == next {
            self.done.push(done);
        }
        (self.done[place as usize] == done).then_some(place)
    }

    /// The result of a name that is in a set.
    pub(crate) fn find(&self, name: u64, among: &PlaceSet) -> Option<Done> {
        let place = *self.places.get(&name)?;
        among.has(place).then(|| self.done[place as usize])
    }
}

impl PlaceSet {
    pub(crate) fn insert(&mut self, place: u32) {
        let word = place as usize / BITS;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (place as usize % BITS);
    }

    /// Nothing was ever put in.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, place: u32) -> bool {
        let word = self.0.get(place as usize / BITS);
        word.is_some_and(|word| word >> (place as usize % BITS) & 1 == 1)
    }
}

/// The beginning of a key, which is as good as all of it.
pub(crate) fn name_of(key: &Key) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = key.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = self.0.rotate_left(8) ^ number;
    }
}

const BITS: usize = u64::BITS as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_found_by_those_who_remember_it() {
        let results = Results::default();
        let mut table = results.table();
        let (mut one, other) = (PlaceSet::default(), PlaceSet::default());
        for name in 0..200 {
            let place = table.keep(name, (name + 1, 5));
            assert_eq!(table.keep(name, (name + 1, 5)), place);
            one.insert(place.unwrap());
        }
        assert_eq!(table.find(77, &one), Some((78, 5)));
        assert_eq!(table.find(77, &other), None);
        assert_eq!(table.find(200, &one), None);
        assert_eq!(table.keep(77, (1, 5)), None, "another is there");
    }
}
