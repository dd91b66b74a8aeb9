//! The shell's state folder: who this user is to which manager.
//!
//! ```text
//! identity/      the key and its certificates, as atlas-net keeps them
//! manager.toml   where the manager is reached; written last: without it, nobody is logged in
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use anyhow::Context as _;

use atlas_net::identity::{Identity, StoreError, check_writable};
use atlas_net::whole_file::replace;
use serde::{Deserialize, Serialize};

/// Where a login is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFolder(PathBuf);

/// What [`login`](crate::login) leaves.
#[derive(Clone, Debug)]
pub struct Login {
    /// Who this user is. Its domain is the manager's.
    pub identity: Identity,
    /// Where the manager may be reached, as `host:port`; the first that answers is taken.
    pub addresses: Vec<String>,
}

/// Why there is no login.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// There is no place for one.
    #[error(
        "neither HOME nor XDG_STATE_HOME nor ATLAS_STATE is set: name a state folder with --state"
    )]
    NoFolder,
    /// Nobody has logged in.
    #[error("nobody is logged in ({} holds no login): log in with `atlas-shell login TOKEN`, a token of the role client from the domain's manager", folder.display())]
    LoggedOut {
        /// Where it would be.
        folder: PathBuf,
    },
    /// It was, once.
    #[error("the login in {} has ended: log in again with `atlas-shell login TOKEN` and a new token", folder.display())]
    Ended {
        /// Where.
        folder: PathBuf,
        /// What is wrong with it.
        source: StoreError,
    },
    /// A file.
    #[error("cannot use {}: see that this user owns it, or name another folder with --state", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} is damaged: log in again with `atlas-shell login TOKEN`", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where in it.
        source: toml::de::Error,
    },
    /// The identity's files.
    #[error(transparent)]
    Identity(StoreError),
}

#[derive(Debug, Serialize, Deserialize)]
struct ManagerFile {
    addresses: Vec<String>,
}

impl StateFolder {
    /// The folder that was named, or else the usual one; `variable` reads the environment.
    ///
    /// # Errors
    ///
    /// The environment names none.
    pub fn find(
        named: Option<PathBuf>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, StateError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let set = |name| set(name).map(PathBuf::from);
        let found = named
            .or_else(|| set("ATLAS_STATE").map(|state| state.join("shell")))
            .or_else(|| set("XDG_STATE_HOME").map(|state| state.join("atlas/shell")))
            .or_else(|| set("HOME").map(|home| home.join(".local/state/atlas/shell")));
        found.map(Self).ok_or(StateError::NoFolder)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Somebody has logged in, if perhaps long ago.
    #[must_use]
    pub fn is_logged_in(&self) -> bool {
        self.manager_file().exists()
    }

    /// The login in it.
    ///
    /// # Errors
    ///
    /// There is none, or it has ended.
    pub fn load(&self, now: SystemTime) -> Result<Login, StateError> {
        let path = self.manager_file();
        let text = fs::read_to_string(&path).map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                let folder = self.0.clone();
                return StateError::LoggedOut { folder };
            }
            let path = path.clone();
            StateError::File { path, source }
        })?;
        let manager: ManagerFile =
            toml::from_str(&text).map_err(|source| StateError::Damaged { path, source })?;
        let identity = Identity::load(&self.identity_folder(), now).map_err(|error| {
            if matches!(error, StoreError::Invalid { .. }) {
                let folder = self.0.clone();
                let source = error;
                return StateError::Ended { folder, source };
            }
            StateError::Identity(error)
        })?;
        let addresses = manager.addresses;
        Ok(Login {
            identity,
            addresses,
        })
    }

    /// A login can be kept.
    ///
    /// # Errors
    ///
    /// It cannot.
    pub fn check_writable(&self) -> Result<(), StateError> {
        check_writable(&self.0).map_err(StateError::Identity)
    }

    /// Keeps a login, in place of the one that is there.
    ///
    /// # Errors
    ///
    /// It cannot be written; nobody is logged in then.
    pub fn save(&self, login: &Login) -> Result<(), StateError> {
        self.clear()?;
        let create = |path: PathBuf| match fs::create_dir_all(&path) {
            Ok(()) => Ok(()),
            Err(source) => Err(StateError::File { path, source }),
        };
        create(self.0.clone())?;
        self.save_identity(&login.identity)?;
        self.save_addresses(&login.addresses)
    }

    /// Keeps where the domain's managers are.
    ///
    /// # Errors
    ///
    /// It cannot be written; what is there stays.
    pub fn save_addresses(&self, addresses: &[String]) -> Result<(), StateError> {
        let addresses = addresses.to_vec();
        let text = toml::to_string(&ManagerFile { addresses })
            .expect("a list of texts can be written as TOML");
        self.write_manager_file(&text)
    }

    /// Keeps the next certificate for the same key.
    ///
    /// # Errors
    ///
    /// It cannot be written; the one that is there stays.
    pub fn save_identity(&self, identity: &Identity) -> Result<(), StateError> {
        let saved = identity.save(&self.identity_folder());
        saved.map_err(StateError::Identity)
    }

    /// Forgets the login; says whether there was one.
    ///
    /// # Errors
    ///
    /// A file cannot be removed.
    pub fn clear(&self) -> Result<bool, StateError> {
        let gone = |path: PathBuf, removed: io::Result<()>| match removed {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StateError::File { path, source }),
        };
        let file = self.manager_file();
        let folder = self.identity_folder();
        let removed = fs::remove_file(&file);
        let was_there = gone(file, removed)?;
        let removed = fs::remove_dir_all(&folder);
        gone(folder, removed)?;
        Ok(was_there)
    }

    /// Whole or not at all.
    fn write_manager_file(&self, text: &str) -> Result<(), StateError> {
        let path = self.manager_file();
        let result = replace(&path, text.as_bytes());
        result.map_err(|source| StateError::File { path, source })
    }

    fn manager_file(&self) -> PathBuf {
        self.0.join("manager.toml")
    }

    fn identity_folder(&self) -> PathBuf {
        self.0.join("identity")
    }
}

