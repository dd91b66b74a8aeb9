//! The clocks of the nodes: each runs at its own pace from its own beginning, and no machine sees another's.

use std::time::Duration;

use atlas_proto::ids::NodeId;
use atlas_proto::rng::Rng;
use atlas_proto::time::Time;

use crate::scenario::ClockSkew;

/// One clock for each node.
#[derive(Debug)]
pub(super) struct Clocks(Vec<Clock>);

/// How a node's time follows that of the world.
#[derive(Clone, Copy, Debug)]
struct Clock {
    ahead: Duration,
    /// Its seconds are so much shorter than the world's, in a million; longer if it is negative.
    fast_ppm: i64,
}

impl Clocks {
    pub(super) fn new(nodes: usize, skew: ClockSkew, seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ SALT);
        let mut draw = |_| {
            let most = usize::try_from(skew.offset_max.as_nanos()).unwrap_or(usize::MAX);
            let ahead = Duration::from_nanos(rng.below(most.max(1)) as u64);
            let drift = i64::from(skew.drift_ppm);
            let drawn = rng.below(2 * skew.drift_ppm as usize + 1);
            let fast_ppm = i64::try_from(drawn).unwrap_or(0) - drift;
            Clock { ahead, fast_ppm }
        };
        Self((0..nodes).map(&mut draw).collect())
    }

    /// What a node's clock shows at a time of the world.
    pub(super) fn shown(&self, node: NodeId, at: Time) -> Time {
        self.of(node).map_or(at, |clock| clock.shown(at))
    }

    /// The first time of the world at which a node's clock shows that.
    pub(super) fn when(&self, node: NodeId, shown: Time) -> Time {
        self.of(node).map_or(shown, |clock| clock.when(shown))
    }

    fn of(&self, node: NodeId) -> Option<&Clock> {
        self.0.get(usize::try_from(node.0).ok()?)
    }
}

impl Clock {
    fn shown(self, at: Time) -> Time {
        let pace = u128::from((MILLION + self.fast_ppm).unsigned_abs());
        let run = u128::from(at.0) * pace / u128::from(MILLION.unsigned_abs());
        Time(u64::try_from(run).unwrap_or(u64::MAX)) + self.ahead
    }

    fn when(self, shown: Time) -> Time {
        let pace = u128::from((MILLION + self.fast_ppm).unsigned_abs()).max(1);
        let run = u128::from((shown - self.ahead).0) * u128::from(MILLION.unsigned_abs());
        Time(u64::try_from(run.div_ceil(pace)).unwrap_or(u64::MAX))
    }
}

const MILLION: i64 = 1_000_000;
const SALT: u64 = 0x3c6e_f372_fe94_f82b;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_due_when_the_clock_shows_it_and_not_before() {
        let skew = ClockSkew {
            offset_max: Duration::from_secs(3600),
            drift_ppm: 50_000,
        };
        let clocks = Clocks::new(20, skew, 3);
        for node in (0..20).map(NodeId) {
            let started = clocks.shown(node, Time::ZERO);
            for shown in (1..100_000_000_000).step_by(7_777_777_777).map(Time) {
                let shown = started + Duration::from_nanos(shown.0);
                let when = clocks.when(node, shown);
                assert!(clocks.shown(node, when) >= shown);
                assert!(clocks.shown(node, Time(when.0 - 1)) < shown);
            }
        }
    }

    #[test]
    fn without_skew_all_clocks_show_the_time_of_the_world() {
        let clocks = Clocks::new(2, ClockSkew::default(), 3);
        assert_eq!(clocks.shown(NodeId(1), Time(5)), Time(5));
        assert_eq!(clocks.when(NodeId(1), Time(5)), Time(5));
    }
}
