//! [`Files`]: from a URL to what is known of it, to a version, to a file.
//!
//! Who asks for a URL waits for its turn; who has waited while another asked takes that answer, and all who read a version
//! share its requests. So one question is asked, and each byte fetched, once at a time by a process, and what one process has stored
//! the others find.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Semaphore;
use url::Url;

use super::above::{self, Way};
use super::client;
use super::counts::{Counts, Figures};
use super::error::{Cause, UrlError};
use super::file::{Origin, Shared, UrlFile};
use super::fresh::{Verdict, may_be_kept, serves_on_error, verdict};
use super::head::{Asked, Head, Ranges};
use super::http::{Ask, ClientError, Request, leads_to_folder};
use super::options::Options;
use super::pins::Pins;
use super::plan::Limits;
use super::retry::Retry;
use super::source::{self, Kind, Listing, Metadata, Source};
use super::spool::{Beginning, Spools, Waiting};
use super::store::{BLOCK, Entry, UrlStore, Usage};
use super::version::{Condition, Version};
use super::ways::{Answer, Ways};
use crate::blocking::blocking;
use crate::file_error::FileError;

/// How the entries of a folder are read from its page: its URL, the page's type, its bytes.
pub type ReadListing = fn(&Url, Option<&str>, &[u8]) -> Result<Vec<source::Entry>, Cause>;

/// Files by URL, fetched from their origins and kept in a store. Clones share all of it.
#[derive(Clone, Debug)]
pub struct Files {
    pub(super) core: Arc<Core>,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) client: Arc<Ways>,
    pub(super) store: Arc<UrlStore>,
    pub(super) counts: Arc<Counts>,
    pub(super) options: Options,
    pub(super) read_listing: ReadListing,
    open: Mutex<HashMap<(Url, Version), Weak<Shared>>>,
    turns: Mutex<HashMap<Url, Weak<Turn>>>,
    pub(super) spools: Spools,
    /// What is asked for while what is known is served.
    refreshing: Mutex<HashSet<Url>>,
    /// Answers to those below at a time.
    pub(super) answers: Semaphore,
}

/// Whose turn it is to ask for a URL, and what the last one heard, and when that one began to ask.
pub(super) type Turn = tokio::sync::Mutex<Option<(Instant, Result<Known, UrlError>)>>;

/// What is known of a URL.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) head: Head,
    pub(super) stale: bool,
    pub(super) valid_for: Duration,
}

/// Why files by URL cannot be had at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The store's folder cannot be used.
    #[error("cannot open the store of files by URL")]
    Store(#[source] FileError),
    /// There is no way to ask.
    #[error("cannot ask for files by URL")]
    Client(#[source] ClientError),
}

impl Files {
    /// Opens the store, which is made if there is none.
    ///
    /// # Errors
    ///
    /// The folder cannot be used, or HTTP cannot be set up as the options say.
    pub fn open_store(options: Options, read_listing: ReadListing) -> Result<Self, FilesError> {
        let store =
            UrlStore::open(options.folder.clone(), options.quota).map_err(FilesError::Store)?;
        let client = Ways::new(&options).map_err(FilesError::Client)?;
        let core = Arc::new(Core {
            client: Arc::new(client),
            store: Arc::new(store),
            counts: Arc::default(),
            options,
            read_listing,
            open: Mutex::default(),
            turns: Mutex::default(),
            spools: Spools::default(),
            refreshing: Mutex::default(),
            answers: Semaphore::new(ANSWERS_MAX),
        });
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tell_counts(core.counts.clone(), Arc::downgrade(&core)));
        }
        Ok(Self { core })
    }

    /// As [`Files::open_store`], with folders read by [`listing::parse`](super::listing::parse).
    ///
    /// # Errors
    ///
    /// The folder cannot be used, or HTTP cannot be set up as the options say.
    pub fn open(options: Options) -> Result<Self, FilesError> {
        Self::open_store(options, |url, content_type, bytes| {
            super::listing::parse(url, content_type, bytes)
                .map_err(|error| Arc::new(error) as Cause)
        })
    }

    /// Answers one question of a cache below.
    ///
    /// # Errors
    ///
    /// Whoever asks is gone, or makes no sense.
    pub async fn answer(&self, way: Way) -> io::Result<()> {
        above::answer(&self.core, way).await
    }

    /// Sums since the start.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.core.counts.figures()
    }

    /// Sums of all processes that share the store, since it was made; what another has counted in the last seconds may be missing.
    ///
    /// # Errors
    ///
    /// Its folder cannot be used.
    pub fn sums(&self) -> Result<Figures, FileError> {
        self.core.tell_counts()?;
        self.core.store.sums()
    }

    /// What the store holds.
    ///
    /// # Errors
    ///
    /// Its folder cannot be read.
    pub fn usage(&self) -> Result<Usage, FileError> {
        self.core.store.ledger().usage()
    }

    /// Removes what was used least recently and is not open, until no more than this is left; gives what is there then.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn shrink_to(&self, bytes: u64) -> Result<Usage, FileError> {
        self.core.store.ledger().shrink_to(bytes)
    }
}

