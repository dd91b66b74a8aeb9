//! The one provider of cryptography, and what is asked of it directly.

use std::sync::Arc;

use ring::hmac;
use rustls::crypto::CryptoProvider;

use crate::identity::NodeKey;

/// ring, for everything. It is handed to each configuration, so that no process-wide default is relied upon.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Bytes that nobody can guess.
///
/// # Errors
///
/// The system gives none.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    let filled = provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// What a node authenticates its stateless resets with: the same for each of its lives, and nobody else's.
pub(crate) fn reset_key(key: &NodeKey) -> hmac::Key {
    let secret = key.to_der();
    let derived = blake3::derive_key(RESET_CONTEXT, secret.secret_pkcs8_der());
    hmac::Key::new(hmac::HMAC_SHA256, &derived)
}

/// So that the key is good for nothing else.
const RESET_CONTEXT: &str = "atlas-net 2026 stateless resets of a node";

/// The system gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the system gives no random numbers: see that this process may call getrandom or read /dev/urandom"
)]
pub struct NoRandomness;
