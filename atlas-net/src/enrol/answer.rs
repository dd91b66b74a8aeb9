//! The manager's side: what is issued to whom, and why not.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use atlas_proto::domain::Domain;
use tokio::time::timeout;

use super::{
    ANSWER_TIMEOUT, Answer, ENROL_BYTES_MAX, EnrolError, EnrolRefusal, EnrolRequest, Lifetimes,
    RenewRequest, Wanted,
};
use crate::close::{CloseCode, Closing};
use crate::connection::Connection;
use crate::identity::{AuthorityError, DomainAuthority, Issued, Leaf, Peer, Role, Tokens};
use crate::stream::Stream;

/// Somebody without a certificate asks for one. It has proved nothing yet.
#[derive(Debug)]
pub struct Enrolment {
    quinn: quinn::Connection,
    stream: Stream,
    request: EnrolRequest,
}

/// Who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// A node of the manager's domain, with this role.
    Node(Role),
    /// The authority of this domain below.
    SubDomain(Domain),
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

    /// The sub-domain whose authority wants to be signed; none if it is a node that asks.
    #[must_use]
    pub fn sub_domain(&self) -> Option<&Domain> {
        match &self.request.wanted {
            Wanted::Node => None,
            Wanted::SubDomain(sub) => Some(sub),
        }
    }

    /// Redeems the secret and answers: with a certificate for the token's role, or for the authority of a sub-domain if that
    /// is manager, or with why not. A token is used only if a certificate comes of it; save the tokens afterwards.
    /// Waits until the node has read the answer, which a slow one takes long to do: let it run apart from others.
    ///
    /// # Errors
    ///
    /// The node is refused; it has been told. Or it went away.
    pub async fn answer(
        mut self,
        authority: &DomainAuthority,
        tokens: &Mutex<Tokens>,
        lifetimes: &Lifetimes,
        now: SystemTime,
    ) -> Result<Admitted, EnrolError> {
        let admitted = {
            let mut tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
            admit(&self.request, authority, &mut tokens, lifetimes, now)
        };
        let (answer, result) = match admitted {
            Ok((admitted, answer)) => (answer, Ok(admitted)),
            Err(refusal) => (Answer::Refused(refusal.clone()), Err(refusal)),
        };
        self.stream.send_message(&answer).await?;
        // The node closes when it has read the answer.
        let _ = timeout(ANSWER_TIMEOUT, self.quinn.closed()).await;
        Closing::new(self.quinn).close(CloseCode::Done, "the answer was given");
        Ok(result?)
    }
}

/// What to do with a stream of kind [`StreamKind::Renew`](crate::StreamKind::Renew) on this connection: a node of the
/// authority's domain gets its next certificate, the manager of a domain below its authority's.
///
/// # Errors
///
/// The peer is gone, or is refused; then it has been told.
pub async fn answer_renewal(
    mut stream: Stream,
    connection: &Connection,
    authority: &DomainAuthority,
    lifetimes: &Lifetimes,
    now: SystemTime,
) -> Result<(), EnrolError> {
    let received = timeout(ANSWER_TIMEOUT, stream.recv_message(ENROL_BYTES_MAX)).await;
    let request: RenewRequest = received.map_err(|_| EnrolError::TooSlow)??;
    let answer = match request {
        RenewRequest::Node(request) => {
            renewed(&request, connection.peer(), authority, lifetimes, now).map(Answer::Granted)
        }
        RenewRequest::Authority(request) => {
            signed_again(&request, connection, authority, lifetimes, now).map(Answer::Signed)
        }
    };
    let (answer, result) = match answer {
        Ok(answer) => (answer, Ok(())),
        Err(refusal) => (Answer::Refused(refusal.clone()), Err(refusal)),
    };
    stream.send_message(&answer).await?;
    Ok(result?)
}

fn admit(
    request: &EnrolRequest,
    authority: &DomainAuthority,
    tokens: &mut Tokens,
    lifetimes: &Lifetimes,
    now: SystemTime,
) -> Result<(Admitted, Answer), EnrolRefusal> {
    let mut after = tokens.clone();
    let role = after.redeem(now, &request.secret)?;
    let admitted = match (&request.wanted, role) {
        (Wanted::Node, Role::Server | Role::Client | Role::Standby | Role::Admin) => {
            let issued = authority.issue(&request.request, role, now, lifetimes.node);
            let issued = issued.map_err(|error| refusal(error, None))?;
            (Admitted::Node(role), Answer::Granted(issued))
        }
        (Wanted::SubDomain(sub), Role::Manager) => {
            let lifetime = lifetimes.sub_domain;
            let chain = authority.sign_sub_domain(&request.request, sub, now, lifetime);
            let chain = chain.map_err(|error| refusal(error, Some(sub)))?;
            (Admitted::SubDomain(sub.clone()), Answer::Signed(chain))
        }
        (Wanted::Node, Role::Manager) => {
            let domain = authority.domain().clone();
            return Err(EnrolRefusal::ForManagers { domain });
        }
        (Wanted::SubDomain(_), Role::Server | Role::Client | Role::Standby | Role::Admin) => {
            return Err(EnrolRefusal::NotForManagers { role });
        }
    };
    *tokens = after;
    Ok(admitted)
}

fn renewed(
    request: &[u8],
    peer: &Peer,
    authority: &DomainAuthority,
    lifetimes: &Lifetimes,
    now: SystemTime,
) -> Result<Issued, EnrolRefusal> {
    if peer.domain != *authority.domain() {
        return Err(EnrolRefusal::Request);
    }
    let issued = authority.issue(request, peer.role, now, lifetimes.node);
    let issued = issued.map_err(|error| refusal(error, None))?;
    let leaf = issued
        .chain
        .first()
        .cloned()
        .map(rustls::pki_types::CertificateDer::from);
    let named = leaf.and_then(|leaf| Leaf::read(&leaf).ok());
    let same = named.is_some_and(|leaf| leaf.peer == *peer);
    same.then_some(issued).ok_or(EnrolRefusal::Request)
}

fn signed_again(
    request: &[u8],
    connection: &Connection,
    authority: &DomainAuthority,
    lifetimes: &Lifetimes,
    now: SystemTime,
) -> Result<Vec<Vec<u8>>, EnrolRefusal> {
    let sub = &connection.peer().domain;
    if connection.peer().role != Role::Manager {
        return Err(EnrolRefusal::Request);
    }
    let (shown, lifetime) = (connection.certificates(), lifetimes.sub_domain);
    let chain = authority.renew_sub_domain(request, sub, &shown, now, lifetime);
    chain.map_err(|error| refusal(error, Some(sub)))
}

/// What the one who asks is told; that which is the manager's own affair goes to its log.
fn refusal(error: AuthorityError, sub: Option<&Domain>) -> EnrolRefusal {
    match (error, sub.cloned()) {
        (AuthorityError::Request, _) => EnrolRefusal::Request,
        (AuthorityError::NotBelow { sub, domain }, _) => EnrolRefusal::NotBelow { sub, domain },
        (AuthorityError::NotSigned { sub, domain }, _) => EnrolRefusal::NotSigned { sub, domain },
        (AuthorityError::TooDeep { domain }, Some(sub)) => EnrolRefusal::TooDeep { sub, domain },
        (AuthorityError::DomainTooLong { domain: sub }, Some(_)) => EnrolRefusal::TooLong { sub },
        (error, _) => {
            tracing::error!(%error, "no certificate was issued");
            EnrolRefusal::Unavailable
        }
    }
}
