//! Who has to do with whom. Certificates say who a peer is; this says whether it belongs here.

use atlas_proto::domain::Domain;
use atlas_proto::ids::NodeId;

use super::peer::{Peer, Role};

/// What a peer is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// A node of the same domain.
    SameDomain,
    /// Both are managers, the peer's domain is below this one's.
    Child,
    /// Both are managers, the peer's domain is above this one's.
    Parent,
    /// This is a manager, the peer a server of a domain below, which comes as a guest.
    Guest,
    /// This is a server, the peer the manager of a domain above, which may have it as a guest.
    Host,
}

/// Whom a dialler wants to reach: another, however trustworthy, is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its domain.
    pub domain: Domain,
    /// Its role; any, if none.
    pub role: Option<Role>,
    /// Which node; any, if none.
    pub node: Option<NodeId>,
}

/// Why a peer with a valid certificate is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// Its domain has nothing to do with this node's.
    #[error(
        "{peer} is of a foreign domain: {own} deals with nodes of {}, managers with those of domains above and below, and with servers of \
         those below; give the node an identity of this domain, or name another address", own.domain
    )]
    Foreign {
        /// Who.
        peer: Peer,
        /// This node.
        own: Peer,
    },
    /// It is somebody else.
    #[error("{peer} answers in place of {expected}: name the address of the right one")]
    Unexpected {
        /// Who.
        peer: Peer,
        /// Who should have.
        expected: String,
    },
    /// It is this very node.
    #[error(
        "{peer} is this node itself: name another's address, or do not copy a node's state folder to a second machine"
    )]
    Oneself {
        /// Who.
        peer: Peer,
    },
}

impl Relation {
    /// Whether `own` deals with `peer`, and as what.
    ///
    /// # Errors
    ///
    /// It does not.
    pub fn between(own: &Peer, peer: &Peer) -> Result<Self, Distrust> {
        let is_below = peer.domain.is_below(&own.domain);
        let is_above = own.domain.is_below(&peer.domain);
        if own.node == peer.node {
            Err(Distrust::Oneself { peer: peer.clone() })
        } else if own.domain == peer.domain {
            Ok(Self::SameDomain)
        } else {
            match (own.role, peer.role) {
                (Role::Manager, Role::Manager) if is_below => Ok(Self::Child),
                (Role::Manager, Role::Manager) if is_above => Ok(Self::Parent),
                (Role::Manager, Role::Server) if is_below => Ok(Self::Guest),
                (Role::Server, Role::Manager) if is_above => Ok(Self::Host),
                _ => Err(Distrust::Foreign {
                    peer: peer.clone(),
                    own: own.clone(),
                }),
            }
        }
    }
}

impl Expected {
    /// The manager of a domain, whichever node that is.
    #[must_use]
    pub fn manager_of(domain: Domain) -> Self {
        Self {
            domain,
            role: Some(Role::Manager),
            node: None,
        }
    }

    /// A node that is known by its id.
    #[must_use]
    pub fn node(node: NodeId, domain: Domain) -> Self {
        Self {
            domain,
            role: None,
            node: Some(node),
        }
    }

