//! The shape of the world: domains in a tree, one manager in each, servers in the leaf domains.
//!
//! Nodes are numbered without gaps, managers first, so that whoever keeps something per node keeps it in a
//! vector: [`NodeId`] 0 is the root's manager, the manager of domain `d` is node `d`, and server `s` is node
//! `domains + s`. Domains are numbered breadth first, so a parent's number is smaller than its children's. A domain may have a
//! second manager, its standby: those are the last nodes.

use std::ops::Range;

use atlas_proto::ids::NodeId;

/// A domain, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainIndex(pub u32);

/// A server, by its number: from zero, those of one domain next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerIndex(pub u32);

/// Where everybody is.
#[derive(Clone, Debug)]
pub struct Topology {
    domains: Vec<DomainPlace>,
    /// The domain of each server.
    homes: Vec<DomainIndex>,
    /// Those with a standby, in order.
    with_standby: Vec<DomainIndex>,
}

/// One domain's place in the tree.
#[derive(Clone, Debug)]
pub struct DomainPlace {
    /// The enclosing domain.
    pub parent: Option<DomainIndex>,
    /// How many domains enclose it.
    pub depth: u32,
    /// The domains directly inside it.
    pub children: Vec<DomainIndex>,
    /// The servers directly inside it, by number.
    pub servers: Range<u32>,
    /// Its name, below the names of those that enclose it.
    pub name: String,
}

impl Topology {
    /// A tree with so many `levels` of edges from the root's manager to the servers, and the same number of
    /// children everywhere, as near as the number of servers allows.
    #[must_use]
    pub fn new(servers: u32, levels: u32) -> Self {
        let servers = servers.max(1);
        let levels = levels.clamp(1, LEVELS_MAX);
        let fan_out = fan_out(servers, levels);
        let mut domains = vec![DomainPlace::root()];
        let mut level = 0..1;
        for depth in 1..levels {
            let end = domains.len();
            for parent in level {
                for number in 0..fan_out {
                    let child = DomainPlace::below(&domains[parent], index(parent), depth, number);
                    let child_index = index(domains.len());
                    domains[parent].children.push(child_index);
                    domains.push(child);
                }
            }
            level = end..domains.len();
        }
        let homes = populate(&mut domains, level, servers);
        Self {
            domains,
            homes,
            with_standby: Vec::new(),
        }
    }

    /// The same, and these domains have a standby. Those that do not exist have none.
    #[must_use]
    pub fn with_standbys(mut self, domains: &[u32]) -> Self {
        let exists = |domain: &DomainIndex| (domain.0 as usize) < self.domains.len();
        let domains = domains.iter().copied().map(DomainIndex);
        self.with_standby = domains.filter(exists).collect();
        self.with_standby.sort_unstable();
        self.with_standby.dedup();
        self
    }

    /// All domains, in the order of their numbers.
    pub fn domains(&self) -> impl ExactSizeIterator<Item = DomainIndex> + use<> {
        (0..index(self.domains.len()).0).map(DomainIndex)
    }

    /// All servers, in the order of their numbers.
    pub fn servers(&self) -> impl ExactSizeIterator<Item = ServerIndex> + use<> {
        (0..index(self.homes.len()).0).map(ServerIndex)
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.domains.len() + self.homes.len() + self.with_standby.len()
    }

    /// A domain's place.
    #[must_use]
    pub fn place(&self, domain: DomainIndex) -> &DomainPlace {
        &self.domains[domain.0 as usize]
    }

    /// The node that manages a domain, or the first one that does if it has a standby.
    #[must_use]
    pub fn manager(&self, domain: DomainIndex) -> NodeId {
        NodeId(u64::from(domain.0))
    }

    /// The domain's second manager, if it has one.
    #[must_use]
    pub fn standby(&self, domain: DomainIndex) -> Option<NodeId> {
        let number = self.with_standby.binary_search(&domain).ok()?;
        Some(NodeId(self.first_standby() + number as u64))
    }

    /// Some domain has a standby.
    #[must_use]
    pub fn has_standbys(&self) -> bool {
        !self.with_standby.is_empty()
    }

    /// The node that manages a domain, and its standby if there is one.
    pub fn managers(&self, domain: DomainIndex) -> impl Iterator<Item = NodeId> + use<> {
        [Some(self.manager(domain)), self.standby(domain)]
            .into_iter()
            .flatten()
    }

    /// All managers, those of the domains first, then their standbys.
    pub fn all_managers(&self) -> impl Iterator<Item = NodeId> + use<> {
        let firsts = 0..self.domains.len() as u64;
        firsts
            .chain(self.first_standby()..self.nodes() as u64)
            .map(NodeId)
    }