/// Where files by URL are kept: the given folder, or this user's own: `$XDG_CACHE_HOME/atlas/urls`, by default `~/.cache/atlas/urls`.
pub(crate) fn urls_folder(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return Ok(std::path::absolute(&given).unwrap_or(given));
    }
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let base = variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let base = base.or_else(|| Some(variable("HOME")?.join(".cache")));
    let base = base.context("this user has no home directory: name a folder with --cache")?;
    Ok(base.join("atlas/urls"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use atlas_net::identity::{DomainAuthority, LEAF_LIFETIME, NodeKey, Role};

    use super::*;

    fn login() -> Login {
        let now = SystemTime::now();
        let authority = DomainAuthority::init("cs.example.edu".parse().unwrap(), now).unwrap();
        let key = NodeKey::generate().unwrap();
        let issued = authority.issue(&key.request().unwrap(), Role::Client, now, LEAF_LIFETIME);
        Login {
            identity: Identity::new(key, issued.unwrap(), now).unwrap(),
            addresses: vec!["manager.cs.example.edu:7117".into()],
        }
    }

    #[test]
    fn the_folder_is_the_named_one_or_the_first_that_the_environment_gives() {
        let find = |named: Option<&str>, set: &[(&str, &str)]| {
            let value = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into());
            StateFolder::find(named.map(PathBuf::from), value).map(|folder| folder.0)
        };
        let all = [
            ("ATLAS_STATE", "/a"),
            ("XDG_STATE_HOME", "/x"),
            ("HOME", "/h"),
        ];
        assert_eq!(find(Some("/s"), &all).unwrap(), Path::new("/s"));
        assert_eq!(find(None, &all).unwrap(), Path::new("/a/shell"));
        assert_eq!(find(None, &all[1..]).unwrap(), Path::new("/x/atlas/shell"));
        let home = find(None, &[("ATLAS_STATE", ""), ("HOME", "/h")]).unwrap();
        assert_eq!(home, Path::new("/h/.local/state/atlas/shell"));
        assert!(find(None, &[]).unwrap_err().to_string().contains("--state"));
    }

    #[test]
    fn a_login_is_kept_until_it_ends_or_is_forgotten() {
        let parent = tempfile::tempdir().unwrap();
        let folder = StateFolder(parent.path().join("a/shell"));
        let now = SystemTime::now();
        let error = |now| folder.load(now).unwrap_err().to_string();
        assert!(
            error(now).contains("atlas-shell login TOKEN"),
            "{}",
            error(now)
        );
        assert!(!folder.clear().unwrap());

        let login = login();
        folder.save(&login).unwrap();
        folder.save(&login).unwrap();
        assert!(folder.is_logged_in());
        let loaded = folder.load(now).unwrap();
        assert_eq!(loaded.addresses, login.addresses);
        assert_eq!(loaded.identity.peer(), login.identity.peer());

        let late = error(now + LEAF_LIFETIME + Duration::from_secs(900));
        assert!(
            late.contains("has ended") && late.contains("new token"),
            "{late}"
        );
        assert!(folder.clear().unwrap());
        assert!(error(now).contains("nobody is logged in"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let folder = StateFolder(parent.path().into());
        fs::write(parent.path().join("manager.toml"), "?").unwrap();
        let error = folder.load(SystemTime::now()).unwrap_err().to_string();
        assert!(error.contains("manager.toml is damaged"), "{error}");
    }
}
