//! [`Shared`]: what all who read one version share. Who waits is woken whenever blocks were stored or a request is over.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use url::Url;

use super::super::counts::Counts;
use super::super::error::UrlError;
use super::super::plan::{Bits, Blocks, Limits, Plan};
use super::super::store::{BLOCK, Check, Entry, UrlStore, blocks_of};
use super::super::version::{Condition, Version};
use super::super::ways::{Answer, Ways};
use super::fetch;
use super::passing::Passing;
use crate::blocking::blocking;
use crate::file_error::FileError;

/// Where a file comes from, and where it goes.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) url: Url,
    pub(crate) version: Version,
    pub(crate) client: Arc<Ways>,
    pub(crate) store: Arc<UrlStore>,
    pub(crate) counts: Arc<Counts>,
}

/// One version of a file.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) origin: Origin,
    pub(super) entry: Entry,
    state: Mutex<State>,
    wake: Notify,
    /// It lies on the disk as long as somebody reads it.
    is_transient: AtomicBool,
    pub(super) passing: Passing,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) plan: Plan,
    /// Blocks whose bytes on the disk are those of their hash.
    pub(super) checked: Bits,
    /// Blocks that were not what they were: what was stored, and what was found.
    pub(super) suspects: HashMap<u64, [blake3::Hash; 2]>,
    /// What has failed lately, with its number.
    failures: VecDeque<(u64, Blocks, UrlError)>,
    failed: u64,
    /// Until when there is no use in asking for room.
    pub(super) no_room: Option<(Instant, UrlError)>,
}

