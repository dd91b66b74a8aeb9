//! A map for few entries, in one sorted vector.
//!
//! After every input a machine looks through its sessions, jobs and kinds of closures. There are some tens of each
//! at most, as a rule: side by side they are read in one go, while a tree would keep room for eleven
//! in each node and follow pointers between them. The bounds are thousands: an entry is inserted by moving
//! those behind it, so values should be small or boxed, and inserting and removing rarer than looking.

/// Keys in order, each with its value.
#[derive(Clone, Debug)]
pub(crate) struct SortedMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.place(key).is_ok()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.place(key).ok().map(|place| &self.0[place].1)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.place(key).ok().map(|place| &mut self.0[place].1)
    }

    /// The entry with the greatest key that is smaller than `key`.
    pub(crate) fn before(&self, key: &K) -> Option<(&K, &V)> {
        let (Ok(place) | Err(place)) = self.place(key);
        let (key, value) = self.0[..place].last()?;
        Some((key, value))
    }

    /// Gives the value that it replaces.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                self.0.insert(place, (key, value));
                None
            }
        }
    }

    pub(crate) fn get_or_insert_with(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        let place = self.place(&key).unwrap_or_else(|place| {
            self.0.insert(place, (key, value()));
            place
        });
        &mut self.0[place].1
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.place(key).ok().map(|place| self.0.remove(place).1)
    }

    pub(crate) fn retain(&mut self, mut stays: impl FnMut(&K, &V) -> bool) {
        self.0.retain(|(key, value)| stays(key, value));
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    pub(crate) fn keys(&self) -> impl ExactSizeIterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    fn place(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(key))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::Rng;

    /// Random operations against the map that it stands for.
    #[test]
    fn it_does_what_a_tree_does() {
        let mut rng = Rng::new(1);
        let (mut sorted, mut tree) = (SortedMap::default(), BTreeMap::new());
        for step in 0..10_000 {
            let key = rng.below(30);
            match rng.below(4) {
                0 => assert_eq!(sorted.insert(key, step), tree.insert(key, step)),
                1 => {
                    let value = *sorted.get_or_insert_with(key, || step);
                    assert_eq!(value, *tree.entry(key).or_insert(step));
                }
                2 => assert_eq!(sorted.remove(&key), tree.remove(&key)),
                _ => assert_eq!(sorted.before(&key), tree.range(..key).next_back()),
            }
            assert_eq!(sorted.get(&key), tree.get(&key));
            assert!(sorted.iter().eq(tree.iter()));
        }
    }
}
