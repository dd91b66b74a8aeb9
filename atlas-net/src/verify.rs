//! Verifying what peers show. Chains, names and signatures are verified by rustls; here stands what is asked of
//! them, and what becomes of a refusal.
//!
//! A dialler's verifier is made for one connection: it knows who is expected, and keeps why it refused. The
//! acceptor's serves all connections and lets in those that show no certificate, since they may want to
//! enrol; `setup.rs` turns away the others after the handshake.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, OtherError, PeerIncompatible, RootCertStore,
    SignatureScheme,
};

use crate::credentials::Credentials;
use crate::crypto::provider;
use crate::identity::{
    CertificateError, Distrust, Expected, Fingerprint, Leaf, Peer, Relation, Role,
};

/// The authorities that are trusted, with rustls' verifiers for them.
#[derive(Debug)]
pub(crate) struct Anchors {
    servers: Arc<WebPkiServerVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
}

/// Why what a peer shows is refused.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It is not signed by a trusted authority, or its time is not now, or it names what its authority may not.
    #[error(
        "the certificate of {who} does not hold here ({source}): it is of a foreign domain, or out of date; enrol the node in \
         this domain, and see that both clocks are right"
    )]
    Chain {
        /// Whose it claims to be.
        who: String,
        /// What rustls says.
        source: rustls::Error,
    },
    /// It holds, but is not a node's.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// It holds, but its node does not belong here.
    #[error(transparent)]
    Distrust(#[from] Distrust),
    /// No authority was presented that has the token's fingerprint.
    #[error(
        "{who} is not of the domain that the join token is for: no authority with the fingerprint {expected} vouches for it; \
         see that the token's address is that of the domain's manager"
    )]
    Fingerprint {
        /// Who answers, by what it claims.
        who: String,
        /// The token's.
        expected: Fingerprint,
    },
    /// There is no authority to trust, or one that cannot be read.
    #[error("the certificates of the trusted authorities cannot be used: enrol this node anew")]
    Anchors,
}

impl Anchors {
    pub(crate) fn new(certificates: &[CertificateDer<'static>]) -> Result<Self, VerifyError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots
                .add(certificate.clone())
                .map_err(|_| VerifyError::Anchors)?;
        }
        let roots = Arc::new(roots);
        let servers =
            WebPkiServerVerifier::builder_with_provider(roots.clone(), provider()).build();
        let clients = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
        let (servers, clients) = (
            servers.map_err(|_| VerifyError::Anchors)?,
            clients.map_err(|_| VerifyError::Anchors)?,
        );
        Ok(Self { servers, clients })
    }

    /// The chain, own certificate first, holds for one who dials.
    pub(crate) fn verify_chain(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<(), VerifyError> {
        let (leaf, above) = chain.split_first().ok_or(CertificateError::Malformed)?;
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        self.verify_client(leaf, above, UnixTime::since_unix_epoch(now))
            .map(|_| ())
    }

    fn verify_client(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Peer, VerifyError> {
        let verified = self.clients.verify_client_cert(leaf, above, now);
        verified.map_err(|source| refused(leaf, source))?;
        Ok(Leaf::read(leaf)?.peer)
    }

    /// Nodes are known by key and domain and not by the address at which they answer, so that the name to verify
    /// is the one that the certificate itself gives.
    fn verify_server(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Peer, VerifyError> {
        let peer = Leaf::read(leaf)?.peer;
        let name = ServerName::try_from(peer.name()).map_err(|_| CertificateError::Malformed)?;
        let verified = self
            .servers
            .verify_server_cert(leaf, above, &name, &[], now);
        verified.map_err(|source| refused(leaf, source))?;
        Ok(peer)
    }
}

fn refused(leaf: &CertificateDer<'_>, source: rustls::Error) -> VerifyError {
    VerifyError::Chain {
        who: claimed(leaf),
        source,
    }
}

/// Who a certificate claims to be of, for messages.
fn claimed(leaf: &CertificateDer<'_>) -> String {
    Leaf::read(leaf).map_or_else(|_| "an unknown node".into(), |leaf| leaf.peer.to_string())
}

/// Carries a refusal through rustls, which shows what it does not know by `{:?}`; the peer is shown that, too.
#[derive(thiserror::Error)]
#[error("{0}")]
struct Told(VerifyError);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<VerifyError> for rustls::Error {
    fn from(error: VerifyError) -> Self {
        Self::InvalidCertificate(rustls::CertificateError::Other(OtherError(Arc::new(Told(
            error,
        )))))
    }
}

/// Whom a dialler accepts.
#[derive(Debug)]
pub(crate) enum Accepts {
    /// One whom this node's authorities vouch for, who belongs here, and is the one expected.
    Expected(Arc<Credentials>, Expected),
    /// The manager of the domain whose authority has this fingerprint.
    Pinned(Fingerprint, Expected),
}

/// A dialler's verifier, for one connection.
#[derive(Debug)]
pub(crate) struct Dialled {
    accepts: Accepts,
    refusal: Mutex<Option<VerifyError>>,
}

impl Dialled {
    pub(crate) fn new(accepts: Accepts) -> Self {
        Self {
            accepts,
            refusal: Mutex::new(None),
        }
    }

    /// Why it refused, if it did.
    pub(crate) fn refusal(&self) -> Option<VerifyError> {
        self.refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), VerifyError> {
        match &self.accepts {
            Accepts::Expected(credentials, expected) => {
                let state = credentials.state();
                let peer = state.anchors.verify_server(leaf, above, now)?;
                Relation::between(state.identity.peer(), &peer)?;
                expected.check(&peer)?;
            }
            Accepts::Pinned(fingerprint, expected) => {
                let pinned = above
                    .iter()
                    .find(|above| Fingerprint::of(above) == Ok(*fingerprint));
                let pinned = pinned.ok_or_else(|| VerifyError::Fingerprint {
                    who: claimed(leaf),
                    expected: *fingerprint,
                })?;
                let anchors = Anchors::new(&[pinned.clone().into_owned()])?;
                expected.check(&anchors.verify_server(leaf, above, now)?)?;
            }
        }
        Ok(())
    }
}

impl ServerCertVerifier for Dialled {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.verify(leaf, above, now);
        verified.map_err(|error| {
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            rustls::Error::from(error)
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// The acceptor's verifier. Whether a node belongs here is said after the handshake, in plain words.
#[derive(Debug)]
pub(crate) struct Accepted(pub(crate) Arc<Credentials>);

impl ClientCertVerifier for Accepted {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.state().anchors.verify_client(leaf, above, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// How nodes may sign handshakes.
fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

/// The token names the domain; only its manager may be told the secret.
pub(crate) fn manager_of_token(domain: &atlas_proto::domain::Domain) -> Expected {
    Expected {
        domain: domain.clone(),
        role: Some(Role::Manager),
        node: None,
    }
}
