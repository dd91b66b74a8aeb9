//! Domain names and patterns over them.

use serde::{Deserialize, Serialize};

/// A DNS-like name, lower case: `lab.cs.example.edu`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Domain(String);

/// Matches a domain and all below it: `cs.example.edu`; `*` matches every domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DomainPattern(String);
