//! Caches that ask one another: a server its domain's manager, a manager its parent, the topmost one the origin. So an origin
//! sends each file once to a whole tree.
//!
//! ```text
//!   server --Question--> manager --Question--> parent --HTTP--> origin
//!          <---Said----          <---Said----         <--------
//! ```
//!
//! Each question is asked on a way of its own, and answered in words: first what is known, then the bytes, as they
//! come. **All bytes are of one version**, which the question names, or else the answer does; so it does not matter whom the next
//! question goes to. Whoever asks hashes what comes, and keeps it, as if it came from the origin.
//!
//! | file | owns |
//! | --- | --- |
//! | `words.rs` | what is said, and its bytes |
//! | `choice.rs` | who is asked next: pure |
//! | `ask.rs` | a question, and its answer as the store wants it |
//! | `answer.rs` | answers, from a store that may have to ask in turn |
//! | `managers.rs` | ways over the connection to a manager |
//!
//! A question says a URL, a version and a range, and nothing of who asks, or for which job. Credentials are not handed on: whoever has
//! some for a host asks the origin.

pub(super) mod answer;
pub(super) mod ask;
pub(crate) mod choice;
mod managers;
pub(super) mod words;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

pub(super) use answer::answer;
pub use answer::{hand_on, refuse};
pub(crate) use ask::{Answered, Asker, Body, Unanswered};
pub use managers::Managers;

/// The next cache on the way to the origins.
pub trait Above: fmt::Debug + Send + Sync + 'static {
    /// A new way to it, for one question; none while it cannot be reached.
    fn reach(&self) -> Reaching<'_>;
}

/// What [`Above::reach`] gives.
pub type Reaching<'a> = Pin<Box<dyn Future<Output = Option<Way>> + Send + 'a>>;

/// Bytes to somebody and back, for one question.
pub struct Way {
    pub(super) reader: Box<dyn AsyncRead + Send + Sync + Unpin>,
    pub(super) writer: Box<dyn AsyncWrite + Send + Sync + Unpin>,
}

impl Way {
    /// Of two directions. Dropped, both end.
    pub fn new(
        reader: impl AsyncRead + Send + Sync + Unpin + 'static,
        writer: impl AsyncWrite + Send + Sync + Unpin + 'static,
    ) -> Self {
        Self {
            reader: Box::new(reader),
            writer: Box::new(writer),
        }
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Way(..)")
    }
}
