//! The server as a victim: what it gives to whom.
//!
//! It gives closures of the job with the most expected work, those expected to hold the most first (in a
//! tree these are the oldest), until the thief's share of the work is reached. What its own
//! idle workers will take is not given; to a thief that only asks ahead of need, neither is what its busy ones will
//! take next. If what could be given would not repay its move, nothing is.

use std::time::Duration;

use super::{Phase, Server};
use crate::cost::repays;
use crate::engine::{EngineCommand, Lent, ReadyRun};
use crate::ids::{EngineLease, EngineRequest, JobAlias, NodeId, RequestId};
use crate::ledger::{EntryId, Source};
use crate::limits::{GRANT_BYTES_MAX, GRANT_CLOSURES_MAX, LENDINGS_MAX};
use crate::message::{EndStealReason, JobHeader, LeasedClosure, Message, ReturnReason, StealTerms};
use crate::time::Time;

/// A question to an engine: for whom it is asked.
#[derive(Debug)]
pub(super) struct Lending {
    pub(super) job: JobAlias,
    thief: NodeId,
    request: RequestId,
    /// Something was granted from the queue already.
    granted: bool,
    /// Then the thief is told that nothing comes; none if it was.
    due: Option<Time>,
}

/// What is to be given.
#[derive(Debug, Default)]
struct Plan {
    queued: Vec<EntryId>,
    from_engine: u32,
    work: Duration,
    bytes: usize,
}

impl Plan {
    fn closures(&self) -> usize {
        self.queued.len() + self.from_engine as usize
    }
}

impl Server {
    pub(super) fn handle_request_steal(
        &mut self,
        now: Time,
        thief: NodeId,
        request: RequestId,
        terms: &StealTerms,
    ) {
        if thief != self.uplink.manager() {
            self.reporter.note_visited();
        }
        match self.plan_grant(now, terms) {
            Ok((_, plan)) if plan.from_engine > 0 && self.lending.len() >= LENDINGS_MAX => {
                self.end_steal(now, thief, request, EndStealReason::NoSurplus);
            }
            Ok((job, plan)) => self.grant(now, thief, request, job, plan),
            Err(EndStealReason::NoSurplus) if self.lend_late(now, thief, request, terms) => {}
            Err(reason) => self.end_steal(now, thief, request, reason),
        }
    }

    /// The engine has answered: what it gave goes to the thief, or back if the thief is gone.
    pub(super) fn handle_lent(
        &mut self,
        now: Time,
        job: JobAlias,
        request: EngineRequest,
        closures: Vec<Lent>,
    ) {
        let Some(closures) = self.handle_sought(now, job, request, closures) else {
            return;
        };
        let of_job = |lending: &Lending| lending.job == job;
        let asked = self.lending.get(&request).is_some_and(of_job);
        let lending = asked.then(|| self.lending.remove(&request)).flatten();
        let lending = lending.filter(|lending| {
            let waits = lending.due.is_some() && self.sessions.is_open(lending.thief);
            waits && self.phase == Phase::Serving
        });
        let Some(lending) = lending else {
            return closures
                .into_iter()
                .for_each(|lent| self.reclaim(job, lent.lease));
        };
        let entries = self.take_from_engine(now, job, closures);
        let entries = self.lend_to_holders(now, job, entries);
        if entries.is_empty() {
            let reason = if lending.granted {
                EndStealReason::Done
            } else {
                EndStealReason::NoSurplus
            };
            return self.end_steal(now, lending.thief, lending.request, reason);
        }
        self.send_grant(
            now,
            lending.thief,
            Some(lending.request),
            job,
            &entries,
            false,
        );
    }