impl Shared {
    /// A version whose file is open.
    pub(crate) fn new(origin: Origin, entry: Entry, limits: Limits) -> Result<Arc<Self>, UrlError> {
        let blocks = blocks_of(entry.length());
        let mut plan = Plan::new(blocks, limits);
        let refused = |error: FileError| UrlError::disk(&origin.url, error);
        let present = entry.present(&(0..blocks)).map_err(refused)?;
        for block in (0..blocks).filter(|&block| present.get(block)) {
            plan.handle_stored(block);
        }
        if origin.version.condition() == Condition::Nothing {
            plan.ask_for_whole();
        }
        Ok(Arc::new(Self {
            origin,
            entry,
            state: Mutex::new(State {
                plan,
                checked: Bits::new(blocks),
                suspects: HashMap::new(),
                failures: VecDeque::new(),
                failed: 0,
                no_room: None,
            }),
            wake: Notify::new(),
            is_transient: AtomicBool::new(false),
            passing: Passing::default(),
        }))
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic leaves is at worst a block that is fetched again.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn asks_for_whole(&self) -> bool {
        self.lock().plan.asks_for_whole()
    }

    /// From now on no ranges are asked for.
    pub(crate) fn ask_for_whole(&self) {
        self.lock().plan.ask_for_whole();
    }

    /// Whether it goes with the last who reads it.
    pub(crate) fn is_transient(&self) -> bool {
        self.is_transient.load(Ordering::Relaxed)
    }

    /// Its origin forbids that it is kept (`no-store`): from now on it has no name on the disk. Bytes that come later never had one.
    pub(crate) async fn make_transient(self: &Arc<Self>) -> Result<(), UrlError> {
        if self.is_transient() {
            return Ok(());
        }
        let shared = self.clone();
        blocking(move || shared.make_transient_now())
            .await
            .map_err(|error| UrlError::disk(&self.origin.url, error))
    }

    /// The same, on this thread.
    pub(crate) fn make_transient_now(&self) -> Result<(), FileError> {
        if self.is_transient.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.entry.unname()
    }

    /// Takes an answer that has come already, unless others are on their way. It begins with the file.
    pub(crate) fn adopt(self: &Arc<Self>, answer: Answer, bytes: u64) {
        let blocks = if answer.status() == 200 {
            0..blocks_of(self.entry.length())
        } else {
            0..blocks_of(bytes.min(self.entry.length()))
        };
        let mut state = self.lock();
        if state.plan.is_idle() && state.plan.first_missing(&blocks).is_some() {
            let blocks = state.plan.begin(blocks);
            drop(state);
            fetch::spawn(self.clone(), blocks, Some(answer));
        }
    }

    /// All of it is here.
    pub(crate) fn is_complete(&self) -> bool {
        self.lock().plan.is_complete()
    }

    /// None of it is here.
    pub(crate) fn has_nothing(&self) -> bool {
        self.lock().plan.has_nothing()
    }

    pub(super) fn has(&self, blocks: &Blocks) -> bool {
        self.lock().plan.has(blocks)
    }

    /// Somebody wants these. Gives how much had failed before.
    pub(super) fn want(self: &Arc<Self>, blocks: Blocks) -> u64 {
        let (failed, fetches) = {
            let mut state = self.lock();
            state.plan.handle_read(blocks);
            (state.failed, state.poll_fetches())
        };
        for fetched in fetches {
            fetch::spawn(self.clone(), fetched, None);
        }
        failed
    }

    /// Returns when these are there and have been compared with their hashes. `begun` is how much had failed before they were
    /// wanted, if they were.
    pub(super) async fn have(
        self: &Arc<Self>,
        blocks: Blocks,
        mut begun: Option<u64>,
    ) -> Result<(), UrlError> {
        let misses = self.lock().plan.first_missing(&blocks).is_some();
        self.origin.counts.read(misses);
        loop {
            self.wait_for(&blocks, &mut begun).await?;
            let unchecked = {
                let state = self.lock();
                blocks.clone().find(|&block| !state.checked.get(block))
            };
            if unchecked.is_none() {
                return Ok(());
            }
            let (shared, wanted) = (self.clone(), blocks.clone());
            let lost = blocking(move || shared.check(wanted)).await?;
            if lost == 0 {
                return Ok(());
            }
        }
    }

    /// Whether these are there and have been compared, so that nobody need wait for them. If so, they count as read.
    pub(super) fn has_now(self: &Arc<Self>, blocks: &Blocks) -> bool {
        let fetches = {
            let mut state = self.lock();
            let is_there = |block| state.plan.has(&(block..block + 1)) && state.checked.get(block);
            if !blocks.clone().all(is_there) {
                return false;
            }
            state.plan.handle_read(blocks.clone());
            state.poll_fetches()
        };
        self.origin.counts.read(false);
        for fetched in fetches {
            fetch::spawn(self.clone(), fetched, None);
        }
        true
    }

    pub(super) async fn have_all(self: &Arc<Self>) -> Result<(), UrlError> {
        let blocks = blocks_of(self.entry.length());
        self.lock().plan.want_all();
        let mut from = 0;
        while from < blocks {
            let to = blocks.min(from + STEP);
            // As one who does not read: what is wanted is known.
            let mut begun = Some(self.lock().failed);
            self.wait_for(&(from..to), &mut begun).await?;
            from = to;
        }
        Ok(())
    }

    /// Returns when these are there. `begun` is set by the first call for a read, and says which failures are news.
    async fn wait_for(
        self: &Arc<Self>,
        blocks: &Blocks,
        begun: &mut Option<u64>,
    ) -> Result<(), UrlError> {
        loop {
            let woken = self.wake.notified();
            tokio::pin!(woken);
            // From here on no wake-up is missed.
            woken.as_mut().enable();
            let fetches = {
                let mut state = self.lock();
                let news = match *begun {
                    Some(news) => {
                        state.plan.demand(blocks.clone());
                        news
                    }
                    None => {
                        state.plan.handle_read(blocks.clone());
                        *begun.insert(state.failed)
                    }
                };
                if let Some(missing) = state.plan.first_missing(blocks)
                    && let Some(error) = state.failure_of(missing, news)
                {
                    return Err(error);
                }
                state.poll_fetches()
            };
            for fetched in fetches {
                fetch::spawn(self.clone(), fetched, None);
            }
            if self.lock().plan.has(blocks) {
                return Ok(());
            }
            woken.await;
        }
    }

    /// Reads what has been checked.
    pub(super) fn copy(&self, offset: u64, buffer: &mut [u8]) -> Result<(), UrlError> {
        self.entry
            .read(offset, buffer)
            .map_err(|error| UrlError::disk(&self.origin.url, error))
    }

    /// Compares blocks with their hashes; gives how many are to be fetched again.
    pub(super) fn check(&self, blocks: Blocks) -> Result<u64, UrlError> {
        let refused = |error| UrlError::disk(&self.origin.url, error);
        let (mut buffer, mut lost) = (Vec::new(), 0);
        for block in blocks {
            if self.lock().checked.get(block) {
                continue;
            }
            let check = self.entry.check(block, &mut buffer).map_err(refused)?;
            if let Check::Damaged { .. } = check {
                tracing::warn!(url = %self.origin.url, block, "a stored block is not what was stored, and is fetched again");
                self.entry.forget(block).map_err(refused)?;
            }
            let mut state = self.lock();
            match check {
                Check::Intact => state.checked.set(block, true),
                Check::Damaged { stored, found } => {
                    state.suspects.insert(block, [stored, found]);
                    state.plan.handle_lost(block);
                    lost += 1;
                }
                Check::Absent => {
                    state.plan.handle_lost(block);
                    lost += 1;
                }
            }
        }
        Ok(lost)
    }

    /// Compares all that is there, and seals it if it is all there is.
    pub(super) fn verify(&self) -> Result<u64, UrlError> {
        let blocks = blocks_of(self.entry.length());
        let mut lost = 0;
        for block in 0..blocks {
            let present = {
                let mut state = self.lock();
                state.checked.set(block, false);
                state.plan.has(&(block..block + 1))
            };
            if present {
                lost += self.check(block..block + 1)?;
            }
        }
        self.seal_if_complete()?;
        Ok(lost)
    }

    /// The same for its own sake.
    pub(crate) fn verify_quietly(&self) {
        if let Err(error) = self.verify() {
            tracing::warn!(url = %self.origin.url, %error, "a stored file cannot be verified");
        }
    }

    pub(super) fn seal_if_complete(&self) -> Result<(), UrlError> {
        let sealed = {
            let state = self.lock();
            let all = 0..blocks_of(self.entry.length());
            state.plan.is_complete() && all.clone().all(|block| state.checked.get(block))
        };
        if sealed {
            self.entry
                .seal()
                .map_err(|error| UrlError::disk(&self.origin.url, error))?;
        }
        Ok(())
    }

    /// Whether all of it is there, but not known to be right.
    pub(crate) fn needs_verification(&self) -> bool {
        self.lock().plan.is_complete() && !self.entry.is_sealed()
    }

    pub(super) fn complete(&self) -> Option<File> {
        if !self.lock().plan.is_complete() || !self.entry.is_sealed() {
            return None;
        }
        self.entry.data().try_clone().ok()
    }

    /// A request is over. Others are made, unless there is no runtime any more that could.
    pub(super) fn handle_end(
        self: &Arc<Self>,
        blocks: &Blocks,
        failed: Option<UrlError>,
        others: bool,
    ) {
        let fetches = {
            let mut state = self.lock();
            state.plan.handle_end(blocks);
            if let Some(error) = failed {
                if let UrlError::NoRoom { .. } = error {
                    state.no_room = Some((Instant::now() + NO_ROOM_FOR, error.clone()));
                }
                state.failed += 1;
                let number = state.failed;
                state.failures.push_back((number, blocks.clone(), error));
                if state.failures.len() > FAILURES_MAX {
                    state.failures.pop_front();
                }
            }
            if others {
                state.poll_fetches()
            } else {
                Vec::new()
            }
        };
        for fetched in fetches {
            fetch::spawn(self.clone(), fetched, None);
        }
        self.wake.notify_waiters();
    }

    pub(super) fn wake(&self) {
        self.wake.notify_waiters();
    }
}

impl State {
    fn poll_fetches(&mut self) -> Vec<Blocks> {
        std::iter::from_fn(|| self.plan.poll_fetch()).collect()
    }

    /// What was told of this block after the failure of that number.
    fn failure_of(&self, block: u64, news: u64) -> Option<UrlError> {
        let mut failures = self.failures.iter().rev();
        let found = failures.find(|(number, blocks, _)| *number > news && blocks.contains(&block));
        found.map(|(_, _, error)| error.clone())
    }
}

/// The blocks that hold these bytes.
pub(super) fn blocks_around(offset: u64, length: u64) -> Blocks {
    offset / BLOCK..(offset + length).div_ceil(BLOCK)
}

/// Blocks that are waited for at a time by who wants all: 8 MiB.
const STEP: u64 = 128;
/// Failures that are remembered for those who have not looked yet. Who comes too late asks again.
const FAILURES_MAX: usize = 64;
/// For so long nobody asks for room again, for which all files are looked at.
const NO_ROOM_FOR: Duration = Duration::from_secs(2);
