//! Work of a known length: a calibrated loop, and waiting on the clock.
//!
//! The loop is real work. It takes longer when something takes the core away,
//! as any program would; a wait on the clock would hide that.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A loop that takes a given time on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spin {
    steps: u32,
}

impl Spin {
    /// A loop of about this length, from the fastest of several trials: the
    /// fastest is the one that nothing disturbed.
    #[must_use]
    pub fn lasting(duration: Duration) -> Self {
        let trial = Self { steps: TRIAL_STEPS };
        let fastest = (0..TRIALS).map(|_| trial.time()).min().unwrap_or_default();
        let per_step = fastest.as_secs_f64() / f64::from(TRIAL_STEPS);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the loops asked for are short"
        )]
        let steps = (duration.as_secs_f64() / per_step) as u32;
        Self {
            steps: steps.max(1),
        }
    }

    /// Runs the loop; the answer is the same every time.
    #[inline(never)]
    #[must_use]
    pub fn run(self) -> u64 {
        let mut state = black_box(SEED);
        for _ in 0..self.steps {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        state
    }

    fn time(self) -> Duration {
        let start = Instant::now();
        black_box(self.run());
        start.elapsed()
    }
}

/// Keeps this thread busy for as long.
pub fn busy_wait(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

/// Any number but 0, which the generator (Marsaglia's xorshift64) never leaves.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// About 100 us.
const TRIAL_STEPS: u32 = 100_000;
const TRIALS: u32 = 20;
