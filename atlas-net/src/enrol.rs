//! How a node gets its certificates, and how the authority of a sub-domain gets its own.
//!
//! ```text
//! first:   node                                   manager
//!            | -- atlas-enrol/1, no certificate -->  |   the node believes whom the token's fingerprint vouches for
//!            | -- secret, what for, request ----->  |   Tokens::redeem, then DomainAuthority::issue or ::sign_sub_domain
//!            | <-- certificates, or a refusal ----  |
//! later:     | -- atlas/1: request -------------->  |   the node has proved who it is: same key, same role
//!            | <-- certificates, or a refusal ----  |
//! ```
//!
//! - [`join`], [`renew`], [`keep_renewed`]: a server's or client's certificate.
//! - [`join_sub_domain`], [`put_below`], [`renew_authority`], [`keep_authority_renewed`]: that of a sub-domain's authority.
//!   Its manager then issues its own identity ([`DomainAuthority::issue_own`], [`keep_own_renewed`]).
//! - [`Enrolment`], [`answer_renewal`]: the manager's side of both.
//!
//! A token for managers lets in authorities of sub-domains, any other one nodes of the domain itself; the token's domain is
//! that of the manager who made it. Private keys stay where they were made. Who is refused learns why and nothing else.

mod answer;
mod renewal;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use atlas_proto::domain::Domain;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

pub use self::answer::{Admitted, Enrolment, answer_renewal};
pub use self::renewal::{
    keep_authority_renewed, keep_own_renewed, keep_renewed, renew, renew_authority,
};
use crate::alpn::{self, Protocol};
use crate::close::{CloseCode, Closing};
use crate::endpoint::{BindError, ConnectError, Dialler, dialling_only};
use crate::identity::{
    AuthorityError, DomainAuthority, Identity, IdentityError, Issued, LEAF_LIFETIME, NodeKey, Peer,
    RedeemError, Role, SUB_DOMAIN_LIFETIME, Secret, Token,
};
use crate::stream::{Stream, StreamError};
use crate::verify::{Accepts, manager_of_token};

/// How long what a manager issues is valid; never longer than its own authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Certificates of nodes.
    pub node: Duration,
    /// Certificates of sub-domains' authorities.
    pub sub_domain: Duration,
}

/// What is sent to enrol.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EnrolRequest {
    secret: Secret,
    wanted: Wanted,
    /// PKCS #10, as DER.
    request: Vec<u8>,
}

/// As what the key that asks is to be known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Wanted {
    /// A node, with the token's role.
    Node,
    /// The authority of a domain below.
    SubDomain(Domain),
}

/// What a node sends on a stream of kind [`StreamKind::Renew`](crate::StreamKind::Renew), both as PKCS #10.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum RenewRequest {
    /// For its own certificate.
    Node(Vec<u8>),
    /// For that of the authority whose manager it is.
    Authority(Vec<u8>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// For a node.
    Granted(Issued),
    /// For an authority: its certificate and those above, as DER.
    Signed(Vec<Vec<u8>>),
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
    /// The token lets in nodes, and a sub-domain is to be enrolled.
    #[error(
        "this join token is for a {role} and enrols no sub-domain: make one for a manager, at the manager of the domain above"
    )]
    NotForManagers {
        /// The token's.
        role: Role,
    },
    /// The token lets in sub-domains, and a node is to be enrolled.
    #[error(
        "this join token is for managers of sub-domains of {domain}: say which sub-domain this node is to manage, or make a \
         token for a server or client"
    )]
    ForManagers {
        /// The manager's.
        domain: Domain,
    },
    /// The sub-domain is none of the manager's.
    #[error(
        "{sub} is not below {domain}, whose manager was asked: name a domain such as `lab.{domain}`, or use a token of another domain"
    )]
    NotBelow {
        /// What was asked for.
        sub: Domain,
        /// The manager's.
        domain: Domain,
    },
    /// More authorities would stand above each other than verifiers follow.
    #[error(
        "no further domain can stand below {domain}, since too many stand above each other: enrol {sub} at one further up"
    )]
    TooDeep {
        /// What was asked for.
        sub: Domain,
        /// The manager's.
        domain: Domain,
    },
    /// The names of the sub-domain's nodes would be too long.
    #[error("the domain {sub} is too long for the names of its nodes: choose a shorter one")]
    TooLong {
        /// What was asked for.
        sub: Domain,
    },
    /// An authority cannot be renewed by one that has not signed it.
    #[error(
        "the authority of {sub} was not signed by that of {domain}: ask the manager that enrolled it, or enrol it here with a \
         join token for managers"
    )]
    NotSigned {
        /// Whose is to be renewed.
        sub: Domain,
        /// The manager's.
        domain: Domain,
    },
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
        domain: Domain,
    },
    /// The authority of the sub-domain cannot be made, or what the manager signed is not for it.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The node's key.
    #[error("the certificate request could not be made")]
    Key(#[source] rcgen::Error),
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            node: LEAF_LIFETIME,
            sub_domain: SUB_DOMAIN_LIFETIME,
        }
    }
}

