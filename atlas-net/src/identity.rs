//! Who a node is, and how others can know.
//!
//! Each domain has an authority, whose certificate signs those of the domain's nodes and of sub-domains. A node makes
//! its key itself and never sends it; what travels is a request signed with it.
//!
//! ```text
//! authority of example.edu         self-signed; may sign names within example.edu
//!   authority of cs.example.edu    may sign names within cs.example.edu
//!     9c0f6b41d2a7e835.server._atlas.cs.example.edu     a node's certificate: id, role, domain
//! ```
//!
//! A certificate's only name says all there is to say of its node ([`Peer`]). Since `_` is in no
//! [`Domain`](atlas_proto::domain::Domain), no domain contains the names of another domain's nodes, unless it is that
//! domain or above it; the name constraints of the authorities above then hold for domains and nodes alike.

mod authority;
mod certificate;
mod node;
mod peer;
mod store;
mod token;
mod tokens;
mod trust;

pub use crate::crypto::{NoRandomness, random};
pub use crate::verify::VerifyError;
pub use authority::{
    AuthorityError, DomainAuthority, Issued, LEAF_LIFETIME, SUB_DOMAIN_LIFETIME, SecretAuthority,
};
pub(crate) use certificate::Leaf;
pub use certificate::{CertificateError, Fingerprint};
pub use node::{Identity, IdentityError, NodeKey};
pub use peer::{ParseRoleError, Peer, Role};
pub use store::{StoreError, check_writable};
pub use token::{ParseTokenError, Secret, Token};
pub use tokens::{CreateTokenError, RedeemError, Tokens};
pub use trust::{Distrust, Expected, Relation};