    /// Where a manager comes among all of them.
    #[must_use]
    pub fn manager_number(&self, node: NodeId) -> Option<usize> {
        let domains = self.domains.len() as u64;
        let number = match node.0.checked_sub(self.first_standby()) {
            Some(standby) => domains + standby,
            None => node.0,
        };
        let is_manager = matches!(self.role(node), Some(Role::Manager(_)));
        usize::try_from(number).ok().filter(|_| is_manager)
    }

    /// The domain's other manager, if it has two.
    #[must_use]
    pub fn other_manager(&self, node: NodeId) -> Option<NodeId> {
        let Some(Role::Manager(domain)) = self.role(node) else {
            return None;
        };
        let standby = self.standby(domain)?;
        Some(if node == standby {
            self.manager(domain)
        } else {
            standby
        })
    }

    /// The node that is a server.
    #[must_use]
    pub fn server(&self, server: ServerIndex) -> NodeId {
        NodeId(self.domains.len() as u64 + u64::from(server.0))
    }

    /// The domain that a server is directly inside of.
    #[must_use]
    pub fn home(&self, server: ServerIndex) -> DomainIndex {
        self.homes[server.0 as usize]
    }

    /// What a node is; none if there is no such node.
    #[must_use]
    pub fn role(&self, node: NodeId) -> Option<Role> {
        let number = u32::try_from(node.0).ok()?;
        let domains = index(self.domains.len()).0;
        if number < domains {
            return Some(Role::Manager(DomainIndex(number)));
        }
        let server = number - domains;
        if (server as usize) < self.homes.len() {
            return Some(Role::Server(ServerIndex(server)));
        }
        let standby = server as usize - self.homes.len();
        self.with_standby.get(standby).copied().map(Role::Manager)
    }

    /// The domain that a node is directly inside of: a manager is inside its own.
    #[must_use]
    pub fn domain_of(&self, node: NodeId) -> DomainIndex {
        match self.role(node) {
            Some(Role::Manager(domain)) => domain,
            Some(Role::Server(server)) => self.home(server),
            None => DomainIndex(0),
        }
    }

    /// The domain that has a node for a child: a server's, that around a manager's; none for the root's managers.
    #[must_use]
    pub fn domain_above(&self, node: NodeId) -> Option<DomainIndex> {
        match self.role(node)? {
            Role::Server(server) => Some(self.home(server)),
            Role::Manager(domain) => self.place(domain).parent,
        }
    }

    /// Who has a node for a child: a server's manager, a manager's parent; nobody for the root's manager. Where there is a standby,
    /// this is the first of the two.
    #[must_use]
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        Some(self.manager(self.domain_above(node)?))
    }

    /// How many children the managers of a domain have, standbys of domains below among them.
    #[must_use]
    pub fn children(&self, domain: DomainIndex) -> usize {
        let place = self.place(domain);
        let below = place.children.iter();
        let managers: usize = below.map(|&below| self.managers(below).count()).sum();
        managers + place.servers.len()
    }

    /// The domain itself or the one that encloses it at a depth.
    #[must_use]
    pub fn ancestor_at(&self, mut domain: DomainIndex, depth: u32) -> DomainIndex {
        while let Some(parent) = self.place(domain).parent
            && self.place(domain).depth > depth
        {
            domain = parent;
        }
        domain
    }

    /// The depth of the innermost domain that encloses both.
    #[must_use]
    pub fn common_depth(&self, one: DomainIndex, other: DomainIndex) -> u32 {
        let mut depth = self.place(one).depth.min(self.place(other).depth);
        while self.ancestor_at(one, depth) != self.ancestor_at(other, depth) {
            depth -= 1;
        }
        depth
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The manager of a domain, or its standby.
    Manager(DomainIndex),
    /// A server.
    Server(ServerIndex),
}

impl DomainPlace {
    fn root() -> Self {
        Self {
            parent: None,
            depth: 0,
            children: Vec::new(),
            servers: 0..0,
            name: String::from("world"),
        }
    }

    fn below(parent: &Self, parent_index: DomainIndex, depth: u32, number: u32) -> Self {
        Self {
            parent: Some(parent_index),
            depth,
            children: Vec::new(),
            servers: 0..0,
            name: format!("d{number}.{}", parent.name),
        }
    }
}

impl Topology {
    fn first_standby(&self) -> u64 {
        (self.domains.len() + self.homes.len()) as u64
    }
}

