//! What befalls servers, as a list: a scenario that fails is made smaller by leaving entries out.

use std::time::Duration;

use atlas_proto::rng::Rng;
use serde::{Deserialize, Serialize};

/// One thing that befalls one server or manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When, from the start of the world.
    pub at: Duration,
    /// Which server; of what befalls a manager, which domain.
    pub server: u32,
    /// What.
    pub kind: FaultKind,
}

/// What befalls a server, or a manager. What cannot be (one that is gone cannot leave) does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// It dies without a word.
    Kill,
    /// It starts, empty.
    Start,
    /// It gives everything back and goes.
    Leave,
    /// Its owner comes back.
    Retreat,
    /// Its owner goes again.
    Resume,
    /// It does everything [`SLOWED`] times as slowly from now on, and says nothing of it.
    Slow,
    /// The manager of the domain dies without a word; its store stays. Of two, it is the one that began.
    KillManager,
    /// It starts, with what its store has.
    StartManager,
    /// The standby of the domain, or what began as that, dies without a word; its store stays.
    KillStandby,
    /// It starts, with what its store has.
    StartStandby,
    /// Whichever of the two managers acts dies without a word.
    KillActing,
}

impl FaultKind {
    /// It befalls a manager.
    #[must_use]
    pub fn is_of_manager(self) -> bool {
        match self {
            Self::KillManager
            | Self::StartManager
            | Self::KillStandby
            | Self::StartStandby
            | Self::KillActing => true,
            Self::Kill | Self::Start | Self::Leave | Self::Retreat | Self::Resume | Self::Slow => {
                false
            }
        }
    }
}

/// The time in which faults happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// From then.
    pub from: Duration,
    /// Until then.
    pub until: Duration,
}

/// Some servers die for good, one in twenty; some die and start again after a while, one in
/// ten of the others.
#[must_use]
pub fn crashes(servers: u32, span: Span, seed: u64) -> Vec<Fault> {
    let mut rng = Rng::new(seed ^ SALT);
    let mut faults = Vec::new();
    for server in 0..servers {
        let at = span.draw(&mut rng);
        let for_good = rng.below(CRASHES_FOR_GOOD_OF) == 0;
        let crashes = for_good || rng.below(CRASHES_OF) == 0;
        let away = exponential(&mut rng, MEAN_ABSENCE);
        if crashes {
            faults.push(Fault {
                at,
                server,
                kind: FaultKind::Kill,
            });
        }
        if crashes && !for_good {
            faults.push(Fault {
                at: at + away,
                server,
                kind: FaultKind::Start,
            });
        }
    }
    faults
}

/// Some servers, one in ten, become slow at some time.
#[must_use]
pub fn slow(servers: u32, span: Span, seed: u64) -> Vec<Fault> {
    let mut rng = Rng::new(seed ^ SALT);
    let mut faults = Vec::new();
    for server in 0..servers {
        let at = span.draw(&mut rng);
        if rng.below(SLOW_OF) == 0 {
            let kind = FaultKind::Slow;
            faults.push(Fault { at, server, kind });
        }
    }
    faults
}

/// Servers come and go all the time: each stays for `mean_life` on average, and is away for a while. Of those
/// that go, a third dies, a third leaves, and a third retreats.
#[must_use]
pub fn churn(servers: u32, span: Span, mean_life: Duration, seed: u64) -> Vec<Fault> {
    let ways = [
        (FaultKind::Kill, FaultKind::Start),
        (FaultKind::Leave, FaultKind::Start),
        (FaultKind::Retreat, FaultKind::Resume),
    ];
    come_and_go(servers, span, mean_life, seed, &ways)
}

/// The same, and all that go die.
#[must_use]
pub fn crash_churn(servers: u32, span: Span, mean_life: Duration, seed: u64) -> Vec<Fault> {
    let ways = [(FaultKind::Kill, FaultKind::Start)];
    come_and_go(servers, span, mean_life, seed, &ways)
}

fn come_and_go(
    servers: u32,
    span: Span,
    mean_life: Duration,
    seed: u64,
    ways: &[(FaultKind, FaultKind)],
) -> Vec<Fault> {
    let mut rng = Rng::new(seed ^ SALT);
    let mut faults = Vec::new();
    for server in 0..servers {
        let mut at = span.from + exponential(&mut rng, mean_life);
        while at < span.until {
            let (go, come) = ways[rng.below(ways.len())];
            let back = at + exponential(&mut rng, MEAN_ABSENCE);
            faults.push(Fault {
                at,
                server,
                kind: go,
            });
            faults.push(Fault {
                at: back,
                server,
                kind: come,
            });
            at = back + exponential(&mut rng, mean_life);
        }
    }
    faults
}

impl Span {
    fn draw(self, rng: &mut Rng) -> Duration {
        let length = self.until.saturating_sub(self.from).as_nanos();
        let nanos = rng.below(usize::try_from(length).unwrap_or(usize::MAX));
        self.from + Duration::from_nanos(nanos as u64)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a draw of a million is fine enough"
)]
fn exponential(rng: &mut Rng, mean: Duration) -> Duration {
    let uniform = (rng.below(1_000_000) + 1) as f64 / 1e6;
    mean.mul_f64(-uniform.ln())
}

/// One in so many servers dies for good.
const CRASHES_FOR_GOOD_OF: usize = 20;
/// One in so many of the others dies and starts again.
const CRASHES_OF: usize = 10;
/// One in so many servers becomes slow.
const SLOW_OF: usize = 10;
/// A server that is slow is so many times slower.
pub const SLOWED: u32 = 20;
/// How long a server is away.
const MEAN_ABSENCE: Duration = Duration::from_secs(20);
const SALT: u64 = 0x2545_f491_4f6c_dd1d;

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = Span {
        from: Duration::from_secs(10),
        until: Duration::from_secs(610),
    };

    #[test]
    fn one_server_in_twenty_dies_for_good_and_one_in_ten_for_a_while() {
        let faults = crashes(10_000, SPAN, 1);
        let starts = faults
            .iter()
            .filter(|fault| fault.kind == FaultKind::Start)
            .count();
        let kills = faults.len() - starts;
        assert!((1_300..1_600).contains(&kills), "{kills}");
        assert!((850..1_050).contains(&starts), "{starts}");
        let kills = faults.iter().filter(|fault| fault.kind == FaultKind::Kill);
        assert!(
            kills
                .clone()
                .all(|fault| fault.at >= SPAN.from && fault.at < SPAN.until)
        );
    }

    #[test]
    fn whoever_goes_comes_back() {
        let faults = churn(1000, SPAN, Duration::from_secs(600), 1);
        assert!((1_600..2_200).contains(&faults.len()), "{}", faults.len());
        assert!(
            faults
                .chunks(2)
                .all(|pair| pair[0].server == pair[1].server && pair[0].at <= pair[1].at)
        );
    }
}
