//! [`Gates`]: so many requests at a time to one host, and to all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

/// A gate for each host and port, and one before them all.
#[derive(Debug)]
pub(super) struct Gates {
    permits: usize,
    gates: Mutex<HashMap<String, Arc<Semaphore>>>,
    all: Arc<Semaphore>,
}

impl Gates {
    pub(super) fn new(permits: usize, all: usize) -> Self {
        Self {
            permits: permits.max(1),
            gates: Mutex::default(),
            all: Arc::new(Semaphore::new(all.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }

    /// Waits in turn.
    pub(super) async fn enter(&self, url: &Url) -> [OwnedSemaphorePermit; 2] {
        let gate = {
            let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
            let name = host_of(url);
            if gates.len() >= HOSTS_MAX && !gates.contains_key(&name) {
                gates.retain(|_, gate| Arc::strong_count(gate) > 1);
            }
            gates
                .entry(name)
                .or_insert_with(|| Arc::new(Semaphore::new(self.permits)))
                .clone()
        };
        // Whoever waits for a busy host keeps nobody from another.
        let own = gate.acquire_owned().await.expect("a gate is never closed");
        let all = self.all.clone().acquire_owned().await;
        [own, all.expect("a gate is never closed")]
    }
}

/// The host that a URL is of, with its port, also one that goes without saying: another one, as of `https` beside `http`, may be another's.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    format!("{host}:{}", url.port_or_known_default().unwrap_or_default())
}

/// Gates that nobody is in are forgotten beyond this number.
const HOSTS_MAX: usize = 256;
