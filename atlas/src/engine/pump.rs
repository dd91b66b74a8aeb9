//! What the engine does: it does what the server says, and tells it what the runtime has told.
//!
//! The thread that reads the socket does at once what the server wants ([`Pump::obey`]): somebody waits for it, and a
//! hand-over to another thread would cost as much again. The runtime's workers only note their news ([`News`]), which
//! another thread acts on ([`run`]). Both do it under one lock, so that all is done one after the other. It may be held while
//! the socket is written to: a server reads whatever it is doing.

use std::collections::BTreeMap;
use std::iter;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atlas_core::{
    AcceptError, Host, Lease, LentClosure, Outcome, Recorded, Runtime, TaskId, Ticket,
};
use atlas_engine::limits::{
    LENT_BYTES_MAX, LENT_CLOSURES_MAX, RECORDS_BYTES_MAX, RECORDS_MAX, SAMPLES_MAX,
};
use atlas_engine::{Closure, Finished, FromEngine, Lent, RequestId, SharedName, ToEngine, frame};

use super::load::LoadReport;
use super::records::Records;
use super::results::{self, Ended, Returns};
use super::{EngineError, chain, words};
use crate::shared;

/// All that is acted on beside the server's commands.
pub(super) enum News {
    /// The server has said something, and it is done.
    Commanded,
    /// The server is gone or wants the engine to end; or makes no sense.
    Closed(Option<EngineError>),
    /// The load may have changed.
    Load,
    /// An accepted closure is done.
    Finished(Ticket, Ended, Duration),
    /// A lent closure is not wanted any more.
    Unwanted(Lease),
}

/// The runtime's host: it notes what it is told.
pub(super) struct Notes {
    tell: Sender<News>,
    records: Arc<Records>,
}

impl Notes {
    pub(super) fn new(tell: Sender<News>, records: Arc<Records>) -> Self {
        Self { tell, records }
    }

    fn note(&self, news: News) {
        // Without a pump the process is about to end.
        let _ = self.tell.send(news);
    }
}

impl Host for Notes {
    fn hungry(&self) {
        self.note(News::Load);
    }

    fn surplus(&self) {
        self.note(News::Load);
    }

    fn finished(&self, ticket: Ticket, outcome: Outcome, work: Duration) {
        self.note(News::Finished(ticket, results::part(outcome), work));
    }

    fn unwanted(&self, lease: Lease) {
        self.note(News::Unwanted(lease));
    }

    fn recorded(&self, recorded: Recorded, uncovered: Duration) {
        self.records.push(recorded, uncovered);
    }
}

pub(super) struct Pump {
    runtime: &'static Runtime,
    socket: UnixStream,
    load: LoadReport,
    returns: Returns,
    /// What was accepted and is neither finished nor aborted.
    accepted: BTreeMap<Ticket, TaskId>,
    measured: Instant,
    /// Something may have been measured since.
    has_worked: bool,
    records: Arc<Records>,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Flow {
    GoOn,
    End,
}

impl Pump {
    pub(super) fn new(
        runtime: &'static Runtime,
        socket: UnixStream,
        records: Arc<Records>,
    ) -> Self {
        Self {
            runtime,
            socket,
            records,
            load: LoadReport::new(),
            returns: Returns::new(runtime),
            accepted: BTreeMap::new(),
            measured: Instant::now(),
            has_worked: false,
        }
    }

    /// Before waiting for news: how long until a look is due; none if only news can make it so.
    fn prepare(&mut self) -> Result<Option<Duration>, EngineError> {
        let wait = self.load.next_look(self.is_busy());
        if self.has_worked && wait.is_none() {
            // There may be nothing more to say for long.
            self.tell_measured()?;
        }
        Ok(wait)
    }

    fn look(&mut self) -> Result<(), EngineError> {
        let busy = self.is_busy();
        self.has_worked |= busy;
        if let Some(load) = self.load.look(self.runtime, busy) {
            self.tell(&FromEngine::Load(load))?;
        }
        if self.measured.elapsed() >= MEASURE_INTERVAL {
            self.tell_measured()?;
        }
        let now = Instant::now();
        if busy {
            self.tell_recorded(self.records.take_due(now))?;
            self.runtime.checkpoint_now();
        } else {
            self.tell_recorded(self.records.take(now))?;
        }
        Ok(())
    }