    /// What an engine lends, but for what cannot leave: that stays with it.
    pub(super) fn take_from_engine(
        &mut self,
        now: Time,
        job: JobAlias,
        closures: Vec<Lent>,
    ) -> Vec<EntryId> {
        let again = self.lends_again(job);
        let mut entries = Vec::with_capacity(closures.len());
        let inherited = self.inherited(now, job);
        for lent in closures {
            let Lent {
                lease,
                closure,
                accepted,
            } = lent;
            let too_large = !closure.is_within_limits();
            self.stats.closures_too_large += u64::from(too_large);
            if self.ledger.from_engine(job, lease).is_some() {
                // The engine lends twice what it has once.
                continue;
            }
            if too_large || !self.ledger.has_room(1, closure.size()) {
                self.reclaim(job, lease);
                continue;
            }
            // What an engine makes has never been lent.
            let hops = if accepted {
                self.hops_of_lent(job, &closure)
            } else {
                0
            };
            let source = Source::Engine { lease };
            if !self.adopt_orphan(job, source, &closure, hops) {
                let id = self.ledger.insert(job, source, closure);
                self.ledger.note_hops(id, hops);
                if let Some(inherited) = inherited {
                    self.ledger.suspect(id, inherited, None);
                }
                if again {
                    self.ledger.note_again(id);
                }
                entries.push(id);
            }
        }
        entries
    }

    /// What an engine lent is not lent: it has it back.
    pub(super) fn reclaim(&mut self, job: JobAlias, lease: EngineLease) {
        if self.is_started(job) && self.ledger.from_engine(job, lease).is_none() {
            self.commands
                .push_back(EngineCommand::Reclaim { job, lease });
        }
    }

    /// The engine of a job is gone, and will answer no question: the thieves hear of it.
    pub(super) fn end_lendings(&mut self, now: Time, job: JobAlias, reason: EndStealReason) {
        let of_job = |_: &EngineRequest, lending: &mut Lending| lending.job == job;
        self.end_seeking(job);
        let over: Vec<_> = self.lending.extract_if(.., of_job).collect();
        for (_, lending) in over {
            if lending.due.is_some() {
                self.end_steal(now, lending.thief, lending.request, reason);
            }
        }
    }

    /// An engine that does not answer hangs, as far as anybody can see: whatever it said to have, nobody gets it.
    pub(super) fn end_late_lendings(&mut self, now: Time) {
        let mut late = Vec::new();
        for lending in self.lending.values_mut() {
            if lending.due.take_if(|due| *due <= now).is_some() {
                let (thief, request, granted) = (lending.thief, lending.request, lending.granted);
                late.push((lending.job, thief, request, granted));
            }
        }
        for (job, thief, request, granted) in late {
            if let Some(state) = self.jobs.get_mut(&job) {
                state.note_hangs();
            }
            let reason = if granted {
                EndStealReason::Done
            } else {
                EndStealReason::NoSurplus
            };
            self.end_steal(now, thief, request, reason);
        }
    }

    /// When [`Server::end_late_lendings`] has something to do.
    pub(super) fn lendings_timeout(&self) -> Option<Time> {
        let due = self.lending.values().filter_map(|lending| lending.due);
        due.min()
    }

    fn plan_grant(
        &self,
        now: Time,
        terms: &StealTerms,
    ) -> Result<(JobAlias, Plan), EndStealReason> {
        if self.phase != Phase::Serving {
            return Err(EndStealReason::Leaving);
        }
        let reserve = if terms.idle { 0 } else { self.config.workers };
        let spare = self
            .ready_closures()
            .saturating_sub(self.idle_workers())
            .saturating_sub(reserve);
        if spare == 0 {
            return Err(EndStealReason::NoSurplus);
        }
        let allowed = |job: &JobAlias| match &terms.destination {
            None => true,
            Some(to) => self
                .jobs
                .get(job)
                .is_some_and(|job| to.admits(&job.spec.origin)),
        };
        let richest = self
            .jobs
            .keys()
            .filter(|job| allowed(job))
            .max_by_key(|&&job| self.ready_work_of(now, job));
        let job = *richest.ok_or(EndStealReason::Policy)?;
        let plan = self.choose(now, job, spare, terms);
        if plan.closures() == 0 {
            let any = self.ready_of(job) > 0;
            return Err(if any {
                EndStealReason::NotWorthMoving
            } else {
                EndStealReason::NoSurplus
            });
        }
        // Of a job that has just begun nothing is known: it spreads in its domain until something is.
        let unknown = plan.work.is_zero() && terms.destination.is_none();
        if plan.work < terms.work_min && !unknown {
            return Err(EndStealReason::NotWorthMoving);
        }
        Ok((job, plan))
    }

