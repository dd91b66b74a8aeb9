//! How a node gets its certificates.
//!
//! ```text
//! first:   node                                   manager
//!            | -- atlas-enrol/1, no certificate -->  |   the node believes whom the token's fingerprint vouches for
//!            | -- secret, request ---------------->  |   Tokens::redeem, DomainAuthority::issue
//!            | <-- chain, anchors, or a refusal ---  |
//! later:     | -- atlas/1: request -------------->   |   the node has proved who it is: same key, same role
//!            | <-- chain, anchors, or a refusal ---  |
//! ```
//!
//! The private key stays where it was made. A refused node learns why and nothing else.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::alpn::{self, Protocol};
use crate::close::{CloseCode, Closing};
use crate::connection::Connection;
use crate::endpoint::{BindError, ConnectError, Dialler, dialling_only};
use crate::identity::{
    AuthorityError, DomainAuthority, Identity, IdentityError, Issued, LEAF_LIFETIME, NodeKey, Peer,
    RedeemError, Role, Secret, Token, Tokens,
};
use crate::stream::{Stream, StreamError, StreamKind};
use crate::verify::{Accepts, manager_of_token};

/// A node without a certificate that asks for one. It has proved nothing yet.
#[derive(Debug)]
pub struct Enrolment {
    quinn: quinn::Connection,
    stream: Stream,
    request: EnrolRequest,
}

/// What a node sends to enrol.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EnrolRequest {
    secret: Secret,
    /// PKCS #10, as DER.
    request: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Granted(Issued),
    Refused(EnrolRefusal),
}

/// Why a manager issues no certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolRefusal {
    /// The token.
    #[error(transparent)]
    Token(#[from] RedeemError),
    /// The request for a certificate is not signed by its key, or is for another key than the one that asks.
    #[error(
        "the manager does not accept the certificate request: run the same version of Atlas on both sides"
    )]
    Request,
    /// The manager may not, or cannot.
    #[error("the manager issues no certificates now: see its log")]
    Unavailable,
}

/// Why a node has no certificate now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// The manager was not reached, or is not the token's.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No address of the token leads anywhere.
    #[error(
        "the address {address} of the join token is not known here: see that its name is right and can be resolved"
    )]
    Address {
        /// Which.
        address: String,
    },
    /// No socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The manager refuses.
    #[error(transparent)]
    Refused(#[from] EnrolRefusal),
    /// The connection broke before the answer.
    #[error("the manager did not answer: try again, and see its log")]
    Stream(#[from] StreamError),
    /// It did not answer in time.
    #[error("the manager did not answer within {} seconds: try again, and see its log", ANSWER_TIMEOUT.as_secs())]
    TooSlow,
    /// What the manager issued is of no use.
    #[error("the certificate that the manager issued cannot be used")]
    Identity(#[from] IdentityError),
    /// What the manager issued is for something else.
    #[error(
        "the manager issued a certificate for {issued}, where one for a {role} of {domain} was asked for: make a new join token at the manager"
    )]
    Other {
        /// What came.
        issued: Peer,
        /// What was asked for.
        role: Role,
        /// Where.
        domain: atlas_proto::domain::Domain,
    },
    /// The node's key.
    #[error("the certificate request could not be made")]
    Key(#[source] rcgen::Error),
}

/// Gets a node its first certificate: from the first of the token's addresses at which the domain's manager answers.
///
/// # Errors
///
/// No manager of the domain answers, or it refuses the token.
pub async fn join(token: &Token, key: NodeKey) -> Result<Identity, EnrolError> {
    let mut failed = None;
    for address in &token.addresses {
        let resolved = tokio::net::lookup_host(address).await;
        let resolved: Vec<_> = resolved.map(Iterator::collect).unwrap_or_default();
        for at in &resolved {
            match join_at(*at, token, key.clone()).await {
                // Elsewhere something else may answer, or the answer may come.
                Err(
                    error @ (EnrolError::Connect(_)
                    | EnrolError::Bind(_)
                    | EnrolError::Stream(_)
                    | EnrolError::TooSlow),
                ) => {
                    failed = Some(error);
                }
                answered => return answered,
            }
        }
        if resolved.is_empty() {
            let address = address.clone();
            failed.get_or_insert(EnrolError::Address { address });
        }
    }
    Err(failed.unwrap_or(EnrolError::Address {
        address: String::new(),
    }))
}

/// Gets a node its next certificate, for the same key and role, from its manager.
///
/// # Errors
///
/// The peer is gone, does not answer, or refuses.
pub async fn renew(connection: &Connection, identity: &Identity) -> Result<Identity, EnrolError> {
    let request = identity.key().request().map_err(EnrolError::Key)?;
    let ask = async {
        let mut stream = connection.open_stream(StreamKind::Renew).await?;
        stream.send_message(&request).await?;
        stream.recv_message(ENROL_BYTES_MAX).await
    };
    let answer: Result<Answer, StreamError> = timeout(ANSWER_TIMEOUT, ask)
        .await
        .map_err(|_| EnrolError::TooSlow)?;
    let own = identity.peer();
    identity_of(answer?, identity.key().clone(), own.role, &own.domain)
}

/// The manager's side of [`renew`]: what to do with a stream of kind [`StreamKind::Renew`].
///
/// # Errors
///
/// The peer is gone, or is refused; then it has been told.
pub async fn answer_renewal(
    mut stream: Stream,
    peer: &Peer,
    authority: &DomainAuthority,
    now: SystemTime,
) -> Result<(), EnrolError> {
    let received = timeout(ANSWER_TIMEOUT, stream.recv_message(ENROL_BYTES_MAX)).await;
    let request: Vec<u8> = received.map_err(|_| EnrolError::TooSlow)??;
    let issued = renewed(&request, peer, authority, now);
    let answer = issued.map_or_else(
        |refusal| (Answer::Refused(refusal.clone()), Err(refusal)),
        |issued| (Answer::Granted(issued), Ok(())),
    );
    stream.send_message(&answer.0).await?;
    Ok(answer.1?)
}

impl Enrolment {
    pub(crate) fn new(quinn: quinn::Connection, stream: Stream, request: EnrolRequest) -> Self {
        Self {
            quinn,
            stream,
            request,
        }
    }

    /// From where it comes.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.quinn.remote_address()
    }

    /// Redeems the secret and answers: with a certificate for the token's role, or with why not. A token is used
    /// only if a certificate comes of it; save the tokens afterwards. Waits until the node has read the answer, which a
    /// slow one takes long to do: let it run apart from others.
    ///
    /// # Errors
    ///
    /// The node is refused; it has been told. Or it went away.
    pub async fn answer(
        mut self,
        authority: &DomainAuthority,
        tokens: &Mutex<Tokens>,
        now: SystemTime,
    ) -> Result<Role, EnrolError> {
        let admitted = {
            let mut tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
            admit(&self.request, authority, &mut tokens, now)
        };
        let (answer, result) = match admitted {
            Ok((role, issued)) => (Answer::Granted(issued), Ok(role)),
            Err(refusal) => (Answer::Refused(refusal.clone()), Err(refusal)),
        };
        self.stream.send_message(&answer).await?;
        // The node closes when it has read the answer.
        let _ = timeout(ANSWER_TIMEOUT, self.quinn.closed()).await;
        Closing::new(self.quinn).close(CloseCode::Done, "the answer was given");
        Ok(result?)
    }
}

