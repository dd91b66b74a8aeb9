//! The protocols that are told apart while two nodes shake hands.
//!
//! `atlas/<version>` is what nodes speak, `atlas-enrol/<version>` gets a node its first certificate. Every node also
//! offers `atlas-version`, which is chosen only if the two have nothing else in common: each says what it speaks, and
//! they part. It never changes, so that a node can always tell its user which of the two is to be upgraded.

/// The version of what is said on an authenticated connection, and of enrolment.
pub(crate) const VERSION: u32 = 1;

/// What two nodes have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Atlas,
    Enrol,
    Version,
}

impl Protocol {
    pub(crate) fn name(self, version: u32) -> String {
        match self {
            Self::Atlas => format!("atlas/{version}"),
            Self::Enrol => format!("atlas-enrol/{version}"),
            Self::Version => "atlas-version".into(),
        }
    }

    /// What a connection speaks; none if it is no protocol of Atlas.
    pub(crate) fn of(connection: &quinn::Connection, version: u32) -> Option<Self> {
        let data = connection
            .handshake_data()?
            .downcast::<quinn::crypto::rustls::HandshakeData>()
            .ok()?;
        let chosen = data.protocol?;
        let all = [Self::Atlas, Self::Enrol, Self::Version];
        all.into_iter()
            .find(|protocol| protocol.name(version).as_bytes() == chosen)
    }
}

/// What is offered, the preferred one first.
pub(crate) fn offers(protocols: &[Protocol], version: u32) -> Vec<Vec<u8>> {
    let all = protocols.iter().chain(&[Protocol::Version]);
    all.map(|protocol| protocol.name(version).into_bytes())
        .collect()
}
