//! [`Asker`]: asks the next cache above, and gives its answer as the store knows answers, which is as HTTP has them.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use url::Url;

use super::super::error::UrlError;
use super::super::http::{Ask, Failure, Request, host_of};
use super::super::version::Version;
use super::super::ways::Told;
use super::choice::{After, Choice, Next};
use super::words::{Known, Question, Said, Trouble, hear, say};
use super::{Above, Way};

/// Asks the next cache above.
#[derive(Debug)]
pub(crate) struct Asker {
    above: Arc<dyn Above>,
    health: Arc<Health>,
    /// Ways at a time.
    ways: Arc<Semaphore>,
    idle: Duration,
}

/// What all questions share.
#[derive(Debug)]
pub(crate) struct Health {
    choice: Mutex<Choice>,
    begun: Instant,
}

/// An answer, whose bytes are still to come.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) at: Option<Url>,
    pub(crate) told: Option<Told>,
    pub(crate) body: Body,
}

/// The bytes of an answer.
#[derive(Debug)]
pub(crate) struct Body {
    url: Url,
    way: Way,
    left: u64,
    /// Whoever waited for words has stopped in the middle of them: what comes next is not where others begin.
    is_torn: bool,
    idle: Duration,
    /// Of whoever is asked; none, if it is the way to a client.
    health: Option<Arc<Health>>,
    _place: OwnedSemaphorePermit,
}

/// There is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// Nor will there be another one.
    Failed(Failure),
    /// The origin is to be asked.
    AskOrigin,
}

impl Asker {
    /// Who says nothing for so long, not even that it takes its time, is silent. So many questions are asked at a time, or fewer.
    pub(crate) fn new(above: Arc<dyn Above>, idle: Duration, ways_max: usize) -> Self {
        Self {
            above,
            health: Arc::new(Health {
                choice: Mutex::default(),
                begun: Instant::now(),
            }),
            ways: Arc::new(Semaphore::new(ways_max.clamp(1, WAYS_MAX))),
            idle,
        }
    }

    /// One question.
    pub(crate) async fn ask(
        &self,
        request: Request<'_>,
        own_secret: bool,
    ) -> Result<Answered, Unanswered> {
        let host = host_of(request.url);
        let next = |health: &Health| {
            let now = health.begun.elapsed();
            health.lock().next(now, &host, own_secret)
        };
        if next(&self.health) == Next::Origin {
            return Err(Unanswered::AskOrigin);
        }
        let place = self.ways.clone().acquire_owned().await;
        let place = place.expect("it is never closed");
        // Others may have found out meanwhile.
        if next(&self.health) == Next::Origin {
            return Err(Unanswered::AskOrigin);
        }
        let Ok(Some(mut way)) = timeout(self.idle, self.above.reach()).await else {
            self.health.silence(&"it is not connected");
            return Err(Unanswered::AskOrigin);
        };
        let said = match say_and_hear(&mut way, &question(request), self.idle).await {
            Ok(said) => said,
            Err(error) => {
                self.health.silence(&error);
                return Err(Unanswered::AskOrigin);
            }
        };
        if let Said::Failed(trouble) = said {
            return Err(self.troubled(request.url, &host, trouble));
        }
        let health = Some(self.health.clone());
        let body = |bytes| Body::new(request.url, way, bytes_of(bytes), self.idle, health, place);
        let Some(answered) = answered(request, said, body) else {
            self.health.silence(&"it says what makes no sense");
            return Err(Unanswered::AskOrigin);
        };
        if self.health.lock().handle_answer() {
            tracing::info!("the cache of files by URL above answers again");
        }
        Ok(answered)
    }

    fn troubled(&self, url: &Url, host: &str, trouble: Trouble) -> Unanswered {
        let now = self.health.begun.elapsed();
        let after = self.health.lock().handle_trouble(now, host, &trouble);
        match after {
            After::Give => Unanswered::Failed(Failure::for_good(trouble.error(url))),
            After::AskOrigin => {
                if trouble != Trouble::KeepsNone {
                    tracing::info!(%url, ?trouble, "the cache above cannot have this file: asking its origin");
                }
                Unanswered::AskOrigin
            }
        }
    }
}

