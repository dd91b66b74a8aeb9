//! [`ClientError`]: why a manager does not do what it is asked for. Each says what to do.

use atlas_net::enrol::EnrolError;
use atlas_net::{BindError, ConnectError, StreamError};
use atlas_proto::control::Refusal;
use atlas_proto::domain::Domain;

/// Why a manager does not do what it is asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// It does not answer, or not to this user.
    #[error("cannot reach the manager of {domain}")]
    Unreachable {
        /// Of which domain.
        domain: Domain,
        /// Why, at the last of its addresses.
        source: Box<ConnectError>,
    },
    /// Whoever answers does not act.
    #[error(
        "no manager of {domain} acts now, as far as those know that answer: try again, and see that the one that was started last runs"
    )]
    StandsBy {
        /// Of which domain.
        domain: Domain,
    },
    /// None of its addresses leads anywhere.
    #[error(
        "cannot reach the manager of {domain}: its address {address} is not known here; see that the network is up, or log in again with a new token"
    )]
    Address {
        /// Of which domain.
        domain: Domain,
        /// Which address.
        address: String,
    },
    /// No socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// It says no.
    #[error("the manager refuses: {0}")]
    Refused(Refusal),
    /// It wanted a blob that could not be sent.
    #[error("the manager did not get what it wanted: {0:#}")]
    Unsent(anyhow::Error),
    /// The connection broke.
    #[error("the connection to the manager was lost")]
    Lost(#[source] StreamError),
    /// It said something else than it was asked.
    #[error(
        "the manager answers something else than it was asked: run the same version of Atlas on both sides"
    )]
    Unexpected,
    /// It did not hand over a blob.
    #[error(
        "the manager did not hand over blob {hash}: it may have forgotten the job; see `atlas-shell ps --all`"
    )]
    NoBlob {
        /// Which.
        hash: blake3::Hash,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It issued no certificate.
    #[error("the login could not be renewed")]
    Renewal {
        /// Why.
        source: EnrolError,
    },
}
