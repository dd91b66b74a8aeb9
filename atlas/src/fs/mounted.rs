//! Where files by URL are, for code that only knows paths.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use atlas_engine::{FILES_VARIABLE, FileAnswer, FileQuestion, MOUNT_VARIABLE};

use super::client::Client;
use super::error::Error;

/// Why files by URL are in no folder here. Its text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("files by URL are in no folder here: {why}")]
pub struct NotMounted {
    why: String,
}

impl From<NotMounted> for io::Error {
    fn from(error: NotMounted) -> Self {
        Self::new(io::ErrorKind::Unsupported, error)
    }
}

/// The folder where files by URL are, for libraries and programs that only know paths: `https://example.org/data/x` is
/// `https/example.org/data/x` in it, in the version that [`read`](super::read) reads.
///
/// In a job it is `/atlas` where the server may mount that for this process alone. Otherwise it is a folder of the job's, where
/// the first call has the files mounted, and whose path this process has to pass on to who needs it. It differs from server to
/// server: a task asks for it where it runs. A program that runs alone finds the folder that [`ATLAS_FILES_MOUNT`](MOUNT_VARIABLE)
/// names.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let books = atlas::fs::mounted()?.join("https/example.org/books");
/// let found = std::process::Command::new("grep").args(["-rc", "whale"]).arg(books).output()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Nothing can be mounted here, or this is no job and nobody has mounted anything.
pub fn mounted() -> Result<PathBuf, NotMounted> {
    if let Some(folder) = env::var_os(MOUNT_VARIABLE).filter(|folder| !folder.is_empty()) {
        return Ok(folder.into());
    }
    if env::var_os(FILES_VARIABLE).is_none() {
        return Err(NotMounted {
            why: format!(
                "this program runs alone. Run `atlas-shell mount DIR` and set {MOUNT_VARIABLE} to DIR, or submit the program as a job"
            ),
        });
    }
    ask().map_err(|error| NotMounted {
        why: error.to_string(),
    })
}

/// Has them mounted by who fetches them.
fn ask() -> Result<PathBuf, Error> {
    let answer = Client::get(ALL)?.ask(ALL, &FileQuestion::Mount)?;
    if let FileAnswer::Mounted(folder) = answer {
        Ok(OsString::from_vec(folder.into()).into())
    } else {
        Err(Error::other_than_asked(ALL, &answer))
    }
}

/// What errors name in place of a URL.
const ALL: &str = "the folder of all files";
