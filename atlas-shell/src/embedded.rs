//! A manager and a server of this process's own, on loopback, for who has no cluster to log in to.
//!
//! They are what runs elsewhere, with certificates of an authority that lives as long as the command. Only blobs take a short
//! cut: client, manager and server have one store, so that a program is copied once and never packed.
//!
//! No certificate is renewed: each lasts as long as its authority. What a short life is for, that a stolen key is soon worth
//! nothing, it cannot do here: the keys never leave this process's memory, and whoever reads that has the authority's, too. And a
//! laptop may sleep for days between two moments of a job.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use atlas_fs::Store;
use atlas_fs::url::Options;
use atlas_manager::{ManagerNode, ManagerOptions};
use atlas_net::identity::{DomainAuthority, Identity, NodeKey, Role};
use atlas_proto::domain::{Domain, DomainPattern};
use atlas_proto::policy::Policy;
use atlas_server::{ServerNode, ServerOptions};
use tempfile::TempDir;

use crate::access::Access;
use crate::blobs::Blobs;
use crate::client::Client;
use crate::state::{Login, urls_folder};

/// A cluster of one machine, as long as this lives.
#[derive(Debug)]
pub struct Embedded {
    client: Rc<Client>,
    blobs: Blobs,
    server: ServerNode,
    manager: ManagerNode,
}

/// Starts one with so many workers; with those of the machine, if none.
///
/// # Errors
///
/// It cannot be started.
pub async fn start(workers: Option<u32>) -> anyhow::Result<Embedded> {
    let folder = tempfile::Builder::new().prefix("atlas-embedded-").tempdir();
    let folder = Arc::new(folder.context("cannot make a folder for the embedded cluster")?);
    let store = Store::open(folder.path().join("blobs"))?;
    let domain: Domain = DOMAIN
        .parse()
        .context("the embedded cluster's domain is none")?;
    let authority = DomainAuthority::init(domain, SystemTime::now())?;
    let [server, client] = [
        issue(&authority, Role::Server)?,
        issue(&authority, Role::Client)?,
    ];
    let manager = start_manager(authority, &folder, store.clone()).await?;
    let addresses = vec![manager.address().to_string()];
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let workers = workers.unwrap_or_else(|| u32::try_from(processors()).unwrap_or(1));
    // What was fetched is there for the next job.
    let urls = urls_folder(None).unwrap_or_else(|_| folder.path().join("urls"));
    let mut urls = Options::new(urls);
    if let Err(error) = Access::default().add_to(&mut urls) {
        // Most jobs read no file that asks who reads it.
        let error = anyhow::Error::from(error);
        eprintln!("atlas-shell: {error:#}; files by URL are read as by anybody");
    }
    let server = ServerNode::start(ServerOptions {
        identity: server,
        manager: addresses.clone(),
        listen: LOOPBACK,
        workers,
        folder: folder.path().join("engines"),
        store: store.clone(),
        blobs_bytes_max: u64::MAX,
        urls,
        mount_at: mount_folder(folder.path()),
        nice: None,
        // It may be in a debugger.
        engine_timeout: None,
        inherit_environment: true,
        identity_folder: None,
        state_folder: None,
        guest_after: None,
    });
    let server = server.await.context("cannot start the embedded server")?;
    let login = Login {
        identity: client,
        addresses,
    };
    Ok(Embedded {
        client: Client::connect(&login).await?.into(),
        blobs: Blobs::within(store, folder),
        server,
        manager,
    })
}

impl Embedded {
    /// To its manager.
    #[must_use]
    pub fn client(&self) -> Rc<Client> {
        self.client.clone()
    }

    /// The store that all of it shares.
    #[must_use]
    pub fn blobs(&self) -> Blobs {
        self.blobs.clone()
    }

    /// Ends manager and server, and what runs there.
    pub async fn shut_down(self) {
        // All that is connected is here: who says goodbye says it to nobody.
        self.server.stop_alone().await;
        drop((self.client, self.manager));
    }
}

/// Where jobs find files by URL. Nobody has asked for a folder in the system's root, but if it is there it is meant for that.
fn mount_folder(own: &Path) -> PathBuf {
    let usual = Path::new("/atlas");
    if usual.is_dir() {
        usual.to_owned()
    } else {
        own.join("atlas")
    }
}

async fn start_manager(
    authority: DomainAuthority,
    folder: &TempDir,
    store: Store,
) -> anyhow::Result<ManagerNode> {
    let anybody = || vec![DomainPattern::ANY];
    let options = ManagerOptions {
        identity: issue(&authority, Role::Manager)?,
        authority: Some(authority),
        listen: LOOPBACK,
        public: Vec::new(),
        parent: None,
        policy: Policy::new(anybody(), anybody())?,
        store: atlas_manager::Store::in_memory()?,
        blobs: store,
        blobs_bytes_max: u64::MAX,
        // The server's are there for the next cluster.
        urls: None,
        folder: folder.path().to_owned(),
        http: None,
        local: false,
        state: None,
    };
    let manager = ManagerNode::start(options).await;
    manager.context("cannot start the embedded manager")
}

fn issue(authority: &DomainAuthority, role: Role) -> anyhow::Result<Identity> {
    let (key, now) = (NodeKey::generate()?, SystemTime::now());
    let issued = authority.issue(&key.request()?, role, now, LIFETIME)?;
    Ok(Identity::new(key, issued, now)?)
}

/// As long as the authority's own.
const LIFETIME: Duration = Duration::MAX;
const DOMAIN: &str = "embedded.localhost";
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any job, and than a machine runs or sleeps.
    const YEARS: Duration = Duration::from_secs(5 * 365 * 24 * 3600);

    #[tokio::test]
    async fn no_certificate_ends_before_the_cluster() {
        let authority = DomainAuthority::init(DOMAIN.parse().unwrap(), SystemTime::now()).unwrap();
        let later = SystemTime::now() + YEARS;
        for role in [Role::Manager, Role::Server, Role::Client] {
            let identity = issue(&authority, role).unwrap();
            assert!(identity.ends_at() > later, "{role}");
        }
        // The connection's end is that of the certificates at both of its ends.
        let embedded = start(Some(1)).await.unwrap();
        assert!(embedded.client().ends_at() > later);
        embedded.shut_down().await;
    }
}