    /// True if something may run here.
    fn is_busy(&self) -> bool {
        !self.accepted.is_empty() && self.runtime.active_workers() > 0
    }

    fn act(&mut self, news: News) -> Result<Flow, EngineError> {
        match news {
            News::Closed(None) => return Ok(Flow::End),
            News::Closed(Some(error)) => return Err(error),
            News::Commanded => {}
            News::Load => self.load.note(),
            News::Finished(ticket, ended, work) => {
                // What comes after an abort is of no use.
                if let Some(task) = self.accepted.remove(&ticket) {
                    let outcome = results::to_wire(ended, task, self.runtime);
                    self.tell_finished(ticket, outcome, work)?;
                    if self.accepted.is_empty() {
                        // They are in what was told.
                        drop(self.records.take(Instant::now()));
                    }
                }
                self.load.note();
            }
            News::Unwanted(lease) => {
                let lease = atlas_engine::Lease(lease.0);
                self.tell(&FromEngine::Unwanted { lease })?;
            }
        }
        Ok(Flow::GoOn)
    }

    /// Does what the server wants. That it is to end is not for here.
    pub(super) fn obey(&mut self, command: ToEngine) -> Result<(), EngineError> {
        self.load.note_command();
        match command {
            ToEngine::SetWorkers { workers } => {
                let workers = usize::try_from(workers).unwrap_or(usize::MAX);
                self.runtime.set_workers(workers);
                self.load.note_reckoned();
            }
            ToEngine::Accept { ticket, closure } => self.accept(Ticket(ticket.0), &closure)?,
            ToEngine::Abort { ticket } => {
                self.accepted.remove(&Ticket(ticket.0));
                self.runtime.abort_accepted(Ticket(ticket.0));
            }
            ToEngine::Lend {
                request,
                closures_max,
            } => self.lend(request, closures_max)?,
            ToEngine::ReturnResult { lease, finished } => {
                let taken = self.returns.take(Lease(lease.0), finished);
                taken.map_err(EngineError::Thread)?;
            }
            ToEngine::Reclaim { lease } => {
                self.runtime.reclaim(Lease(lease.0));
            }
            ToEngine::Hello { .. } => {
                return Err(EngineError::Order {
                    said: "Hello",
                    when: "twice",
                });
            }
            ToEngine::Remember { entries } => {
                let entries = entries.iter().map(words::remembered).collect();
                self.runtime.remember(entries);
            }
            ToEngine::Ping => self.tell(&FromEngine::Pong)?,
            ToEngine::Stop => {}
        }
        Ok(())
    }

    fn accept(&mut self, ticket: Ticket, closure: &Closure) -> Result<(), EngineError> {
        let portable = words::portable(closure);
        let depth = closure.kind.depth;
        let above: Vec<u64> = closure.above.keys().iter().map(|key| key.0).collect();
        match self.runtime.accept_below(ticket, &portable, depth, &above) {
            Ok(()) => {
                self.accepted.insert(ticket, portable.task);
                self.load.note_reckoned();
                Ok(())
            }
            Err(AcceptError::TicketInUse(_)) => Err(EngineError::Order {
                said: "Accept",
                when: "with the ticket of a closure that is not finished",
            }),
            Err(error) => {
                let refused = atlas_engine::Outcome::refused(chain(&error));
                self.tell_finished(ticket, refused, Duration::ZERO)
            }
        }
    }

