//! Requests inside a domain that has nothing to steal: counted, not simulated.
//!
//! A thief of CRS asks in its domain thousands of times a second. As long as no server there has a ready
//! closure, the answer to each request is known, and all that a run could learn from them is their number. So
//! such thieves are put down with the time, and their requests are counted when there is something to steal,
//! or when they no longer look for it. They then go on asking at a moment within half a round trip, as if they
//! had asked all along.

use std::collections::BTreeMap;
use std::time::Duration;

use atlas_proto::time::Time;

use crate::topology::ServerIndex;

/// The dormant thieves of one domain.
#[derive(Debug, Default)]
pub(super) struct Dormant {
    /// Servers of the domain with something to steal.
    rich: u32,
    since: BTreeMap<ServerIndex, Time>,
}

impl Dormant {
    /// There is nothing to steal in the domain.
    pub(super) fn is_dry(&self) -> bool {
        self.rich == 0
    }

    /// A thief would ask, in vain.
    pub(super) fn put_down(&mut self, now: Time, thief: ServerIndex) {
        self.since.entry(thief).or_insert(now);
    }

    /// A server has begun or ceased to have something to steal. Returns the thieves that go on, with the time
    /// since which they asked in vain.
    pub(super) fn set_rich(&mut self, rich: bool) -> BTreeMap<ServerIndex, Time> {
        if rich {
            self.rich += 1;
            std::mem::take(&mut self.since)
        } else {
            self.rich -= 1;
            BTreeMap::new()
        }
    }

    /// A thief asks no more. Returns since when it asked in vain, if it did.
    pub(super) fn give_up(&mut self, thief: ServerIndex) -> Option<Time> {
        self.since.remove(&thief)
    }

    /// All that still ask in vain when the world ends.
    pub(super) fn end(&mut self) -> BTreeMap<ServerIndex, Time> {
        std::mem::take(&mut self.since)
    }
}

/// How many requests are made and refused, one after the other, in a time.
pub(super) fn requests_within(time: Duration, round_trip: Duration) -> u64 {
    let requests = time.as_nanos() / round_trip.as_nanos().max(1);
    u64::try_from(requests).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thieves_go_on_when_there_is_something_to_steal() {
        let mut dormant = Dormant::default();
        assert!(dormant.is_dry());
        dormant.put_down(Time(5), ServerIndex(1));
        dormant.put_down(Time(6), ServerIndex(1));
        dormant.put_down(Time(7), ServerIndex(2));
        assert_eq!(dormant.give_up(ServerIndex(2)), Some(Time(7)));
        assert_eq!(
            dormant.set_rich(true),
            BTreeMap::from([(ServerIndex(1), Time(5))])
        );
        assert!(!dormant.is_dry());
        assert!(dormant.set_rich(false).is_empty() && dormant.is_dry());
    }

    #[test]
    fn requests_follow_one_another() {
        let ms = Duration::from_millis;
        assert_eq!(requests_within(ms(100), ms(30)), 3);
    }
}
