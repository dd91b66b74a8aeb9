//! The state folder of a manager: its authority, its certificate, its settings, and what its store keeps.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use atlas_net::identity::{
    DomainAuthority, Identity, LEAF_LIFETIME, NodeKey, StoreError, check_writable,
};
use atlas_net::whole_file::replace;
use atlas_proto::domain::{Domain, DomainPattern};
use atlas_proto::policy::Policy;
use serde::{Deserialize, Serialize};

use crate::standing;

/// Where a manager keeps what it knows.
#[derive(Clone, Debug)]
pub struct StateFolder(PathBuf);

/// What an administrator sets, in `settings.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The UDP address that the manager listens at.
    pub listen: SocketAddr,
    /// Where others reach it, as `host:port`; join tokens say so.
    #[serde(default)]
    pub public: Vec<String>,
    /// The manager of the enclosing domain.
    pub parent: Option<Parent>,
    /// How many bytes of programs and files are kept for jobs to come.
    #[serde(default = "blobs_bytes")]
    pub blobs_bytes_max: u64,
    /// Whose work may run in this domain: domains with all below them, or `*`; nobody else's if empty.
    #[serde(default = "everybody")]
    pub inflow: Vec<DomainPattern>,
    /// Where this domain's work may go.
    #[serde(default = "everybody")]
    pub outflow: Vec<DomainPattern>,
}

/// The manager of the enclosing domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Its domain.
    pub domain: Domain,
    /// Where it is reached, as `host:port`.
    pub addresses: Vec<String>,
}

