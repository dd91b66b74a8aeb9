//! The identity that an endpoint shows, and can change while it serves: handshakes from then on use the new one,
//! connections that are there stay.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};

use crate::crypto::provider;
use crate::identity::Identity;
use crate::verify::{Accepted, Anchors, Dialled, VerifyError};

/// Shared by all handshakes of an endpoint.
#[derive(Debug)]
pub(crate) struct Credentials(RwLock<Arc<State>>);

/// One identity, as rustls uses it.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) identity: Identity,
    pub(crate) anchors: Anchors,
    certified: Arc<CertifiedKey>,
}

impl Credentials {
    pub(crate) fn new(identity: Identity) -> Result<Self, VerifyError> {
        Ok(Self(RwLock::new(State::new(identity)?.into())))
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn replace(&self, identity: Identity) -> Result<(), VerifyError> {
        let state = Arc::new(State::new(identity)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }
}

impl State {
    fn new(identity: Identity) -> Result<Self, VerifyError> {
        let anchors = Anchors::new(identity.anchors())?;
        let key = identity.key().to_der().into();
        let chain = identity.chain().to_vec();
        let certified = CertifiedKey::from_der(chain, key, &provider());
        let certified = Arc::new(certified.map_err(|source| VerifyError::Chain {
            who: "this node".into(),
            source,
        })?);
        Ok(Self {
            identity,
            anchors,
            certified,
        })
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.state().certified.clone())
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.state().certified.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// TLS of the accepting side. Nothing is resumed: each connection shows its certificates, which may have ended since the
/// last one.
pub(crate) fn server_config(
    credentials: &Arc<Credentials>,
    protocols: Vec<Vec<u8>>,
) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let accepted = Arc::new(Accepted(credentials.clone()));
    let mut config = builder
        .with_client_cert_verifier(accepted)
        .with_cert_resolver(credentials.clone());
    config.alpn_protocols = protocols;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

/// TLS of the dialling side; without credentials, for those that have none yet.
pub(crate) fn client_config(
    credentials: Option<&Arc<Credentials>>,
    verifier: &Arc<Dialled>,
    protocols: Vec<Vec<u8>>,
) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    // "Dangerous" is any verifier but that for web servers; ours asks for more.
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone());
    let mut config = match credentials {
        Some(credentials) => builder.with_client_cert_resolver(credentials.clone()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols;
    config.resumption = rustls::client::Resumption::disabled();
    // Who is meant is not said in the clear.
    config.enable_sni = false;
    Ok(config)
}
