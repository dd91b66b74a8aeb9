//! [`Access`]: what lets this user in at the origins of files by URL, as commands are told.

use std::path::PathBuf;

use atlas_fs::url::{AccessError, AccessFiles, Credentials, Options};
use clap::Args;

/// Who asks, and whom to trust.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Access {
    /// Tokens, or names and secrets, by host, in TOML; nobody else may read the file [default: the one that ATLAS_CREDENTIALS names, or
    /// ~/.config/atlas/credentials.toml if it is there].
    #[arg(long, value_name = "FILE", global = true)]
    credentials: Option<PathBuf>,
    /// Names and secrets by host, in a netrc file [default: the one that NETRC names, or ~/.netrc if it is there].
    #[arg(long, value_name = "FILE", global = true)]
    netrc: Option<PathBuf>,
    /// Certificates, in PEM, of authorities that are trusted beside the system's.
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
}

impl Access {
    /// For who fetches.
    pub(crate) fn add_to(&self, options: &mut Options) -> Result<(), AccessError> {
        let credentials = self.credentials.clone();
        let credentials = credentials.or_else(Credentials::file_of_user);
        let netrc = self.netrc.clone().or_else(Credentials::netrc_of_user);
        options.add_access(AccessFiles {
            credentials: credentials.as_deref(),
            netrc: netrc.as_deref(),
            authorities: self.ca.as_deref(),
        })
    }
}
