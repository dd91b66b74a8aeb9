//! Everything that nodes say to each other.
//!
//! A message is named for what its sender does. `docs/protocol.md` lists them all with sender, receiver,
//! purpose and owning test; a test holds the two together.
//!
//! A message travels in a [`Packet`]. Sequenced ones arrive once and in order within a session, or
//! the session ends; the others may be lost, and say by their place in the protocol why that is harmless.

use std::sync::Arc;
use std::time::Duration;

use atlas_engine::{Key, Recorded};
use serde::{Deserialize, Serialize};

use crate::codec::bounded::{self, List};
use crate::domain::{Domain, DomainPattern};
use crate::ids::{Epoch, JobAlias, LeaseId, NodeId, RequestId};
use crate::job::{Closure, Finished, JobSpec, Outcome};
use crate::limits::{
    GRANT_CLOSURES_MAX, HINT_PEERS_MAX, LEASES_PER_MESSAGE_MAX, ORPHANS_MAX, PATTERNS_MAX,
    RECORDS_MAX,
};
use crate::policy::lets_in;
use crate::suspicion::Suspicion;

/// One message with what a session needs to deliver it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// The sender's epoch in the domain of the two; between child and manager, the child's.
    pub from: Epoch,
    /// The receiver's epoch as the sender knows it; between child and manager, the child's.
    pub to: Epoch,
    /// Counts the sequenced messages of a session from 1; 0 is a message that may be lost.
    pub seq: u32,
    /// All sequenced messages up to this one have arrived.
    pub ack: u32,
    /// What is said.
    pub message: Message,
}

