//! Waiting for a time of day.

use std::time::{Duration, SystemTime};

/// Returns then, or up to a minute later: the clock is looked at now and then, since clocks are set and machines sleep.
pub async fn wait_until(time: SystemTime) {
    while let Ok(left) = time.duration_since(SystemTime::now()) {
        tokio::time::sleep(left.min(CLOCK_LOOK).max(Duration::from_millis(1))).await;
    }
}

/// Something may come too late by this if the clock is set.
const CLOCK_LOOK: Duration = Duration::from_secs(60);
