//! Answers to questions for what is on a [`Shelf`], in the words of the caches.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use atlas_proto::control::FilesName;
use tokio::time::timeout;
use url::Url;

use super::super::above::Way;
use super::super::above::answer::{QUESTION_TIMEOUT, finish, tell, wait_for};
use super::super::above::words::{PIECE, Question, Said, Trouble, hear};
use super::super::source::Kind;
use super::files_of;
use super::name::names;
use super::reply::{self, Found, Reply};
use super::shelf::{Shelf, Taken};
use crate::blocking::blocking;

/// Answers one question for files of this name.
///
/// # Errors
///
/// The asker is gone.
pub async fn answer(shelf: Arc<Shelf>, files: FilesName, mut way: Way) -> io::Result<()> {
    let heard = timeout(QUESTION_TIMEOUT, hear(&mut way.reader)).await??;
    let Some(question) = heard else {
        return Ok(());
    };
    say_all(&shelf, files, &question, &mut way).await?;
    finish(way).await
}

async fn say_all(
    shelf: &Arc<Shelf>,
    files: FilesName,
    question: &Question,
    way: &mut Way,
) -> io::Result<()> {
    let Some((place, kind)) = place(files, question) else {
        return tell(way, &Said::Failed(Trouble::Name)).await;
    };
    let (looked_at, names) = (shelf.clone(), place.clone());
    let found = blocking(move || looked_at.find(&names, kind));
    let (found, taken) = wait_for(way, found).await?;
    let reply = reply::reply(question, &found, shelf.keeping(), SystemTime::now());
    match (reply, taken) {
        (Reply::Say(said), _) => return tell(way, &said).await,
        (Reply::Bytes(said, bytes), Some(taken)) => {
            tell(way, &said).await?;
            if let Some(trouble) = send(shelf, taken, bytes, way).await? {
                return tell(way, &trouble).await;
            }
        }
        (Reply::List, _) => {
            let listed = shelf.clone();
            let entries = wait_for(way, blocking(move || listed.list(&place))).await?;
            let (said, page) = match entries {
                Ok(entries) => reply::page(question, &entries, shelf.keeping(), SystemTime::now()),
                Err(found) => return tell(way, &Said::Failed(trouble(found))).await,
            };
            tell(way, &said).await?;
            for piece in page.chunks(PIECE) {
                tell(way, &Said::Piece(piece.to_vec().into())).await?;
            }
        }
        (Reply::Bytes(..), None) => {
            return tell(way, &Said::Failed(Trouble::Status(404))).await;
        }
    }
    tell(way, &Said::End).await
}

/// Which names lead to what is asked for.
fn place(files: FilesName, question: &Question) -> Option<(Vec<String>, Kind)> {
    let url = Url::parse(&question.url).ok()?;
    if files_of(&url) != Some(files) {
        return None;
    }
    let kind = if url.path().ends_with('/') {
        Kind::Folder
    } else {
        Kind::File
    };
    Some((names(&url)?, kind))
}

fn trouble(found: Found) -> Trouble {
    match found {
        Found::Refused(why) => Trouble::NotServed(why),
        Found::File(_) | Found::Folder | Found::Nothing => Trouble::Status(404),
    }
}

/// Sends bytes of a file, unless it changes meanwhile; then what there is to say.
async fn send(
    shelf: &Shelf,
    taken: Taken,
    range: Range<u64>,
    way: &mut Way,
) -> io::Result<Option<Said>> {
    let taken = Arc::new(taken);
    let mut at = range.start;
    while at < range.end {
        let length = usize::try_from(range.end - at).map_or(PIECE, |left| left.min(PIECE));
        let file = taken.clone();
        let read = wait_for(way, blocking(move || file.read(at, length))).await?;
        let bytes = match read {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(now)) => return Ok(Some(reply::changed(taken.version(), &now))),
            Err(error) => {
                let why = format!("the client cannot read it: {error}");
                return Ok(Some(Said::Failed(Trouble::NotServed(why))));
            }
        };
        at += length as u64;
        shelf.note_sent(length);
        tell(way, &Said::Piece(bytes.into())).await?;
    }
    Ok(None)
}