async fn join_at(address: SocketAddr, token: &Token, key: NodeKey) -> Result<Identity, EnrolError> {
    let request = key.request().map_err(EnrolError::Key)?;
    let endpoint = dialling_only(address)?;
    let secret = token.secret.clone();
    let ask = async {
        let dialler = Dialler {
            quinn: &endpoint,
            protocol: Protocol::Enrol,
            version: alpn::VERSION,
        };
        let accepts = Accepts::Pinned(token.authority, manager_of_token(&token.domain));
        let quinn = dialler.dial(address, None, accepts).await?;
        let opened = quinn
            .open_bi()
            .await
            .map_err(|error| StreamError::Lost(error.into()));
        let (send, recv) = opened?;
        let mut stream = Stream { send, recv };
        stream
            .send_message(&EnrolRequest { secret, request })
            .await?;
        let answer: Answer = stream.recv_message(ENROL_BYTES_MAX).await?;
        Closing::new(quinn).close(CloseCode::Done, "the answer was read");
        Ok::<_, EnrolError>(answer)
    };
    let answer = timeout(ANSWER_TIMEOUT, ask)
        .await
        .map_err(|_| EnrolError::TooSlow)??;
    // So that the manager hears that its answer has come.
    let _ = timeout(GOODBYE_TIMEOUT, endpoint.wait_idle()).await;
    identity_of(answer, key, token.role, &token.domain)
}

fn identity_of(
    answer: Answer,
    key: NodeKey,
    role: Role,
    domain: &atlas_proto::domain::Domain,
) -> Result<Identity, EnrolError> {
    let issued = match answer {
        Answer::Granted(issued) => issued,
        Answer::Refused(refusal) => return Err(refusal.into()),
    };
    let identity = Identity::new(key, issued, SystemTime::now())?;
    if identity.peer().role != role || identity.peer().domain != *domain {
        let (issued, domain) = (identity.peer().clone(), domain.clone());
        return Err(EnrolError::Other {
            issued,
            role,
            domain,
        });
    }
    Ok(identity)
}

fn admit(
    request: &EnrolRequest,
    authority: &DomainAuthority,
    tokens: &mut Tokens,
    now: SystemTime,
) -> Result<(Role, Issued), EnrolRefusal> {
    let mut after = tokens.clone();
    let role = after.redeem(now, &request.secret)?;
    let issued = authority.issue(&request.request, role, now, LEAF_LIFETIME);
    let issued = issued.map_err(|error| refusal(&error))?;
    *tokens = after;
    Ok((role, issued))
}

fn renewed(
    request: &[u8],
    peer: &Peer,
    authority: &DomainAuthority,
    now: SystemTime,
) -> Result<Issued, EnrolRefusal> {
    if peer.domain != *authority.domain() {
        return Err(EnrolRefusal::Request);
    }
    let issued = authority.issue(request, peer.role, now, LEAF_LIFETIME);
    let issued = issued.map_err(|error| refusal(&error))?;
    let leaf = issued
        .chain
        .first()
        .cloned()
        .map(rustls::pki_types::CertificateDer::from);
    let named = leaf.and_then(|leaf| crate::identity::Leaf::read(&leaf).ok());
    let same = named.is_some_and(|leaf| leaf.peer == *peer);
    same.then_some(issued).ok_or(EnrolRefusal::Request)
}

fn refusal(error: &AuthorityError) -> EnrolRefusal {
    if matches!(error, AuthorityError::Request) {
        return EnrolRefusal::Request;
    }
    tracing::error!(%error, "no certificate was issued");
    EnrolRefusal::Unavailable
}

/// A request, or a chain of seven authorities and two anchors, each of some hundred bytes.
pub(crate) const ENROL_BYTES_MAX: usize = 64 << 10;
/// Handshake, signature and answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// A round trip; if it takes longer, nothing is lost.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
