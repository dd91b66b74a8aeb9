//! The authority of a domain: the key that signs the certificates of its nodes, and of the authorities below.

use std::path::Path;
use std::time::{Duration, SystemTime};

use atlas_proto::domain::Domain;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyUsagePurpose,
    NameConstraints, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use serde::{Deserialize, Serialize};

use super::certificate::{
    CLOCK_SKEW, CertificateError, Fingerprint, claimed_names, renew_at, validity,
};
use super::node::{Identity, IdentityError, NodeKey};
use super::peer::{NAME_OVERHEAD, Peer, Role};
use super::store::{self, StoreError};
use crate::crypto::{self, NoRandomness};
use crate::verify::Anchors;

/// Signs for one domain. Whoever has it can be any node of the domain and of those below.
#[derive(Clone, Debug)]
pub struct DomainAuthority {
    domain: Domain,
    key: NodeKey,
    /// Its own certificate first, each signed by the next; the last is signed by itself.
    chain: Vec<CertificateDer<'static>>,
}

/// What an authority hands out, all of it public: it is of use only to the owner of the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// The certificate that was asked for, then those of the authorities, up to one signed by itself. As DER.
    pub chain: Vec<Vec<u8>>,
    /// The authorities that the node is to trust: that of its domain, and the topmost one.
    pub anchors: Vec<Vec<u8>>,
}

/// An authority as it goes to the domain's other manager. Whoever has it is the domain; it is not shown by `{:?}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretAuthority {
    key: String,
    chain: Vec<Vec<u8>>,
}

impl std::fmt::Debug for SecretAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretAuthority(..)")
    }
}

