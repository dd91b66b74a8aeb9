//! What is read from certificates. Names and keys are read by the library that also verifies them, so that the
//! two cannot understand one certificate differently.

use std::fmt;
use std::time::{Duration, SystemTime};

use atlas_proto::ids::NodeId;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use webpki::EndEntityCert;

use super::peer::Peer;

/// The BLAKE3 hash of an authority's public key (its SubjectPublicKeyInfo): what a new node pins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

/// A node's certificate as it was read. Reading proves nothing: verify first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Who.
    pub(crate) peer: Peer,
    /// Valid from then.
    pub(crate) begins: SystemTime,
    /// No longer valid from then.
    pub(crate) ends: SystemTime,
}

/// Why a certificate says nothing of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The bytes are no certificate.
    #[error("the certificate cannot be read: ask the domain's manager for a new one")]
    Malformed,
    /// It has no name, several, or one that is not a node's.
    #[error(
        "the certificate names {names:?}: one of an Atlas node has one name, `<id>.<role>._atlas.<domain>`"
    )]
    Name {
        /// What it names.
        names: Vec<String>,
    },
    /// The id in the name is not that of the key.
    #[error(
        "the certificate names node {named}, but its key is that of node {keyed}: it was issued wrongly"
    )]
    Key {
        /// In the name.
        named: NodeId,
        /// From the key.
        keyed: NodeId,
    },
}

impl Fingerprint {
    pub(crate) fn of_key(public_key: &[u8]) -> Self {
        Self(*blake3::hash(public_key).as_bytes())
    }

    /// That of the key in a certificate.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let parsed =
            EndEntityCert::try_from(certificate).map_err(|_| CertificateError::Malformed)?;
        Ok(Self::of_key(&parsed.subject_public_key_info()))
    }

    /// The first eight bytes, as a number: what a key is called as a node. A node that should pass for
    /// another would have to find a key whose hash begins in the same way, for about 2^64 keys tried.
    pub(crate) fn node(self) -> NodeId {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        NodeId(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl Leaf {
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let parsed =
            EndEntityCert::try_from(certificate).map_err(|_| CertificateError::Malformed)?;
        let names: Vec<_> = parsed.valid_dns_names().map(str::to_owned).collect();
        let peer = match names.as_slice() {
            [name] => Peer::from_name(name),
            _ => None,
        };
        let peer = peer.ok_or(CertificateError::Name { names })?;
        let keyed = Fingerprint::of_key(&parsed.subject_public_key_info()).node();
        if keyed != peer.node {
            let named = peer.node;
            return Err(CertificateError::Key { named, keyed });
        }
        let (begins, last) = validity(certificate)?;
        // The last second is a part of its life (RFC 5280, section 4.1.2.5).
        let ends = last + Duration::from_secs(1);
        Ok(Self { peer, begins, ends })
    }

    /// When the node should ask for the next one.
    pub(crate) fn renew_at(&self) -> SystemTime {
        renew_at(self.begins, self.ends)
    }
}

/// Two thirds of a certificate's life are over, counted from when it was made.
pub(crate) fn renew_at(begins: SystemTime, ends: SystemTime) -> SystemTime {
    let made = begins + CLOCK_SKEW;
    let life = ends.duration_since(made).unwrap_or_default();
    made.min(ends) + life * 2 / 3
}

/// The names that a certificate gives itself, verified or not: for telling who was refused.
pub(crate) fn claimed_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let parsed = EndEntityCert::try_from(certificate);
    parsed.map_or_else(
        |_| Vec::new(),
        |parsed| parsed.valid_dns_names().map(str::to_owned).collect(),
    )
}

/// The first and the last second.
pub(crate) fn validity(
    certificate: &CertificateDer<'_>,
) -> Result<(SystemTime, SystemTime), CertificateError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| CertificateError::Malformed)?;
    let time = |time: x509_parser::time::ASN1Time| {
        let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    };
    let validity = parsed.validity();
    Ok((time(validity.not_before), time(validity.not_after)))
}

/// So much may a node's clock be slow, or be set back: certificates begin earlier than they are made. It is more than the hour by which a
/// clock is off that takes local time for the world's.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(7200);
