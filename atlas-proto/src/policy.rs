//! Whose work may run in a domain, and where its own work may go.
//!
//! Each manager has one policy, from its configuration. An empty list allows nothing; the default allows
//! everything. A policy is asked before work moves: refused work never leaves its lender.

use crate::domain::{Domain, DomainPattern};
use crate::limits::PATTERNS_MAX;

/// What a domain lets in and out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    inflow: Vec<DomainPattern>,
    outflow: Vec<DomainPattern>,
}

impl Policy {
    /// Allows work that matches any of the patterns; with an empty list, none at all.
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

    /// Work of jobs submitted in `origin` may run here.
    #[must_use]
    pub fn allows_inflow(&self, origin: &Domain) -> bool {
        matches_any(&self.inflow, origin)
    }

    /// This domain's work may go to `destination`.
    #[must_use]
    pub fn allows_outflow(&self, destination: &Domain) -> bool {
        matches_any(&self.outflow, destination)
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

fn matches_any(patterns: &[DomainPattern], domain: &Domain) -> bool {
    patterns.iter().any(|pattern| pattern.matches(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns<const N: usize>(texts: [&str; N]) -> Vec<DomainPattern> {
        texts.map(|text| text.parse().unwrap()).into()
    }

    fn domain(text: &str) -> Domain {
        text.parse().unwrap()
    }

    #[test]
    fn default_allows_everything() {
        let policy = Policy::default();
        assert!(policy.allows_inflow(&domain("a")) && policy.allows_outflow(&domain("b.c")));
    }

    #[test]
    fn empty_lists_allow_nothing() {
        let policy = Policy::new(Vec::new(), Vec::new()).unwrap();
        assert!(!policy.allows_inflow(&domain("a")) && !policy.allows_outflow(&domain("a")));
    }

    #[test]
    fn inflow_and_outflow_are_asked_apart() {
        let policy =
            Policy::new(patterns(["example.edu", "x"]), patterns(["cs.example.edu"])).unwrap();
        assert!(
            policy.allows_inflow(&domain("bio.example.edu")) && policy.allows_inflow(&domain("x"))
        );
        assert!(!policy.allows_inflow(&domain("edu")));
        assert!(policy.allows_outflow(&domain("lab.cs.example.edu")));
        assert!(!policy.allows_outflow(&domain("bio.example.edu")));
        assert_eq!(policy.inflow().len(), 2);
        assert_eq!(policy.outflow(), patterns(["cs.example.edu"]));
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
