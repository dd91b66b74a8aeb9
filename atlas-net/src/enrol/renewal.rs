//! The side that asks for its next certificate.

use std::time::SystemTime;

use tokio::time::timeout;

use super::{
    ANSWER_TIMEOUT, Answer, ENROL_BYTES_MAX, EnrolError, RenewRequest, chain_of, identity_of,
};
use crate::connection::Connection;
use crate::identity::{DomainAuthority, Identity};
use crate::stream::{StreamError, StreamKind};

/// Gets a node its next certificate, for the same key and role, from its manager.
///
/// # Errors
///
/// The peer is gone, does not answer, or refuses.
pub async fn renew(connection: &Connection, identity: &Identity) -> Result<Identity, EnrolError> {
    let request = identity.key().request().map_err(EnrolError::Key)?;
    let answer = ask(connection, RenewRequest::Node(request)).await?;
    let own = identity.peer();
    identity_of(answer, identity.key().clone(), own.role, &own.domain)
}

/// Has an authority signed again, for the same key and domain, over its manager's connection to the one that signed it.
///
/// # Errors
///
/// The peer is gone, does not answer, or refuses; or nobody has signed the authority but itself.
pub async fn renew_authority(
    connection: &Connection,
    authority: &DomainAuthority,
) -> Result<DomainAuthority, EnrolError> {
    let above = authority.above()?;
    let request = RenewRequest::Authority(authority.request()?);
    let chain = chain_of(ask(connection, request).await?)?;
    let mut renewed = authority.clone();
    renewed.adopt_signed_by(Some(above), chain, SystemTime::now())?;
    Ok(renewed)
}

async fn ask(connection: &Connection, request: RenewRequest) -> Result<Answer, EnrolError> {
    let ask = async {
        let mut stream = connection.open_stream(StreamKind::Renew).await?;
        stream.send_message(&request).await?;
        stream.recv_message(ENROL_BYTES_MAX).await
    };
    let answer: Result<Answer, StreamError> = timeout(ANSWER_TIMEOUT, ask)
        .await
        .map_err(|_| EnrolError::TooSlow)?;
    Ok(answer?)
}
