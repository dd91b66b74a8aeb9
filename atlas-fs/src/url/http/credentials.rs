//! [`Credentials`]: what hosts are told of who asks. A secret goes to the host that it is for, also when that redirects elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::{fmt, fs, io};

use data_encoding::BASE64;
use http::HeaderValue;
use url::Url;

use super::gates::host_of;

/// Who asks, in one of HTTP's ways.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// RFC 6750.
    Bearer(String),
    /// RFC 7617.
    Basic {
        /// The name.
        user: String,
        /// The secret.
        password: String,
    },
}

/// Credentials by host.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    hosts: BTreeMap<String, Credential>,
    /// Of a netrc file: the entry for all others.
    default: Option<Credential>,
}

/// A netrc file cannot be used. What is in it is not shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetrcError {
    /// There is none, or it is another's.
    #[error("the credentials in {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It is no netrc file.
    #[error(
        "the credentials in {} cannot be used: line {line} is not of the form `machine HOST login NAME password SECRET`",
        path.display()
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl Credentials {
    /// Nobody is told anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For `host`, or `host:port`, which goes before.
    pub fn set(&mut self, host: impl Into<String>, credential: Credential) {
        let host = host.into().to_ascii_lowercase();
        self.hosts.insert(host, credential);
    }

    /// Those of a netrc file, for hosts that have none yet.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no such file.
    pub fn add_netrc(&mut self, path: &Path) -> Result<(), NetrcError> {
        let text = fs::read(path).map_err(|source| NetrcError::Unreadable {
            path: path.into(),
            source,
        })?;
        let text = String::from_utf8_lossy(&text);
        let netrc = netrc::Netrc::from_str(&text).map_err(|_| NetrcError::Form {
            path: path.into(),
            line: wrong_line(&text),
        })?;
        for (host, entry) in netrc.hosts {
            // It says nothing of who asks.
            if entry.login.is_empty() && entry.password.is_empty() {
                continue;
            }
            let credential = Credential::Basic {
                user: entry.login,
                password: entry.password,
            };
            if host == "default" {
                self.default.get_or_insert(credential);
            } else {
                // As URLs have them.
                let host = host.to_ascii_lowercase();
                self.hosts.entry(host).or_insert(credential);
            }
        }
        Ok(())
    }

    /// The netrc file of this user: the one that `NETRC` names, or else `~/.netrc`, if it is there.
    #[must_use]
    pub fn netrc_of_user() -> Option<PathBuf> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let usual = || set("HOME").map(|home| PathBuf::from(home).join(".netrc"));
        let named = set("NETRC").map(PathBuf::from);
        named.or_else(|| usual().filter(|path| path.exists()))
    }

    /// The header for this URL, which no log shows.
    pub(super) fn header(&self, url: &Url) -> Option<HeaderValue> {
        let host = url.host_str()?;
        let credential = self
            .hosts
            .get(&host_of(url))
            .or_else(|| self.hosts.get(host))
            .or(self.default.as_ref())?;
        let text = match credential {
            Credential::Bearer(token) => format!("Bearer {token}"),
            Credential::Basic { user, password } => {
                format!(
                    "Basic {}",
                    BASE64.encode(format!("{user}:{password}").as_bytes())
                )
            }
        };
        let mut header = HeaderValue::from_str(&text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

/// The line up to which a netrc file makes no sense. What the library says of it shows what is there, which may be half of a secret.
fn wrong_line(text: &str) -> usize {
    let ends = text.match_indices('\n').map(|(end, _)| end + 1);
    let mut prefixes = ends.chain([text.len()]).zip(1..);
    let wrong = prefixes.find(|(end, _)| netrc::Netrc::from_str(&text[..*end]).is_err());
    wrong.map_or(1, |(_, line)| line)
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer(_) => write!(f, "Bearer(..)"),
            Self::Basic { user, .. } => write!(f, "Basic({user:?}, ..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(credentials: &Credentials, url: &str) -> Option<String> {
        let header = credentials.header(&Url::parse(url).unwrap())?;
        Some(header.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_secret_is_for_its_host() {
        let mut credentials = Credentials::new();
        credentials.set("example.org", Credential::Bearer("all".to_owned()));
        credentials.set("example.org:8080", Credential::Bearer("s3cret".to_owned()));
        assert_eq!(
            header(&credentials, "https://example.org/x").as_deref(),
            Some("Bearer all")
        );
        assert_eq!(
            header(&credentials, "http://example.org:8080/").as_deref(),
            Some("Bearer s3cret")
        );
        assert_eq!(header(&credentials, "https://www.example.org/"), None);
        assert!(!format!("{credentials:?}").contains("s3cret"));
    }

    #[test]
    fn netrc_gives_what_is_not_set() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netrc");
        std::fs::write(
            &path,
            "machine A.org login me password secret\nmachine b.org login x password y\nmachine c.org\n",
        )
        .unwrap();
        let mut credentials = Credentials::new();
        credentials.set("B.org", Credential::Bearer("t".to_owned()));
        credentials.add_netrc(&path).unwrap();
        assert_eq!(
            header(&credentials, "https://a.org/").as_deref(),
            Some("Basic bWU6c2VjcmV0")
        );
        assert_eq!(
            header(&credentials, "https://b.org/").as_deref(),
            Some("Bearer t")
        );
        assert_eq!(header(&credentials, "https://c.org/"), None);
        assert!(
            Credentials::new()
                .add_netrc(&folder.path().join("none"))
                .is_err()
        );
    }

    #[test]
    fn a_file_that_is_wrong_is_told_by_its_line_and_shows_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netrc");
        let text = "# mine\nmachine a.org login me\n  password two s3cret\n";
        std::fs::write(&path, text).unwrap();
        let error = Credentials::new().add_netrc(&path).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("netrc cannot be used: line 3") && !said.contains("s3cret"),
            "{said}"
        );
        assert!(!format!("{error:?}").contains("s3cret"));
    }
}