impl Core {
    /// Adds what was counted to the sums of the store.
    fn tell_counts(&self) -> Result<(), FileError> {
        self.counts.tell(|counted| self.store.add_to_sums(counted))
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.counts.end();
        if let Err(error) = self.tell_counts() {
            tracing::debug!(%error, "the last counts are lost");
        }
    }
}

/// Adds to the sums of the store every now and then, while there is something to add.
async fn tell_counts(counts: Arc<Counts>, core: Weak<Core>) {
    loop {
        counts.changed().await;
        tokio::time::sleep(TELL_PAUSE).await;
        let Some(core) = core.upgrade() else { return };
        if let Err(error) = blocking(move || core.tell_counts()).await {
            tracing::debug!(%error, "counts are told later");
        }
    }
}

impl Source for Files {
    async fn metadata(&self, url: &Url, pins: &Pins) -> Result<Metadata, UrlError> {
        let url = &pins.resolve(url)?;
        check(url)?;
        let kind = if url.path().ends_with('/') {
            Kind::Folder
        } else {
            Kind::File
        };
        // A job sees of a file what it has seen of it.
        let pinned = pins.pinned(url).filter(|version| version.length.is_some());
        if let Some(version) = pinned {
            return Ok(of_pinned(&version));
        }
        let known = self.core.clone().known(url).await?;
        let kind = if known.head.is_folder {
            Kind::Folder
        } else {
            kind
        };
        if kind == Kind::File && can_be_pinned(&known.head.version) {
            let first = pins.agree(url, &known.head.version).await?;
            if first != known.head.version && first.length.is_some() {
                return Ok(of_pinned(&first));
            }
        }
        Ok(known.head.metadata(kind, known.stale, known.valid_for))
    }

    async fn open(&self, url: &Url, pins: &Pins) -> Result<Arc<UrlFile>, UrlError> {
        let url = &pins.resolve(url)?;
        check(url)?;
        if url.path().ends_with('/') {
            return Err(UrlError::IsFolder {
                url: Box::new(url.clone()),
            });
        }
        let (shared, stale) = match pins.pinned(url) {
            Some(version) => (self.core.open_pinned(url, &version).await?, false),
            None => {
                let (shared, known) = self.core.clone().open_now(url).await?;
                let version = pins.agree(url, &shared.origin().version).await?;
                if version == shared.origin().version {
                    (shared, known.stale)
                } else {
                    // The job has begun with another one, which may be kept above still.
                    (self.core.open_pinned(url, &version).await?, false)
                }
            }
        };
        if shared.needs_verification() {
            // Not known to be right: read meanwhile block by block.
            let shared = shared.clone();
            tokio::task::spawn_blocking(move || shared.verify_quietly());
        }
        Ok(Arc::new(UrlFile::new(shared, stale)))
    }