    /// Lends one after the other, as long as they fit into one message.
    fn lend(&mut self, request: RequestId, closures_max: u32) -> Result<(), EngineError> {
        self.load.note_reckoned();
        let closures_max = usize::try_from(closures_max).unwrap_or(usize::MAX);
        let mut closures = Vec::new();
        let mut bytes_left = LENT_BYTES_MAX;
        while closures.len() < closures_max.min(LENT_CLOSURES_MAX) {
            // What was collected for closures that stay is named with this one, which harms nobody.
            let (mut lent, shared) = shared::leaving(|| self.runtime.lend(1));
            for kept in &lent.kept {
                eprintln!("atlas: {}", chain(kept));
            }
            let Some(one) = lent.closures.pop() else {
                break;
            };
            let lease = one.lease;
            let one = to_wire(one, shared);
            let Some(left) = bytes_left.checked_sub(one.closure.size()) else {
                self.runtime.reclaim(lease);
                break;
            };
            bytes_left = left;
            closures.push(one);
        }
        // Before the closures that name them.
        for name in shared::take_new() {
            self.tell(&FromEngine::Share { name })?;
        }
        self.tell(&FromEngine::Lent { request, closures })
    }

    fn tell_finished(
        &mut self,
        ticket: Ticket,
        outcome: atlas_engine::Outcome,
        work: Duration,
    ) -> Result<(), EngineError> {
        let finished = Finished { outcome, work };
        // So that what was measured of a closure does not come after its end.
        self.tell_measured()?;
        self.tell(&FromEngine::Finished {
            ticket: atlas_engine::Ticket(ticket.0),
            finished,
        })
    }

    fn tell_measured(&mut self) -> Result<(), EngineError> {
        self.measured = Instant::now();
        self.has_worked = self.is_busy();
        let samples: Vec<_> = self.runtime.take_measured();
        let samples: Vec<_> = samples.iter().map(words::measured).collect();
        for samples in samples.chunks(SAMPLES_MAX) {
            let samples = samples.to_vec();
            self.tell(&FromEngine::Measured { samples })?;
        }
        Ok(())
    }

    /// Tells of results, as many in a message as fit.
    fn tell_recorded(&mut self, recorded: Vec<Recorded>) -> Result<(), EngineError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for entry in recorded.into_iter().map(words::recorded) {
            if entries.len() == RECORDS_MAX || bytes + entry.size() > RECORDS_BYTES_MAX {
                let entries = std::mem::take(&mut entries);
                self.tell(&FromEngine::Record { entries })?;
                bytes = 0;
            }
            bytes += entry.size();
            entries.push(entry);
        }
        if !entries.is_empty() {
            self.tell(&FromEngine::Record { entries })?;
        }
        Ok(())
    }

    fn tell(&mut self, event: &FromEngine) -> Result<(), EngineError> {
        Ok(frame::write(&mut self.socket, event)?)
    }
}

/// Acts on news until the server says to stop, or is gone.
pub(super) fn run(pump: &Mutex<Pump>, news: &Receiver<News>) -> Result<(), EngineError> {
    loop {
        let wait = lock(pump).prepare()?;
        let heard = match wait {
            None => Some(news.recv().unwrap_or(News::Closed(None))),
            Some(Duration::ZERO) => None,
            Some(time) => match news.recv_timeout(time) {
                Ok(news) => Some(news),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(News::Closed(None)),
            },
        };
        let mut pump = lock(pump);
        match heard {
            Some(first) => {
                // What has come meanwhile is told together.
                for news in iter::once(first).chain(news.try_iter().take(TOGETHER_MAX)) {
                    if pump.act(news)? == Flow::End {
                        return Ok(());
                    }
                }
            }
            None => pump.look()?,
        }
    }
}

pub(super) fn lock(pump: &Mutex<Pump>) -> MutexGuard<'_, Pump> {
    // After a panic in one thread the other still knows what the server said.
    pump.lock().unwrap_or_else(PoisonError::into_inner)
}

fn to_wire(lent: LentClosure, shared: Vec<SharedName>) -> Lent {
    Lent {
        lease: atlas_engine::Lease(lent.lease.0),
        closure: Closure {
            kind: words::kind(lent.closure.task, lent.depth),
            args: lent.closure.args.into(),
            expected: Duration::ZERO,
            shared,
            above: words::above(&lent.above),
        },
        accepted: lent.accepted,
    }
}

/// Often enough for estimates to follow a job's phases, seldom enough to cost nothing.
const MEASURE_INTERVAL: Duration = Duration::from_millis(200);
/// News that are acted on before the server's commands get a turn.
const TOGETHER_MAX: usize = 64;