/// All that is said between nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A child asks the manager of a domain to take it in. Repeated until answered.
    JoinDomain {
        /// Tells this attempt from earlier ones.
        nonce: u64,
        /// Who asks.
        child: ChildInfo,
    },
    /// The manager takes a child in: from now on both use this epoch.
    WelcomeChild {
        /// The attempt that is answered.
        nonce: u64,
        /// The child's membership.
        epoch: Epoch,
    },
    /// The manager does not take a child in.
    RefuseChild {
        /// The attempt that is answered.
        nonce: u64,
        /// Why.
        reason: RefuseChildReason,
    },
    /// The manager has ended a membership that the child believes in: it must join again.
    ExpelChild,
    /// A child has given everything back and goes.
    LeaveDomain,
    /// Says that the sender is there, when it has said nothing else for a while; carries acknowledgements.
    KeepAlive,
    /// A child tells its manager how much work there is below it. It is also the child's keep-alive.
    ReportLoad(Load),
    /// The manager names siblings with surplus to a hungry server.
    HintPeers {
        /// Richest first.
        #[serde(with = "List::<HINT_PEERS_MAX>")]
        peers: Vec<PeerHint>,
    },
    /// The manager says that a sibling's membership is over: leases with it are lost.
    ForgetPeer {
        /// Who.
        peer: NodeId,
        /// Its last membership.
        epoch: Epoch,
    },
    /// A thief, or a manager for a hungry child, asks for closures.
    RequestSteal {
        /// The asker's number for it.
        request: RequestId,
        /// How much, and what is worth moving.
        terms: StealTerms,
    },
    /// A steal is over, though nothing (more) was granted.
    EndSteal {
        /// Which.
        request: RequestId,
        /// Why.
        reason: EndStealReason,
        /// What the victim has left.
        load: Load,
    },
    /// A lender lends closures of one job.
    GrantClosures {
        /// The steal that this answers; none for closures that nobody asked for.
        request: Option<RequestId>,
        /// Another answer to the same steal follows.
        more: bool,
        /// What the lender has left; a manager tells its children nothing.
        load: Load,
        /// What job they belong to.
        job: JobHeader,
        /// Oldest first.
        #[serde(with = "List::<GRANT_CLOSURES_MAX>")]
        closures: Vec<LeasedClosure>,
    },
    /// A borrower gives leases back undone.
    ReturnClosures {
        /// Which.
        #[serde(with = "List::<LEASES_PER_MESSAGE_MAX>")]
        leases: Vec<LeaseId>,
        /// Why.
        reason: ReturnReason,
    },
    /// A borrower delivers results.
    ReturnResults {
        /// Each with its lease.
        #[serde(with = "List::<LEASES_PER_MESSAGE_MAX>")]
        results: Vec<LeaseResult>,
    },
    /// A lender no longer wants the results of some leases.
    AbortLeases {
        /// Which.
        #[serde(with = "List::<LEASES_PER_MESSAGE_MAX>")]
        leases: Vec<LeaseId>,
    },
    /// The job is over here: everything of it is forgotten.
    EndJob {
        /// Which.
        job: JobAlias,
        /// It has not ended, but who it came from is lost and may come back with it: what was recorded of it may be kept.
        lost: bool,
    },
    /// A child tells results that are worth keeping for the case that it is lost. Where they do not arrive they are computed again.
    RecordResults {
        /// The job.
        job: JobAlias,
        /// Each with what it is the result of.
        #[serde(with = "List::<RECORDS_MAX>")]
        entries: Vec<Recorded>,
    },
    /// A child is to compute something again, and asks for what is known of the job.
    RequestCheckpoint {
        /// The job.
        job: JobAlias,
        /// It has been told all up to this stamp; zero if nothing.
        after: u64,
    },
    /// The manager tells results that were recorded.
    GrantCheckpoint {
        /// The job.
        job: JobAlias,
        /// Each with what it is the result of.
        #[serde(with = "List::<RECORDS_MAX>")]
        entries: Vec<Recorded>,
        /// With these, all up to this stamp is told.
        until: u64,
        /// More of the same answer follows.
        more: bool,
    },
    /// While leases bind a child and its manager: says that the sender is there, for the close watch of the two.
    KeepPace {
        /// By what the sender knows, leases bind it.
        bound: bool,
        /// The receiver is to answer at once.
        answer: bool,
    },
    /// Engines have died with the closures of these leases. Said right after they were lent, or before they come back.
    SuspectLeases {
        /// Which.
        #[serde(with = "List::<LEASES_PER_MESSAGE_MAX>")]
        leases: Vec<LeaseId>,
        /// What speaks against them.
        suspicion: Suspicion,
        /// The receiver has lent them, and numbered them; otherwise the sender has.
        returned: bool,
    },
    /// Closures whose lender is lost go on: whoever computes again what they descend from, and comes to one of them, lends it to who has
    /// it already. A child says so of its own; a manager passes it on to its parent, and names them to a child before it tells a checkpoint.
    NameOrphans {
        /// The job.
        job: JobAlias,
        /// A sibling that has them, with its membership; none if the sender has, or knows who has.
        holder: Option<(NodeId, Epoch)>,
        /// Which.
        #[serde(with = "List::<ORPHANS_MAX>")]
        orphans: Vec<OrphanName>,
    },
}

/// Who a child is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildInfo {
    /// A machine that computes.
    Server {
        /// How many workers it has.
        workers: u32,
    },
    /// The manager of a sub-domain.
    Manager {
        /// The sub-domain.
        domain: Domain,
        /// Whose work may run there.
        #[serde(with = "List::<PATTERNS_MAX>")]
        inflow: Vec<DomainPattern>,
    },
}

/// What is below a child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Counts the reports of a membership, so that an old one arriving late is known. It wraps around: of two
    /// versions the one less than 2^31 ahead is later (RFC 1982).
    pub version: u32,
    /// Workers that may be used; zero while its owner wants the machine.
    pub workers: u32,
    /// Those of them that have nothing to run, or will not have by the time that work could come.
    pub hungry: u32,
    /// Ready closures beyond what its own idle workers will take.
    pub surplus: u32,
    /// The work expected in the surplus.
    pub surplus_work: Duration,
    /// How far its hungry workers are from the child itself, one way.
    pub reach: Duration,
}

