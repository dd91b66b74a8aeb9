//! Where the programs of Atlas keep what they know between runs.

use std::path::PathBuf;

/// There is no place for it.
#[derive(Debug, thiserror::Error)]
#[error("this user has no home directory: name a folder with --state")]
pub struct NoHomeError;

/// The given folder, or that of a program among those of this user: `$XDG_STATE_HOME/atlas/PROGRAM`, by default
/// `~/.local/state/atlas/PROGRAM`.
///
/// # Errors
///
/// None is given and there is no home directory.
pub fn folder(given: Option<PathBuf>, program: &str) -> Result<PathBuf, NoHomeError> {
    if let Some(given) = given {
        // Programs that are started from there have other working directories.
        return Ok(std::path::absolute(&given).unwrap_or(given));
    }
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let base = variable("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let base = base.or_else(|| Some(variable("HOME")?.join(".local/state")));
    Ok(base.ok_or(NoHomeError)?.join("atlas").join(program))
}
