//! Whom a thief may ask.

use atlas_proto::rng::Rng;

use crate::topology::{ServerIndex, Topology};

/// Where a victim is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Anywhere.
    World,
    /// In the thief's leaf domain.
    OwnDomain,
    /// Outside of it.
    OtherDomains,
}

/// A server other than the thief, each in the scope equally likely; none if there is none.
pub(super) fn choose(
    topology: &Topology,
    rng: &mut Rng,
    thief: ServerIndex,
    scope: Scope,
) -> Option<ServerIndex> {
    let all = 0..u32::try_from(topology.servers().len()).ok()?;
    let domain = topology.place(topology.home(thief)).servers.clone();
    let own = thief.0..thief.0 + 1;
    let (within, without) = match scope {
        Scope::World => (all, own),
        Scope::OwnDomain => (domain, own),
        Scope::OtherDomains => (all, domain),
    };
    let without_count = without.end - without.start;
    let count = within.end - within.start - without_count;
    if count == 0 {
        return None;
    }
    let chosen = within.start + u32::try_from(rng.below(count as usize)).ok()?;
    let skipped = if chosen >= without.start {
        without_count
    } else {
        0
    };
    Some(ServerIndex(chosen + skipped))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn chosen(thief: u32, scope: Scope) -> BTreeSet<u32> {
        let topology = Topology::new(9, 2);
        let mut rng = Rng::new(1);
        (0..200)
            .filter_map(|_| Some(choose(&topology, &mut rng, ServerIndex(thief), scope)?.0))
            .collect()
    }

    #[test]
    fn every_server_of_the_scope_is_chosen_and_nobody_else() {
        assert_eq!(
            chosen(4, Scope::World),
            BTreeSet::from([0, 1, 2, 3, 5, 6, 7, 8])
        );
        assert_eq!(chosen(4, Scope::OwnDomain), BTreeSet::from([3, 5]));
        assert_eq!(
            chosen(4, Scope::OtherDomains),
            BTreeSet::from([0, 1, 2, 6, 7, 8])
        );
    }

    #[test]
    fn a_lone_server_has_nobody_to_ask() {
        let mut rng = Rng::new(1);
        assert_eq!(
            choose(&Topology::new(1, 1), &mut rng, ServerIndex(0), Scope::World),
            None
        );
    }
}
