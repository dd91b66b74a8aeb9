//! Waiting for conditions, with a bound: no test knows how long something takes on a busy machine.

use std::thread;
use std::time::{Duration, Instant};

use crate::running::PATIENCE;

/// Waits until there is what is looked for, and gives it.
///
/// # Panics
///
/// There is none after a minute: `what` says what was waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < end,
            "waited for {PATIENCE:?} in vain: {what}"
        );
        thread::sleep(PAUSE);
    }
}

/// Waits until something holds.
///
/// # Panics
///
/// It does not after a minute: `what` says what was waited for.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

/// Between two looks: short beside what is waited for, and long beside a look.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);
