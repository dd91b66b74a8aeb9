//! When the server is told how much there is to do, and what it is told.
//!
//! A server acts on whether workers are idle, whether anything could be lent, and roughly how much. News of the
//! runtime make the engine look at once, or a little later if there are many; while something is done here it looks every now and then, and tells what has
//! changed. Work that is latent does not show, so as long as nothing is ready the engine asks for some: at each look
//! the workers make at most one closure each public, which they take back themselves if nobody wants it.

use std::time::{Duration, Instant};

use atlas_core::Runtime;
use atlas_engine::limits::READY_RUNS_MAX;
use atlas_engine::{Load, ReadyRun};

use super::words;

/// What the server was told last, and when to look again.
pub(super) struct LoadReport {
    told: Option<Load>,
    looked: Instant,
    /// Something has happened since: when to look for it.
    due: Option<Instant>,
    /// When looks may again follow each other closely: a bucket of tokens.
    full_at: Instant,
    /// The last look has found what was told before.
    settled: bool,
}

impl LoadReport {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            told: None,
            looked: now,
            due: Some(now),
            full_at: now,
            settled: false,
        }
    }

    /// Workers are idle, or something could be lent: the server should know at once, as long as such news are few.
    pub(super) fn note(&mut self) {
        let now = Instant::now();
        let crowded = self.full_at.checked_sub(SOON * (BURST_MAX - 1));
        self.look_at(crowded.map_or(now, |at| at.max(now)));
    }

    /// The server has changed something: it knows of it, and what follows from it may come together.
    pub(super) fn note_command(&mut self) {
        self.look_at(Instant::now() + SOON);
    }

    fn look_at(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// The server reckons by itself with what follows from what it has just wanted: a worker less is idle, closures less are
    /// ready. It is told even what it was told last, for that is not what it believes now.
    pub(super) fn note_reckoned(&mut self) {
        self.told = None;
    }

    /// How long until the next look; none if it needs news. An engine without a worker is silent once it has said so.
    pub(super) fn next_look(&self, busy: bool) -> Option<Duration> {
        let usual = (busy || !self.settled).then(|| self.looked + INTERVAL);
        let at = self.due.into_iter().chain(usual).min()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Looks; what to tell, if it is something new.
    pub(super) fn look(&mut self, runtime: &Runtime, busy: bool) -> Option<Load> {
        self.looked = Instant::now();
        self.due = None;
        self.full_at = self.full_at.max(self.looked) + SOON;
        let load = load_of(runtime);
        if load.ready == 0 && busy {
            runtime.ask_for_surplus();
        }
        self.settled = self.told.as_ref() == Some(&load);
        if self.settled {
            return None;
        }
        self.told = Some(load.clone());
        Some(load)
    }
}

fn load_of(runtime: &Runtime) -> Load {
    let oldest = runtime.oldest_ready(LOOKED_AT_MAX);
    let ready = if oldest.len() < LOOKED_AT_MAX {
        oldest.len()
    } else {
        runtime.ready_count().max(LOOKED_AT_MAX)
    };
    let mut runs: Vec<ReadyRun> = Vec::new();
    for kind in oldest.iter().map(words::ready_kind) {
        match runs.last_mut() {
            Some(run) if run.kind == kind => run.closures += 1,
            _ => runs.push(ReadyRun { kind, closures: 1 }),
        }
    }
    runs.truncate(READY_RUNS_MAX);
    Load {
        idle: as_u32(runtime.idle_workers()),
        stopped: as_u32(runtime.stopped_workers()),
        ready: as_u32(ready),
        oldest: runs,
    }
}

fn as_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// So often if there is much news: then many come together.
pub(super) const SOON: Duration = Duration::from_millis(1);
/// So many looks may follow each other closely.
const BURST_MAX: u32 = 4;
/// While something runs.
const INTERVAL: Duration = Duration::from_millis(20);
/// Ready closures that are looked at; they change their queue on the way.
const LOOKED_AT_MAX: usize = 64;
