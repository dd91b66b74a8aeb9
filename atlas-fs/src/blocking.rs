//! Where async code leaves its thread: disks block, and packing, unpacking and hashing are work. It is done piece by
//! piece, so that no thread waits for the network, and a future that is dropped leaves no more than one piece to do.

use std::panic;

/// Runs this on a thread that may block. If the runtime shuts down meanwhile, it never ends.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
        // Only a runtime that shuts down cancels, and then nobody waits for this.
        Err(_) => std::future::pending().await,
    }
}
