//! From a handshake to a connection: which protocol was agreed on, whether a certificate was shown, and the two control
//! streams.
//!
//! A dialler's handshake is over before the acceptor has seen its certificate. So a connection counts as made
//! only when the acceptor's control stream has come: what the acceptor refuses, the dialler hears as an error of
//! `connect`.

use std::sync::Arc;

use quinn::{RecvStream, SendStream};
use rustls::pki_types::CertificateDer;

use crate::alpn::{self, Protocol};
use crate::close::{CloseCode, Closing, ConnectionLost, PeerCode, printable};
use crate::connection::Connection;
use crate::credentials::Credentials;
use crate::endpoint::{Arrival, Refusal};
use crate::enrol::{ENROL_BYTES_MAX, Enrolment};
use crate::identity::{Leaf, Relation, Role};
use crate::places::Places;
use crate::stream::Stream;
use crate::verify::VerifyError;

/// What accepting handshakes share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) enrolment: bool,
    pub(crate) version: u32,
    pub(crate) places: Places,
    pub(crate) connections_per_node_max: usize,
    pub(crate) connections_per_user_max: usize,
    pub(crate) connections_max: usize,
}

impl Shared {
    /// What this endpoint speaks with those who dial.
    pub(crate) fn protocols(&self) -> &'static [Protocol] {
        if self.enrolment {
            &[Protocol::Atlas, Protocol::Enrol]
        } else {
            &[Protocol::Atlas]
        }
    }

    fn names(&self) -> String {
        let names: Vec<_> = self
            .protocols()
            .iter()
            .map(|protocol| protocol.name(self.version))
            .collect();
        names.join(" ")
    }
}

/// The acceptor's side.
pub(crate) async fn accept(quinn: quinn::Connection, shared: &Shared) -> Result<Arrival, Refusal> {
    match Protocol::of(&quinn, shared.version) {
        Some(Protocol::Atlas) => accept_node(quinn, shared).await.map(Arrival::Node),
        Some(Protocol::Enrol) => accept_enrolment(quinn).await.map(Arrival::Enrolment),
        Some(Protocol::Version) | None => Err(tell_version(quinn, shared).await),
    }
}

/// The dialler's side: a connection to a node, with a peer that its verifier has accepted.
pub(crate) async fn dial(
    quinn: quinn::Connection,
    credentials: &Credentials,
) -> Result<Connection, ConnectionLost> {
    let (leaf, relation) = match authenticated(&quinn, credentials) {
        Ok(authenticated) => authenticated,
        // The verifier has accepted it; unless this node's identity was replaced meanwhile.
        Err(refusal) => return Err(refuse(quinn, &refusal)),
    };
    let control = control_streams(&quinn).await?;
    let closing = Closing::new(quinn);
    Ok(Connection::start(closing, leaf, relation, control, None))
}

/// The dialler's side if nothing else was agreed on: what the acceptor speaks.
pub(crate) async fn ask_version(
    quinn: &quinn::Connection,
    own: &str,
) -> Result<String, ConnectionLost> {
    let mut stream = quinn.open_uni().await?;
    let _ = stream.write_all(own.as_bytes()).await;
    let _ = stream.finish();
    let lost = ConnectionLost::from(quinn.closed().await);
    match &lost {
        ConnectionLost::ByPeer { code, reason } if *code == PeerCode(CloseCode::Version as u64) => {
            Ok(reason.clone())
        }
        ConnectionLost::ByPeer { .. }
        | ConnectionLost::ByUs { .. }
        | ConnectionLost::TimedOut
        | ConnectionLost::Reset
        | ConnectionLost::Broken { .. } => Err(lost),
    }
}

