//! Bytes that there is no room to keep: they are fetched for who reads them, and go nowhere else.
//!
//! Where the origin sends ranges, each read asks for one. Where it does not, all who read share one answer with the whole, which stays
//! where it is until somebody reads on: so a file that is read from its beginning to its end comes once. The kernel's reads come a little
//! out of order, and so what was passed lately stays in memory. Who goes back further has the answer begin again. An answer that nobody
//! reads on, or that has come to its end, is dropped, since it is one of those that its host may be asked for at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::super::error::UrlError;
use super::super::http::{Ask, Failure, Request};
use super::super::version::Condition;
use super::super::ways::Answer;
use super::answer::examine;
use super::shared::Shared;

/// An answer with the whole that is being read, if there is one.
#[derive(Debug, Default)]
pub(super) struct Passing(Mutex<Option<Whole>>);

#[derive(Debug)]
struct Whole {
    /// None once the file's end has come: an answer is one of those that its host may be asked for at a time.
    answer: Option<Answer>,
    /// What came lately, in a row.
    recent: VecDeque<Bytes>,
    /// Where in the file that begins, and where it ends.
    from: u64,
    to: u64,
    used: Instant,
    /// Drops the answer when nobody reads on. It ends with this.
    _watch: JoinSet<()>,
}

impl Shared {
    /// Whether it can be read without being kept: what comes later is known to be of the same version.
    pub(super) fn can_pass(&self) -> bool {
        self.origin.version.condition() != Condition::Nothing
    }

    /// Fetches bytes for who reads them.
    pub(super) async fn pass(
        self: &Arc<Self>,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), UrlError> {
        let client = &self.origin.client;
        let mut retry = client.retry();
        loop {
            let passed = if self.asks_for_whole() {
                self.pass_from_whole(offset, buffer).await
            } else {
                self.pass_range(offset, buffer).await
            };
            match passed {
                Ok(()) => return Ok(()),
                Err(failure) => client.wait_after(failure, &mut retry).await?,
            }
        }
    }

    async fn pass_range(self: &Arc<Self>, offset: u64, buffer: &mut [u8]) -> Result<(), Failure> {
        let end = offset + buffer.len() as u64;
        let mut answer = self.ask_to_pass(Some((offset, end))).await?;
        if answer.status() == 200 {
            // From now on nobody asks for ranges, and this answer will do for all.
            self.ask_for_whole();
            // Nobody waits here with an answer in hand: it is one of those that its host may be asked for at a time, and who reads from the
            // shared one may be waiting to ask.
            if let Ok(mut passing) = self.passing.0.try_lock() {
                passing.get_or_insert_with(|| self.whole(answer));
            } else {
                drop(answer);
            }
            return self.pass_from_whole(offset, buffer).await;
        }
        let mut filled = 0;
        while filled < buffer.len() {
            let Some(chunk) = answer.chunk().await? else {
                let what = format!("{filled} of {} bytes", buffer.len());
                return Err(Failure::broken(&self.origin.url, what));
            };
            self.origin.counts.fetched(answer.giver(), chunk.len());
            let taken = chunk.len().min(buffer.len() - filled);
            buffer[filled..filled + taken].copy_from_slice(&chunk[..taken]);
            filled += taken;
        }
        Ok(())
    }

    /// Who stops waiting for this leaves the answer where it is. If that is in the middle of a piece from above, the next who reads has it begin
    /// again.
    async fn pass_from_whole(
        self: &Arc<Self>,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), Failure> {
        let mut passing = self.passing.0.lock().await;
        if passing.as_ref().is_some_and(|whole| whole.from > offset) {
            *passing = None;
        }
        let whole = match &mut *passing {
            Some(whole) => whole,
            None => passing.insert(self.whole(self.ask_to_pass(None).await?)),
        };
        let end = offset + buffer.len() as u64;
        match whole.reach(self, offset, end).await {
            Ok(()) => {
                whole.copy(offset, buffer);
                Ok(())
            }
            Err(failure) => {
                *passing = None;
                Err(failure)
            }
        }
    }

    /// An answer with the whole, or with this range and nothing else.
    async fn ask_to_pass(&self, range: Option<(u64, u64)>) -> Result<Answer, Failure> {
        let request = Request {
            url: &self.origin.url,
            method: Ask::Bytes,
            range,
            version: Some(&self.origin.version),
            known: None,
        };
        let answer = self.origin.client.try_once(request).await?;
        examine(&self.origin, &answer, range)?;
        Ok(answer)
    }

    fn whole(self: &Arc<Self>, answer: Answer) -> Whole {
        let mut watch = JoinSet::new();
        watch.spawn(watch_over(
            Arc::downgrade(self),
            self.origin.client.silence_max(),
        ));
        Whole {
            answer: Some(answer),
            recent: VecDeque::new(),
            from: 0,
            to: 0,
            used: Instant::now(),
            _watch: watch,
        }
    }
}

/// Drops the answer that nobody has read on for so long.
async fn watch_over(shared: Weak<Shared>, unused_max: Duration) {
    loop {
        tokio::time::sleep(unused_max).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let mut passing = shared.passing.0.lock().await;
        if passing
            .as_ref()
            .is_none_or(|whole| whole.used.elapsed() >= unused_max)
        {
            *passing = None;
            return;
        }
    }
}

impl Whole {
    /// Receives until these bytes are there, which begin no earlier than what is there.
    async fn reach(&mut self, shared: &Shared, offset: u64, end: u64) -> Result<(), Failure> {
        while self.to < end
            && let Some(answer) = &mut self.answer
        {
            let Some(chunk) = answer.chunk().await? else {
                let what = format!("it ends after {} bytes", self.to);
                return Err(Failure::broken(&shared.origin.url, what));
            };
            let counts = &shared.origin.counts;
            counts.fetched(answer.giver(), chunk.len());
            self.to += chunk.len() as u64;
            if self.to >= shared.entry.length() {
                self.answer = None;
            }
            self.recent.push_back(chunk);
            while let Some(first) = self.recent.front() {
                let second = self.from + first.len() as u64;
                if second > offset || self.to - second < RECENT_BYTES {
                    break;
                }
                self.from = second;
                self.recent.pop_front();
            }
        }
        self.used = Instant::now();
        Ok(())
    }

    /// Copies bytes that are there.
    fn copy(&self, offset: u64, buffer: &mut [u8]) {
        let (mut at, mut filled) = (self.from, 0);
        for chunk in &self.recent {
            let wanted = offset + filled as u64;
            let end = at + chunk.len() as u64;
            if wanted < end && filled < buffer.len() {
                let skipped = usize::try_from(wanted - at).unwrap_or(chunk.len());
                let chunk = &chunk[skipped..];
                let taken = chunk.len().min(buffer.len() - filled);
                buffer[filled..filled + taken].copy_from_slice(&chunk[..taken]);
                filled += taken;
            }
            at = end;
        }
    }
}

/// What was passed lately and stays in memory: the kernel reads a few megabytes ahead, in several requests at once.
const RECENT_BYTES: u64 = 4 << 20;
