//! Values in places that are used again, so that a deep tree needs no allocation per node.
//!
//! A place that is free keeps its last value until it is used again: whoever looks at all places must be able
//! to tell the values that are over.

use std::ops::{Index, IndexMut};

/// Places for values, by number.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<T>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Puts a value into a free place.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(place) = self.free.pop() {
            self[place] = value;
            return place;
        }
        let place =
            u32::try_from(self.places.len()).expect("a machine has no memory for 2^32 frames");
        self.places.push(value);
        place
    }

    /// The place may be used again.
    pub(super) fn release(&mut self, place: u32) {
        self.free.push(place);
    }

    /// All places, free ones too.
    pub(super) fn places(&self) -> u32 {
        u32::try_from(self.places.len()).expect("numbered by u32")
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, place: u32) -> &T {
        &self.places[place as usize]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, place: u32) -> &mut T {
        &mut self.places[place as usize]
    }
}
