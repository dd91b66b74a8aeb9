//! Hundreds of clients at once: a manager takes them all, answers each, and has time for who comes then.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use atlas_manager::{ManagerNode, ManagerOptions, Store};
use atlas_net::identity::{DomainAuthority, Expected, Identity, LEAF_LIFETIME, NodeKey, Role};
use atlas_net::{Connection, Endpoint, EndpointOptions, StreamKind};
use atlas_proto::control::{CLIENT_TOPIC, ClientAnswer, ClientRequest, FRAME_BYTES_MAX};
use atlas_proto::domain::{Domain, DomainPattern};
use atlas_proto::policy::Policy;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

const CROWD: usize = 200;
/// At a time: each has some seconds, and all share this one thread with the manager.
const HANDSHAKES: usize = 10;
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Far longer than they all take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn issue(authority: &DomainAuthority, role: Role) -> Identity {
    let (key, now) = (NodeKey::generate().unwrap(), SystemTime::now());
    let issued = authority.issue(&key.request().unwrap(), role, now, LEAF_LIFETIME);
    Identity::new(key, issued.unwrap(), now).unwrap()
}

async fn manager(domain: &Domain, folder: &TempDir) -> (ManagerNode, DomainAuthority) {
    let authority = DomainAuthority::init(domain.clone(), SystemTime::now()).unwrap();
    let anybody = || vec![DomainPattern::ANY];
    let options = ManagerOptions {
        identity: issue(&authority, Role::Manager),
        authority: Some(authority.clone()),
        listen: LOOPBACK,
        public: Vec::new(),
        parent: None,
        policy: Policy::new(anybody(), anybody()).unwrap(),
        store: Store::in_memory().unwrap(),
        blobs: atlas_fs::Store::open(folder.path().join("blobs")).unwrap(),
        blobs_bytes_max: u64::MAX,
        urls: None,
        folder: folder.path().to_owned(),
        http: None,
        local: false,
        state: None,
    };
    (ManagerNode::start(options).await.unwrap(), authority)
}

/// A client with a connection of its own, which has asked once and been answered.
async fn client(identity: Identity, address: SocketAddr, domain: Domain) -> (Endpoint, Connection) {
    let endpoint = Endpoint::bind(LOOPBACK, identity, &EndpointOptions::default()).unwrap();
    let expected = Expected::manager_of(domain);
    let connection = endpoint.connect(address, &expected).await.unwrap();
    ask(&connection).await;
    (endpoint, connection)
}

async fn ask(connection: &Connection) {
    let topic = CLIENT_TOPIC;
    let stream = connection.open_stream(StreamKind::Request { topic }).await;
    let mut stream = stream.unwrap();
    stream.send_frame(&ClientRequest::Domains).await.unwrap();
    let answer = stream.recv_frame(FRAME_BYTES_MAX).await.unwrap();
    let Some(ClientAnswer::Domains(domains)) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(domains.len(), 1);
}

#[tokio::test]
async fn two_hundred_clients_are_connected_at_once_and_answered() {
    let folder = tempfile::tempdir().unwrap();
    let domain: Domain = "example.edu".parse().unwrap();
    let (manager, authority) = manager(&domain, &folder).await;
    let turns = Arc::new(Semaphore::new(HANDSHAKES));
    let clients = (0..CROWD).map(|_| {
        let (identity, turns) = (issue(&authority, Role::Client), turns.clone());
        let client = client(identity, manager.address(), domain.clone());
        async move {
            let _turn = turns.acquire().await.unwrap();
            client.await
        }
    });
    let clients: JoinSet<_> = clients.collect();
    let clients = timeout(PATIENCE, clients.join_all()).await.unwrap();

    let newcomer = client(issue(&authority, Role::Client), manager.address(), domain);
    timeout(PATIENCE, newcomer).await.unwrap();
    // Nobody was put out for another.
    let asked = clients
        .into_iter()
        .map(|(_endpoint, connection)| async move {
            ask(&connection).await;
        });
    let asked: JoinSet<_> = asked.collect();
    timeout(PATIENCE, asked.join_all()).await.unwrap();
}