    async fn list(&self, url: &Url, pins: &Pins) -> Result<Listing, UrlError> {
        let url = &pins.resolve(url)?;
        check(url)?;
        if !url.path().ends_with('/') {
            return Err(UrlError::NotFolder {
                url: Box::new(url.clone()),
            });
        }
        self.core.entries(url).await
    }

    fn under_way(&self, url: &Url, pins: &Pins) -> Option<u64> {
        self.core.spools.bytes(&pins.resolve(url).ok()?)
    }
}

impl Core {
    /// The present version, asked for if need be.
    pub(super) async fn open_now(
        self: Arc<Self>,
        url: &Url,
    ) -> Result<(Arc<Shared>, Known), UrlError> {
        let begun = Instant::now();
        let turn = self.turn(url);
        let mut last = turn.lock().await;
        if let Some((asked, known)) = &*last
            && *asked >= begun
        {
            let (asked, known) = (*asked, known.clone()?);
            if known.head.is_folder {
                return Err(UrlError::IsFolder {
                    url: Box::new(url.clone()),
                });
            }
            if known.head.version.length.is_some() {
                return Ok((self.shared_of(url, &known.head).await?, known));
            }
            let beginning = Beginning {
                known: known.clone(),
                asked,
                answer: None,
                turn: &turn,
            };
            let waiting = self.spool(url, beginning);
            drop(last);
            return spooled(url, waiting, known).await;
        }
        let asked = Instant::now();
        let found = self.look(url, Want::Bytes).await;
        let told = found.as_ref().map(|(known, _)| known.clone());
        *last = Some((asked, told.map_err(Clone::clone)));
        let (known, answer) = found?;
        if known.head.is_folder {
            return Err(UrlError::IsFolder {
                url: Box::new(url.clone()),
            });
        }
        if known.head.version.length.is_none() {
            let beginning = Beginning {
                known: known.clone(),
                asked,
                answer,
                turn: &turn,
            };
            let waiting = self.spool(url, beginning);
            // Who wants no bytes need not wait for them.
            drop(last);
            return spooled(url, waiting, known).await;
        }
        let shared = self.shared_of(url, &known.head).await?;
        if known.head.ranges == Ranges::Refused {
            shared.ask_for_whole();
        }
        if let Some(answer) = answer
            && (known.head.version.condition() != Condition::Nothing || answer.status() == 200)
        {
            shared.adopt(answer, PROBE);
        }
        Ok((shared, known))
    }

    /// A version that a job has seen. Of one of which nothing is here, the first bytes are asked for: who opens it hears whether it is gone.
    async fn open_pinned(
        self: &Arc<Self>,
        url: &Url,
        version: &Version,
    ) -> Result<Arc<Shared>, UrlError> {
        let shared = self.shared(url, version).await?;
        if shared.has_nothing() {
            let file = UrlFile::new(shared.clone(), false);
            file.ready(0, file.readable(0, 1)).await?;
        }
        Ok(shared)
    }

    /// What is known without the bytes, asked for if need be.
    pub(super) async fn known(self: Arc<Self>, url: &Url) -> Result<Known, UrlError> {
        let begun = Instant::now();
        let turn = self.turn(url);
        let mut last = turn.lock().await;
        if let Some((asked, known)) = &*last
            && *asked >= begun
        {
            return known.clone();
        }
        let asked = Instant::now();
        let known = self.look(url, Want::Head).await.map(|(known, _)| known);
        *last = Some((asked, known.clone()));
        known
    }

    /// What the store has of what the origin said last.
    pub(super) async fn kept_head(&self, url: &Url) -> Result<Option<Head>, UrlError> {
        let (store, place) = (self.store.clone(), url.clone());
        let head = blocking(move || store.head(&place)).await;
        head.map_err(|error| UrlError::disk(url, error))
    }

