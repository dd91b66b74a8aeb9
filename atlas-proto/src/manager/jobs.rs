//! The jobs that a manager knows, and under which alias each of its links knows them.
//!
//! Within its domain a job goes by an alias that the manager drew. Towards its parent it draws another, so that
//! nothing that leaves the domain can be matched with what is said inside. A link on whose other side
//! the job was known first keeps the alias that came from there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use thiserror::Error;

use super::{Manager, ManagerEvent};
use crate::ids::{GlobalJobId, JobAlias, NodeId};
use crate::job::{Closure, Finished, JobSpec};
use crate::limits::{CLOSURE_BYTES_MAX, ENGINE_NAME_BYTES_MAX, ENGINE_OPTIONS_BYTES_MAX, JOBS_MAX};
use crate::message::{JobHeader, Message};
use crate::rng::Rng;
use crate::time::Time;

/// Why a job was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Every place is taken.
    #[error("the manager holds {JOBS_MAX} jobs already: wait until one is done, or kill one")]
    TooManyJobs,
    /// The closures that are here take all the room.
    #[error("the manager holds as many closures as it can: wait until some are done")]
    NoRoom,
    /// The name of the engine is too long.
    #[error(
        "the engine's name has {bytes} bytes, at most {ENGINE_NAME_BYTES_MAX} are allowed: use its short name"
    )]
    EngineNameTooLong {
        /// What was given.
        bytes: usize,
    },
    /// The engine is told too much.
    #[error(
        "the engine's options have {bytes} bytes, at most {ENGINE_OPTIONS_BYTES_MAX} are allowed: put what is large into \
         the job's artifact"
    )]
    OptionsTooLarge {
        /// What was given.
        bytes: usize,
    },
    /// The job's arguments are too large to be sent to a server.
    #[error(
        "the job's arguments have {bytes} bytes, at most {CLOSURE_BYTES_MAX} are allowed: let the job read them from a file"
    )]
    ArgumentsTooLarge {
        /// What was given.
        bytes: usize,
    },
}

impl SubmitError {
    /// Whether this can be sent to a server.
    pub(super) fn check(spec: &JobSpec, root: &Closure) -> Result<(), Self> {
        let bytes = spec.engine.len();
        if bytes > ENGINE_NAME_BYTES_MAX {
            return Err(Self::EngineNameTooLong { bytes });
        }
        let bytes = spec.options.len();
        if bytes > ENGINE_OPTIONS_BYTES_MAX {
            return Err(Self::OptionsTooLarge { bytes });
        }
        let bytes = root.size();
        if !root.is_within_limits() {
            return Err(Self::ArgumentsTooLarge { bytes });
        }
        Ok(())
    }
}

/// Where a manager has a job from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobOrigin {
    /// It was submitted here.
    Here,
    /// A neighbour lent closures of it first.
    Peer {
        /// Who.
        node: NodeId,
        /// What it calls the job.
        alias: JobAlias,
    },
}

/// A job as a manager knows it.
#[derive(Debug)]
struct Job {
    spec: Arc<JobSpec>,
    /// The neighbour that it came from; none if it was submitted here.
    origin: Option<NodeId>,
    links: BTreeMap<NodeId, JobAlias>,
    /// The stamp up to which the parent has told what it knows of the job.
    told_by_parent: u64,
    /// The driver keeps something of it, though it was submitted elsewhere.
    is_kept: bool,
}

/// All jobs, by this domain's alias.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    jobs: BTreeMap<JobAlias, Job>,
    by_link: BTreeMap<(NodeId, JobAlias), JobAlias>,
    ended: EndedLinks,
}

/// What the jobs that ended last were called on each link: what was under way when a neighbour was told of the end
/// must not bring the job back, since nobody would end it again.
#[derive(Debug, Default)]
struct EndedLinks {
    links: BTreeSet<(NodeId, JobAlias)>,
    jobs: VecDeque<Vec<(NodeId, JobAlias)>>,
}

impl EndedLinks {
    fn insert(&mut self, links: Vec<(NodeId, JobAlias)>) {
        if self.jobs.len() == ENDED_MAX
            && let Some(oldest) = self.jobs.pop_front()
        {
            for link in oldest {
                self.links.remove(&link);
            }
        }
        self.links.extend(&links);
        self.jobs.push_back(links);
    }
}

impl Jobs {
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn submit(&mut self, spec: JobSpec, rng: &mut Rng) -> Result<JobAlias, SubmitError> {
        self.insert(Arc::new(spec), None, rng)
            .ok_or(SubmitError::TooManyJobs)
    }

    /// It was submitted here.
    pub(super) fn is_own(&self, job: JobAlias) -> bool {
        self.jobs.get(&job).is_some_and(|job| job.origin.is_none())
    }

