//! Packets as a world carries them: sizes, names, and what is counted of them.

use atlas_proto::Transmit;
use atlas_proto::codec;
use atlas_proto::ids::NodeId;
use atlas_proto::message::{Message, Packet};

use crate::topology::Role;
use crate::world::{HEADER_BYTES, Parcel, Stage};

/// A packet of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtlasPacket(pub Packet);

impl Parcel for AtlasPacket {
    fn bytes(&self) -> u64 {
        HEADER_BYTES + codec::encoded_len(&self.0) as u64
    }

    fn kind(&self) -> &'static str {
        match &self.0.message {
            Message::JoinDomain { .. } => "JoinDomain",
            Message::WelcomeChild { .. } => "WelcomeChild",
            Message::RefuseChild { .. } => "RefuseChild",
            Message::ExpelChild => "ExpelChild",
            Message::LeaveDomain => "LeaveDomain",
            Message::KeepAlive => "KeepAlive",
            Message::ReportLoad(_) => "ReportLoad",
            Message::HintPeers { .. } => "HintPeers",
            Message::ForgetPeer { .. } => "ForgetPeer",
            Message::RequestSteal { .. } => "RequestSteal",
            Message::EndSteal { .. } => "EndSteal",
            Message::GrantClosures { .. } => "GrantClosures",
            Message::ReturnClosures { .. } => "ReturnClosures",
            Message::ReturnResults { .. } => "ReturnResults",
            Message::AbortLeases { .. } => "AbortLeases",
            Message::EndJob { .. } => "EndJob",
            Message::RecordResults { .. } => "RecordResults",
            Message::RequestCheckpoint { .. } => "RequestCheckpoint",
            Message::GrantCheckpoint { .. } => "GrantCheckpoint",
            Message::KeepPace { .. } => "KeepPace",
            Message::SuspectLeases { .. } => "SuspectLeases",
            Message::NameOrphans { .. } => "NameOrphans",
        }
    }
}

/// Sends what a machine wants to be sent; over the wire form if `wire` says so.
pub(super) fn send(stage: &mut Stage<AtlasPacket>, from: NodeId, transmit: Transmit, wire: bool) {
    let Transmit { to, packet } = transmit;
    if let Message::GrantClosures { closures, .. } = &packet.message {
        count_grant(stage, from, to, closures.len());
    }
    let packet = if wire { over_the_wire(packet) } else { packet };
    stage.send(from, to, AtlasPacket(packet));
}

/// What a peer would read of it, which must be the same.
fn over_the_wire(packet: Packet) -> Packet {
    let encoded = codec::encode(&packet)
        .unwrap_or_else(|error| panic!("{packet:?} cannot be encoded: {error}"));
    assert_eq!(
        encoded.len(),
        codec::encoded_len(&packet),
        "the length of {packet:?}"
    );
    let decoded = codec::decode(&encoded)
        .unwrap_or_else(|error| panic!("{packet:?} cannot be decoded: {error}"));
    assert_eq!(decoded, packet, "a packet changes on the wire");
    decoded
}

/// A closure is counted at the level where it turns downward: what comes down from the domain around is taken
/// off there when it goes on.
fn count_grant(stage: &mut Stage<AtlasPacket>, from: NodeId, to: NodeId, closures: usize) {
    let count = i64::try_from(closures).unwrap_or(i64::MAX);
    let height = |depth: u32| stage.tally.steals.len().saturating_sub(1 + depth as usize);
    let depth = |domain| stage.topology.place(domain).depth;
    let (here, below) = match (stage.topology.role(from), stage.topology.role(to)) {
        (Some(Role::Manager(lender)), Some(Role::Manager(borrower)))
            if depth(borrower) > depth(lender) =>
        {
            (height(depth(lender)), Some(height(depth(borrower))))
        }
        (Some(Role::Manager(lender)), Some(Role::Server(_))) => (height(depth(lender)), None),
        (Some(Role::Server(_)), Some(Role::Server(_))) => (0, None),
        _ => return,
    };
    stage.tally.stole(here, count);
    if let Some(below) = below {
        stage.tally.stole(below, -count);
    }
}
