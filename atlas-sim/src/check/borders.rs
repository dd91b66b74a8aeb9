//! What crosses the border of a domain: no name of a client, no alias from inside, no closure that is refused.
//!
//! Packets are looked at as bytes, so that it does not matter where in them a name would be.

use atlas_proto::codec;
use atlas_proto::domain::Domain;
use atlas_proto::ids::{JobAlias, NodeId};
use atlas_proto::message::Message;

use super::view::View;
use crate::atlas::{Atlas, CLIENT, policy_of};
use crate::scenario::Scenario;
use crate::topology::{DomainIndex, Topology};

/// What is remembered of borders.
#[derive(Debug)]
pub(super) struct Borders {
    /// By domain: it, or one that encloses it, refuses the job.
    refusing: Vec<bool>,
    /// The last message that was looked at.
    serial: u64,
}

impl Borders {
    pub(super) fn new(scenario: &Scenario, nodes: &Atlas, topology: &Topology) -> Self {
        let name = |domain| {
            let name: Domain = topology
                .place(domain)
                .name
                .parse()
                .expect("a topology's names are valid");
            name
        };
        let origin = name(nodes.submitted_at());
        let refuses = |domain: DomainIndex| {
            !policy_of(scenario, domain).allows_inflow(&name(domain), &origin)
        };
        let mut refusing: Vec<bool> = Vec::new();
        for domain in topology.domains() {
            // A domain's number is larger than that of the one around it.
            let around = topology.place(domain).parent;
            let outer = around.is_some_and(|outer| refusing[outer.0 as usize]);
            refusing.push(outer || refuses(domain));
        }
        Self {
            refusing,
            serial: 0,
        }
    }

    /// No closure is at a node whose domain refuses the job.
    pub(super) fn check_inflow(&self, view: View<'_>, node: NodeId) -> Result<(), String> {
        let domain = view.stage.topology.domain_of(node);
        let held = view.node(node).map_or(0, |node| node.ledger().len());
        if self.refusing[domain.0 as usize] && held > 0 {
            let name = &view.stage.topology.place(domain).name;
            return Err(format!(
                "{held} closures are at {node:?} in {name}, which refuses them"
            ));
        }
        Ok(())
    }

    /// Looks at what was sent since the last time.
    pub(super) fn check_secrecy(&mut self, view: View<'_>) -> Result<(), String> {
        let Some(job) = view.nodes.job() else {
            return Ok(());
        };
        let topology = &view.stage.topology;
        let mut last = self.serial;
        for (serial, from, to, packet) in view.stage.flights().later_than(self.serial) {
            last = last.max(serial);
            let Some(packet) = packet.packet() else {
                continue;
            };
            if topology.domain_of(from) == topology.domain_of(to) {
                continue;
            }
            let bytes = codec::encode(packet).map_err(|error| error.to_string())?;
            let inside = is_inside(topology, from, view.nodes.submitted_at())
                && is_inside(topology, to, view.nodes.submitted_at());
            let told = secret_in(&packet.message, &bytes, (!inside).then_some(job));
            if let Some(secret) = told {
                return Err(format!("{packet:?} from {from:?} to {to:?} tells {secret}"));
            }
        }
        self.serial = last;
        Ok(())
    }
}

fn secret_in(message: &Message, bytes: &[u8], alias: Option<JobAlias>) -> Option<&'static str> {
    let contains = |secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    if contains(CLIENT.as_bytes()) {
        return Some("the name of the client");
    }
    if matches!(
        message,
        Message::HintPeers { .. } | Message::ForgetPeer { .. }
    ) {
        return Some("the name of a server");
    }
    let alias = alias.and_then(|alias| postcard::to_allocvec(&alias).ok());
    (alias.is_some_and(|alias| contains(&alias)))
        .then_some("an alias of the job from inside its domain")
}

fn is_inside(topology: &Topology, node: NodeId, domain: DomainIndex) -> bool {
    let depth = topology.place(domain).depth;
    topology.ancestor_at(topology.domain_of(node), depth) == domain
}
