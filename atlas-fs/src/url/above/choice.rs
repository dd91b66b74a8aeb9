//! [`Choice`]: whether the next question goes above or to the origin. **Pure**: times and jitter are arguments.
//!
//! ```text
//!              an answer
//!        +-------------------+
//!        v                   |          no answer: a pause, twice as long each time
//!     asked --no answer--> silent ------+
//!                            ^          |
//!                            +----------+
//! ```
//!
//! Whoever is silent is not asked for a while, and the origin is; so is the origin of a host that somebody above cannot reach or is not let in by, which
//! may be otherwise here. A question that *the origin* has answered, whatever with, is answered.

use std::collections::BTreeMap;
use std::time::Duration;

use super::words::Trouble;

/// What is known of whoever is asked.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    silent: Option<Silence>,
    /// Hosts of which it can have nothing, and until when that is believed.
    hosts: BTreeMap<String, Duration>,
}

#[derive(Debug)]
struct Silence {
    until: Duration,
    pause: Duration,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Above,
    Origin,
}

/// What follows from an answer that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It is what there is to say.
    Give,
    /// The origin may do better from here.
    AskOrigin,
}

impl Choice {
    /// Who is asked for something of this host now. `own_secret` says that there are credentials for it here.
    pub(crate) fn next(&mut self, now: Duration, host: &str, own_secret: bool) -> Next {
        self.hosts.retain(|_, until| *until > now);
        let silent = self
            .silent
            .as_ref()
            .is_some_and(|silence| silence.until > now);
        if own_secret || silent || self.hosts.contains_key(host) {
            Next::Origin
        } else {
            Next::Above
        }
    }

    /// There was an answer. True if there was none before.
    pub(crate) fn handle_answer(&mut self) -> bool {
        self.silent.take().is_some()
    }

    /// It could not be asked, or has not answered to the end. `jitter` is between 0 and 1. True if it had answered before.
    pub(crate) fn handle_silence(&mut self, now: Duration, jitter: f64) -> bool {
        let pause = match &self.silent {
            // Others have asked at the same time.
            Some(silence) if silence.until > now => return false,
            Some(silence) => (silence.pause * 2).min(PAUSE_MAX),
            None => PAUSE_MIN,
        };
        let until = now + pause.mul_f64(0.5 + jitter.clamp(0.0, 1.0));
        self.silent.replace(Silence { until, pause }).is_none()
    }

    /// It has answered that it can have nothing.
    pub(crate) fn handle_trouble(&mut self, now: Duration, host: &str, trouble: &Trouble) -> After {
        match trouble {
            Trouble::KeepsNone => {
                let (until, pause) = (now + KEEPS_NONE, PAUSE_MAX);
                self.silent = Some(Silence { until, pause });
                After::AskOrigin
            }
            // What is wrong there is not wrong here; with one URL it may be another's full disk.
            Trouble::Disk(_) | Trouble::Name => After::AskOrigin,
            Trouble::Unreachable(_) | Trouble::Tls(_) | Trouble::Status(401 | 403 | 407) => {
                if self.hosts.len() < HOSTS_MAX {
                    self.hosts.insert(host.to_owned(), now + HOST_PAUSE);
                }
                After::AskOrigin
            }
            Trouble::TimedOut { .. }
            | Trouble::Status(_)
            | Trouble::Changed { .. }
            | Trouble::Broken(_)
            | Trouble::Redirects(_)
            | Trouble::Folder
            // Nobody else has files of a client's.
            | Trouble::Client(_)
            | Trouble::NotServed(_) => After::Give,
        }
    }
}

/// The first pause: a manager that is started anew is back after some seconds.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The last one.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// For so long a host is believed to be reached from here alone.
const HOST_PAUSE: Duration = Duration::from_secs(60);
/// Of whoever keeps no files: it does so as long as it runs.
const KEEPS_NONE: Duration = Duration::from_secs(3600);
/// Hosts that are remembered.
const HOSTS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: &str = "example.org";

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn who_is_silent_is_left_alone_for_longer_and_longer_until_there_is_an_answer() {
        let mut choice = Choice::default();
        assert_eq!(choice.next(s(0), HOST, false), Next::Above);
        assert!(choice.handle_silence(s(0), 0.5));
        // Those who asked with it.
        assert!(!choice.handle_silence(s(0), 0.5));
        assert_eq!(
            choice.next(Duration::from_millis(900), HOST, false),
            Next::Origin
        );
        assert_eq!(choice.next(s(1), HOST, false), Next::Above);
        assert!(!choice.handle_silence(s(1), 0.5));
        assert_eq!(choice.next(s(2), HOST, false), Next::Origin);
        assert_eq!(choice.next(s(3), HOST, false), Next::Above);
        assert!(choice.handle_answer());
        assert!(!choice.handle_answer());
        assert!(choice.handle_silence(s(4), 0.5));
        assert_eq!(choice.next(s(5), HOST, false), Next::Above);
    }

    #[test]
    fn a_host_is_asked_from_here_if_here_may_be_another_place() {
        for trouble in [
            Trouble::Unreachable(String::new()),
            Trouble::Tls(String::new()),
            Trouble::Status(401),
            Trouble::Status(403),
        ] {
            let mut choice = Choice::default();
            assert_eq!(
                choice.handle_trouble(s(0), HOST, &trouble),
                After::AskOrigin
            );
            assert_eq!(choice.next(s(59), HOST, false), Next::Origin);
            assert_eq!(choice.next(s(59), "other.org", false), Next::Above);
            assert_eq!(choice.next(s(60), HOST, false), Next::Above);
        }
    }

    #[test]
    fn what_the_origin_has_said_is_said() {
        let changed = Trouble::Changed {
            pinned: "one".to_owned(),
            found: "another".to_owned(),
        };
        for trouble in [
            Trouble::Status(404),
            Trouble::Status(503),
            changed,
            Trouble::Folder,
        ] {
            let mut choice = Choice::default();
            assert_eq!(choice.handle_trouble(s(0), HOST, &trouble), After::Give);
            assert_eq!(choice.next(s(0), HOST, false), Next::Above);
        }
    }

    #[test]
    fn secrets_stay_here() {
        let mut choice = Choice::default();
        assert_eq!(choice.next(s(0), HOST, true), Next::Origin);
        assert_eq!(choice.next(s(0), HOST, false), Next::Above);
    }

    #[test]
    fn who_keeps_no_files_is_not_asked_again_soon() {
        let mut choice = Choice::default();
        let after = choice.handle_trouble(s(0), HOST, &Trouble::KeepsNone);
        assert_eq!(after, After::AskOrigin);
        assert_eq!(choice.next(s(3599), HOST, false), Next::Origin);
        assert_eq!(choice.next(s(3600), HOST, false), Next::Above);
    }

    proptest! {
        #[test]
        fn nobody_is_given_up(jitters in prop::collection::vec(0.0f64..1.0, 1..60)) {
            let (mut choice, mut now, mut asked) = (Choice::default(), Duration::ZERO, 0);
            for jitter in jitters {
                choice.handle_silence(now, jitter);
                asked += 1;
                let silent_from = now;
                while choice.next(now, HOST, false) == Next::Origin {
                    now += Duration::from_millis(100);
                }
                prop_assert!(now - silent_from <= PAUSE_MAX.mul_f64(1.5) + Duration::from_millis(100));
            }
            prop_assert!(asked > 0);
        }
    }
}
