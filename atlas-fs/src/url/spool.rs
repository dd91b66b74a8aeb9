//! Files whose length nobody knows before their end. Each is fetched once for all who wait for it.
//!
//! **It goes on when nobody waits**: a call of a mount ends after a minute at the latest, and a file may take longer. Whoever asks again
//! finds it further, or done. If nobody has asked for as long as [`Timeouts::unwaited`](super::Timeouts::unwaited) says, it is given up.
//!
//! ```text
//! begun --+--> done, or failed: all who wait are told, and the next who asks is told by the turn
//!         |
//!         +--> nobody waits --+--> somebody joins: as before
//!                             +--> given up
//! ```
//!
//! How slow it may be, its answer's body says; how large, the quota, the disk and [`FILE_BYTES_MAX`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use url::Url;

use super::error::UrlError;
use super::file::Shared;
use super::files::{Core, FILE_BYTES_MAX, Known, Turn, too_large};
use super::fresh::may_be_kept;
use super::head::{Asked, Head};
use super::http::{Ask, Failure, Request};
use super::store::{Reserved, Spooled};
use super::version::Version;
use super::ways::Answer;
use crate::blocking::blocking;
use crate::file_error::FileError;

/// The files that are fetched to their ends.
#[derive(Debug, Default)]
pub(super) struct Spools(Mutex<HashMap<Url, Arc<Spool>>>);

/// One that is.
#[derive(Debug)]
struct Spool {
    /// Which one, as far as was told when it began.
    version: Version,
    bytes: AtomicU64,
    outcome: watch::Sender<Option<Outcome>>,
    joined: Notify,
}

/// The file, and what is known of it at its end.
type Outcome = Result<(Arc<Shared>, Head), UrlError>;

/// Somebody who waits for it.
#[derive(Debug)]
pub(super) struct Waiting(watch::Receiver<Option<Outcome>>);

/// What a fetch begins with.
#[derive(Debug)]
pub(super) struct Beginning<'a> {
    pub(super) known: Known,
    /// When that was asked for.
    pub(super) asked: Instant,
    /// An answer with the bytes that came along.
    pub(super) answer: Option<Answer>,
    /// Where others hear of what is known.
    pub(super) turn: &'a Arc<Turn>,
}

impl Core {
    /// Waits for a file's end with those who do so already, or begins to fetch it.
    pub(super) fn spool(self: &Arc<Self>, url: &Url, beginning: Beginning<'_>) -> Waiting {
        let Beginning {
            known,
            asked,
            answer,
            turn,
        } = beginning;
        let (spool, waiting) = match self.spools.join(url, &known.head.version) {
            Joined::Running(waiting) => return waiting,
            Joined::New(spool, waiting) => (spool, waiting),
        };
        let (core, url, turn) = (self.clone(), url.clone(), turn.clone());
        tokio::spawn(async move {
            let _listed = Listed {
                core: &core,
                url: &url,
                spool: &spool,
            };
            let Some(outcome) = core.run_spool(&url, &known.head, answer, &spool).await else {
                return;
            };
            spool.outcome.send_replace(Some(outcome.clone()));
            let Ok((_, head)) = outcome else { return };
            let mut last = turn.lock().await;
            // Somebody may have heard something newer.
            if last.as_ref().is_none_or(|(before, _)| *before <= asked) {
                *last = Some((asked, Ok(Known { head, ..known })));
            }
        });
        waiting
    }

    /// What becomes of it; nothing if nobody waits any more.
    async fn run_spool(
        self: &Arc<Self>,
        url: &Url,
        head: &Head,
        answer: Option<Answer>,
        spool: &Arc<Spool>,
    ) -> Option<Outcome> {
        let fetching = self.fetch_to_end(url, head, answer, spool);
        tokio::pin!(fetching);
        let after = self.options.timeouts.unwaited;
        loop {
            tokio::select! {
                outcome = &mut fetching => return Some(outcome),
                () = spool.unwaited(after) => if self.spools.give_up(url, spool) {
                    let bytes = spool.bytes.load(Ordering::Relaxed);
                    tracing::info!(%url, bytes, ?after, "a file is given up, since nobody has waited for it for so long");
                    return None;
                },
            }
        }
    }

    async fn fetch_to_end(
        self: &Arc<Self>,
        url: &Url,
        head: &Head,
        mut answer: Option<Answer>,
        spool: &Spool,
    ) -> Outcome {
        let mut retry = self.client.retry();
        let (spooled, told) = loop {
            spool.bytes.store(0, Ordering::Relaxed);
            match self.fetch_once(url, head, answer.take(), spool).await {
                Ok(spooled) => break spooled,
                Err(failure) => self.client.wait_after(failure, &mut retry).await?,
            }
        };
        let mut head = told.unwrap_or_else(|| head.clone());
        head.version.length = Some(spooled.length());
        let (core, place, kept) = (self.clone(), url.clone(), head.clone());
        let shared = blocking(move || core.take_in(spooled, &place, &kept)).await?;
        if !shared.is_transient() {
            self.keep(url, &head).await;
        }
        Ok((shared, head))
    }

    /// The version that has come, stored.
    fn take_in(
        &self,
        mut spooled: Spooled,
        url: &Url,
        head: &Head,
    ) -> Result<Arc<Shared>, UrlError> {
        let refused = |error| UrlError::disk(url, error);
        let entry = self.store.take_in(&mut spooled, url, &head.version);
        let key = (url.clone(), head.version.clone());
        let shared = self.open_entry(key, entry.map_err(refused)?)?;
        if spooled.is_nameless() {
            shared.make_transient_now().map_err(refused)?;
        }
        shared.fill_from(spooled.file())?;
        Ok(shared)
    }

