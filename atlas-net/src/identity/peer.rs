//! What a certificate says of its node, and the name that says it.

use std::fmt;
use std::str::FromStr;

use atlas_proto::domain::Domain;
use atlas_proto::ids::NodeId;
use serde::{Deserialize, Serialize};

/// A node as its certificate tells: read from a verified one, this is who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Derived from the node's public key.
    pub node: NodeId,
    /// The domain whose authority vouches for it.
    pub domain: Domain,
    /// What it may do there.
    pub role: Role,
}

/// What a node is to its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Coordinates the domain.
    Manager,
    /// Computes.
    Server,
    /// Submits.
    Client,
    /// Stands by for the manager of its domain. Only join tokens say so: its certificate is a manager's.
    Standby,
    /// Submits, and asks the manager for tokens that let in servers and clients.
    Admin,
}

/// A text is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no role: give manager, server or client, admin for a client who may let in others, or standby for a second manager"
)]
pub struct ParseRoleError {
    /// What was given.
    pub text: String,
}

impl Role {
    /// What the certificate of a node says that was let in with this role.
    #[must_use]
    pub fn of_certificate(self) -> Self {
        match self {
            Self::Manager | Self::Standby => Self::Manager,
            Self::Server => Self::Server,
            Self::Client => Self::Client,
            Self::Admin => Self::Admin,
        }
    }
}

impl Peer {
    /// The name in the node's certificate: `<id>.<role>._atlas.<domain>`, the id in 16 hexadecimal digits.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{:016x}.{}.{MARK}.{}", self.node.0, self.role, self.domain)
    }

    /// The other way round. Only what [`Peer::name`] gives is taken, so that one node has one name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let mut labels = name.splitn(4, '.');
        let node = u64::from_str_radix(labels.next()?, 16).ok()?;
        let role = labels.next()?.parse().ok()?;
        let mark = labels.next()?;
        let domain = labels.next()?.parse().ok()?;
        let node = NodeId(node);
        let peer = Self { node, domain, role };
        let is_nodes = role != Role::Standby && mark == MARK;
        (is_nodes && peer.name() == name).then_some(peer)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:016x} of {}", self.role, self.node.0, self.domain)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Manager => "manager",
            Self::Server => "server",
            Self::Client => "client",
            Self::Standby => "standby",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        let roles = [
            Self::Manager,
            Self::Server,
            Self::Client,
            Self::Admin,
            Self::Standby,
        ];
        let role = roles.into_iter().find(|role| role.to_string() == text);
        role.ok_or_else(|| ParseRoleError { text: text.into() })
    }
}

/// Stands between what is said of the node and its domain; no [`Domain`] can contain it.
const MARK: &str = "_atlas";

/// What a node's name has beyond its domain, at most.
pub(crate) const NAME_OVERHEAD: usize = "0123456789abcdef.manager._atlas.".len();

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_one_form_of_a_name_is_taken() {
        let name = "00000000000000ff.server._atlas.cs.example.edu";
        let peer = Peer::from_name(name).unwrap();
        assert_eq!(peer.name(), name);
        assert_eq!(
            peer.to_string(),
            "server 00000000000000ff of cs.example.edu"
        );
        for other in [
            "ff.server._atlas.cs.example.edu",
            "00000000000000FF.server._atlas.cs.example.edu",
            "+0000000000000ff.server._atlas.cs.example.edu",
            "00000000000000ff.king._atlas.cs.example.edu",
            "00000000000000ff.standby._atlas.cs.example.edu",
            "00000000000000ff.server.atlas.cs.example.edu",
            "00000000000000ff.server._atlas.CS.example.edu",
            "00000000000000ff.server._atlas.x._atlas.example.edu",
            "00000000000000ff.server._atlas",
            "cs.example.edu",
            "",
        ] {
            assert_eq!(Peer::from_name(other), None, "{other}");
        }
        assert!(
            "king"
                .parse::<Role>()
                .unwrap_err()
                .to_string()
                .contains("manager, server or client")
        );
    }

    proptest! {
        #[test]
        fn names_are_read_back(node: u64, domain in "[a-z]{1,9}(\\.[a-z0-9]{1,9}){0,4}", role in 0..4usize) {
            let role = [Role::Manager, Role::Server, Role::Client, Role::Admin][role];
            let peer = Peer { node: NodeId(node), domain: domain.parse().unwrap(), role };
            prop_assert_eq!(Peer::from_name(&peer.name()), Some(peer));
        }
    }
}