    /// What is known, if it may be used, or what the origin says; with the bytes that came along.
    async fn look(
        self: &Arc<Self>,
        url: &Url,
        want: Want,
    ) -> Result<(Known, Option<Answer>), UrlError> {
        let before = self.kept_head(url).await?;
        let now = SystemTime::now();
        if let Some(head) = &before {
            match verdict(url, head, now) {
                Verdict::Fresh(left) => return Ok((known(url, head, false, left)?, None)),
                Verdict::WhileAsking => {
                    let served = known(url, head, false, Duration::ZERO)?;
                    let (core, place, head) = (self.clone(), url.clone(), head.clone());
                    self.refresh(url, async move {
                        let retry = core.client.retry();
                        core.ask(&place, Some(&head), Want::Head, retry)
                            .await
                            .map(drop)
                    });
                    return Ok((served, None));
                }
                Verdict::Ask => {}
            }
        }
        let may_do = before
            .as_ref()
            .filter(|head| serves_on_error(url, head, now, self.options.stale));
        let can_do = match may_do {
            Some(head) if want == Want::Bytes => self.can_be_read(url, head).await,
            Some(_) | None => may_do.is_some(),
        };
        let retry = match may_do {
            Some(head) if can_do && self.client.is_down(url) => {
                tracing::debug!(%url, "what is known is served, since its origin could not be asked just now");
                return Ok((known(url, head, true, Duration::ZERO)?, None));
            }
            Some(_) if can_do => self.client.no_retry(),
            Some(_) | None => self.client.retry(),
        };
        match self.ask(url, before.as_ref(), want, retry).await {
            Ok((head, stale, answer)) => {
                let left = match verdict(url, &head, SystemTime::now()) {
                    Verdict::Fresh(left) => left,
                    Verdict::WhileAsking | Verdict::Ask => Duration::ZERO,
                };
                Ok((known(url, &head, stale, left)?, answer))
            }
            Err(error) => match may_do {
                Some(head) if error.is_origin_down() => {
                    tracing::warn!(%url, %error, "what is known is served, since the origin cannot be asked");
                    Ok((known(url, head, true, Duration::ZERO)?, None))
                }
                Some(_) | None => Err(error),
            },
        }
    }

    /// Whether who reads what is known can do without its origin: all bytes are stored, or there are none to read.
    async fn can_be_read(&self, url: &Url, head: &Head) -> bool {
        if head.status != 200 || head.is_folder {
            return true;
        }
        let (store, place, version) = (self.store.clone(), url.clone(), head.version.clone());
        let found = blocking(move || store.has_whole(&place, &version)).await;
        found.unwrap_or_else(|error| {
            tracing::debug!(%url, %error, "it cannot be told whether a file is stored");
            false
        })
    }

    /// What the origin says now, which is kept, and whether that is what somebody above has known of it before.
    async fn ask(
        self: &Arc<Self>,
        url: &Url,
        before: Option<&Head>,
        want: Want,
        retry: Retry,
    ) -> Result<(Head, bool, Option<Answer>), UrlError> {
        self.counts.asked();
        let request = Request {
            url,
            method: if want == Want::Head {
                Ask::Head
            } else {
                Ask::Bytes
            },
            range: (want == Want::Bytes).then_some((0, PROBE)),
            version: None,
            known: before
                .filter(|head| head.status == 200)
                .map(|head| &head.version),
        };
        let mut answer = self.client.ask(request, retry).await;
        self.client.note(url, &answer);
        let mut asked = if want == Want::Head {
            Asked::Head
        } else {
            Asked::Range
        };
        if want == Want::Head && answer.as_ref().is_err_and(refuses_head) {
            let request = Request {
                method: Ask::Bytes,
                range: Some((0, 1)),
                ..request
            };
            answer = self.client.ask(request, retry).await;
            asked = Asked::Range;
        }
        let answer = answer?;
        let now = SystemTime::now();
        let told = answer.told().cloned();
        let stale = told.as_ref().is_some_and(|told| told.stale);
        let head = match (answer.status(), before) {
            _ if let Some(told) = told => told.head,
            (304, Some(before)) => before.renewed(answer.headers(), now),
            (304 | 412, _) => {
                let what = format!(
                    "status {} to a question without a condition",
                    answer.status()
                );
                return Err(UrlError::broken(url, what));
            }
            (status, _) => {
                let mut head = Head::of(status, answer.headers(), asked, now);
                head.is_folder = leads_to_folder(url, answer.at());
                head
            }
        };
        if answer.status() == 416 && head.version.length != Some(0) {
            return Err(UrlError::broken(
                url,
                "status 416 to a question for the first bytes",
            ));
        }
        self.keep(url, &head).await;
        let carries = want == Want::Bytes && matches!(answer.status(), 200 | 206);
        Ok((head, stale, carries.then_some(answer)))
    }