/// Gets a node its first certificate: from the first of the token's addresses at which the domain's manager answers.
///
/// # Errors
///
/// No manager of the domain answers, or it refuses the token.
pub async fn join(token: &Token, key: NodeKey) -> Result<Identity, EnrolError> {
    let request = key.request().map_err(EnrolError::Key)?;
    let answer = ask(token, Wanted::Node, request).await?;
    identity_of(answer, key, token.role, &token.domain)
}

/// Makes the authority of a domain below the token's and has it signed there, with a token for managers. Save it, and have it
/// issue the manager's own identity: [`DomainAuthority::issue_own`].
///
/// # Errors
///
/// As [`put_below`]; or no key can be made.
pub async fn join_sub_domain(token: &Token, domain: Domain) -> Result<DomainAuthority, EnrolError> {
    let mut authority = DomainAuthority::init(domain, SystemTime::now())?;
    put_below(token, &mut authority).await?;
    Ok(authority)
}

/// Puts an authority that is there already below that of the token's domain: one that was the topmost so far, or whose
/// certificate has ended. Its key stays.
///
/// # Errors
///
/// No manager of the token's domain answers, or it refuses the token or the sub-domain; the authority stays as it was.
pub async fn put_below(token: &Token, authority: &mut DomainAuthority) -> Result<(), EnrolError> {
    let wanted = Wanted::SubDomain(authority.domain().clone());
    let answer = ask(token, wanted, authority.request()?).await?;
    let chain = chain_of(answer)?;
    Ok(authority.adopt_signed_by(Some(token.authority), chain, SystemTime::now())?)
}

/// The answer of the first that gives one.
async fn ask(token: &Token, wanted: Wanted, request: Vec<u8>) -> Result<Answer, EnrolError> {
    let mut failed = None;
    for address in &token.addresses {
        let resolved = tokio::net::lookup_host(address).await;
        let resolved: Vec<_> = resolved.map(Iterator::collect).unwrap_or_default();
        for at in &resolved {
            let request = EnrolRequest {
                secret: token.secret.clone(),
                wanted: wanted.clone(),
                request: request.clone(),
            };
            match ask_at(*at, token, &request).await {
                Ok(answer) => return Ok(answer),
                // Elsewhere something else may answer, or the answer may come.
                Err(error) => failed = Some(error),
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

async fn ask_at(
    address: SocketAddr,
    token: &Token,
    request: &EnrolRequest,
) -> Result<Answer, EnrolError> {
    let endpoint = dialling_only(address)?;
    let ask = async {
        let dialler = Dialler {
            quinn: &endpoint,
            protocol: Protocol::Enrol,
            version: alpn::VERSION,
            patience: None,
        };
        let accepts = Accepts::Pinned(token.authority, manager_of_token(&token.domain));
        let quinn = dialler.dial(address, None, accepts).await?;
        let opened = quinn
            .open_bi()
            .await
            .map_err(|error| StreamError::Lost(error.into()));
        let (send, recv) = opened?;
        let mut stream = Stream { send, recv };
        stream.send_message(request).await?;
        let answer: Answer = stream.recv_message(ENROL_BYTES_MAX).await?;
        Closing::new(quinn).close(CloseCode::Done, "the answer was read");
        Ok::<_, EnrolError>(answer)
    };
    let answer = timeout(ANSWER_TIMEOUT, ask)
        .await
        .map_err(|_| EnrolError::TooSlow)??;
    // So that the manager hears that its answer has come.
    let _ = timeout(GOODBYE_TIMEOUT, endpoint.wait_idle()).await;
    Ok(answer)
}

fn identity_of(
    answer: Answer,
    key: NodeKey,
    role: Role,
    domain: &Domain,
) -> Result<Identity, EnrolError> {
    let issued = match answer {
        Answer::Granted(issued) => issued,
        Answer::Signed(_) => return Err(StreamError::Garbage.into()),
        Answer::Refused(refusal) => return Err(refusal.into()),
    };
    let identity = Identity::new(key, issued, SystemTime::now())?;
    if identity.peer().role != role.of_certificate() || identity.peer().domain != *domain {
        let (issued, domain) = (identity.peer().clone(), domain.clone());
        return Err(EnrolError::Other {
            issued,
            role,
            domain,
        });
    }
    Ok(identity)
}

fn chain_of(answer: Answer) -> Result<Vec<Vec<u8>>, EnrolError> {
    match answer {
        Answer::Signed(chain) => Ok(chain),
        Answer::Granted(_) => Err(StreamError::Garbage.into()),
        Answer::Refused(refusal) => Err(refusal.into()),
    }
}

/// A request, or a chain of seven authorities and two anchors, each of some hundred bytes.
pub(crate) const ENROL_BYTES_MAX: usize = 64 << 10;
/// Handshake, signature and answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// A round trip; if it takes longer, nothing is lost.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
