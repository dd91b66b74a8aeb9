//! **Driver crate.** How Atlas's nodes meet: QUIC endpoints, and the identities by which they know each other.
//!
//! - [`identity`]: who a node is: the [`DomainAuthority`](identity::DomainAuthority) of a domain issues certificates, an
//!   [`Identity`](identity::Identity) is a node's key with its own, and a [`Token`](identity::Token) lets a new
//!   node in.
//! - [`enrol`]: how a node or a sub-domain gets its first certificate, and each one after.
//! - [`Endpoint`] and [`Connection`]: packets and streams between two nodes that have proved who they are.
//! - [`redial`]: coming back after a connection was lost.
//! - [`managers`]: a child's connections to those who may manage its domain, and which of them acts.
//! - [`relay`]: packets between nodes that cannot dial each other.
//! - [`whole_file`]: what a node keeps in its state folder, never half written.
//!
//! Nothing here decides what is said: packets are those of [`atlas_proto`], and its machines make them.
//! Every connection is TLS 1.3, and both sides show a certificate; there is no other mode. The one exception is
//! enrolment, which is for nodes that have no certificate yet and gets them nothing else. `docs/security.md` says
//! who trusts whom. Cryptography is that of rustls and ring alone.
#![forbid(unsafe_code)]

mod alpn;
mod clock;
mod close;
mod congestion;
mod connection;
mod credentials;
mod crypto;
pub mod endpoint;
pub mod enrol;
mod frame;
pub mod identity;
pub mod managers;
mod measuring;
mod packets;
mod places;
pub mod redial;
pub mod relay;
mod setup;
mod stream;
#[cfg(test)]
mod tests;
mod verify;
pub mod whole_file;

pub use clock::wait_until;
pub use close::{CloseCode, ConnectionLost, PeerCode};
pub use connection::{Connection, SendError};
pub use endpoint::{AcceptError, Arrival, BindError, ConnectError, Endpoint, EndpointOptions};
pub use identity::Expected;
pub use measuring::Measuring;
pub use quinn::{RecvStream, SendStream};
pub use stream::{FrameReceiver, FrameSender, Stream, StreamError, StreamKind};
