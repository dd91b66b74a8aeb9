//! Why connections end: the codes that are sent, and what the two sides make of them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use quinn::{ConnectionError, VarInt};

/// Why a node closes a connection. The number travels, with a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// Nothing more is to be said.
    Done = 0,
    /// The peer showed no certificate where one is needed.
    NoCertificate = 1,
    /// The peer's certificate is not one that is dealt with here.
    Refused = 2,
    /// The two speak different versions.
    Version = 3,
    /// A frame was no packet, or the control stream broke off.
    Garbage = 4,
    /// A frame was larger than any packet.
    Oversized = 5,
    /// The peer's certificate has ended: it is to come back with a new one.
    CertificateEnded = 6,
    /// The peer did not say in time what it came for.
    TooSlow = 7,
    /// The peer has connected again, and this was its oldest connection.
    Replaced = 8,
    /// The node has as many connections as it takes.
    Full = 9,
}

/// A connection is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionLost {
    /// This node closed it.
    #[error("this node closed the connection ({code}): {reason}")]
    ByUs {
        /// Why.
        code: CloseCode,
        /// In words.
        reason: String,
    },
    /// The peer closed it.
    #[error("the peer closed the connection ({code}): {reason}")]
    ByPeer {
        /// Why; none for a code of another version.
        code: PeerCode,
        /// In the peer's words.
        reason: String,
    },
    /// Nothing was heard for too long.
    #[error(
        "nothing was heard from the peer for too long: it or the network is down; connect again"
    )]
    TimedOut,
    /// The peer has begun anew and knows nothing of the connection.
    #[error("the peer does not know this connection, since it was restarted: connect again")]
    Reset,
    /// QUIC or TLS failed.
    #[error("the connection broke: {what}")]
    Broken {
        /// What happened.
        what: String,
    },
}

/// The code that a peer has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCode(pub u64);

impl PeerCode {
    /// What it means; none if it is another version's.
    #[must_use]
    pub fn known(self) -> Option<CloseCode> {
        CloseCode::ALL
            .into_iter()
            .find(|&code| code as u64 == self.0)
    }
}

impl CloseCode {
    const ALL: [Self; 10] = [
        Self::Done,
        Self::NoCertificate,
        Self::Refused,
        Self::Version,
        Self::Garbage,
        Self::Oversized,
        Self::CertificateEnded,
        Self::TooSlow,
        Self::Replaced,
        Self::Full,
    ];
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::NoCertificate => "no certificate",
            Self::Refused => "refused",
            Self::Version => "other version",
            Self::Garbage => "garbage",
            Self::Oversized => "oversized frame",
            Self::CertificateEnded => "certificate ended",
            Self::TooSlow => "too slow",
            Self::Replaced => "replaced",
            Self::Full => "full",
        })
    }
}

impl fmt::Display for PeerCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(code) => code.fmt(f),
            None => write!(f, "code {}", self.0),
        }
    }
}

impl From<ConnectionError> for ConnectionLost {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::ByPeer {
                code: PeerCode(close.error_code.into_inner()),
                reason: printable(&close.reason),
            },
            ConnectionError::ConnectionClosed(close) => Self::Broken {
                what: format!(
                    "the peer reports {}: {}",
                    close.error_code,
                    printable(&close.reason)
                ),
            },
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::Reset => Self::Reset,
            ConnectionError::LocallyClosed => Self::ByUs {
                code: CloseCode::Done,
                reason: "it is no longer used".into(),
            },
            error @ (ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::CidsExhausted) => Self::Broken {
                what: error.to_string(),
            },
        }
    }
}

/// What a peer says is for logs and terminals, which obey control characters.
pub(crate) fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// A connection of quinn's with why this node closed it, which quinn does not keep.
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    pub(crate) quinn: quinn::Connection,
    cause: Arc<OnceLock<ConnectionLost>>,
}

impl Closing {
    pub(crate) fn new(quinn: quinn::Connection) -> Self {
        Self {
            quinn,
            cause: Arc::default(),
        }
    }

    /// The first cause counts.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        if self.quinn.close_reason().is_none() {
            let reason = reason.to_owned();
            let _ = self.cause.set(ConnectionLost::ByUs { code, reason });
        }
        self.quinn
            .close(VarInt::from_u32(code as u32), reason.as_bytes());
    }

    /// Why it is over; if it is not, it is as good as that: its tasks have ended.
    pub(crate) fn lost(&self) -> ConnectionLost {
        let cause = self.cause.get().cloned();
        cause.unwrap_or_else(|| {
            self.quinn
                .close_reason()
                .unwrap_or(ConnectionError::LocallyClosed)
                .into()
        })
    }
}