    /// Keeps what an answer has said, as far as it allows that.
    pub(super) async fn keep(self: &Arc<Self>, url: &Url, head: &Head) {
        let (core, place, kept) = (self.clone(), url.clone(), head.clone());
        let keeping = blocking(move || {
            if may_be_kept(&kept.headers()) {
                core.store.keep_head(&place, &kept)
            } else {
                core.store.forget_head(&place)
            }
        })
        .await;
        if let Err(error) = keeping {
            // It is asked again next time.
            tracing::warn!(%url, %error, "what is known of a URL cannot be kept");
        }
    }

    /// The version of which an answer was, kept as that allows.
    pub(super) async fn shared_of(
        self: &Arc<Self>,
        url: &Url,
        head: &Head,
    ) -> Result<Arc<Shared>, UrlError> {
        let shared = self.shared(url, &head.version).await?;
        if !may_be_kept(&head.headers()) {
            shared.make_transient().await?;
        }
        Ok(shared)
    }

    /// The version, as it is shared by all who read it.
    pub(super) async fn shared(
        self: &Arc<Self>,
        url: &Url,
        version: &Version,
    ) -> Result<Arc<Shared>, UrlError> {
        let key = (url.clone(), version.clone());
        if let Some(shared) = self.opened(&key) {
            return Ok(shared);
        }
        let core = self.clone();
        blocking(move || {
            check_length(&key.0, &key.1)?;
            let entry = core.store.find_or_make(&key.0, &key.1);
            let entry = entry.map_err(|error| UrlError::disk(&key.0, error))?;
            core.open_entry(key, entry)
        })
        .await
    }

    fn opened(&self, key: &(Url, Version)) -> Option<Arc<Shared>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(key).and_then(Weak::upgrade)
    }

    /// The version whose file this is, unless it is open already.
    pub(super) fn open_entry(
        &self,
        key: (Url, Version),
        entry: Entry,
    ) -> Result<Arc<Shared>, UrlError> {
        let (url, version) = &key;
        let origin = Origin {
            url: url.clone(),
            version: version.clone(),
            client: self.client.clone(),
            store: self.store.clone(),
            counts: self.counts.clone(),
        };
        let limits = Limits {
            range_max: (self.options.range_bytes_max / BLOCK).max(1),
            parallel_max: self.options.ranges_parallel_max.max(1),
            window_max: self.options.read_ahead_bytes_max / BLOCK,
        };
        let shared = Shared::new(origin, entry, limits)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been quicker.
        if let Some(other) = open.get(&key).and_then(Weak::upgrade) {
            return Ok(other);
        }
        if open.len() >= SWEEP_AT {
            open.retain(|_, shared| shared.strong_count() > 0);
        }
        open.insert(key, Arc::downgrade(&shared));
        Ok(shared)
    }

    /// Asks while what is known is served, once at a time.
    pub(super) fn refresh(
        self: &Arc<Self>,
        url: &Url,
        asking: impl Future<Output = Result<(), UrlError>> + Send + 'static,
    ) {
        let mut refreshing = self
            .refreshing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !refreshing.insert(url.clone()) {
            return;
        }
        let (core, url) = (self.clone(), url.clone());
        tokio::spawn(async move {
            if let Err(error) = asking.await {
                tracing::debug!(%url, %error, "what is served cannot be asked for meanwhile");
            }
            let mut refreshing = core
                .refreshing
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            refreshing.remove(&url);
        });
    }

    pub(super) fn turn(&self, url: &Url) -> Arc<Turn> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(url).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= SWEEP_AT {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(Turn::default());
        turns.insert(url.clone(), Arc::downgrade(&turn));
        turn
    }
}

