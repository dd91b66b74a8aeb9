//! A manager and a server of this process's own, on loopback, for who has no cluster to log in to.

use std::rc::Rc;

use anyhow::bail;

use crate::client::Client;

/// A cluster of one machine, as long as this lives.
#[derive(Debug)]
pub struct Embedded {
    client: Rc<Client>,
}

/// Starts one with so many workers; with those of the machine, if none.
///
/// # Errors
///
/// It cannot be started.
#[expect(
    clippy::unused_async,
    reason = "callers are to be ready for what starting will wait for"
)]
pub async fn start(workers: Option<u32>) -> anyhow::Result<Embedded> {
    let _ = workers;
    bail!("an embedded cluster is not built in yet: log in to one with `atlas-shell login TOKEN`")
}

impl Embedded {
    /// To its manager.
    #[must_use]
    pub fn client(&self) -> Rc<Client> {
        self.client.clone()
    }

    /// Ends manager and server, and what runs there.
    pub async fn shut_down(self) {
        self.client.close().await;
    }
}