/// A sibling with surplus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerHint {
    /// Who.
    pub peer: NodeId,
    /// Its membership.
    pub epoch: Epoch,
    /// Its surplus, in closures, as last reported.
    pub surplus: u32,
}

/// What a thief wants and what makes the move worth while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StealTerms {
    /// The part of the victim's surplus that is the thief's share.
    pub share: Share,
    /// The thief has idle workers now; otherwise it asks ahead of need.
    pub idle: bool,
    /// Refuse if all that would be granted is expected to be less work than this.
    pub work_min: Duration,
    /// Leave behind closures expected to be less work than this for each KiB of theirs.
    pub work_min_per_kib: Duration,
    /// Where they go, if they leave the victim's domain.
    pub destination: Option<Destination>,
}

/// The domain that closures go to, and whose work may run there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The domain; the outflow of the domains that they leave is asked.
    pub domain: Domain,
    /// Its inflow: closures of other origins are not sent.
    #[serde(with = "List::<PATTERNS_MAX>")]
    pub inflow: Vec<DomainPattern>,
}

/// A part of a whole, in 1/1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Share(#[serde(with = "bounded::share")] pub u16);

/// Tells the borrower what job closures belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobHeader {
    /// The job, as the link of the two knows it.
    pub alias: JobAlias,
    /// What is needed to run it.
    pub spec: Arc<JobSpec>,
}

/// A closure with the lease under which it is lent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedClosure {
    /// The lender's number.
    pub lease: LeaseId,
    /// What is lent.
    pub closure: Closure,
    /// Somebody who was lost had it before, or something that it descends from: what had been finished of it may be in the job's
    /// checkpoint.
    pub again: bool,
    /// By what the lender was told (`NameOrphans`), the receiver has it already, or knows who has: there it goes on, and has a lender again.
    pub goes_on: bool,
    /// How often it was lent since an engine made it; this time included, unless it goes on.
    pub hops: u32,
}

/// A closure that goes on though its lender is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanName {
    /// What its result is kept under.
    pub key: Key,
    /// How often it was lent since an engine made it. What was lent less often can be joined to it: leases cannot go round then.
    pub hops: u32,
}

/// A result with the lease that it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseResult {
    /// The lender's number.
    pub lease: LeaseId,
    /// How it ended.
    pub finished: Finished,
}

/// Why a manager does not take a child in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefuseChildReason {
    /// It has as many children as it can serve.
    Full,
    /// The child's domain is not directly below the manager's.
    NotBelow,
}

/// Why nothing (more) is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndStealReason {
    /// All was granted that could be.
    Done,
    /// There is no surplus.
    NoSurplus,
    /// What there is would not repay its move.
    NotWorthMoving,
    /// The outflow of a domain on the way, or the inflow of the destination, does not allow it.
    Policy,
    /// The victim is leaving.
    Leaving,
}

/// Why leases come back undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReturnReason {
    /// The owner wants the machine.
    Retreat,
    /// The borrower's inflow does not allow the job.
    Inflow,
    /// The borrower holds as much as it can.
    NoRoom,
    /// The borrower could not run it.
    EngineFailed,
    /// The lender has asked for work, and these had not begun: returning is shorter than lending them back.
    Asked {
        /// The steal that they answer, without ending it; none if they answer hunger.
        request: Option<RequestId>,
    },
}

impl Message {
    /// The message must arrive, once and in order, or the session must end.
    #[must_use]
    pub fn is_sequenced(&self) -> bool {
        match self {
            Self::JoinDomain { .. }
            | Self::WelcomeChild { .. }
            | Self::RefuseChild { .. }
            | Self::ExpelChild
            | Self::KeepAlive
            | Self::ReportLoad(_)
            | Self::RecordResults { .. }
            | Self::KeepPace { .. } => false,
            Self::LeaveDomain
            | Self::HintPeers { .. }
            | Self::ForgetPeer { .. }
            | Self::RequestSteal { .. }
            | Self::EndSteal { .. }
            | Self::GrantClosures { .. }
            | Self::ReturnClosures { .. }
            | Self::ReturnResults { .. }
            | Self::AbortLeases { .. }
            | Self::EndJob { .. }
            | Self::RequestCheckpoint { .. }
            | Self::GrantCheckpoint { .. }
            | Self::SuspectLeases { .. }
            | Self::NameOrphans { .. } => true,
        }
    }

