//! Answers to those below, from the store, which asks in turn for what it lacks.
//!
//! As long as there is nothing to say, it is said that this takes its time. Bytes are sent as they come, so that memory holds a piece a
//! question, and what is under way.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{interval_at, timeout};
use url::Url;

use super::super::client::{NoWay, Reached};
use super::super::counts::Giver;
use super::super::error::UrlError;
use super::super::file::UrlFile;
use super::super::files::{Core, check};
use super::super::head::Head;
use super::super::http::Ask;
use super::super::version::{Condition, Version};
use super::super::whole::{Served, page_turn};
use super::Way;
use super::words::{Known, PIECE, Question, Said, Trouble, WAIT_INTERVAL, hear, say};
use crate::blocking::blocking;

/// What was found, before its bytes.
struct Found {
    said: Said,
    body: Option<Body>,
}

enum Body {
    File(UrlFile, Range<u64>),
    Page(Bytes),
}

/// Answers one question.
///
/// # Errors
///
/// The asker is gone.
pub(in super::super) async fn answer(core: &Arc<Core>, mut way: Way) -> io::Result<()> {
    let heard = timeout(QUESTION_TIMEOUT, hear(&mut way.reader)).await??;
    let Some(question) = heard else {
        return Ok(());
    };
    let found = wait_for(&mut way, find(core, question)).await?;
    let found = match found {
        Ok(found) => found,
        Err(error) => return fail(way, &error).await,
    };
    let place = match &found.body {
        Some(_) => Some(wait_for(&mut way, core.answers.acquire()).await?),
        None => None,
    };
    tell(&mut way, &found.said).await?;
    match found.body {
        None => {}
        Some(Body::Page(page)) => {
            for at in (0..page.len()).step_by(PIECE) {
                let piece = page.slice(at..page.len().min(at + PIECE));
                tell(&mut way, &Said::Piece(piece)).await?;
            }
        }
        Some(Body::File(file, range)) => {
            if let Err(error) = send(core, &mut way, &file, range).await? {
                return fail(way, &error).await;
            }
        }
    }
    tell(&mut way, &Said::End).await?;
    finish(way).await?;
    drop(place);
    Ok(())
}

/// Answers that no files are kept here.
///
/// # Errors
///
/// The asker is gone.
pub async fn refuse(mut way: Way) -> io::Result<()> {
    tell(&mut way, &Said::Failed(Trouble::KeepsNone)).await?;
    finish(way).await
}

/// Hands a question for files of a client on, and its answer back, without keeping any of it. As long as there is no way to the client, it is said
/// that this takes its time.
///
/// # Errors
///
/// The asker, or whoever is asked, is gone.
pub async fn hand_on(
    mut way: Way,
    reaching: impl Future<Output = Result<Reached, NoWay>>,
) -> io::Result<()> {
    let Way { reader, writer } = match wait_for(&mut way, reaching).await? {
        Ok(reached) => reached.way,
        Err(NoWay(why)) => {
            tell(&mut way, &Said::Failed(Trouble::Client(why))).await?;
            return finish(way).await;
        }
    };
    tokio::try_join!(carry(way.reader, writer), carry(reader, way.writer))?;
    Ok(())
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

async fn fail(mut way: Way, error: &UrlError) -> io::Result<()> {
    tell(&mut way, &Said::Failed(Trouble::of(error))).await?;
    finish(way).await
}

/// Waits until the asker has heard all, or does not care: until then what was said may take memory.
pub(in super::super) async fn finish(mut way: Way) -> io::Result<()> {
    let heard = timeout(HEARD_TIMEOUT, way.reader.read_u8()).await;
    // The end of what it says is what is waited for.
    drop(heard);
    Ok(())
}

/// Says something to an asker who hears it, sooner or later.
pub(in super::super) async fn tell(way: &mut Way, said: &Said) -> io::Result<()> {
    timeout(HEARD_TIMEOUT, say(&mut way.writer, said)).await?
}

/// Says now and then that it is being seen to.
pub(in super::super) async fn wait_for<T>(
    way: &mut Way,
    work: impl Future<Output = T>,
) -> io::Result<T> {
    let begin = tokio::time::Instant::now() + WAIT_INTERVAL;
    let mut ticks = interval_at(begin, WAIT_INTERVAL);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            _ = ticks.tick() => tell(way, &Said::Wait).await?,
        }
    }
}

async fn find(core: &Arc<Core>, question: Question) -> Result<Found, UrlError> {
    let url = Url::parse(&question.url);
    let url = url.map_err(|_| UrlError::broken(&nowhere(), "no URL is asked for"))?;
    check(&url)?;
    match (question.ask, &question.version) {
        (Ask::Bytes, Some(version)) => find_bytes(core, &url, version, question.range).await,
        (Ask::Bytes, None) => find_file(core, &url, &question).await,
        (Ask::Head, _) => find_head(core, &url).await,
        (Ask::Page | Ask::Entries, _) => find_page(core, &url, &question).await,
    }
}

