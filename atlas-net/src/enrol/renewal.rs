//! The side that asks for its next certificate: once, or whenever it is time.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::time::{sleep, timeout};

use super::{
    ANSWER_TIMEOUT, Answer, ENROL_BYTES_MAX, EnrolError, Lifetimes, RenewRequest, chain_of,
    identity_of,
};
use crate::clock::wait_until;
use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::identity::{AuthorityError, DomainAuthority, Identity, StoreError, VerifyError};
use crate::redial::{Backoff, BackoffLimits};
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

/// Renews an endpoint's identity whenever it is time, over what `manager` gives as the current connection to the
/// domain's manager, and saves each in the folder. Does not return: let it run as a task of its own, as long as the
/// endpoint. New connections are made with the new identity; those that are there end with the certificates that they were
/// made with.
pub async fn keep_renewed(
    endpoint: &Endpoint,
    mut manager: impl FnMut() -> Option<Connection>,
    folder: &Path,
) {
    let kept = Kept::new(endpoint, folder);
    let mut backoff = kept.backoff();
    loop {
        kept.wait().await;
        let renewed = if let Some(identity) = kept.due() {
            match manager() {
                Some(connection) => renew(&connection, &identity).await.map_err(Into::into),
                None if identity.ends_at() <= SystemTime::now() => Err(KeepError::Ended),
                None => Err(KeepError::NoConnection),
            }
        } else {
            Ok(endpoint.identity())
        };
        let done = match renewed {
            Ok(identity) => kept.take(identity).await,
            Err(error) => Err(error),
        };
        rest(done, &mut backoff, "this node's certificate").await;
    }
}

/// As [`keep_renewed`], for the manager, who has the domain's authority itself.
pub async fn keep_own_renewed(
    endpoint: &Endpoint,
    authority: &RwLock<DomainAuthority>,
    lifetimes: &Lifetimes,
    folder: &Path,
) {
    let kept = Kept::new(endpoint, folder);
    let mut backoff = kept.backoff();
    loop {
        kept.wait().await;
        let renewed = if let Some(identity) = kept.due() {
            let (key, now) = (identity.key().clone(), SystemTime::now());
            read(authority).issue_own(key, now, lifetimes.node)
        } else {
            Ok(endpoint.identity())
        };
        let done = match renewed {
            Ok(identity) => kept.take(identity).await,
            Err(error) => Err(error.into()),
        };
        rest(done, &mut backoff, "this manager's certificate").await;
    }
}

/// Has the authority of a domain signed again whenever it is time, over what `above` gives as the current connection to the
/// manager of the domain that signed it, and saves it in the folder. Returns only if nobody has signed it but itself. What
/// the authority issues from then on lasts longer; for its manager's own identity let [`keep_own_renewed`] run, too.
pub async fn keep_authority_renewed(
    mut above: impl FnMut() -> Option<Connection>,
    authority: &RwLock<DomainAuthority>,
    folder: &Path,
) {
    let seed = read(authority).fingerprint().node().0;
    let mut backoff = Backoff::new(RETRIES, seed);
    let mut saved = true;
    while let Some(due) = { read(authority).renew_at() } {
        if saved {
            wait_until(due).await;
        }
        let before = read(authority).clone();
        let done = async {
            if due <= SystemTime::now() {
                let connection = above().ok_or(KeepError::NoConnection)?;
                let renewed = renew_authority(&connection, &before).await?;
                *authority.write().unwrap_or_else(PoisonError::into_inner) = renewed;
                saved = false;
            }
            let (now_valid, folder) = (read(authority).clone(), folder.to_owned());
            save(move || now_valid.save(&folder)).await?;
            saved = true;
            Ok(())
        };
        let done = done.await;
        rest(
            done,
            &mut backoff,
            "the certificate of this domain's authority",
        )
        .await;
    }
}

/// An endpoint's identity and where it is saved.
struct Kept<'a> {
    endpoint: &'a Endpoint,
    folder: &'a Path,
    /// The folder has the identity that is in use.
    saved: AtomicBool,
}

/// Why a renewal is to be tried again.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("there is no connection to the manager now: see that it runs and can be reached")]
    NoConnection,
    #[error(
        "it has ended, since its manager was away for too long, and nobody deals with this node any more: join the domain again with a \
         new token"
    )]
    Ended,
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error("the new certificate is in use and not saved: {0}")]
    Store(#[from] StoreError),
    #[error("the new certificate is in use and not saved, since this process is about to end")]
    Ending,
}

impl<'a> Kept<'a> {
    fn new(endpoint: &'a Endpoint, folder: &'a Path) -> Self {
        Self {
            endpoint,
            folder,
            saved: AtomicBool::new(true),
        }
    }

    /// Nodes that were enrolled in one moment do not come back in one.
    fn backoff(&self) -> Backoff {
        Backoff::new(RETRIES, self.endpoint.identity().peer().node.0)
    }

    /// Until there is something to do.
    async fn wait(&self) {
        if self.saved.load(Ordering::Relaxed) {
            wait_until(self.endpoint.identity().renew_at()).await;
        }
    }

    /// The identity, if it is to be renewed.
    fn due(&self) -> Option<Identity> {
        let identity = self.endpoint.identity();
        (identity.renew_at() <= SystemTime::now()).then_some(identity)
    }

    /// It is used even if it cannot be saved: that can be made good later.
    async fn take(&self, identity: Identity) -> Result<(), KeepError> {
        self.endpoint.replace_identity(identity.clone())?;
        self.saved.store(false, Ordering::Relaxed);
        let folder = self.folder.to_owned();
        save(move || identity.save(&folder)).await?;
        self.saved.store(true, Ordering::Relaxed);
        Ok(())
    }
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

/// Disks are slow, and other tasks wait meanwhile.
async fn save(
    save: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
) -> Result<(), KeepError> {
    let saved = tokio::task::spawn_blocking(save).await;
    Ok(saved.map_err(|_| KeepError::Ending)??)
}

/// Between one attempt and the next.
async fn rest(done: Result<(), KeepError>, backoff: &mut Backoff, what: &str) {
    let now = Instant::now();
    match done {
        Ok(()) => {
            tracing::info!("{what} was renewed");
            backoff.handle_connected(now);
            sleep(RENEWALS_APART).await;
        }
        Err(error) => {
            let wait = backoff.handle_failure(now);
            tracing::warn!(%error, ?wait, "{what} is not renewed yet");
            sleep(wait).await;
        }
    }
}

fn read(authority: &RwLock<DomainAuthority>) -> std::sync::RwLockReadGuard<'_, DomainAuthority> {
    authority.read().unwrap_or_else(PoisonError::into_inner)
}

/// A third of a certificate's life is left for them.
const RETRIES: BackoffLimits = BackoffLimits {
    first: Duration::from_millis(500),
    max: Duration::from_secs(60),
    stable: Duration::ZERO,
};
/// Where an authority is about to end, what it issues lasts shorter each time.
const RENEWALS_APART: Duration = Duration::from_secs(1);