    fn origin(&self, job: JobAlias) -> Option<JobOrigin> {
        let state = self.jobs.get(&job)?;
        let Some(node) = state.origin else {
            return Some(JobOrigin::Here);
        };
        let alias = *state.links.get(&node)?;
        Some(JobOrigin::Peer { node, alias })
    }

    /// One of the jobs at hand is of the kind that `admits`; or there is none, and the next one may be.
    pub(super) fn may_employ(&self, admits: impl Fn(&JobSpec) -> bool) -> bool {
        self.jobs.is_empty() || self.jobs.values().any(|job| admits(&job.spec))
    }

    pub(super) fn spec(&self, job: JobAlias) -> Option<&Arc<JobSpec>> {
        self.jobs.get(&job).map(|job| &job.spec)
    }

    /// This domain's alias for what a neighbour calls `alias`.
    pub(super) fn resolve(&self, peer: NodeId, alias: JobAlias) -> Option<JobAlias> {
        self.by_link.get(&(peer, alias)).copied()
    }

    /// What a neighbour calls `alias` ended a while ago, and the neighbour has heard of it, or will.
    pub(super) fn has_ended(&self, peer: NodeId, alias: JobAlias) -> bool {
        self.ended.links.contains(&(peer, alias))
    }

    /// This domain's alias for a job of a neighbour, drawn now if it is new. None if there are too many.
    pub(super) fn intern(
        &mut self,
        peer: NodeId,
        header: JobHeader,
        rng: &mut Rng,
    ) -> Option<JobAlias> {
        if let Some(known) = self.resolve(peer, header.alias) {
            return Some(known);
        }
        let local = self.insert(header.spec, Some(peer), rng)?;
        self.link(local, peer, header.alias);
        Some(local)
    }

    /// How to name a job to a neighbour: a child is told this domain's alias, the parent one drawn for it.
    pub(super) fn header_for(
        &mut self,
        job: JobAlias,
        peer: NodeId,
        is_parent: bool,
        rng: &mut Rng,
    ) -> Option<JobHeader> {
        let state = self.jobs.get(&job)?;
        let spec = state.spec.clone();
        let alias = match state.links.get(&peer) {
            Some(&alias) => alias,
            None => {
                let alias = if is_parent {
                    JobAlias(rng.next_u64())
                } else {
                    job
                };
                self.link(job, peer, alias);
                alias
            }
        };
        Some(JobHeader { alias, spec })
    }

    /// The neighbours that know the job, with their names for it.
    pub(super) fn links(&self, job: JobAlias) -> Vec<(NodeId, JobAlias)> {
        let links = self.jobs.get(&job).map(|job| &job.links);
        links
            .into_iter()
            .flatten()
            .map(|(&peer, &alias)| (peer, alias))
            .collect()
    }

    /// The jobs that came from a neighbour.
    pub(super) fn originating_at(&self, peer: NodeId) -> Vec<JobAlias> {
        self.jobs
            .iter()
            .filter(|(_, job)| job.origin == Some(peer))
            .map(|(&alias, _)| alias)
            .collect()
    }

    /// The stamp up to which the parent has told what it knows of the job.
    pub(super) fn told_by_parent(&mut self, job: JobAlias) -> Option<&mut u64> {
        self.jobs.get_mut(&job).map(|job| &mut job.told_by_parent)
    }

    /// Another life of the parent, or another parent, counts its stamps anew.
    pub(super) fn forget_told_by_parent(&mut self) {
        self.jobs
            .values_mut()
            .for_each(|job| job.told_by_parent = 0);
    }

    /// From now on the driver keeps something of this job. What it does so under, unless the job was submitted here.
    pub(super) fn keep_foreign(&mut self, job: JobAlias) -> Option<GlobalJobId> {
        let job = self.jobs.get_mut(&job)?;
        job.origin?;
        job.is_kept = true;
        Some(job.spec.id)
    }

    /// What the driver keeps of a foreign job under this, and under no other name: who lends closures may give several jobs one number.
    fn kept_alone(&self, job: JobAlias) -> Option<GlobalJobId> {
        let id = self
            .jobs
            .get(&job)
            .filter(|job| job.is_kept)
            .map(|job| job.spec.id)?;
        let mut others = self.jobs.iter().filter(|(other, _)| **other != job);
        let is_shared = others.any(|(_, other)| other.is_kept && other.spec.id == id);
        (!is_shared).then_some(id)
    }

    pub(super) fn came_from(&self, job: JobAlias, peer: NodeId) -> bool {
        self.jobs
            .get(&job)
            .is_some_and(|job| job.origin == Some(peer))
    }