    /// The arguments, results and options in it: what can make a message large.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        match self {
            Self::GrantClosures { job, closures, .. } => {
                let args = closures.iter().map(|leased| leased.closure.size());
                job.spec.options.len() + args.sum::<usize>()
            }
            Self::ReturnResults { results } => {
                let outcomes = results.iter().map(|result| &result.finished.outcome);
                outcomes.map(Outcome::size).sum()
            }
            Self::RecordResults { entries, .. } | Self::GrantCheckpoint { entries, .. } => {
                entries.iter().map(Recorded::size).sum()
            }
            Self::JoinDomain { .. }
            | Self::WelcomeChild { .. }
            | Self::RefuseChild { .. }
            | Self::ExpelChild
            | Self::LeaveDomain
            | Self::KeepAlive
            | Self::ReportLoad(_)
            | Self::HintPeers { .. }
            | Self::ForgetPeer { .. }
            | Self::RequestSteal { .. }
            | Self::EndSteal { .. }
            | Self::ReturnClosures { .. }
            | Self::AbortLeases { .. }
            | Self::EndJob { .. }
            | Self::RequestCheckpoint { .. }
            | Self::KeepPace { .. }
            | Self::SuspectLeases { .. }
            | Self::NameOrphans { .. } => 0,
        }
    }

    /// The message makes or ends a session, so that it needs none.
    #[must_use]
    pub fn is_sessionless(&self) -> bool {
        matches!(
            self,
            Self::JoinDomain { .. }
                | Self::WelcomeChild { .. }
                | Self::RefuseChild { .. }
                | Self::ExpelChild
        )
    }
}

impl Load {
    /// It was reported later than `other`.
    #[must_use]
    pub fn is_later_than(&self, other: &Self) -> bool {
        let ahead = self.version.wrapping_sub(other.version);
        ahead != 0 && ahead < 1 << 31
    }
}

impl Destination {
    /// Whether work of `origin` may go there: what the manager there will say, too
    /// ([`Policy::allows_inflow`](crate::policy::Policy::allows_inflow)).
    #[must_use]
    pub fn admits(&self, origin: &Domain) -> bool {
        lets_in(&self.domain, &self.inflow, origin)
    }
}

impl Share {
    /// All of it.
    pub const WHOLE: Self = Self(1024);
    /// Half of it.
    pub const HALF: Self = Self(512);

    /// The share of `part` beside `rest`, at least 1/1024 if `part` is not zero.
    #[must_use]
    pub fn of(part: u32, rest: u32) -> Self {
        let whole = u64::from(part) + u64::from(rest);
        if part == 0 || whole == 0 {
            return Self(0);
        }
        let share = (u64::from(part) * 1024 / whole).max(1);
        Self(u16::try_from(share).unwrap_or(1024))
    }

    /// The share that `part` is of `whole`, at most all of it.
    #[must_use]
    pub fn of_whole(part: Duration, whole: Duration) -> Self {
        let share = part.as_nanos().saturating_mul(1024) / whole.as_nanos().max(1);
        Self(u16::try_from(share.min(1024)).unwrap_or(1024))
    }

    /// This share of `work`.
    #[must_use]
    pub fn of_work(self, work: Duration) -> Duration {
        work.saturating_mul(u32::from(self.0)) / 1024
    }

    /// This share of `count`, rounded up.
    #[must_use]
    pub fn of_count(self, count: u32) -> u32 {
        let share = (u64::from(count) * u64::from(self.0)).div_ceil(1024);
        u32::try_from(share).unwrap_or(u32::MAX)
    }
}
