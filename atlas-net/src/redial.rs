//! Coming back after a connection was lost or could not be made.
//!
//! [`Backoff`] is pure: it is told what happened and when, and says how long to wait. The wait doubles with each
//! failure, and a part of it is drawn by lot, so that a thousand servers whose manager was restarted do not come back
//! in one moment. [`Redialler`] dials by it, and looks up names anew each time, since what they stand for may have moved.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use atlas_proto::rng::Rng;
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::identity::Expected;

/// How long to wait before the next attempt.
#[derive(Clone, Debug)]
pub struct Backoff {
    limits: BackoffLimits,
    rng: Rng,
    /// Attempts and short connections since one held.
    failures: u32,
    connected: Option<Instant>,
}

/// The bounds of the waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffLimits {
    /// After the first failure.
    pub first: Duration,
    /// However many failures there were.
    pub max: Duration,
    /// A connection that held for so long was a good one: what was before is forgotten.
    pub stable: Duration,
}

impl Default for BackoffLimits {
    /// From a quarter of a second to half a minute.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            max: Duration::from_secs(30),
            stable: Duration::from_secs(1),
        }
    }
}

impl Backoff {
    /// The waits follow from the seed and from what is told.
    #[must_use]
    pub fn new(limits: BackoffLimits, seed: u64) -> Self {
        Self {
            limits,
            rng: Rng::new(seed),
            failures: 0,
            connected: None,
        }
    }

    /// A connection was made.
    pub fn handle_connected(&mut self, now: Instant) {
        self.connected = Some(now);
    }

    /// An attempt failed, or the connection was lost: so long is to be waited before the next attempt.
    pub fn handle_failure(&mut self, now: Instant) -> Duration {
        let held = self
            .connected
            .take()
            .map(|since| now.saturating_duration_since(since));
        if held.is_some_and(|held| held >= self.limits.stable) {
            self.failures = 0;
        }
        let doubled = 2_u32.saturating_pow(self.failures);
        let whole = self
            .limits
            .first
            .saturating_mul(doubled)
            .min(self.limits.max);
        self.failures = self.failures.saturating_add(1);
        // Between half of it and all.
        whole / 2 + whole.mul_f64(self.rng.below(LOTS) as f64 / LOTS as f64) / 2
    }
}

/// Keeps a node connected to one peer.
#[derive(Debug)]
pub struct Redialler {
    addresses: Vec<String>,
    expected: Expected,
    backoff: Backoff,
    /// There was a connection, so that the next attempt comes after a failure.
    dialled: bool,
}

impl Redialler {
    /// Dials this peer at the first of these addresses at which it answers, each `host:port`, with waits as the policy
    /// says.
    #[must_use]
    pub fn new(
        addresses: impl IntoIterator<Item = impl ToString>,
        expected: Expected,
        backoff: Backoff,
    ) -> Self {
        let addresses = addresses.into_iter();
        let addresses = addresses.map(|address| address.to_string()).collect();
        Self {
            addresses,
            expected,
            backoff,
            dialled: false,
        }
    }

    /// The next connection: call it first, and again whenever the last one was lost. Failures are logged, and tried again
    /// for ever, since all of them can be mended at the other side. Cancel-safe but for the wait, which begins anew.
    pub async fn connect(&mut self, endpoint: &Endpoint) -> Connection {
        if std::mem::replace(&mut self.dialled, true) {
            self.wait().await;
        }
        loop {
            if let Some(connection) = self.attempt(endpoint).await {
                self.backoff.handle_connected(Instant::now());
                return connection;
            }
            self.wait().await;
        }
    }

    /// Each address once, in turn.
    async fn attempt(&self, endpoint: &Endpoint) -> Option<Connection> {
        for name in &self.addresses {
            for address in resolve(name).await {
                match endpoint.connect(address, &self.expected).await {
                    Ok(connection) => {
                        tracing::info!(peer = %connection.peer(), %name, %address, "connected");
                        return Some(connection);
                    }
                    Err(error) => tracing::warn!(%name, %address, %error, "cannot connect"),
                }
            }
        }
        None
    }

    async fn wait(&mut self) {
        let wait = self.backoff.handle_failure(Instant::now());
        tracing::debug!(expected = %self.expected, ?wait, "waiting before the next attempt");
        tokio::time::sleep(wait).await;
    }
}

async fn resolve(name: &str) -> Vec<SocketAddr> {
    match timeout(RESOLVE_TIMEOUT, lookup_host(name)).await {
        Ok(Ok(addresses)) => addresses.take(ADDRESSES_PER_NAME_MAX).collect(),
        Ok(Err(error)) => {
            tracing::warn!(%name, %error, "the address cannot be resolved");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!(%name, "the address was not resolved in time");
            Vec::new()
        }
    }
}

/// As long as a handshake may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Each may cost a handshake's time; what is behind the others comes to its turn when the name is resolved again.
const ADDRESSES_PER_NAME_MAX: usize = 8;
/// Finer than that no wait is told apart from another.
const LOTS: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BackoffLimits = BackoffLimits {
        first: Duration::from_secs(1),
        max: Duration::from_secs(60),
        stable: Duration::from_secs(100),
    };

    #[test]
    fn waits_double_up_to_a_limit_and_are_spread() {
        let start = Instant::now();
        let mut all = [Backoff::new(LIMITS, 1), Backoff::new(LIMITS, 2)];
        let mut same = 0;
        for attempt in 0..40 {
            let whole = Duration::from_secs(1 << attempt.min(6)).min(LIMITS.max);
            let waits = all.each_mut().map(|backoff| backoff.handle_failure(start));
            assert!(
                waits.iter().all(|&wait| wait >= whole / 2 && wait <= whole),
                "{waits:?} of {whole:?}"
            );
            same += u32::from(waits[0] == waits[1]);
        }
        assert!(same < 2);
    }

    #[test]
    fn one_seed_gives_one_sequence_of_waits() {
        let start = Instant::now();
        let waits = |seed| {
            let mut backoff = Backoff::new(LIMITS, seed);
            (0..9)
                .map(|_| backoff.handle_failure(start))
                .collect::<Vec<_>>()
        };
        assert_eq!(waits(3), waits(3));
        assert_ne!(waits(3), waits(4));
    }

    #[test]
    fn only_a_connection_that_held_is_forgiven() {
        let start = Instant::now();
        let mut backoff = Backoff::new(LIMITS, 1);
        for _ in 0..5 {
            backoff.handle_failure(start);
        }
        backoff.handle_connected(start);
        assert!(backoff.handle_failure(start + Duration::from_secs(99)) >= Duration::from_secs(16));
        backoff.handle_connected(start);
        assert!(backoff.handle_failure(start + Duration::from_secs(100)) <= LIMITS.first);
    }
}