/// What a question is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Head,
    /// The first bytes, too.
    Bytes,
}

fn known(url: &Url, head: &Head, stale: bool, valid_for: Duration) -> Result<Known, UrlError> {
    if head.status != 200 {
        return Err(UrlError::status_of(url, head.status));
    }
    Ok(Known {
        head: head.clone(),
        stale,
        valid_for,
    })
}

/// Whether who opens a file by what was told without its bytes gets that version or an error. Some servers tell a length of nothing where they
/// send no bytes, and an empty file needs none that could contradict.
fn can_be_pinned(version: &Version) -> bool {
    version.condition() != Condition::Nothing && version.length.is_some_and(|length| length > 0)
}

fn of_pinned(version: &Version) -> Metadata {
    let modified = version.modified.as_deref();
    Metadata {
        kind: Kind::File,
        size: version.length,
        modified: modified.and_then(|date| httpdate::parse_http_date(date).ok()),
        etag: version.etag.clone(),
        stale: false,
        valid_for: PINNED_FOR,
    }
}

/// The file at whose end somebody waits.
async fn spooled(
    url: &Url,
    waiting: Waiting,
    known: Known,
) -> Result<(Arc<Shared>, Known), UrlError> {
    let (shared, head) = waiting.outcome(url).await?;
    Ok((shared, Known { head, ..known }))
}

fn check_length(url: &Url, version: &Version) -> Result<(), UrlError> {
    match version.length {
        Some(length) if length > FILE_BYTES_MAX => Err(too_large(url)),
        Some(_) | None => Ok(()),
    }
}

/// Of a file that goes beyond [`FILE_BYTES_MAX`].
pub(super) fn too_large(url: &Url) -> UrlError {
    UrlError::broken(url, "a file of more than a terabyte")
}

/// Whether it may be that only HEAD is refused.
fn refuses_head(error: &UrlError) -> bool {
    matches!(error.status(), Some(400 | 403 | 405 | 501))
}

/// Whether it can be asked for.
pub(super) fn check(url: &Url) -> Result<(), UrlError> {
    let wrong = |reason| {
        Err(UrlError::Name {
            url: Box::new(url.clone()),
            reason,
        })
    };
    if client::is_within(url) {
        return client::check(url);
    }
    if !matches!(url.scheme(), "http" | "https") {
        return wrong("only http, https and atlas are known");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong(
            "credentials belong in a netrc file or a file of credentials, where no log shows them",
        );
    }
    if url.as_str().len() > URL_MAX {
        return wrong("it is longer than servers accept");
    }
    Ok(())
}

/// What is larger is a mistake, or a lie that would cost memory: a bit a block, several times.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 40;
/// What is asked for when a file is opened of which nothing is known. Small files come with it.
pub(super) const PROBE: u64 = 4 * BLOCK;
/// Answers whose bytes are under way at a time. What is said and has not arrived takes up to a megabyte each.
const ANSWERS_MAX: usize = 12;
/// Who looks at the sums of a store sees those of another process that late.
const TELL_PAUSE: Duration = Duration::from_secs(2);
/// What nobody uses any more is forgotten when this many are remembered.
const SWEEP_AT: usize = 1024;
/// RFC 9110, section 4.1, asks for at least 8000; most servers accept no more.
const URL_MAX: usize = 8000;
/// A pinned version does not change.
const PINNED_FOR: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_for_is_refused_with_its_reason() {
        for (wrong, reason) in [
            ("ftp://example.org/x", "only http"),
            ("http://me:secret@example.org/x", "netrc"),
            (
                &format!("http://example.org/{}", "x".repeat(9000)),
                "longer",
            ),
        ] {
            let error = check(&Url::parse(wrong).unwrap()).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
        check(&Url::parse("https://example.org/a%20b").unwrap()).unwrap();
    }
}
