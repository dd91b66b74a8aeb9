//! Of a domain's two managers one acts at a time, and nothing is lost when the other takes over.
//!
//! Looked at after every event, whomever it happened to: a manager ceases to act with the time on its clock, and nothing tells of that.

use std::collections::BTreeMap;

use atlas_proto::ids::NodeId;
use atlas_proto::standby::Term;

use super::view::View;
use crate::topology::{DomainIndex, Topology};

/// What is remembered of them.
#[derive(Debug)]
pub(super) struct Standbys {
    domains: Vec<Domain>,
    /// The last term that each child has promised.
    promised: BTreeMap<NodeId, Term>,
}

#[derive(Debug)]
struct Domain {
    domain: DomainIndex,
    managers: Vec<NodeId>,
    /// Who has acted in each term.
    acted: BTreeMap<Term, NodeId>,
    /// Who was seen to have everything, in which term, and how much was safe.
    complete: Option<(NodeId, Term, usize)>,
}

impl Standbys {
    pub(super) fn new(topology: &Topology) -> Self {
        let domains = topology
            .domains()
            .filter(|&domain| topology.standby(domain).is_some());
        let domain = |domain| Domain {
            domain,
            managers: topology.managers(domain).collect(),
            acted: BTreeMap::new(),
            complete: None,
        };
        Self {
            domains: domains.map(domain).collect(),
            promised: BTreeMap::new(),
        }
    }

    pub(super) fn check(&mut self, view: View<'_>, touched: Option<NodeId>) -> Result<(), String> {
        if self.domains.is_empty() {
            return Ok(());
        }
        for domain in &mut self.domains {
            domain.check(view)?;
        }
        touched.map_or(Ok(()), |node| self.check_promise(view, node))
    }

    fn check_promise(&mut self, view: View<'_>, node: NodeId) -> Result<(), String> {
        let Some((promised, heeds)) = view.nodes.promises(view.stage, node) else {
            return Ok(());
        };
        let before = self.promised.entry(node).or_default();
        if promised < *before {
            return Err(format!(
                "{node:?} had promised {before}, and promises {promised}"
            ));
        }
        *before = promised;
        match heeds {
            Some(term) if term > promised => Err(format!(
                "{node:?} heeds somebody in {term}, and has promised {promised} on its disk"
            )),
            Some(_) | None => Ok(()),
        }
    }
}

impl Domain {
    fn check(&mut self, view: View<'_>) -> Result<(), String> {
        let acts = |&node: &NodeId| Some((node, view.nodes.acts_in(view.stage, node)?));
        let mut acting = self.managers.iter().filter_map(acts);
        let Some((node, term)) = acting.next() else {
            return Ok(());
        };
        if let Some((other, later)) = acting.next() {
            return Err(format!(
                "{node:?} acts in {term}, and {other:?} in {later}, at once"
            ));
        }
        let known = *self.acted.entry(term).or_insert(node);
        if known != node {
            return Err(format!(
                "{node:?} acts in {term}, in which {known:?} has acted"
            ));
        }
        let complete = Some((node, term, view.nodes.safe_records(self.domain)));
        if self.complete != complete {
            if let Some(record) = view.nodes.lost_record(node) {
                return Err(format!(
                    "{node:?} acts in {term} without record {record}, which is safe"
                ));
            }
            self.complete = complete;
        }
        Ok(())
    }
}
