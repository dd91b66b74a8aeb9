//! [`Managers`]: ways over the connection to whichever manager is above now.

use atlas_net::{Connection, Stream, StreamKind};
use atlas_proto::control::URL_TOPIC;
use tokio::sync::watch;

use super::{Above, Reaching, Way};

/// The manager above: a server's, or the parent of one.
#[derive(Clone, Debug)]
pub struct Managers(watch::Receiver<Option<Connection>>);

impl Managers {
    /// Whichever is connected.
    #[must_use]
    pub fn new(connected: watch::Receiver<Option<Connection>>) -> Self {
        Self(connected)
    }
}

impl Above for Managers {
    fn reach(&self) -> Reaching<'_> {
        let connection = self.0.borrow().clone();
        Box::pin(async move {
            let kind = StreamKind::Request { topic: URL_TOPIC };
            let stream = connection?.open_stream(kind).await.ok()?;
            Some(stream.into())
        })
    }
}

impl From<Stream> for Way {
    fn from(stream: Stream) -> Self {
        Self::new(stream.recv, stream.send)
    }
}