    /// The file, and what somebody above knows of it.
    async fn fetch_once(
        &self,
        url: &Url,
        head: &Head,
        answer: Option<Answer>,
        spool: &Spool,
    ) -> Result<(Spooled, Option<Head>), Failure> {
        // A part of it is no beginning of all of it.
        let mut answer = match answer.filter(|answer| answer.status() == 200) {
            Some(answer) => answer,
            None => self.client.try_once(whole(url)).await?,
        };
        let found = answer.head(answer.status(), Asked::Whole, SystemTime::now());
        if answer.status() != 200 || !head.version.admits(&found.version) {
            return Err(Failure::for_good(head.version.changed(url, &found.version)));
        }
        let may_be_kept = may_be_kept(&head.headers()) && may_be_kept(&found.headers());
        let store = self.store.clone();
        let spooled = blocking(move || store.spooled(!may_be_kept)).await;
        let mut spooled = spooled.map_err(|error| refused(url, error))?;
        let (mut gathered, mut chunks) = (0, Vec::new());
        while let Some(chunk) = answer.chunk().await? {
            self.counts.fetched(answer.giver(), chunk.len());
            let bytes = chunk.len() as u64;
            if spool.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > FILE_BYTES_MAX {
                return Err(Failure::for_good(too_large(url)));
            }
            gathered += bytes;
            chunks.push(chunk);
            if gathered >= PIECE {
                gathered = 0;
                let piece = std::mem::take(&mut chunks);
                spooled = self.append(url, spooled, piece).await?;
            }
        }
        let spooled = self.append(url, spooled, chunks).await?;
        Ok((spooled, answer.told().map(|told| told.head.clone())))
    }

    /// Writes what has come, on another thread.
    async fn append(
        &self,
        url: &Url,
        mut spooled: Spooled,
        chunks: Vec<Bytes>,
    ) -> Result<Spooled, Failure> {
        let store = self.store.clone();
        let appended = blocking(move || {
            let reserved = spooled.append(store.ledger(), &chunks)?;
            Ok((spooled, reserved))
        });
        match appended.await.map_err(|error| refused(url, error))? {
            (spooled, Reserved::Yes) => Ok(spooled),
            (_, Reserved::QuotaReached) => {
                let reached = std::io::ErrorKind::QuotaExceeded.into();
                Err(refused(
                    url,
                    FileError::writing(self.store.folder(), reached),
                ))
            }
        }
    }
}

fn refused(url: &Url, error: FileError) -> Failure {
    Failure::for_good(UrlError::disk(url, error))
}

fn whole(url: &Url) -> Request<'_> {
    Request {
        url,
        method: Ask::Bytes,
        range: None,
        version: None,
        known: None,
    }
}

enum Joined {
    Running(Waiting),
    New(Arc<Spool>, Waiting),
}

impl Spools {
    /// How many bytes have come of a file, if it is being fetched.
    pub(super) fn bytes(&self, url: &Url) -> Option<u64> {
        let spools = self.lock();
        spools
            .get(url)
            .map(|spool| spool.bytes.load(Ordering::Relaxed))
    }

    /// The one that is being fetched, if it may be of this version. One of another goes on for those who wait for it.
    fn join(&self, url: &Url, version: &Version) -> Joined {
        let mut spools = self.lock();
        if let Some(spool) = spools.get(url)
            && spool.version.admits(version)
        {
            let waiting = Waiting(spool.outcome.subscribe());
            spool.joined.notify_one();
            return Joined::Running(waiting);
        }
        let (outcome, waiting) = watch::channel(None);
        let spool = Arc::new(Spool {
            version: version.clone(),
            bytes: AtomicU64::new(0),
            outcome,
            joined: Notify::new(),
        });
        spools.insert(url.clone(), spool.clone());
        Joined::New(spool, Waiting(waiting))
    }

    /// Nobody can join it any more, unless somebody has just done so.
    fn give_up(&self, url: &Url, spool: &Arc<Spool>) -> bool {
        let mut spools = self.lock();
        let is_unwaited = spool.outcome.receiver_count() == 0;
        if is_unwaited {
            remove(&mut spools, url, spool);
        }
        is_unwaited
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Url, Arc<Spool>>> {
        // Each change is one call of the map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Another one may have taken its place.
fn remove(spools: &mut HashMap<Url, Arc<Spool>>, url: &Url, spool: &Arc<Spool>) {
    if spools
        .get(url)
        .is_some_and(|listed| Arc::ptr_eq(listed, spool))
    {
        spools.remove(url);
    }
}

impl Spool {
    /// Returns when nobody has waited for so long.
    async fn unwaited(&self, after: Duration) {
        loop {
            self.outcome.closed().await;
            // Who has joined and gone before leaves word, too, and then this is a round for nothing.
            if timeout(after, self.joined.notified()).await.is_err() {
                return;
            }
        }
    }
}

impl Waiting {
    pub(super) async fn outcome(mut self, url: &Url) -> Outcome {
        let stopped = || Err(UrlError::broken(url, "the request was stopped"));
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(stopped),
            Err(_) => stopped(),
        }
    }
}

/// That a file can be joined. Those who wait hear of the end also if it is a panic, or the end of the runtime.
struct Listed<'a> {
    core: &'a Core,
    url: &'a Url,
    spool: &'a Arc<Spool>,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        remove(&mut self.core.spools.lock(), self.url, self.spool);
    }
}

/// What is written at a time.
const PIECE: u64 = 1 << 20;