    /// Picks from the queue and from the engine, what is expected to hold the most first.
    fn choose(&self, now: Time, job: JobAlias, spare: u32, terms: &StealTerms) -> Plan {
        let Some(state) = self.jobs.get(&job) else {
            return Plan::default();
        };
        let target = terms.share.of_work(self.ready_work_of(now, job));
        let most = (spare as usize).min(GRANT_CLOSURES_MAX);
        let most = if target.is_zero() {
            most.min(terms.share.of_count(spare) as usize)
        } else {
            most
        };
        let mut plan = Plan::default();
        let mut queued = self.ledger.ready(job).peekable();
        let mut runs = state.load.oldest.iter().copied().peekable();
        let mut in_run = runs.peek().map_or(0, |run| run.closures);
        while plan.closures() < most
            && (plan.work < target || plan.closures() == 0 || target.is_zero())
        {
            let engine = runs
                .peek()
                .map(|run: &ReadyRun| state.expected(now, run.kind));
            let queue = queued.peek().map(|&id| self.expected_of(now, id));
            if queue.is_some() && queue.map(|(work, _)| work) >= engine {
                let Some((id, (work, bytes))) = queued.next().zip(queue) else {
                    break;
                };
                if repays(terms, bytes, work) && plan.bytes + bytes <= GRANT_BYTES_MAX {
                    plan.queued.push(id);
                    plan.work = plan.work.saturating_add(work);
                    plan.bytes += bytes;
                }
            } else if let Some(work) = engine {
                if !repays(terms, state.closure_bytes, work) {
                    break;
                }
                plan.from_engine += 1;
                plan.work = plan.work.saturating_add(work);
                in_run -= 1;
                if in_run == 0 {
                    runs.next();
                    in_run = runs.peek().map_or(0, |run| run.closures);
                }
            } else {
                break;
            }
        }
        plan
    }

    fn grant(&mut self, now: Time, thief: NodeId, request: RequestId, job: JobAlias, plan: Plan) {
        let ask_engine = plan.from_engine > 0;
        let (back, lent) = self.ledger.part_by_lender(&plan.queued, thief);
        let granted = !plan.queued.is_empty();
        let asked = ReturnReason::Asked {
            request: Some(request),
        };
        let returned = self.ledger.undo(&back);
        self.sessions.give_back(now, returned, asked);
        if !lent.is_empty() {
            self.send_grant(now, thief, Some(request), job, &lent, ask_engine);
        } else if granted && !ask_engine {
            self.end_steal(now, thief, request, EndStealReason::Done);
        }
        if ask_engine {
            let question = EngineRequest(self.next_request());
            self.lending.insert(
                question,
                Lending {
                    job,
                    thief,
                    request,
                    granted,
                    due: Some(now + ENGINE_PATIENCE),
                },
            );
            if let Some(state) = self.jobs.get_mut(&job) {
                state.note_lent(plan.from_engine);
            }
            self.commands.push_back(EngineCommand::Lend {
                job,
                request: question,
                closures_max: plan.from_engine,
            });
        }
    }

