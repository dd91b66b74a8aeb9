//! What becomes of steals, for who measures them: lines of the level `debug` with the target `atlas_server::steal`. It decides
//! nothing and is told everything.
//!
//! | line | fields |
//! | --- | --- |
//! | `stolen` | `closures` that a grant has brought; `asked_us` and `accepted_us`: when the steal was asked for, and when the first of them went to the engine |
//! | `granted` | `closures` that leave for a thief or the manager |
//! | `serialised` | `closures` that an engine has given up, each encoded for a wire |
//!
//! Times are microseconds since 1970, so that programs of the same machine can be paired with them. Lines are written some
//! time after what they tell of: writing one takes as long as a tenth of a steal.

use std::time::{Duration, SystemTime};

use atlas_proto::Transmit;
use atlas_proto::engine::{EngineCommand, EngineEvent};
use atlas_proto::ids::RequestId;
use atlas_proto::message::{Message, Packet};

/// The steal that is under way: a server has one at a time.
#[derive(Debug, Default)]
pub(crate) struct StealLog {
    asked: Option<(RequestId, u64)>,
    /// When it was asked for that which is granted, and how many closures; until the first is accepted.
    granted: Option<(u64, usize)>,
}

impl StealLog {
    /// A packet leaves.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "other messages are no steals"
    )]
    pub(crate) fn note_sent(&mut self, transmit: &Transmit) {
        match &transmit.packet.message {
            Message::RequestSteal { request, .. }
                if self.asked.is_none_or(|(id, _)| id != *request) =>
            {
                self.asked = Some((*request, now_us()));
            }
            Message::GrantClosures { closures, .. } => {
                let closures = closures.len();
                later(move || tracing::debug!(target: TARGET, closures, "granted"));
            }
            _ => {}
        }
    }

    /// A packet has come.
    pub(crate) fn note_heard(&mut self, packet: &Packet) {
        if let Message::GrantClosures {
            request: Some(request),
            closures,
            ..
        } = &packet.message
            && let Some((id, asked_us)) = self.asked
            && id == *request
        {
            self.granted = Some((asked_us, closures.len()));
        }
    }

    /// An engine is told something.
    pub(crate) fn note_command(&mut self, command: &EngineCommand) {
        if matches!(command, EngineCommand::Accept { .. })
            && let Some((asked_us, closures)) = self.granted.take()
        {
            let accepted_us = now_us();
            later(move || {
                tracing::debug!(target: TARGET, closures, asked_us, accepted_us, "stolen");
            });
        }
    }

    /// An engine has said something.
    pub(crate) fn note_event(&mut self, event: &EngineEvent) {
        if let EngineEvent::Lent { closures, .. } = event {
            let closures = closures.len();
            later(move || tracing::debug!(target: TARGET, closures, "serialised"));
        }
    }
}

/// Writes a line, if anybody wants such lines, when the steal is over.
fn later(write: impl FnOnce() + Send + 'static) {
    if tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
        tokio::spawn(async move {
            tokio::time::sleep(WRITE_DELAY).await;
            write();
        });
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
}

const TARGET: &str = "atlas_server::steal";
/// Long after a steal, and soon enough for who reads the log when a job has ended.
const WRITE_DELAY: Duration = Duration::from_millis(10);
