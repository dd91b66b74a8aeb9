//! One request's way onto the disk: blocks that are missing are asked for, and asked for again from where an answer broke off. While a
//! piece is hashed and written on another thread, the next one is received.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::super::error::UrlError;
use super::super::fresh::may_be_kept;
use super::super::http::{Ask, Failure, Request};
use super::super::plan::Blocks;
use super::super::store::{BLOCK, Entry, Reserved, block_span, blocks_of, hashes_of};
use super::super::ways::Answer;
use super::answer::examine;
use super::shared::{Origin, Shared};
use crate::blocking::blocking;
use crate::file_error::FileError;

/// Fetches these blocks, which the plan has as on their way.
pub(super) fn spawn(shared: Arc<Shared>, blocks: Blocks, answer: Option<Answer>) {
    let mut fetch = Fetch {
        shared,
        blocks,
        failed: None,
        done: false,
    };
    tokio::spawn(async move {
        fetch.failed = fetch.run(answer).await.err();
        if matches!(fetch.failed, Some(UrlError::Changed { .. })) {
            fetch.forget_head().await;
        }
        fetch.done = true;
        drop(fetch);
    });
}

struct Fetch {
    shared: Arc<Shared>,
    blocks: Blocks,
    failed: Option<UrlError>,
    done: bool,
}

/// Those who wait hear of the end also if it is a panic or the end of the runtime.
impl Drop for Fetch {
    fn drop(&mut self) {
        let stopped = || UrlError::broken(&self.shared.origin.url, "the request was stopped");
        let failed = self.failed.take().or_else(|| (!self.done).then(stopped));
        self.shared.handle_end(&self.blocks, failed, self.done);
    }
}

impl Fetch {
    async fn run(&self, mut answer: Option<Answer>) -> Result<(), UrlError> {
        let client = &self.shared.origin.client;
        let mut retry = client.retry();
        let mut reserved_to = self.blocks.start;
        while let Some(from) = self.first_missing() {
            // What has come is stored, whoever else is fetching it.
            let claim = if answer.is_some() {
                self.claim(&self.blocks).unwrap_or_else(|| self.unclaimed())
            } else {
                match self.turn(from).await? {
                    Some(claim) => claim,
                    None => continue,
                }
            };
            let to = if answer.is_some() || self.shared.asks_for_whole() {
                self.blocks.end
            } else {
                self.shared.lock().plan.missing_to(from..claim.blocks.end)
            };
            if to > reserved_to {
                let first = from.max(reserved_to);
                reserved_to = to.min(first + RESERVED_AHEAD);
                self.reserve(first..reserved_to, to).await?;
            }
            let attempt = self.attempt(from..to, answer.take(), &mut reserved_to);
            let attempt = attempt.await;
            drop(claim);
            if self.first_missing() != Some(from) {
                retry.handle_progress(client.now());
            }
            match attempt {
                Ok(Brought::Bytes) => {}
                // Those who wait ask for the whole.
                Ok(Brought::NoRange) => return Ok(()),
                Err(failure) => client.wait_after(failure, &mut retry).await?,
            }
        }
        Ok(())
    }

    /// What is known of the URL is over, however long it was to be good: whoever asks next is told of the version that there is now.
    async fn forget_head(&self) {
        let shared = self.shared.clone();
        let forgotten = blocking(move || {
            let Origin {
                url,
                version,
                store,
                ..
            } = &shared.origin;
            match store.head(url)? {
                Some(head) if head.version == *version => store.forget_head(url),
                Some(_) | None => Ok(()),
            }
        });
        if let Err(error) = forgotten.await {
            let url = &self.shared.origin.url;
            tracing::warn!(%url, %error, "what is known of a file that has changed cannot be forgotten");
        }
    }

    fn first_missing(&self) -> Option<u64> {
        self.shared.lock().plan.first_missing(&self.blocks)
    }

