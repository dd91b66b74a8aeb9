//! Endpoints against each other on this machine: what must work, and what peers may send. Every test is bounded in
//! time and waits for what it expects to happen.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use atlas_proto::domain::Domain;
use atlas_proto::ids::Epoch;
use atlas_proto::message::{Message, Packet};

use crate::identity::{
    DomainAuthority, Expected, Identity, LEAF_LIFETIME, NodeKey, Role, SUB_DOMAIN_LIFETIME,
};
use crate::{Arrival, Connection, Endpoint, EndpointOptions};

mod connections;
mod enrolment;
mod hostile;
mod limits;
mod redialling;
mod relaying;
mod renewal;
mod streams;
mod sub_domains;

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

fn authority(text: &str) -> DomainAuthority {
    DomainAuthority::init(domain(text), SystemTime::now()).unwrap()
}

/// An authority that `above` has signed.
fn authority_below(above: &DomainAuthority, text: &str) -> DomainAuthority {
    let (mut authority, now) = (authority(text), SystemTime::now());
    let request = authority.request().unwrap();
    let chain = above
        .sign_sub_domain(&request, authority.domain(), now, SUB_DOMAIN_LIFETIME)
        .unwrap();
    authority.adopt(chain, now).unwrap();
    authority
}

fn identity_for(authority: &DomainAuthority, role: Role, lifetime: Duration) -> Identity {
    let (key, now) = (NodeKey::generate().unwrap(), SystemTime::now());
    let issued = authority
        .issue(&key.request().unwrap(), role, now, lifetime)
        .unwrap();
    Identity::new(key, issued, now).unwrap()
}

fn identity(authority: &DomainAuthority, role: Role) -> Identity {
    identity_for(authority, role, LEAF_LIFETIME)
}

fn here() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn bind(identity: Identity, options: &EndpointOptions) -> Endpoint {
    Endpoint::bind(here(), identity, options).unwrap()
}

fn manager(authority: &DomainAuthority) -> Endpoint {
    bind(
        identity(authority, Role::Manager),
        &EndpointOptions::manager(),
    )
}

fn server(authority: &DomainAuthority) -> Endpoint {
    bind(
        identity(authority, Role::Server),
        &EndpointOptions::default(),
    )
}

fn address(endpoint: &Endpoint) -> SocketAddr {
    endpoint.local_address().unwrap()
}

fn expected(endpoint: &Endpoint) -> Expected {
    let peer = endpoint.identity().peer().clone();
    Expected::node(peer.node, peer.domain)
}

/// The next arrival that is a node; those turned away meanwhile are passed over.
async fn accept_node(endpoint: &Endpoint) -> Connection {
    loop {
        if let Ok(Arrival::Node(connection)) = endpoint.accept().await.unwrap() {
            return connection;
        }
    }
}

/// Why the next who came was turned away.
async fn turned_away(endpoint: &Endpoint) -> String {
    endpoint.accept().await.unwrap().unwrap_err().to_string()
}

/// Both ends of a new connection.
async fn connect(dialler: &Endpoint, acceptor: &Endpoint) -> (Connection, Connection) {
    let expected = expected(acceptor);
    let dialled = dialler.connect(address(acceptor), &expected);
    let (dialled, accepted) = tokio::join!(dialled, accept_node(acceptor));
    (dialled.unwrap(), accepted)
}

/// Why `dialler` cannot connect.
async fn refused(dialler: &Endpoint, acceptor: &Endpoint) -> String {
    let expected = expected(acceptor);
    let refused = dialler.connect(address(acceptor), &expected).await;
    refused.unwrap_err().to_string()
}

/// A server of the domain connects, and a packet goes each way.
async fn serves(endpoint: &Endpoint, authority: &DomainAuthority) {
    let dialler = server(authority);
    let (dialled, accepted) = connect(&dialler, endpoint).await;
    dialled.send_packet(&packet(7)).await.unwrap();
    assert_eq!(accepted.recv_packet().await.unwrap(), packet(7));
    accepted.send_packet(&packet(8)).await.unwrap();
    assert_eq!(dialled.recv_packet().await.unwrap(), packet(8));
}

fn packet(ack: u32) -> Packet {
    Packet {
        from: Epoch(1),
        to: Epoch(1),
        seq: 0,
        ack,
        message: Message::KeepAlive,
    }
}

/// Fails rather than hangs.
async fn within<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), test)
        .await
        .expect("the test takes too long")
}