    pub(super) fn send_grant(
        &mut self,
        now: Time,
        thief: NodeId,
        request: Option<RequestId>,
        job: JobAlias,
        entries: &[EntryId],
        more: bool,
    ) {
        let Some(state) = self.jobs.get(&job) else {
            return;
        };
        let header = JobHeader {
            alias: job,
            spec: state.spec.clone(),
        };
        // Nothing is lent unasked but to who has it already.
        let goes_on = request.is_none();
        let grants = self.ledger.grants(entries);
        let last = grants.len().saturating_sub(1);
        for (index, entries) in grants.into_iter().enumerate() {
            let closures: Vec<LeasedClosure> = entries
                .iter()
                .map(|&id| self.lend(now, id, thief, goes_on))
                .collect();
            self.stats.closures_lent += closures.len() as u64;
            let leases = closures.iter().map(|leased| leased.lease);
            let leases = entries.iter().copied().zip(leases);
            let suspects = self.ledger.suspected_leases(leases);
            let grant = Message::GrantClosures {
                request,
                more: more || index < last,
                load: self.load_for(now, thief),
                job: header.clone(),
                closures,
            };
            self.sessions.send(now, thief, grant);
            self.sessions.warn_of(now, thief, suspects, false);
            self.reporter.note_moved();
        }
    }

    fn lend(&mut self, now: Time, id: EntryId, thief: NodeId, goes_on: bool) -> LeasedClosure {
        let (expected, _) = self.expected_of(now, id);
        let lease = self.ledger.lend(id, thief);
        self.ledger.note_lent(id, now);
        let entry = self.ledger.entry(id).expect("it was just lent");
        let mut leased = entry.leased(lease, goes_on);
        leased.closure.expected = expected;
        leased
    }

    fn end_steal(&mut self, now: Time, thief: NodeId, request: RequestId, reason: EndStealReason) {
        self.stats.steals_refused += u64::from(reason != EndStealReason::Done);
        let load = self.load_for(now, thief);
        self.sessions.send(
            now,
            thief,
            Message::EndSteal {
                request,
                reason,
                load,
            },
        );
    }

    /// The work expected in an entry, and its bytes.
    pub(super) fn expected_of(&self, now: Time, id: EntryId) -> (Duration, usize) {
        let Some(entry) = self.ledger.entry(id) else {
            return (Duration::ZERO, 0);
        };
        let model = self
            .jobs
            .get(&entry.job)
            .map(|job| job.expected(now, entry.closure.kind));
        (
            model.unwrap_or(entry.closure.expected),
            entry.closure.size(),
        )
    }

    pub(super) fn ready_work_of(&self, now: Time, job: JobAlias) -> Duration {
        let Some(state) = self.jobs.get(&job) else {
            return Duration::ZERO;
        };
        let mut in_engine = Duration::ZERO;
        let (mut listed, mut youngest) = (0_u32, Duration::ZERO);
        for run in &state.load.oldest {
            youngest = state.expected(now, run.kind);
            in_engine = in_engine.saturating_add(youngest.saturating_mul(run.closures));
            listed = listed.saturating_add(run.closures);
        }
        // The engine lists its oldest only; the others are younger, so smaller.
        let rest = state.load.ready.saturating_sub(listed);
        in_engine = in_engine.saturating_add((youngest / 2).saturating_mul(rest));
        let (mut sampled, mut work) = (0, Duration::ZERO);
        for id in self.ledger.ready(job).take(QUEUE_SAMPLE) {
            sampled += 1;
            work = work.saturating_add(self.expected_of(now, id).0);
        }
        let queued = u32::try_from(self.ledger.ready_of(job)).unwrap_or(u32::MAX);
        let in_queue = if sampled == 0 {
            work
        } else {
            (work / sampled).saturating_mul(queued)
        };
        in_engine.saturating_add(in_queue)
    }

    pub(super) fn ready_work(&self, now: Time) -> Duration {
        let works = self.jobs.keys().map(|&job| self.ready_work_of(now, job));
        works.fold(Duration::ZERO, Duration::saturating_add)
    }
}

/// Engines answer within milliseconds, of loaded machines within a second.
const ENGINE_PATIENCE: Duration = Duration::from_secs(2);
/// The work of a long queue is estimated from its oldest entries.
const QUEUE_SAMPLE: usize = 32;