impl StateFolder {
    /// The given folder, or the one that managers of this user have.
    ///
    /// # Errors
    ///
    /// None is given and there is no home directory.
    pub fn find(given: Option<PathBuf>) -> Result<Self> {
        Ok(Self(atlas_fs::state::folder(given, "manager")?))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// There is no manager's state here yet, and there can be: whoever is about to begin one asks before doing what cannot be
    /// undone.
    ///
    /// # Errors
    ///
    /// There is one, of a manager that acts or of one that stands by; or the folder cannot be made, or not be written.
    pub fn check_free(&self) -> Result<()> {
        if self.authority_folder().exists() || self.settings_file().exists() {
            bail!(
                "there is a manager's state in {} already: choose another folder with --state, or remove this one to begin a \
                 new domain, whose nodes must then enrol anew",
                self.0.display()
            );
        }
        check_writable(&self.0).context("this manager can keep nothing")
    }

    /// Begins the state of a new domain.
    ///
    /// # Errors
    ///
    /// There is one already, or the folder cannot be written.
    pub fn init(&self, authority: &DomainAuthority, settings: &Settings) -> Result<()> {
        self.check_free()?;
        authority
            .save(&self.authority_folder())
            .context("cannot keep the domain's authority")?;
        self.save_settings(settings)
    }

    /// Begins the state of a manager that is to stand by for the one that is reached at these addresses.
    ///
    /// # Errors
    ///
    /// There is a manager's state already, or the folder cannot be written.
    pub fn init_standby(
        &self,
        identity: &Identity,
        others: Vec<String>,
        settings: &Settings,
    ) -> Result<()> {
        self.check_free()?;
        let kept = identity.save(&self.identity_folder());
        kept.context("cannot keep the manager's certificate")?;
        let begun = standing::init_standby(&self.0, identity.peer().node, others);
        begun.with_context(|| format!("cannot write in {}", self.0.display()))?;
        self.save_settings(settings)
    }

    /// Who this manager is, as long as it has no authority: a standby that has not followed yet.
    ///
    /// # Errors
    ///
    /// There is no such state, or its certificate has ended.
    pub fn standby_identity(&self) -> Result<Identity> {
        let identity = Identity::load(&self.identity_folder(), SystemTime::now());
        identity.context(
            "cannot read the certificate of this standby: enrol it anew, in an empty folder, with `atlas-manager standby TOKEN`",
        )
    }

    /// There is the state of a standby that has not followed yet.
    #[must_use]
    pub fn is_new_standby(&self) -> bool {
        !self.authority_folder().exists() && self.settings_file().exists()
    }

    /// The domain's authority.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read.
    pub fn authority(&self) -> Result<DomainAuthority> {
        if !self.authority_folder().exists() {
            bail!(
                "there is no manager's state in {}: make one with `atlas-manager init --domain DOMAIN`, or name its folder with \
                 --state",
                self.0.display()
            );
        }
        DomainAuthority::load(&self.authority_folder())
            .context("cannot read the domain's authority")
    }

    /// A fresh certificate for the manager, with the key that it had, for however long it was away: by its key its standby and its
    /// children know it.
    ///
    /// # Errors
    ///
    /// The key cannot be read, the authority has ended, or the folder cannot be written.
    pub fn identity(&self, authority: &DomainAuthority) -> Result<Identity> {
        let folder = self.identity_folder();
        let key = match NodeKey::load(&folder) {
            Err(StoreError::Missing { .. }) => NodeKey::generate().context("cannot make a key")?,
            kept => kept.context("cannot read the manager's key")?,
        };
        let identity = issue(authority, key)?;
        identity
            .save(&folder)
            .context("cannot keep the manager's certificate")?;
        Ok(identity)
    }

    /// Where the manager's certificate is.
    #[must_use]
    pub fn identity_folder(&self) -> PathBuf {
        self.0.join("identity")
    }

    /// Where the domain's authority is.
    #[must_use]
    pub fn authority_folder(&self) -> PathBuf {
        self.0.join("authority")
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

    /// What the administrator has set.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn settings(&self) -> Result<Settings> {
        let path = self.settings_file();
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is no settings file", path.display()))
    }

    pub(crate) fn save_settings(&self, settings: &Settings) -> Result<()> {
        let path = self.settings_file();
        let text = toml::to_string_pretty(settings).context("cannot write the settings")?;
        replace(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    }

    fn settings_file(&self) -> PathBuf {
        self.0.join("settings.toml")
    }
}

impl Settings {
    /// What is set if nothing is said.
    #[must_use]
    pub fn new(listen: SocketAddr, public: Vec<String>, parent: Option<Parent>) -> Self {
        Self {
            listen,
            public,
            parent,
            blobs_bytes_max: blobs_bytes(),
            inflow: everybody(),
            outflow: everybody(),
        }
    }

    /// The domain's policy.
    ///
    /// # Errors
    ///
    /// There are too many patterns.
    pub fn policy(&self) -> Result<Policy> {
        let policy = Policy::new(self.inflow.clone(), self.outflow.clone());
        policy.context("the policy in the settings cannot be used")
    }
}

/// A certificate for the manager, signed by its own authority.
///
/// # Errors
///
/// The authority has ended.
pub fn issue(authority: &DomainAuthority, key: NodeKey) -> Result<Identity> {
    let issued = authority.issue_own(key, SystemTime::now(), LEAF_LIFETIME);
    issued.context("cannot sign the manager's certificate")
}

/// Ten gigabytes.
fn blobs_bytes() -> u64 {
    10_000_000_000
}

fn everybody() -> Vec<DomainPattern> {
    vec![DomainPattern::ANY]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A new key would be another node: neither its standby nor its children would know it, and it would follow for ever.
    #[test]
    fn regression_a_manager_keeps_its_key_however_long_it_was_away() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder(folder.path().into());
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 3600);
        let authority = DomainAuthority::init("example.edu".parse().unwrap(), now - day * 9);
        let authority = authority.unwrap();
        // Its last life was long ago, or before the clock was set back.
        for then in [now - day * 2, now + day * 2] {
            let key = NodeKey::generate().unwrap();
            let before = authority.issue_own(key, then, LEAF_LIFETIME).unwrap();
            before.save(&state.identity_folder()).unwrap();
            Identity::load(&state.identity_folder(), now).unwrap_err();
            let after = state.identity(&authority).unwrap();
            assert_eq!(after.peer(), before.peer());
            Identity::load(&state.identity_folder(), now).unwrap();
        }
        // What is damaged is named rather than replaced.
        let file = state.identity_folder().join("node.key");
        std::fs::write(&file, "nothing").unwrap();
        let error = state.identity(&authority).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("node.key is damaged"), "{error}");
    }
}
