//! The messages that are under way.

use atlas_proto::ids::NodeId;

use crate::network::Transit;

/// Messages by number; numbers are used again.
#[derive(Debug)]
pub struct Flights<M> {
    places: Vec<Option<Flight<M>>>,
    free: Vec<u32>,
}

/// A message under way.
#[derive(Clone, Debug)]
pub struct Flight<M> {
    /// Where it is.
    pub transit: Transit,
    /// Its number among all messages.
    pub serial: u64,
    /// What it says.
    pub message: M,
}

/// A message under way, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightId(u32);

impl<M> Flights<M> {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, flight: Flight<M>) -> FlightId {
        if let Some(place) = self.free.pop() {
            self.places[place as usize] = Some(flight);
            return FlightId(place);
        }
        let place = u32::try_from(self.places.len()).expect("memory ends before 2^32 messages");
        self.places.push(Some(flight));
        FlightId(place)
    }

    pub(super) fn remove(&mut self, FlightId(place): FlightId) -> Flight<M> {
        self.free.push(place);
        self.places[place as usize]
            .take()
            .expect("a message arrives once")
    }

    pub(super) fn transit_mut(&mut self, FlightId(place): FlightId) -> &mut Transit {
        &mut self.places[place as usize]
            .as_mut()
            .expect("a message arrives once")
            .transit
    }

    /// A second one that says the same.
    pub(super) fn copy(&mut self, FlightId(place): FlightId) -> FlightId
    where
        M: Clone,
    {
        let copy = self.places[place as usize]
            .clone()
            .expect("a message is copied while it is under way");
        self.insert(copy)
    }

    /// Those whose number among all messages is larger than `serial`, with it. Copies have one number.
    pub fn later_than(&self, serial: u64) -> impl Iterator<Item = (u64, NodeId, NodeId, &M)> {
        let flights = self.places.iter().flatten();
        flights
            .filter(move |flight| flight.serial > serial)
            .map(|flight| {
                let transit = flight.transit;
                (flight.serial, transit.from, transit.to, &flight.message)
            })
    }

    /// All of them, in no meaningful order, but in the same one for the same seed.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, NodeId, &M)> {
        self.places
            .iter()
            .flatten()
            .map(|flight| (flight.transit.from, flight.transit.to, &flight.message))
    }
}
