//! When the server is told how much there is to do, and what it is told.
//!
//! A server acts on whether workers are idle, whether anything could be lent, and roughly how much. News of the
//! runtime make the engine look soon; while something is done here it looks every now and then, and tells what has
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
    /// Something has happened since.
    news: bool,
    /// The last look has found what was told before.
    settled: bool,
}

impl LoadReport {
    pub(super) fn new() -> Self {
        Self {
            told: None,
            looked: Instant::now(),
            news: true,
            settled: false,
        }
    }

    /// Something has happened that may have changed the load.
    pub(super) fn note(&mut self) {
        self.news = true;
    }

    /// A closure came: the server counts a worker for it already, so it is told even if the closure is done at the next look.
    pub(super) fn note_accepted(&mut self) {
        self.told = None;
        self.news = true;
    }

    /// How long until the next look; none if it needs news. An engine without a worker is silent once it has said so.
    pub(super) fn next_look(&self, busy: bool) -> Option<Duration> {
        let interval = match (self.news, busy || !self.settled) {
            (true, _) => SOON,
            (false, true) => INTERVAL,
            (false, false) => return None,
        };
        Some(interval.saturating_sub(self.looked.elapsed()))
    }

    /// Looks; what to tell, if it is something new.
    pub(super) fn look(&mut self, runtime: &Runtime, busy: bool) -> Option<Load> {
        self.looked = Instant::now();
        self.news = false;
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

/// So soon after news: many come together.
const SOON: Duration = Duration::from_millis(1);
/// While something runs.
const INTERVAL: Duration = Duration::from_millis(20);
/// Ready closures that are looked at; they change their queue on the way.
const LOOKED_AT_MAX: usize = 64;