    pub(crate) fn check(&self, peer: &Peer) -> Result<(), Distrust> {
        let is_expected = self.domain == peer.domain
            && self.role.is_none_or(|role| role == peer.role)
            && self.node.is_none_or(|node| node == peer.node);
        is_expected
            .then_some(())
            .ok_or_else(|| Distrust::Unexpected {
                peer: peer.clone(),
                expected: self.to_string(),
            })
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.role {
            Some(role) => write!(f, "{role}")?,
            None => f.write_str("node")?,
        }
        if let Some(node) = self.node {
            write!(f, " {:016x}", node.0)?;
        }
        write!(f, " of {}", self.domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(node: u64, role: Role, domain: &str) -> Peer {
        Peer {
            node: NodeId(node),
            domain: domain.parse().unwrap(),
            role,
        }
    }

    fn relation(own: (Role, &str), other: (Role, &str)) -> Option<Relation> {
        let (own, other) = (peer(1, own.0, own.1), peer(2, other.0, other.1));
        Relation::between(&own, &other).ok()
    }

    #[test]
    fn nodes_deal_with_their_domain_and_managers_with_those_above_and_below() {
        use Role::{Admin, Client, Manager, Server};
        let (cs, edu, lab, bio) = (
            "cs.example.edu",
            "example.edu",
            "lab.cs.example.edu",
            "bio.example.edu",
        );
        for own in [Manager, Server, Client, Admin] {
            for other in [Manager, Server, Client, Admin] {
                assert_eq!(relation((own, cs), (other, cs)), Some(Relation::SameDomain));
                assert_eq!(relation((own, cs), (other, bio)), None);
                assert_eq!(relation((own, cs), (other, "xcs.example.edu")), None);
                if !matches!((own, other), (Manager | Server, Manager)) {
                    assert_eq!(relation((own, cs), (other, edu)), None);
                }
                if !matches!((own, other), (Manager, Manager | Server)) {
                    assert_eq!(relation((own, cs), (other, lab)), None);
                }
            }
        }
        assert_eq!(
            relation((Manager, cs), (Manager, edu)),
            Some(Relation::Parent)
        );
        assert_eq!(
            relation((Manager, cs), (Manager, lab)),
            Some(Relation::Child)
        );
        assert_eq!(
            relation((Manager, edu), (Manager, lab)),
            Some(Relation::Child)
        );
    }

    #[test]
    fn a_manager_has_servers_of_domains_below_as_guests_and_nobody_else() {
        use Role::{Admin, Client, Manager, Server};
        let (top, cs, lab, bio) = (
            "example.edu",
            "cs.example.edu",
            "lab.cs.example.edu",
            "bio.example.edu",
        );
        for (host, home) in [(cs, lab), (top, lab), (top, cs)] {
            let guest = relation((Manager, host), (Server, home));
            assert_eq!(guest, Some(Relation::Guest), "{home} at {host}");
            let of_guest = relation((Server, home), (Manager, host));
            assert_eq!(of_guest, Some(Relation::Host), "{host} of {home}");
        }
        // Beside, above, or only alike by name.
        for home in [bio, top, "xcs.example.edu", "edu", "cs.example.org"] {
            assert_eq!(relation((Manager, cs), (Server, home)), None, "{home}");
        }
        for host in [bio, lab, "ab.cs.example.edu"] {
            assert_eq!(relation((Server, cs), (Manager, host)), None, "{host}");
        }
        // Guests meet each other, and the host's servers, by way of the host.
        for other in [Server, Client, Admin] {
            for role in [Server, Client, Admin] {
                assert_eq!(relation((role, cs), (other, lab)), None);
                assert_eq!(relation((role, lab), (other, cs)), None);
            }
        }
        for role in [Client, Admin] {
            assert_eq!(relation((Manager, cs), (role, lab)), None);
            assert_eq!(relation((role, lab), (Manager, cs)), None);
        }
    }

    #[test]
    fn refusals_name_both() {
        let own = peer(1, Role::Manager, "cs.example.edu");
        let foreign =
            Relation::between(&own, &peer(2, Role::Server, "bio.example.edu")).unwrap_err();
        let text = foreign.to_string();
        assert!(
            text.contains("0000000000000002 of bio.example.edu is of a foreign domain"),
            "{text}"
        );
        assert!(text.contains("nodes of cs.example.edu"), "{text}");
        let itself = Relation::between(&own, &own).unwrap_err().to_string();
        assert!(itself.contains("is this node itself"), "{itself}");
        let expected = Expected::manager_of("bio.example.edu".parse().unwrap());
        let text = expected.check(&own).unwrap_err().to_string();
        assert!(
            text.contains("in place of manager of bio.example.edu"),
            "{text}"
        );
        let expected = Expected::node(NodeId(7), own.domain.clone());
        let text = expected.check(&own).unwrap_err().to_string();
        assert!(
            text.contains("in place of node 0000000000000007 of cs.example.edu"),
            "{text}"
        );
    }
}