async fn accept_node(quinn: quinn::Connection, shared: &Shared) -> Result<Connection, Refusal> {
    let (leaf, relation) = match authenticated(&quinn, &shared.credentials) {
        Ok(authenticated) => authenticated,
        Err(refusal) => {
            refuse(quinn, &refusal);
            return Err(refusal);
        }
    };
    let closing = Closing::new(quinn.clone());
    let per_node_max = match leaf.peer.role {
        Role::Client | Role::Admin => shared.connections_per_user_max,
        Role::Server | Role::Manager | Role::Standby => shared.connections_per_node_max,
    };
    let node = leaf.peer.node;
    let Some(place) = shared.places.take(node, per_node_max, closing.clone()) else {
        let connections_max = shared.connections_max;
        let refusal = Refusal::Full { connections_max };
        refuse(quinn, &refusal);
        return Err(refusal);
    };
    let control = control_streams(&quinn).await.map_err(Refusal::Lost)?;
    let place = Some(place);
    Ok(Connection::start(closing, leaf, relation, control, place))
}

/// Who the peer has proved to be, and that this node deals with it.
fn authenticated(
    quinn: &quinn::Connection,
    credentials: &Credentials,
) -> Result<(Leaf, Relation), Refusal> {
    let shown = quinn
        .peer_identity()
        .and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
    let shown = shown.unwrap_or_default();
    let certificate = shown.first().ok_or(Refusal::NoCertificate)?;
    let leaf = Leaf::read(certificate).map_err(VerifyError::from)?;
    let relation = Relation::between(credentials.state().identity.peer(), &leaf.peer);
    Ok((leaf, relation.map_err(VerifyError::from)?))
}

fn refuse(quinn: quinn::Connection, refusal: &Refusal) -> ConnectionLost {
    let code = match refusal {
        Refusal::NoCertificate => CloseCode::NoCertificate,
        Refusal::Full { .. } => CloseCode::Full,
        Refusal::Verify(_)
        | Refusal::Version { .. }
        | Refusal::Lost(_)
        | Refusal::TooSlow
        | Refusal::Request => CloseCode::Refused,
    };
    let closing = Closing::new(quinn);
    closing.close(code, &refusal.to_string());
    closing.lost()
}

/// One stream in each direction. Its first byte says that it is there.
async fn control_streams(
    quinn: &quinn::Connection,
) -> Result<(SendStream, RecvStream), ConnectionLost> {
    let mut send = quinn.open_uni().await?;
    let begun = send.write_all(&[CONTROL]).await;
    let mut recv = quinn.accept_uni().await?;
    let mut first = [0];
    let read = recv.read_exact(&mut first).await;
    if begun.is_ok() && read.is_ok() && first == [CONTROL] {
        return Ok((send, recv));
    }
    let closing = Closing::new(quinn.clone());
    closing.close(CloseCode::Garbage, "the first stream is no control stream");
    Err(closing.lost())
}

async fn accept_enrolment(quinn: quinn::Connection) -> Result<Enrolment, Refusal> {
    let (send, recv) = quinn
        .accept_bi()
        .await
        .map_err(|error| Refusal::Lost(error.into()))?;
    let mut stream = Stream { send, recv };
    match stream.recv_message(ENROL_BYTES_MAX).await {
        Ok(request) => Ok(Enrolment::new(quinn, stream, request)),
        Err(_) => {
            refuse(quinn, &Refusal::Request);
            Err(Refusal::Request)
        }
    }
}

async fn tell_version(quinn: quinn::Connection, shared: &Shared) -> Refusal {
    let mut theirs = Vec::new();
    if let Ok(mut stream) = quinn.accept_uni().await {
        theirs = stream
            .read_to_end(VERSION_BYTES_MAX)
            .await
            .unwrap_or_default();
    }
    let ours = shared.names();
    Closing::new(quinn).close(CloseCode::Version, &ours);
    Refusal::Version {
        ours,
        theirs: printable(&theirs),
    }
}

/// The offers of a dialler, as text.
pub(crate) fn offers(protocol: Protocol, version: u32) -> (Vec<Vec<u8>>, String) {
    (alpn::offers(&[protocol], version), protocol.name(version))
}

/// The first byte of a control stream.
const CONTROL: u8 = 1;
/// A name such as `atlas/1`.
const VERSION_BYTES_MAX: usize = 64;