/// Asks, and gives the first word that is an answer.
pub(crate) async fn say_and_hear(
    way: &mut Way,
    question: &Question,
    idle: Duration,
) -> io::Result<Said> {
    timeout(idle, say(&mut way.writer, question)).await??;
    loop {
        match timeout(idle, hear(&mut way.reader)).await?? {
            Some(Said::Wait) => {}
            Some(said) => return Ok(said),
            None => return Err(io::Error::other("it does not answer such questions")),
        }
    }
}

/// How many bytes are to come.
pub(crate) fn bytes_of(bytes: Option<Range<u64>>) -> u64 {
    bytes.map_or(0, |bytes| bytes.end.saturating_sub(bytes.start))
}

impl Body {
    pub(crate) fn new(
        url: &Url,
        way: Way,
        left: u64,
        idle: Duration,
        health: Option<Arc<Health>>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            url: url.clone(),
            way,
            left,
            is_torn: false,
            idle,
            health,
            _place: place,
        }
    }

    /// The next bytes, or that there are no more. Who stops waiting for this leaves an answer that is broken, through no fault of whoever gives it.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.is_torn {
            let what = "its bytes were left in the middle of a piece";
            return Err(Failure::broken(&self.url, what));
        }
        while self.left > 0 {
            self.is_torn = true;
            let heard = timeout(self.idle, hear(&mut self.way.reader)).await;
            self.is_torn = heard.is_err();
            let why = match heard {
                Ok(Ok(Some(Said::Wait))) => continue,
                Ok(Ok(Some(Said::Piece(bytes)))) if !bytes.is_empty() => {
                    if let Some(left) = self.left.checked_sub(bytes.len() as u64) {
                        self.left = left;
                        return Ok(Some(bytes));
                    }
                    "it sends more than it said".to_owned()
                }
                Ok(Ok(Some(Said::Failed(trouble)))) => {
                    if let Some(health) = &self.health {
                        health.trouble(&self.url, &trouble);
                    }
                    let error = trouble.error(&self.url);
                    let may_pass = !matches!(
                        error,
                        UrlError::Changed { .. }
                            | UrlError::Client { .. }
                            | UrlError::NotServed { .. }
                    );
                    return Err(Failure {
                        error,
                        may_pass,
                        retry_after: None,
                    });
                }
                Ok(Ok(_)) => "it ends before its end".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(elapsed) => elapsed.to_string(),
            };
            let whence = match &self.health {
                Some(health) => {
                    health.silence(&why);
                    "the cache above"
                }
                None => "the client",
            };
            let what = format!("from {whence}: {why}");
            return Err(Failure::broken(&self.url, what));
        }
        Ok(None)
    }
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, Choice> {
        // Each change is one call.
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of an answer that has begun: the next attempt goes to whoever may do better.
    fn trouble(&self, url: &Url, trouble: &Trouble) {
        if matches!(trouble, Trouble::Disk(_)) {
            return self.silence(&"it cannot keep files");
        }
        let now = self.begun.elapsed();
        self.lock().handle_trouble(now, &host_of(url), trouble);
    }

    fn silence(&self, why: &dyn std::fmt::Display) {
        let now = self.begun.elapsed();
        if self.lock().handle_silence(now, fastrand::f64()) {
            tracing::warn!(%why, "the cache of files by URL above cannot be asked: asking origins until it can");
        }
    }
}

pub(crate) fn question(request: Request<'_>) -> Question {
    Question {
        url: request.url.as_str().to_owned(),
        ask: request.method,
        range: request.range.map(|(start, end)| start..end),
        version: request.version.cloned(),
        known: request.known.cloned(),
    }
}

/// What was said, in HTTP's words; none if it does not answer what was asked.
pub(crate) fn answered(
    request: Request<'_>,
    said: Said,
    body: impl FnOnce(Option<Range<u64>>) -> Body,
) -> Option<Answered> {
    match (said, request.version) {
        (Said::Bytes(bytes), Some(version)) => {
            let length = version.length?;
            let wanted = request
                .range
                .map_or(0..length, |(start, end)| start..end.min(length));
            if bytes != wanted {
                return None;
            }
            let (status, headers) = part(request, of_version(version), &bytes, length);
            Some(Answered {
                status,
                headers,
                at: None,
                told: None,
                body: body(Some(bytes)),
            })
        }
        (Said::Known(known), None) => of_known(request, *known, body),
        (
            Said::Bytes(_)
            | Said::Known(_)
            | Said::Wait
            | Said::Piece(_)
            | Said::End
            | Said::Failed(_),
            _,
        ) => None,
    }
}