/// Bytes of a certain version.
async fn find_bytes(
    core: &Arc<Core>,
    url: &Url,
    version: &Version,
    range: Option<Range<u64>>,
) -> Result<Found, UrlError> {
    let length = version.length.unwrap_or_default();
    let range = range.unwrap_or(0..length);
    let range = range.start..range.end.min(length);
    if range.start > range.end {
        return Err(UrlError::broken(url, "bytes are asked for beyond the end"));
    }
    let shared = core.shared(url, version).await?;
    // Nothing shows that what there is now is what there was, if that has no name.
    if version.condition() == Condition::Nothing && !shared.is_complete() {
        let present = core.kept_head(url).await?.map(|head| head.version);
        if present.as_ref() != Some(version) {
            let found = present.unwrap_or(Version {
                etag: None,
                modified: None,
                length: None,
                seen: None,
            });
            return Err(version.changed(url, &found));
        }
    }
    Ok(Found {
        said: Said::Bytes(range.clone()),
        body: Some(Body::File(UrlFile::new(shared, false), range)),
    })
}

/// What is there now, with bytes, unless the asker has it.
async fn find_file(core: &Arc<Core>, url: &Url, question: &Question) -> Result<Found, UrlError> {
    let opened = core.clone().open_now(url).await;
    let (shared, now) = match opened {
        Ok(opened) => opened,
        Err(error) => return found_none(core, url, error).await,
    };
    let (head, stale) = (now.head, now.stale);
    let length = head.version.length.unwrap_or_default();
    let end = question.range.as_ref().map_or(length, |range| range.end);
    let is_known = question.known.as_ref() == Some(&head.version);
    let bytes = (!is_known).then_some(0..end.min(length));
    let body = bytes
        .clone()
        .map(|bytes| Body::File(UrlFile::new(shared, stale), bytes));
    Ok(Found {
        said: known(head, stale, None, bytes),
        body,
    })
}

async fn find_head(core: &Arc<Core>, url: &Url) -> Result<Found, UrlError> {
    match core.clone().known(url).await {
        Ok(found) => Ok(Found {
            said: known(found.head, found.stale, None, None),
            body: None,
        }),
        Err(error) => found_none(core, url, error).await,
    }
}

async fn find_page(core: &Arc<Core>, url: &Url, question: &Question) -> Result<Found, UrlError> {
    let turn = core.turn(&page_turn(url));
    let _turn = turn.lock().await;
    let Served { page, stale } = match core.page(url, question.ask).await {
        Ok(served) => served,
        Err(UrlError::NotFound { url: place, status }) => {
            let (store, place_kept) = (core.store.clone(), url.clone());
            let kept = blocking(move || store.page(&place_kept)).await;
            let kept = kept.map_err(|error| UrlError::disk(url, error))?;
            let Some(page) = kept.filter(|page| page.head.status == status) else {
                return Err(UrlError::NotFound { url: place, status });
            };
            return Ok(Found {
                said: known(page.head, false, Some(page.at), None),
                body: None,
            });
        }
        Err(error) => return Err(error),
    };
    if question.known.as_ref() == Some(&page.head.version) {
        return Ok(Found {
            said: known(page.head, stale, Some(page.at), None),
            body: None,
        });
    }
    let bytes = 0..page.body.len() as u64;
    Ok(Found {
        said: known(page.head, stale, Some(page.at), Some(bytes)),
        body: Some(Body::Page(page.body.into())),
    })
}

/// That there is nothing is known, too, and for how long.
async fn found_none(core: &Arc<Core>, url: &Url, error: UrlError) -> Result<Found, UrlError> {
    let status = if let UrlError::IsFolder { .. } = error {
        Some(200)
    } else {
        error.status()
    };
    match core.kept_head(url).await? {
        Some(head) if Some(head.status) == status => Ok(Found {
            said: known(head, false, None, None),
            body: None,
        }),
        Some(_) | None => Err(error),
    }
}

fn known(head: Head, stale: bool, at: Option<String>, bytes: Option<Range<u64>>) -> Said {
    let age = SystemTime::now().duration_since(head.received());
    Said::Known(Box::new(Known {
        head,
        age: age.unwrap_or_default(),
        stale,
        at,
        bytes,
    }))
}

/// Sends bytes of a file, each as soon as it is here. The inner error is the file's.
async fn send(
    core: &Arc<Core>,
    way: &mut Way,
    file: &UrlFile,
    range: Range<u64>,
) -> io::Result<Result<(), UrlError>> {
    let mut at = range.start;
    let wanted = file.want(&range);
    while at < range.end {
        let length = usize::try_from(range.end - at).map_or(PIECE, |left| left.min(PIECE));
        let is_there = file.has(at, length);
        let mut piece = vec![0; length];
        let read = wait_for(way, file.read_wanted(wanted, at, &mut piece)).await?;
        match read {
            Ok(read) if read == length => {}
            Ok(_) => return Ok(Err(UrlError::broken(file.url(), "it ends too early"))),
            Err(error) => return Ok(Err(error)),
        }
        if is_there {
            core.counts.fetched(Giver::Store, length);
        }
        at += length as u64;
        tell(way, &Said::Piece(piece.into())).await?;
    }
    Ok(Ok(()))
}

fn nowhere() -> Url {
    Url::parse("http://invalid/").expect("it is a URL")
}

/// A question comes with its way.
pub(in super::super) const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// What was said arrives, or the asker is gone.
const HEARD_TIMEOUT: Duration = Duration::from_secs(60);