    /// Waits until no other process is fetching this block, and claims it with those behind it that nobody fetches. Nothing if the other one has brought it
    /// meanwhile. One that has brought nothing for as long as an origin may be silent is waited for no longer.
    async fn turn(&self, from: u64) -> Result<Option<Claim>, UrlError> {
        let wanted = from..self.blocks.end;
        let begun = Instant::now();
        loop {
            let claim = self.claim(&wanted);
            // An answer with the whole needs all of it.
            let claim =
                claim.filter(|claim| claim.blocks == wanted || !self.shared.asks_for_whole());
            // Who had it before may have stored it just now.
            self.look_at_disk(&wanted).await?;
            if self.first_missing() != Some(from) {
                return Ok(None);
            }
            if claim.is_some() {
                return Ok(claim);
            }
            if begun.elapsed() > self.shared.origin.client.silence_max() {
                return Ok(Some(self.unclaimed()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn claim(&self, wanted: &Blocks) -> Option<Claim> {
        let blocks = self.shared.entry.claim(wanted)?;
        Some(Claim {
            shared: self.shared.clone(),
            blocks,
            is_held: true,
        })
    }

    /// As a claim of all, without the right.
    fn unclaimed(&self) -> Claim {
        Claim {
            shared: self.shared.clone(),
            blocks: self.blocks.clone(),
            is_held: false,
        }
    }

    /// Another process may have fetched them.
    async fn look_at_disk(&self, blocks: &Blocks) -> Result<(), UrlError> {
        let (shared, wanted) = (self.shared.clone(), blocks.clone());
        let present = blocking(move || shared.entry.present(&wanted)).await;
        let present = present.map_err(|error| self.refused(error))?;
        let mut news = false;
        let mut state = self.shared.lock();
        for block in blocks.clone().filter(|&block| present.get(block)) {
            news |= !state.plan.has(&(block..block + 1));
            state.plan.handle_stored(block);
        }
        drop(state);
        if news {
            self.shared.wake();
        }
        Ok(())
    }

    /// Takes room for these blocks, if there can be room to `expected_to`: how long a file is, is known by its origin's word alone, which
    /// may be a lie.
    async fn reserve(&self, blocks: Blocks, expected_to: u64) -> Result<(), UrlError> {
        if let Some((until, error)) = &self.shared.lock().no_room
            && *until > Instant::now()
        {
            return Err(error.clone());
        }
        if !self.shared.entry.can_store() {
            return Err(self.refused(self.shared.full()));
        }
        let shared = self.shared.clone();
        let reserved = blocking(move || {
            let end_of = |blocks: u64| block_span(blocks - 1, shared.entry.length()).1;
            let (start, end) = (blocks.start * BLOCK, end_of(blocks.end));
            let ledger = shared.origin.store.ledger();
            ledger.reserve(shared.entry.data(), start..end, end_of(expected_to) - start)
        });
        match reserved.await.map_err(|error| self.refused(error))? {
            Reserved::Yes => Ok(()),
            Reserved::QuotaReached => Err(self.refused(FileError::Full {
                folder: self.shared.origin.store.folder().to_owned(),
                source: ErrorKind::QuotaExceeded.into(),
            })),
        }
    }

    fn refused(&self, error: FileError) -> UrlError {
        UrlError::disk(&self.shared.origin.url, error)
    }

    /// One answer, with these blocks.
    async fn attempt(
        &self,
        blocks: Blocks,
        answer: Option<Answer>,
        reserved_to: &mut u64,
    ) -> Result<Brought, Failure> {
        let origin = &self.shared.origin;
        let whole = self.shared.asks_for_whole();
        let length = self.shared.entry.length();
        let (_, end) = block_span(blocks.end - 1, length);
        let adopted = answer.is_some();
        let range = (!whole).then_some((blocks.start * BLOCK, end));
        let answer = match answer {
            Some(answer) => answer,
            None => {
                let request = Request {
                    url: &origin.url,
                    method: Ask::Bytes,
                    range,
                    version: Some(&origin.version),
                    known: None,
                };
                origin.client.try_once(request).await?
            }
        };
        // An adopted answer was asked for before this file's first block was known to be there.
        let range = if adopted && answer.status() == 206 {
            Some((0, end))
        } else {
            range
        };
        let begins = examine(origin, &answer, range)?;
        if !may_be_kept(answer.headers()) {
            let forgotten = self.shared.make_transient().await;
            forgotten.map_err(Failure::for_good)?;
        }
        if answer.status() == 200 && !whole {
            self.shared.ask_for_whole();
            // There is room for no more than that.
            if self.blocks.start > 0 || blocks.end < blocks_of(length) {
                return Ok(Brought::NoRange);
            }
        }
        let end = if answer.status() == 200 { length } else { end };
        self.pour(answer, begins, end, reserved_to).await?;
        Ok(Brought::Bytes)
    }

    /// Stores an answer's bytes, from `begins` to `end`, and takes room for them as they come.
    async fn pour(
        &self,
        mut answer: Answer,
        begins: u64,
        end: u64,
        reserved_to: &mut u64,
    ) -> Result<(), Failure> {
        let origin = &self.shared.origin;
        let mut pieces = Pieces::new(begins / BLOCK);
        let mut writing: Option<JoinHandle<Result<(), UrlError>>> = None;
        let mut at = begins;
        let ended = loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => {
                    origin.counts.fetched(answer.giver(), chunk.len());
                    at += chunk.len() as u64;
                    if at > end {
                        break Err(Failure::broken(
                            &origin.url,
                            format!("more than {end} bytes"),
                        ));
                    }
                    pieces.push(chunk);
                }
                Ok(None) if at < end => {
                    break Err(Failure::broken(
                        &origin.url,
                        format!("it ends after {at} of {end} bytes"),
                    ));
                }
                Ok(None) => break Ok(()),
                Err(failure) => break Err(failure),
            }
            // Who waits for the first bytes need not wait for many.
            if pieces.bytes >= pieces.taken.clamp(BLOCK, PIECE) {
                written(writing.take()).await?;
                let piece = pieces.take_blocks();
                self.reserve_to(pieces.first, reserved_to).await?;
                writing = self.store(piece);
            }
        };
        written(writing.take()).await?;
        let rest = if ended.is_ok() {
            pieces.take_all()
        } else {
            pieces.take_blocks()
        };
        self.reserve_to(pieces.first, reserved_to).await?;
        written(self.store(rest)).await?;
        ended
    }

    /// Takes room for what lies before this block.
    async fn reserve_to(&self, behind: u64, reserved_to: &mut u64) -> Result<(), Failure> {
        while *reserved_to < behind {
            let first = *reserved_to;
            let to = blocks_of(self.shared.entry.length()).min(first + RESERVED_AHEAD);
            let reserved = self.reserve(first..to, to).await;
            reserved.map_err(Failure::for_good)?;
            *reserved_to = to;
        }
        Ok(())
    }

    /// Hashes and writes on another thread.
    fn store(
        &self,
        (first, chunks): (u64, Vec<Bytes>),
    ) -> Option<JoinHandle<Result<(), UrlError>>> {
        if chunks.is_empty() {
            return None;
        }
        let shared = self.shared.clone();
        Some(tokio::task::spawn_blocking(move || {
            shared.store(first, &chunks, Entry::write)
        }))
    }
}

async fn written(writing: Option<JoinHandle<Result<(), UrlError>>>) -> Result<(), Failure> {
    let Some(writing) = writing else {
        return Ok(());
    };
    match writing.await {
        Ok(stored) => stored.map_err(Failure::for_good),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Only a runtime that shuts down cancels.
        Err(_) => std::future::pending().await,
    }
}

impl Shared {
    /// Stores what has come otherwise: all of the file. If that is where it lies already, nothing is copied.
    pub(crate) fn fill_from(&self, whole: &std::fs::File) -> Result<(), UrlError> {
        let lies_there = self.entry.is_data(whole);
        let write: Write = if lies_there {
            |entry, first, _, hashes| entry.note(first, hashes)
        } else {
            Entry::write
        };
        if !self.entry.can_store() {
            return Err(UrlError::disk(&self.origin.url, self.full()));
        }
        let (length, mut at) = (self.entry.length(), 0);
        let refused = |error| {
            UrlError::disk(
                &self.origin.url,
                FileError::writing(self.origin.store.folder(), error),
            )
        };
        while at < length {
            let bytes = (length - at).min(PIECE);
            if !lies_there {
                let ledger = self.origin.store.ledger();
                let expected = if at == 0 { length } else { bytes };
                let reserved = ledger
                    .reserve(self.entry.data(), at..at + bytes, expected)
                    .map_err(|error| UrlError::disk(&self.origin.url, error))?;
                if reserved == Reserved::QuotaReached {
                    return Err(refused(ErrorKind::QuotaExceeded.into()));
                }
            }
            let mut piece = vec![0; usize::try_from(bytes).unwrap_or_default()];
            whole.read_exact_at(&mut piece, at).map_err(refused)?;
            self.store(at / BLOCK, &[piece.into()], write)?;
            at += bytes;
        }
        Ok(())
    }

    fn full(&self) -> FileError {
        FileError::writing(self.origin.store.folder(), ErrorKind::StorageFull.into())
    }

    /// Stores blocks in a row, unless the origin contradicts what it has sent before.
    fn store(&self, first: u64, chunks: &[Bytes], write: Write) -> Result<(), UrlError> {
        let refused = |error| UrlError::disk(&self.origin.url, error);
        let hashes = hashes_of(chunks);
        let blocks = first..first + hashes.len() as u64;
        let mut news = false;
        for (block, hash) in blocks.clone().zip(&hashes) {
            let (present, suspect) = {
                let state = self.lock();
                (
                    state.plan.has(&(block..block + 1)),
                    state.suspects.get(&block).copied(),
                )
            };
            let before = if present {
                self.entry.hash(block).map_err(refused)?
            } else {
                None
            };
            let contradicts = before.is_some_and(|before| before != *hash)
                || suspect.is_some_and(|known| !known.contains(hash));
            if contradicts {
                return Err(UrlError::Changed {
                    url: Box::new(self.origin.url.clone()),
                    pinned: self.origin.version.to_string(),
                    found: "other bytes under the same name".to_owned(),
                });
            }
            news |= !present;
        }
        if news {
            write(&self.entry, first, chunks, &hashes).map_err(refused)?;
            let mut state = self.lock();
            for block in blocks {
                state.plan.handle_stored(block);
                state.checked.set(block, true);
                state.suspects.remove(&block);
            }
            let complete = state.plan.is_complete();
            drop(state);
            if complete {
                self.seal_if_complete()?;
            }
            self.wake();
        }
        Ok(())
    }
}

/// The right to fetch blocks, which no other process has until this is dropped, or this process is gone.
#[derive(Debug)]
struct Claim {
    shared: Arc<Shared>,
    blocks: Blocks,
    is_held: bool,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_held {
            self.shared.entry.release(&self.blocks);
        }
    }
}

/// How blocks in a row come to lie in a file, with their hashes.
type Write = fn(&Entry, u64, &[Bytes], &[blake3::Hash]) -> Result<(), FileError>;

/// What an attempt has brought.
enum Brought {
    Bytes,
    /// The origin sends no ranges of it.
    NoRange,
}

/// Bytes in a row that are not stored yet.
struct Pieces {
    first: u64,
    chunks: VecDeque<Bytes>,
    bytes: u64,
    /// What was taken before.
    taken: u64,
}

impl Pieces {
    fn new(first: u64) -> Self {
        Self {
            first,
            chunks: VecDeque::new(),
            bytes: 0,
            taken: 0,
        }
    }

    fn push(&mut self, chunk: Bytes) {
        self.bytes += chunk.len() as u64;
        self.chunks.push_back(chunk);
    }

    /// The blocks that are whole.
    fn take_blocks(&mut self) -> (u64, Vec<Bytes>) {
        self.take(self.bytes / BLOCK * BLOCK)
    }

    /// Also the file's last one.
    fn take_all(&mut self) -> (u64, Vec<Bytes>) {
        self.take(self.bytes)
    }

    fn take(&mut self, bytes: u64) -> (u64, Vec<Bytes>) {
        let first = self.first;
        let mut taken = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let Some(mut chunk) = self.chunks.pop_front() else {
                break;
            };
            let length = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
            taken.push(chunk.split_to(length));
            if !chunk.is_empty() {
                self.chunks.push_front(chunk);
            }
            left -= length as u64;
        }
        self.bytes -= bytes;
        self.taken += bytes;
        self.first += bytes.div_ceil(BLOCK);
        (first, taken)
    }
}

/// Blocks for which room is taken at a time: 8 MiB, so that a length which is a lie takes no more.
const RESERVED_AHEAD: u64 = 128;
/// How often is looked for what another process is fetching.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What is hashed and written at a time, at most.
const PIECE: u64 = 1 << 20;