    pub(super) fn remove(&mut self, job: JobAlias) {
        if let Some(state) = self.jobs.remove(&job) {
            let links: Vec<_> = state.links.into_iter().collect();
            for link in &links {
                self.by_link.remove(link);
            }
            self.ended.insert(links);
        }
    }

    /// The session with a neighbour is over, and with it its names.
    pub(super) fn forget_link(&mut self, peer: NodeId) {
        for job in self.jobs.values_mut() {
            if let Some(alias) = job.links.remove(&peer) {
                self.by_link.remove(&(peer, alias));
            }
        }
    }

    fn insert(
        &mut self,
        spec: Arc<JobSpec>,
        origin: Option<NodeId>,
        rng: &mut Rng,
    ) -> Option<JobAlias> {
        if self.jobs.len() >= JOBS_MAX {
            return None;
        }
        let alias = JobAlias(rng.next_u64());
        self.jobs.insert(
            alias,
            Job {
                spec,
                origin,
                links: BTreeMap::new(),
                told_by_parent: 0,
                is_kept: false,
            },
        );
        Some(alias)
    }

    fn link(&mut self, job: JobAlias, peer: NodeId, alias: JobAlias) {
        if let Some(state) = self.jobs.get_mut(&job) {
            state.links.insert(peer, alias);
            self.by_link.insert((peer, alias), job);
        }
    }
}

impl Manager {
    /// Where a job is from, by what a neighbour calls it: to there goes what belongs to the job and is not in messages. None if
    /// the job is over, or was never lent to that neighbour.
    #[must_use]
    pub fn origin_of(&self, peer: NodeId, alias: JobAlias) -> Option<(JobAlias, JobOrigin)> {
        let job = self.resolve_job(peer, alias)?;
        Some((job, self.jobs.origin(job)?))
    }

    /// The job has not ended, as far as is known here.
    #[must_use]
    pub fn has_job(&self, job: JobAlias) -> bool {
        self.jobs.spec(job).is_some()
    }

    /// This domain's alias for what a neighbour calls `alias`. Servers use it themselves.
    pub(super) fn resolve_job(&self, peer: NodeId, alias: JobAlias) -> Option<JobAlias> {
        if self.is_server(peer) {
            self.jobs.spec(alias).map(|_| alias)
        } else {
            self.jobs.resolve(peer, alias)
        }
    }

    /// As [`Jobs::intern`], and the driver is told of a job that is new.
    pub(super) fn intern_job(&mut self, lender: NodeId, header: JobHeader) -> Option<JobAlias> {
        let is_new = self.jobs.resolve(lender, header.alias).is_none();
        let id = header.spec.id;
        let job = self.jobs.intern(lender, header, &mut self.rng)?;
        if is_new {
            self.events
                .push_back(ManagerEvent::ForeignJobBegun { job, id });
        }
        Some(job)
    }

    /// The jobs that were submitted elsewhere.
    pub fn foreign_jobs(&self) -> impl Iterator<Item = GlobalJobId> {
        let foreign = self.jobs.jobs.values().filter(|job| job.origin.is_some());
        foreign.map(|job| job.spec.id)
    }

    /// Where the job came from says that it is over.
    pub(super) fn handle_end_job(&mut self, now: Time, from: NodeId, alias: JobAlias, lost: bool) {
        if let Some(job) = self.jobs.resolve(from, alias)
            && self.jobs.came_from(job, from)
        {
            if let Some(id) = self.jobs.kept_alone(job).filter(|_| !lost) {
                self.events.push_back(ManagerEvent::ForeignJobEnded { id });
            }
            self.end_job(now, job, lost);
        }
    }

    pub(super) fn finish_job(&mut self, now: Time, job: JobAlias, finished: Finished) {
        self.events
            .push_back(ManagerEvent::JobFinished { job, finished });
        self.end_job(now, job, false);
    }

    /// Forgets a job, and tells all who may know it but the one that it came from, which may be `lost`.
    pub(super) fn end_job(&mut self, now: Time, job: JobAlias, lost: bool) {
        for id in self.ledger.of_job(job) {
            self.ledger.remove(id);
        }
        self.rivals.forget(job);
        for (peer, alias) in self.jobs.links(job) {
            if !self.is_server(peer) && !self.jobs.came_from(job, peer) {
                let end = Message::EndJob { job: alias, lost };
                self.sessions.send(now, peer, end);
            }
        }
        // Servers hear of jobs from each other.
        self.tell_servers(now, &Message::EndJob { job, lost });
        self.jobs.remove(job);
        self.checkpoints.forget(job);
        self.upward.forget_job(job);
        self.orphans.forget_job(job);
    }
}

/// What is under way takes seconds at most; fewer jobs than this end in that time.
const ENDED_MAX: usize = 256;
