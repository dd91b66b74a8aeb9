//! Whose work may run in a domain, and where its own work may go.
//!
//! Each manager has one policy, from its configuration. An empty list allows nothing; the default allows
//! everything. A policy is asked before work moves: refused work never leaves its lender.
//!
//! Inflow guards a domain against work from outside: work whose origin is the domain itself, or a domain below
//! it, is always let in, whatever the list says. The manager of the domain asks [`Policy::allows_inflow`], others
//! that think of sending work there ask [`Destination::admits`](crate::message::Destination::admits): both
//! are the same rule.

use crate::domain::{Domain, DomainPattern};
use crate::limits::PATTERNS_MAX;

/// What a domain lets in and out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    inflow: Vec<DomainPattern>,
    outflow: Vec<DomainPattern>,
}

impl Policy {
    /// Allows work that matches any of the patterns; with an empty list, none but what is always let in.
    ///
    /// # Errors
    ///
    /// A list has more than [`PATTERNS_MAX`] patterns.
    pub fn new(
        inflow: Vec<DomainPattern>,
        outflow: Vec<DomainPattern>,
    ) -> Result<Self, PolicyError> {
        if inflow.len() > PATTERNS_MAX {
            return Err(PolicyError::InflowTooLong {
                patterns: inflow.len(),
            });
        }
        if outflow.len() > PATTERNS_MAX {
            return Err(PolicyError::OutflowTooLong {
                patterns: outflow.len(),
            });
        }
        Ok(Self { inflow, outflow })
    }

    /// Work of jobs submitted in `origin` may run in `domain`, whose policy this is.
    #[must_use]
    pub fn allows_inflow(&self, domain: &Domain, origin: &Domain) -> bool {
        lets_in(domain, &self.inflow, origin)
    }

    /// This domain's work may go to `destination`.
    #[must_use]
    pub fn allows_outflow(&self, destination: &Domain) -> bool {
        matches_any(&self.outflow, destination)
    }

    /// This domain's work may go anywhere.
    #[must_use]
    pub fn allows_outflow_to_all(&self) -> bool {
        self.outflow.contains(&DomainPattern::ANY)
    }

    /// Any work may run here that comes from `top` or below: then this domain's servers may be guests in a domain where all that may
    /// run, whose managers do not know this policy.
    #[must_use]
    pub fn allows_inflow_from_all_of(&self, top: &Domain) -> bool {
        matches_any(&self.inflow, top)
    }

    /// Whose work may run here.
    #[must_use]
    pub fn inflow(&self) -> &[DomainPattern] {
        &self.inflow
    }

    /// Where this domain's work may go.
    #[must_use]
    pub fn outflow(&self) -> &[DomainPattern] {
        &self.outflow
    }
}

impl Default for Policy {
    /// Allows everything.
    fn default() -> Self {
        Self {
            inflow: vec![DomainPattern::ANY],
            outflow: vec![DomainPattern::ANY],
        }
    }
}

/// Why a policy is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Too many inflow patterns.
    #[error(
        "inflow has {patterns} patterns, at most {PATTERNS_MAX} are allowed: name enclosing domains, which match all below them"
    )]
    InflowTooLong {
        /// What was given.
        patterns: usize,
    },
    /// Too many outflow patterns.
    #[error(
        "outflow has {patterns} patterns, at most {PATTERNS_MAX} are allowed: name enclosing domains, which match all below them"
    )]
    OutflowTooLong {
        /// What was given.
        patterns: usize,
    },
}

/// The rule of inflow: what comes from within, and what the list names.
pub(crate) fn lets_in(domain: &Domain, inflow: &[DomainPattern], origin: &Domain) -> bool {
    origin.is_within(domain) || matches_any(inflow, origin)
}

fn matches_any(patterns: &[DomainPattern], domain: &Domain) -> bool {
    patterns.iter().any(|pattern| pattern.matches(domain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Destination;

    fn patterns<const N: usize>(texts: [&str; N]) -> Vec<DomainPattern> {
        texts.map(|text| text.parse().unwrap()).into()
    }

    fn domain(text: &str) -> Domain {
        text.parse().unwrap()
    }

    #[test]
    fn default_allows_everything() {
        let policy = Policy::default();
        let own = domain("example.edu");
        assert!(policy.allows_inflow(&own, &domain("a")) && policy.allows_outflow(&domain("b.c")));
    }

    #[test]
    fn empty_lists_allow_nothing() {
        let policy = Policy::new(Vec::new(), Vec::new()).unwrap();
        let own = domain("example.edu");
        assert!(!policy.allows_inflow(&own, &domain("a")) && !policy.allows_outflow(&domain("a")));
    }

    #[test]
    fn inflow_and_outflow_are_asked_apart() {
        let policy =
            Policy::new(patterns(["example.edu", "x"]), patterns(["cs.example.edu"])).unwrap();
        let allows_inflow = |origin| policy.allows_inflow(&domain("cs.org"), &domain(origin));
        assert!(allows_inflow("bio.example.edu") && allows_inflow("x"));
        assert!(!allows_inflow("edu"));
        assert!(policy.allows_outflow(&domain("lab.cs.example.edu")));
        assert!(!policy.allows_outflow(&domain("bio.example.edu")));
        assert_eq!(policy.inflow().len(), 2);
        assert_eq!(policy.outflow(), patterns(["cs.example.edu"]));
    }

    #[test]
    fn work_from_within_is_let_in_whatever_the_list_says() {
        let closed = Policy::new(Vec::new(), Vec::new()).unwrap();
        let own = domain("cs.example.edu");
        for (origin, allowed) in [
            ("cs.example.edu", true),
            ("lab.cs.example.edu", true),
            ("example.edu", false),
            ("xcs.example.edu", false),
        ] {
            let origin = domain(origin);
            assert_eq!(closed.allows_inflow(&own, &origin), allowed, "{origin}");
            let destination = Destination {
                domain: own.clone(),
                inflow: closed.inflow().to_vec(),
            };
            assert_eq!(destination.admits(&origin), allowed, "{origin}");
        }
    }

    #[test]
    fn all_of_a_tree_is_let_in_only_where_a_pattern_covers_its_top() {
        let lets = |inflow: &[&str]| {
            let inflow = inflow.iter().map(|text| text.parse().unwrap()).collect();
            let policy = Policy::new(inflow, Vec::new()).unwrap();
            policy.allows_inflow_from_all_of(&domain("example.edu"))
        };
        assert!(lets(&["*"]) && lets(&["x", "example.edu"]) && lets(&["edu"]));
        assert!(!lets(&[]) && !lets(&["cs.example.edu", "bio.example.edu"]));
    }

    #[test]
    fn lists_are_bounded() {
        let full = vec![DomainPattern::ANY; PATTERNS_MAX];
        let over = vec![DomainPattern::ANY; PATTERNS_MAX + 1];
        assert!(Policy::new(full.clone(), full.clone()).is_ok());
        assert_eq!(
            Policy::new(over.clone(), full.clone()),
            Err(PolicyError::InflowTooLong { patterns: 65 })
        );
        assert_eq!(
            Policy::new(full, over),
            Err(PolicyError::OutflowTooLong { patterns: 65 })
        );
    }
}
