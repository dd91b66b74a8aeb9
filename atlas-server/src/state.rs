//! The state folder of a server: its certificate and the addresses of its manager, blobs, and folders of engines.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use atlas_net::identity::Identity;
use atlas_net::whole_file::replace;

/// Where a server keeps what it knows.
#[derive(Clone, Debug)]
pub struct StateFolder(PathBuf);

impl StateFolder {
    /// The given folder, or the one that servers of this user have.
    ///
    /// # Errors
    ///
    /// None is given and there is no home directory.
    pub fn find(given: Option<PathBuf>) -> Result<Self> {
        Ok(Self(atlas_fs::state::folder(given, "server")?))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the certificate is.
    #[must_use]
    pub fn identity_folder(&self) -> PathBuf {
        self.0.join("identity")
    }

    /// Where blobs are.
    #[must_use]
    pub fn blobs_folder(&self) -> PathBuf {
        self.0.join("blobs")
    }

    /// Where files by URL are.
    #[must_use]
    pub fn urls_folder(&self) -> PathBuf {
        self.0.join("urls")
    }

    /// Where engines run.
    #[must_use]
    pub fn engines_folder(&self) -> PathBuf {
        self.0.join("engines")
    }

    /// Keeps who this server is, and where its manager is reached.
    ///
    /// # Errors
    ///
    /// The folder cannot be written.
    pub fn enrolled(&self, identity: &Identity, manager: &[String]) -> Result<()> {
        let forgotten = atlas_net::managers::forget(&self.0);
        forgotten.with_context(|| format!("cannot use {}", self.0.display()))?;
        let kept = identity.save(&self.identity_folder());
        kept.context("cannot keep the server's certificate")?;
        let path = self.manager_file();
        replace(&path, (manager.join("\n") + "\n").as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Who this server is, and where its manager is reached.
    ///
    /// # Errors
    ///
    /// It has not enrolled, or what it has kept cannot be read.
    pub fn load(&self) -> Result<(Identity, Vec<String>)> {
        if !self.identity_folder().exists() {
            bail!(
                "this server has not joined a domain yet ({} is empty): get a token from the domain's administrator, and run \
                 `atlas-server join TOKEN`",
                self.0.display()
            );
        }
        let identity = Identity::load(&self.identity_folder(), SystemTime::now());
        let identity = identity.context("cannot read the server's certificate")?;
        let path = self.manager_file();
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        Ok((identity, text.lines().map(str::to_owned).collect()))
    }

    fn manager_file(&self) -> PathBuf {
        self.0.join("manager")
    }
}