/// The children of each manager so that so many levels hold so many servers: the rounded root.
fn fan_out(servers: u32, levels: u32) -> u32 {
    let mut fan_out: u32 = 1;
    // The root is rounded up from its half: (2f + 1)^L <= 2^L N says that f + 1/2 does not exceed it.
    while u64::from(2 * fan_out + 1).pow(levels) <= u64::from(servers) << levels {
        fan_out += 1;
    }
    fan_out
}

/// Spreads the servers over the leaf domains; the first ones have one more if they do not divide.
fn populate(domains: &mut [DomainPlace], leaves: Range<usize>, servers: u32) -> Vec<DomainIndex> {
    let count = index(leaves.len()).0;
    let (each, more) = (servers / count, servers % count);
    let mut homes = Vec::new();
    for (number, leaf) in leaves.enumerate() {
        let first = index(homes.len()).0;
        let here = each + u32::from(index(number).0 < more);
        domains[leaf].servers = first..first + here;
        homes.extend((0..here).map(|_| index(leaf)));
    }
    homes
}

fn index(number: usize) -> DomainIndex {
    DomainIndex(u32::try_from(number).expect("a world has fewer than 2^32 nodes"))
}

/// Deeper trees of domains are not seen; it keeps the arithmetic within 64 bits.
pub const LEVELS_MAX: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_servers_in_three_levels_are_tens() {
        let topology = Topology::new(1000, 3);
        assert_eq!(topology.domains().len(), 1 + 10 + 100);
        assert_eq!(topology.nodes(), 1111);
        assert!(
            topology
                .domains()
                .all(|domain| topology.children(domain) == 10)
        );
    }

    #[test]
    fn ten_thousand_servers_in_four_levels_are_tens() {
        let topology = Topology::new(10_000, 4);
        assert_eq!(topology.domains().len(), 1 + 10 + 100 + 1000);
        assert!(
            topology
                .domains()
                .all(|domain| topology.children(domain) == 10)
        );
    }

    #[test]
    fn every_server_has_a_home_whatever_the_number() {
        for servers in 1..60 {
            for levels in 1..=LEVELS_MAX {
                let topology = Topology::new(servers, levels);
                assert_eq!(topology.servers().len(), servers as usize);
                for server in topology.servers() {
                    let place = topology.place(topology.home(server));
                    assert!(place.servers.contains(&server.0));
                    assert_eq!(place.depth, levels - 1);
                    let node = topology.server(server);
                    assert_eq!(topology.role(node), Some(Role::Server(server)));
                }
            }
        }
    }

    #[test]
    fn standbys_are_the_last_nodes_and_managers_of_their_domains() {
        let topology = Topology::new(4, 2).with_standbys(&[2, 0, 9]);
        assert_eq!(topology.nodes(), 3 + 4 + 2);
        let (root, second) = (DomainIndex(0), DomainIndex(2));
        assert_eq!(topology.standby(root), Some(NodeId(7)));
        assert_eq!(topology.standby(DomainIndex(1)), None);
        assert_eq!(topology.role(NodeId(8)), Some(Role::Manager(second)));
        assert_eq!(topology.role(NodeId(9)), None);
        assert_eq!(topology.other_manager(NodeId(8)), Some(NodeId(2)));
        assert_eq!(topology.other_manager(NodeId(2)), Some(NodeId(8)));
        assert_eq!(topology.domain_above(NodeId(8)), Some(root));
        assert_eq!(topology.children(root), 3);
        let numbers = topology.all_managers();
        let numbers: Vec<_> = numbers.map(|node| topology.manager_number(node)).collect();
        assert_eq!(numbers, (0..5).map(Some).collect::<Vec<_>>());
        assert_eq!(topology.manager_number(NodeId(3)), None);
    }

    #[test]
    fn names_show_the_enclosing_domains() {
        let topology = Topology::new(8, 3);
        let deepest = topology.domains().last().unwrap();
        assert_eq!(topology.place(deepest).name, "d1.d1.world");
        assert_eq!(topology.parent(topology.manager(deepest)), Some(NodeId(2)));
        assert_eq!(topology.parent(NodeId(0)), None);
    }

    #[test]
    fn the_common_domain_of_cousins_is_the_root() {
        let topology = Topology::new(27, 3);
        let leaves: Vec<_> = topology
            .domains()
            .filter(|&domain| topology.place(domain).depth == 2)
            .collect();
        assert_eq!(topology.common_depth(leaves[0], leaves[0]), 2);
        assert_eq!(topology.common_depth(leaves[0], leaves[1]), 1);
        assert_eq!(topology.common_depth(leaves[0], leaves[3]), 0);
        assert_eq!(topology.common_depth(DomainIndex(0), leaves[3]), 0);
    }
}
