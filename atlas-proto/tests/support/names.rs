//! What each message is called in the code.
//!
//! The list is made together with the match over the enum: a new message does not compile until it is named
//! here.

use atlas_proto::message::Message;

macro_rules! names {
    ($($variant:ident)*) => {
        /// The names of all messages, in the enum's order.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($variant)),*];

        /// What the message is called in the code.
        pub(crate) fn name(message: &Message) -> &'static str {
            match message {
                $(Message::$variant { .. } => stringify!($variant),)*
            }
        }
    };
}

names! {
    JoinDomain WelcomeChild RefuseChild ExpelChild LeaveDomain KeepAlive ReportLoad HintPeers ForgetPeer
    RequestSteal EndSteal GrantClosures ReturnClosures ReturnResults AbortLeases EndJob
    RecordResults RequestCheckpoint GrantCheckpoint KeepPace SuspectLeases NameOrphans
}