fn of_known(
    request: Request<'_>,
    known: Known,
    body: impl FnOnce(Option<Range<u64>>) -> Body,
) -> Option<Answered> {
    let now = SystemTime::now();
    let head = known.head.received_at(now.checked_sub(known.age)?);
    let is_same = request.known.is_some_and(|before| *before == head.version);
    let (status, headers) = match (&known.bytes, head.status) {
        (Some(bytes), 200) => {
            let length = match request.method {
                Ask::Bytes => head.version.length?,
                // It may have come to where it is kept in another form.
                Ask::Head | Ask::Page | Ask::Entries => bytes.end,
            };
            let end = request.range.map_or(length, |(_, end)| end.min(length));
            if *bytes != (0..end) {
                return None;
            }
            part(request, head.headers(), bytes, length)
        }
        (Some(_), _) => return None,
        (None, 200) if is_same => (304, head.headers()),
        (None, status) => (status, head.headers()),
    };
    let stale = known.stale;
    let at = match known.at.as_deref().map(Url::parse) {
        Some(at) => Some(at.ok()?),
        None => None,
    };
    Some(Answered {
        status,
        headers,
        at,
        told: Some(Told { head, stale }),
        body: body(known.bytes),
    })
}

/// Status and headers of some bytes of a file.
fn part(
    request: Request<'_>,
    mut headers: HeaderMap,
    bytes: &Range<u64>,
    length: u64,
) -> (u16, HeaderMap) {
    headers.insert(CONTENT_LENGTH, (bytes.end - bytes.start).into());
    if request.range.is_none() || bytes.is_empty() {
        return (200, headers);
    }
    let text = format!("bytes {}-{}/{length}", bytes.start, bytes.end - 1);
    let value = HeaderValue::from_str(&text).expect("digits and words are a value");
    headers.insert(CONTENT_RANGE, value);
    (206, headers)
}

fn of_version(version: &Version) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut put = |name: HeaderName, value: &Option<String>| {
        let value = value.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(value)) = value {
            headers.insert(name, value);
        }
    };
    put(ETAG, &version.etag);
    put(LAST_MODIFIED, &version.modified);
    headers
}

/// Ways at a time: enough to keep the connection busy, and no more than leaves room for what else is asked on it.
const WAYS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn regression_an_answer_left_in_the_middle_of_a_piece_is_broken_and_no_silence() {
        let mut words_within = Vec::new();
        let not_meant = Said::Piece(Bytes::from_static(b"not meant"));
        say(&mut words_within, &not_meant).await.unwrap();
        // The file's bytes look like words.
        let bytes = [&b"bytes"[..], &words_within].concat();
        let length = bytes.len() as u64;
        let mut words = Vec::new();
        let piece = Said::Piece(bytes.into());
        say(&mut words, &piece).await.unwrap();
        let (begin, rest) = words.split_at(words.len() - words_within.len());

        let url = Url::parse("http://example.org/x").unwrap();
        let health = Arc::new(Health {
            choice: Mutex::default(),
            begun: Instant::now(),
        });
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let (reader, mut above) = tokio::io::duplex(words.len());
        let way = Way::new(reader, tokio::io::sink());
        let idle = Duration::from_secs(60);
        let mut body = Body::new(&url, way, length, idle, Some(health.clone()), place);
        above.write_all(begin).await.unwrap();
        let stopped = timeout(Duration::from_millis(1), body.chunk()).await;
        stopped.unwrap_err();
        above.write_all(rest).await.unwrap();
        let failure = body.chunk().await.unwrap_err();
        assert!(failure.may_pass, "{failure:?}");
        let now = health.begun.elapsed();
        let next = health.lock().next(now, &host_of(&url), false);
        assert_eq!(next, Next::Above);
    }
}