/// Why an authority does not sign, or cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// What should be signed is no request, or not signed by its own key.
    #[error(
        "the certificate request cannot be read or is not signed with its own key: make a new one at the node"
    )]
    Request,
    /// A sub-domain that is none.
    #[error(
        "{sub} is not below {domain}: this authority signs only for domains within its own, as in `lab.{domain}`"
    )]
    NotBelow {
        /// What was asked for.
        sub: Domain,
        /// The authority's.
        domain: Domain,
    },
    /// The names of its nodes would be too long.
    #[error("the domain {domain} is too long for the names of its nodes: shorten it to {} bytes or less", NAME_MAX - NAME_OVERHEAD)]
    DomainTooLong {
        /// Which.
        domain: Domain,
    },
    /// More authorities above each other than verifiers follow.
    #[error(
        "{domain} is {AUTHORITIES_MAX} authorities deep, and no more can stand below: sign the sub-domain with one further up"
    )]
    TooDeep {
        /// The authority's.
        domain: Domain,
    },
    /// Its certificate is over.
    #[error(
        "the authority of {domain} is no longer valid: have the domain above sign it again, or begin a new one"
    )]
    Ended {
        /// The authority's.
        domain: Domain,
    },
    /// What the domain above signed is not for this authority.
    #[error(
        "these certificates are not for the authority of {domain} ({what}): have the domain above sign this one's request"
    )]
    Adopt {
        /// The authority's.
        domain: Domain,
        /// What is wrong.
        what: String,
    },
    /// Whoever asks for a renewal is not who was signed before.
    #[error(
        "the authority of {sub} that asks was not signed by that of {domain}: enrol it with a join token for managers, made there"
    )]
    NotSigned {
        /// Who asks.
        sub: Domain,
        /// The authority's.
        domain: Domain,
    },
    /// Nobody stands above it.
    #[error(
        "the authority of {domain} stands below no other: put it below one with a join token for managers, made there"
    )]
    Topmost {
        /// The authority's.
        domain: Domain,
    },
    /// What it issues to its own manager is of no use.
    #[error("the certificate that the authority issues to its own manager cannot be used")]
    Identity(#[from] IdentityError),
    /// No certificate could be made.
    #[error("the certificate could not be made")]
    Sign(#[source] rcgen::Error),
    /// An authority's own certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No random numbers.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// Its files.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DomainAuthority {
    /// A new authority, signed by itself. It can be put below another later: [`adopt`](Self::adopt).
    ///
    /// # Errors
    ///
    /// The domain's name is too long, or no key or certificate can be made.
    pub fn init(domain: Domain, now: SystemTime) -> Result<Self, AuthorityError> {
        let key = NodeKey::generate().map_err(AuthorityError::Sign)?;
        let params = authority_params(&domain, now, now + ROOT_LIFETIME)?;
        let own = params
            .self_signed(key.pair())
            .map_err(AuthorityError::Sign)?;
        let chain = vec![own.der().clone()];
        Ok(Self { domain, key, chain })
    }

    /// The domain that it signs for.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// What new nodes pin: it stays when the authority is put below another.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.key.fingerprint()
    }

    /// The authorities that the domain's nodes are to trust: this one, and the topmost one.
    #[must_use]
    pub fn anchors(&self) -> Vec<CertificateDer<'static>> {
        let mut anchors: Vec<_> = self
            .chain
            .first()
            .into_iter()
            .chain(self.chain.last())
            .cloned()
            .collect();
        anchors.dedup();
        anchors
    }

    /// The topmost domain of the tree, which may be this one.
    #[must_use]
    pub fn topmost(&self) -> Option<Domain> {
        let names = claimed_names(self.chain.last()?);
        names.first()?.parse().ok()
    }

    /// When to ask the domain above to sign it again; never, if there is none.
    #[must_use]
    pub fn renew_at(&self) -> Option<SystemTime> {
        self.above().ok()?;
        let (begins, ends) = validity(self.chain.first()?).ok()?;
        Some(renew_at(begins, ends))
    }

    /// What the authority of a domain above is to sign, so that this one's nodes are known there.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn request(&self) -> Result<Vec<u8>, AuthorityError> {
        self.key.request().map_err(AuthorityError::Sign)
    }

    /// Signs the authority of a domain below: from then on it can issue certificates for its own sub-tree, and no others
    /// will be accepted. The answer is for [`adopt`](Self::adopt).
    ///
    /// # Errors
    ///
    /// The domain is not below, the request is not one, or the tree becomes too deep.
    pub fn sign_sub_domain(
        &self,
        request: &[u8],
        sub: &Domain,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Vec<Vec<u8>>, AuthorityError> {
        if !sub.is_below(&self.domain) {
            let (sub, domain) = (sub.clone(), self.domain.clone());
            return Err(AuthorityError::NotBelow { sub, domain });
        }
        if self.chain.len() >= AUTHORITIES_MAX {
            let domain = self.domain.clone();
            return Err(AuthorityError::TooDeep { domain });
        }
        let request = parse_request(request)?;
        let params = authority_params(sub, now, self.end(now, lifetime)?)?;
        self.sign(params, &request.public_key)
    }

    /// Signs an authority again that it has signed before, for its manager, who has shown these certificates. That
    /// manager may have another's key, and not its authority's; so the request has to be for the key that signed the
    /// manager's own certificate, and that key has to have been signed by this authority.
    pub(crate) fn renew_sub_domain(
        &self,
        request: &[u8],
        sub: &Domain,
        shown: &[CertificateDer<'_>],
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Vec<Vec<u8>>, AuthorityError> {
        let key = parse_request(request)?.public_key.subject_public_key_info();
        let key = Fingerprint::of_key(&key);
        let signed = shown.split_first().and_then(|(leaf, above)| {
            let own = above
                .iter()
                .find(|above| Fingerprint::of(above) == Ok(key))?;
            // Nothing else is handed over, so that the chain can lead no other way.
            let anchors = Anchors::new(self.chain.get(..1)?).ok()?;
            anchors.verify_chain(&[leaf.clone(), own.clone()], now).ok()
        });
        signed.ok_or_else(|| AuthorityError::NotSigned {
            sub: sub.clone(),
            domain: self.domain.clone(),
        })?;
        self.sign_sub_domain(request, sub, now, lifetime)
    }

    /// Puts this authority below the one that signed its request. Its key stays, and with it all certificates that it
    /// has issued.
    ///
    /// # Errors
    ///
    /// The chain is for another key or domain, or does not hold.
    pub fn adopt(&mut self, chain: Vec<Vec<u8>>, now: SystemTime) -> Result<(), AuthorityError> {
        self.adopt_signed_by(None, chain, now)
    }

    /// As [`adopt`](Self::adopt), if the authority with this fingerprint has signed it.
    pub(crate) fn adopt_signed_by(
        &mut self,
        above: Option<Fingerprint>,
        chain: Vec<Vec<u8>>,
        now: SystemTime,
    ) -> Result<(), AuthorityError> {
        let chain: Vec<CertificateDer<'static>> = chain.into_iter().map(Into::into).collect();
        self.try_adopt(above, chain, now).map_err(|what| {
            let domain = self.domain.clone();
            AuthorityError::Adopt { domain, what }
        })
    }

    /// The authority that has signed this one.
    pub(crate) fn above(&self) -> Result<Fingerprint, AuthorityError> {
        let above = self.chain.get(1).ok_or_else(|| AuthorityError::Topmost {
            domain: self.domain.clone(),
        })?;
        Ok(Fingerprint::of(above)?)
    }

    /// Issues a node's certificate. Of the request only the key counts.
    ///
    /// # Errors
    ///
    /// The request is not one, or the authority itself is no longer valid.
    pub fn issue(
        &self,
        request: &[u8],
        role: Role,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Issued, AuthorityError> {
        let request = parse_request(request)?;
        let node = Fingerprint::of_key(&request.public_key.subject_public_key_info()).node();
        let role = role.of_certificate();
        let peer = Peer {
            node,
            domain: self.domain.clone(),
            role,
        };
        let mut params = params(&peer.name(), peer.name(), now, self.end(now, lifetime)?)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match role {
            Role::Manager | Role::Server | Role::Standby => {
                vec![
                    ExtendedKeyUsagePurpose::ClientAuth,
                    ExtendedKeyUsagePurpose::ServerAuth,
                ]
            }
            Role::Client | Role::Admin => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        let chain = self.sign(params, &request.public_key)?;
        let anchors = self.anchors().iter().map(|der| der.to_vec()).collect();
        Ok(Issued { chain, anchors })
    }

    /// Issues the identity of the domain's manager, who has this authority itself.
    ///
    /// # Errors
    ///
    /// The authority itself is no longer valid.
    pub fn issue_own(
        &self,
        key: NodeKey,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Identity, AuthorityError> {
        let request = key.request().map_err(AuthorityError::Sign)?;
        let issued = self.issue(&request, Role::Manager, now, lifetime)?;
        Ok(Identity::new(key, issued, now)?)
    }

    /// Writes the key and the certificates into a folder.
    ///
    /// # Errors
    ///
    /// They cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), StoreError> {
        store::create_folder(folder)?;
        store::write(folder, KEY_FILE, &self.key.to_pem())?;
        store::write_certificates(folder, CHAIN_FILE, &self.chain)
    }

    /// Reads what [`save`](Self::save) has written.
    ///
    /// # Errors
    ///
    /// A file is missing, damaged or open to others.
    pub fn load(folder: &Path) -> Result<Self, StoreError> {
        let key = store::read_secret(folder, KEY_FILE)?;
        let key =
            NodeKey::from_pem(&key).map_err(|error| store::damaged(folder, KEY_FILE, error))?;
        let chain = store::read_certificates(folder, CHAIN_FILE)?;
        let named = chain.first().map(claimed_names).unwrap_or_default();
        let domain = named.first().and_then(|name| name.parse().ok());
        let domain =
            domain.ok_or_else(|| store::damaged(folder, CHAIN_FILE, "it names no domain"))?;
        let own = chain.first().and_then(|own| Fingerprint::of(own).ok());
        if own != Some(key.fingerprint()) {
            return Err(store::damaged(folder, CHAIN_FILE, "it is for another key"));
        }
        Ok(Self { domain, key, chain })
    }

    /// The key and the certificates, for the domain's other manager, who keeps them as this one does.
    #[must_use]
    pub fn to_secret(&self) -> SecretAuthority {
        SecretAuthority {
            key: self.key.to_pem(),
            chain: self.chain.iter().map(|der| der.to_vec()).collect(),
        }
    }

    /// The other way round.
    ///
    /// # Errors
    ///
    /// It is no authority of this domain.
    pub fn from_secret(secret: &SecretAuthority, domain: &Domain) -> Result<Self, AuthorityError> {
        let failed = |what: &str| AuthorityError::Adopt {
            domain: domain.clone(),
            what: what.to_owned(),
        };
        let key = NodeKey::from_pem(&secret.key).map_err(|_| failed("their key cannot be read"))?;
        let chain: Vec<CertificateDer<'static>> =
            secret.chain.iter().cloned().map(Into::into).collect();
        let own = chain.first().ok_or_else(|| failed("there are none"))?;
        if Fingerprint::of(own)? != key.fingerprint() || claimed_names(own) != [domain.as_str()] {
            return Err(failed("they are for another key or domain"));
        }
        let domain = domain.clone();
        Ok(Self { domain, key, chain })
    }

    fn try_adopt(
        &mut self,
        above: Option<Fingerprint>,
        chain: Vec<CertificateDer<'static>>,
        now: SystemTime,
    ) -> Result<(), String> {
        let (Some(own), Some(root)) = (chain.first(), chain.last()) else {
            return Err("there are none".into());
        };
        if Fingerprint::of(own).map_err(|error| error.to_string())? != self.key.fingerprint() {
            return Err("they are for another key".into());
        }
        let names = claimed_names(own);
        if names != [self.domain.as_str()] {
            return Err(format!("they are for {names:?}"));
        }
        // What will be asked of it: that its nodes are believed by those who trust the topmost authority.
        let root = root.clone();
        let domain = self.domain.clone();
        let adopted = Self {
            domain,
            key: self.key.clone(),
            chain,
        };
        let node = NodeKey::generate().and_then(|key| key.request());
        let node = node.map_err(|error| error.to_string())?;
        let issued = adopted.issue(&node, Role::Manager, now, LEAF_LIFETIME);
        let issued = issued.map_err(|error| error.to_string())?;
        let anchors = Anchors::new(&[root]).map_err(|error| error.to_string())?;
        let chain: Vec<_> = issued.chain.into_iter().map(CertificateDer::from).collect();
        anchors
            .verify_chain(&chain, now)
            .map_err(|error| error.to_string())?;
        if let Some(above) = above {
            let ([node, own, signer, ..], true) =
                (chain.as_slice(), adopted.above().ok() == Some(above))
            else {
                return Err("another authority has signed them than was asked to".into());
            };
            let signer = Anchors::new(std::slice::from_ref(signer));
            signer
                .and_then(|signer| signer.verify_chain(&[node.clone(), own.clone()], now))
                .map_err(|error| error.to_string())?;
        }
        *self = adopted;
        Ok(())
    }

    /// The certificate with this one's chain behind it.
    fn sign(
        &self,
        params: CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<Vec<Vec<u8>>, AuthorityError> {
        let Some(own) = self.chain.first() else {
            return Err(CertificateError::Malformed.into());
        };
        let issuer =
            Issuer::from_ca_cert_der(own, self.key.pair()).map_err(AuthorityError::Sign)?;
        let signed = params
            .signed_by(key, &issuer)
            .map_err(AuthorityError::Sign)?;
        let above = self.chain.iter().map(|der| der.to_vec());
        Ok(std::iter::once(signed.der().to_vec())
            .chain(above)
            .collect())
    }

    /// Nothing is valid for longer than who signed it.
    fn end(&self, now: SystemTime, lifetime: Duration) -> Result<SystemTime, AuthorityError> {
        let mut end = now.checked_add(lifetime).unwrap_or(now + ROOT_LIFETIME);
        for certificate in &self.chain {
            end = end.min(validity(certificate)?.1);
        }
        if end <= now {
            let domain = self.domain.clone();
            return Err(AuthorityError::Ended { domain });
        }
        Ok(end)
    }
}

/// A request whose signature holds.
fn parse_request(request: &[u8]) -> Result<CertificateSigningRequestParams, AuthorityError> {
    let request = CertificateSigningRequestDer::from(request);
    CertificateSigningRequestParams::from_der(&request).map_err(|_| AuthorityError::Request)
}

fn authority_params(
    domain: &Domain,
    now: SystemTime,
    end: SystemTime,
) -> Result<CertificateParams, AuthorityError> {
    if domain.as_str().len() + NAME_OVERHEAD > NAME_MAX {
        let domain = domain.clone();
        return Err(AuthorityError::DomainTooLong { domain });
    }
    let subject = format!("Atlas authority of {domain}");
    let mut params = params(domain.as_str(), subject, now, end)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(domain.as_str().into())],
        excluded_subtrees: Vec::new(),
    });
    Ok(params)
}

fn params(
    name: &str,
    subject: String,
    now: SystemTime,
    end: SystemTime,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    let name = name.try_into().map_err(AuthorityError::Sign)?;
    params.subject_alt_names = vec![SanType::DnsName(name)];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = end.into();
    let mut serial: [u8; 16] = crypto::random()?;
    // A serial number is positive (RFC 5280, section 4.1.2.2).
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// A day: a stolen key is of no use for longer, and a node may be cut off from its manager for eight hours.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Three months: renewed by itself after two, so that the domain above may be away for a month, and one that is not
/// renewed is out within a quarter of a year.
pub const SUB_DOMAIN_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// Ten years.
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Authorities above each other, the topmost included: verifiers follow six below the one that they trust.
const AUTHORITIES_MAX: usize = 7;
/// Of a DNS name.
const NAME_MAX: usize = 253;

const KEY_FILE: &str = "authority.key";
const CHAIN_FILE: &str = "authority.pem";

#[cfg(test)]
mod tests;
