//! [`Down`]: hosts that have not answered lately, for who has something to serve without them. **Pure**: times are arguments.

use std::collections::BTreeMap;
use std::time::Duration;

/// Hosts that do not answer, and until when that is believed.
#[derive(Debug, Default)]
pub(crate) struct Down(BTreeMap<String, Duration>);

impl Down {
    /// Whether it has not answered lately.
    pub(crate) fn is_down(&self, now: Duration, host: &str) -> bool {
        self.0.get(host).is_some_and(|until| *until > now)
    }

    /// It has not answered.
    pub(crate) fn handle_silence(&mut self, now: Duration, host: &str) {
        self.0.retain(|_, until| *until > now);
        if self.0.len() < HOSTS_MAX {
            self.0.insert(host.to_owned(), now + DOWN_FOR);
        }
    }

    /// It has answered.
    pub(crate) fn handle_answer(&mut self, host: &str) {
        self.0.remove(host);
    }
}

/// For so long nobody who can do without waits for a host again: one who looks at ten thousand files waits as often as there are such
/// spans.
const DOWN_FOR: Duration = Duration::from_secs(10);
/// Hosts that are remembered.
const HOSTS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_silent_is_left_alone_for_a_while_or_until_there_is_an_answer() {
        let s = Duration::from_secs;
        let mut down = Down::default();
        assert!(!down.is_down(s(0), "a"));
        down.handle_silence(s(0), "a");
        assert!(down.is_down(s(9), "a") && !down.is_down(s(9), "b"));
        assert!(!down.is_down(s(10), "a"));
        down.handle_silence(s(10), "a");
        down.handle_answer("a");
        assert!(!down.is_down(s(11), "a"));
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let mut down = Down::default();
        for host in 0..2 * HOSTS_MAX {
            down.handle_silence(Duration::ZERO, &host.to_string());
        }
        assert_eq!(down.0.len(), HOSTS_MAX);
        down.handle_silence(DOWN_FOR, "late");
        assert_eq!(down.0.len(), 1);
    }
}
