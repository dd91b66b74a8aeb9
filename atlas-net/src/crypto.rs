//! The one provider of cryptography, and what is asked of it directly.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// ring, for everything. It is handed to each configuration, so that no process-wide default is relied upon.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    let filled = provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// The system gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the system gives no random numbers: see that this process may call getrandom or read /dev/urandom"
)]
pub struct NoRandomness;
