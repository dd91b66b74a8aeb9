//! When the way to a peer is measured anew: often enough that nobody acts for long on what it was once.
//!
//! The first measure is that of the handshake, in which both sides have verified certificates: several times what a packet
//! takes on a fast network. A later one may fall into a moment in which the peer had no processor.

use std::time::{Duration, Instant};

/// Who measures a way as packets come.
#[derive(Debug, Default)]
pub struct Measuring {
    measured: Option<Instant>,
}

impl Measuring {
    /// True if it is to be measured with the packet that has come now.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let over = |measured| now.duration_since(measured) >= INTERVAL;
        let due = self.measured.is_none_or(over);
        if due {
            self.measured = Some(now);
        }
        due
    }
}

/// A closure that is taken for not worth its move waits no longer for a better measure. Some packets have come meanwhile where
/// closures move at all, and a measure is a look at what the connection knows.
const INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    /// Tasks of 5 ms were not worth a move for two seconds, because a handshake had taken 2 ms.
    #[test]
    fn regression_handshake_is_no_measure_for_long() {
        let (mut measuring, start) = (Measuring::default(), Instant::now());
        let mut due = |ms| measuring.is_due(start + Duration::from_millis(ms));
        assert!(due(0));
        assert!(!due(10));
        assert!(due(100), "the first one that could be better");
        assert!(!due(110));
        assert!(due(200));
    }
}
