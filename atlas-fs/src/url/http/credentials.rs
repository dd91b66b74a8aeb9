//! [`Credentials`]: what hosts are told of who asks. A secret goes to the host that it is for, also when that redirects elsewhere.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::{fmt, fs, io};

use data_encoding::BASE64;
use http::HeaderValue;
use url::Url;

use super::credentials_file;
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
    hosts: BTreeMap<String, Entry>,
    /// Of a netrc file: the entry for all others.
    default: Option<Entry>,
}

/// Who asks at one host.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) credential: Credential,
    /// Whether it may be told where whoever is on the way can read it.
    pub(super) plain_http: bool,
}

/// A file of credentials cannot be used. What is in it is not shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// There is none, or it is another's.
    #[error("the credentials in {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Others can read the secrets in it.
    #[error(
        "the credentials in {0} are not used, since others may read them (mode {mode:03o}): chmod 600 {0}",
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no file of credentials.
    #[error("the credentials in {} cannot be used: line {line}: {why}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        why: &'static str,
    },
    /// It is no netrc file.
    #[error(
        "the credentials in {} cannot be used: line {line} is not of the form `machine HOST login NAME password SECRET`",
        path.display()
    )]
    Netrc {
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

    /// For `host`, or `host:port`, which goes before; told by `https` alone.
    pub fn set(&mut self, host: impl Into<String>, credential: Credential) {
        self.insert(host.into(), credential, false);
    }

    /// As [`Credentials::set`]; told also by plain `http`, where whoever is on the way can read it.
    pub fn set_also_for_http(&mut self, host: impl Into<String>, credential: Credential) {
        self.insert(host.into(), credential, true);
    }

    fn insert(&mut self, host: String, credential: Credential, plain_http: bool) {
        let entry = Entry {
            credential,
            plain_http,
        };
        self.hosts.insert(host.to_ascii_lowercase(), entry);
    }

    /// Those of a file in TOML, for hosts that have none yet:
    ///
    /// ```toml
    /// ["data.example.org"]
    /// token = "s3cret"
    ///
    /// ["other.example.org:8443"]
    /// user = "me"
    /// password = "another"
    /// plain_http = true
    /// ```
    ///
    /// # Errors
    ///
    /// It cannot be read, others may read it, too, or it is no such file.
    pub fn add_file(&mut self, path: &Path) -> Result<(), CredentialsError> {
        let unreadable = |source| CredentialsError::Unreadable {
            path: path.into(),
            source,
        };
        let mut file = fs::File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_file() && others_may(metadata.uid(), metadata.mode()) {
            return Err(CredentialsError::Open {
                path: path.into(),
                mode: metadata.mode() & 0o777,
            });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unreadable)?;
        let entries = credentials_file::read(&text).map_err(|wrong| CredentialsError::Form {
            path: path.into(),
            line: wrong.line,
            why: wrong.why,
        })?;
        for (host, entry) in entries {
            self.hosts.entry(host).or_insert(entry);
        }
        Ok(())
    }

    /// Those of a netrc file, for hosts that have none yet. They are told by plain `http`, too, as all do who heed such files.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no such file.
    pub fn add_netrc(&mut self, path: &Path) -> Result<(), CredentialsError> {
        let text = fs::read(path).map_err(|source| CredentialsError::Unreadable {
            path: path.into(),
            source,
        })?;
        let text = String::from_utf8_lossy(&text);
        let netrc = netrc::Netrc::from_str(&text).map_err(|_| CredentialsError::Netrc {
            path: path.into(),
            line: wrong_line(&text),
        })?;
        for (host, entry) in netrc.hosts {
            // It says nothing of who asks.
            if entry.login.is_empty() && entry.password.is_empty() {
                continue;
            }
            let entry = Entry {
                credential: Credential::Basic {
                    user: entry.login,
                    password: entry.password,
                },
                plain_http: true,
            };
            if host == "default" {
                self.default.get_or_insert(entry);
            } else {
                // As URLs have them.
                let host = host.to_ascii_lowercase();
                self.hosts.entry(host).or_insert(entry);
            }
        }
        Ok(())
    }

    /// The file of credentials of this user: the one that `ATLAS_CREDENTIALS` names, or else `$XDG_CONFIG_HOME/atlas/credentials.toml`,
    /// by default `~/.config/atlas/credentials.toml`, if it is there.
    #[must_use]
    pub fn file_of_user() -> Option<PathBuf> {
        let configuration = || {
            set("XDG_CONFIG_HOME")
                .filter(|path| path.is_absolute())
                .or_else(|| Some(set("HOME")?.join(".config")))
        };
        let usual = || configuration().map(|folder| folder.join("atlas/credentials.toml"));
        set("ATLAS_CREDENTIALS").or_else(|| usual().filter(|path| path.exists()))
    }

    /// The netrc file of this user: the one that `NETRC` names, or else `~/.netrc`, if it is there.
    #[must_use]
    pub fn netrc_of_user() -> Option<PathBuf> {
        let usual = || set("HOME").map(|home| home.join(".netrc"));
        set("NETRC").or_else(|| usual().filter(|path| path.exists()))
    }

    /// The header for this URL, which no log shows.
    pub(super) fn header(&self, url: &Url) -> Option<HeaderValue> {
        let host = url.host_str()?;
        let entry = self
            .hosts
            .get(&host_of(url))
            .or_else(|| self.hosts.get(host))
            .or(self.default.as_ref())?;
        if url.scheme() != "https" && !entry.plain_http {
            return None;
        }
        let text = match &entry.credential {
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

/// A path that the environment names.
fn set(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// Whether others than its owner may read a file. Of one of root's, its group may: that is how a service is handed what is root's.
fn others_may(owner: u32, mode: u32) -> bool {
    mode & if owner == 0 { 0o037 } else { 0o077 } != 0
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
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn header(credentials: &Credentials, url: &str) -> Option<String> {
        let header = credentials.header(&Url::parse(url).unwrap())?;
        Some(header.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_secret_is_for_its_host() {
        let mut credentials = Credentials::new();
        credentials.set("example.org", Credential::Bearer("all".to_owned()));
        let secret = Credential::Bearer("s3cret".to_owned());
        credentials.set_also_for_http("example.org:8080", secret);
        assert_eq!(
            header(&credentials, "https://example.org/x").as_deref(),
            Some("Bearer all")
        );
        assert_eq!(
            header(&credentials, "http://example.org:8080/").as_deref(),
            Some("Bearer s3cret")
        );
        assert_eq!(header(&credentials, "https://www.example.org/"), None);
        assert_eq!(header(&credentials, "http://example.org/x"), None);
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
    fn a_file_gives_tokens_before_netrc_does_and_keeps_them_from_plain_http() {
        let folder = tempfile::tempdir().unwrap();
        let [path, netrc] = ["credentials.toml", "netrc"].map(|name| folder.path().join(name));
        let text = "[\"a.org\"]\ntoken = \"t\"\n[\"B.org:8080\"]\nuser = \"me\"\npassword = \"secret\"\nplain_http = true\n";
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&netrc, "default login x password y\n").unwrap();
        let mut credentials = Credentials::new();
        credentials.add_file(&path).unwrap();
        credentials.add_netrc(&netrc).unwrap();
        for (url, wanted) in [
            ("https://a.org/x", Some("Bearer t")),
            ("http://a.org/x", None),
            ("https://a.org:444/x", Some("Bearer t")),
            ("http://b.org:8080/x", Some("Basic bWU6c2VjcmV0")),
            ("http://b.org/x", Some("Basic eDp5")),
        ] {
            assert_eq!(header(&credentials, url).as_deref(), wanted, "{url}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_and_the_way_out_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.toml");
        std::fs::write(&path, "[\"a.org\"]\ntoken = \"s3cret\"\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Credentials::new().add_file(&path).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("mode 644") && said.ends_with(&format!("chmod 600 {}", path.display())),
            "{said}"
        );
        for (owner, mode, refused) in [
            (1000, 0o600, false),
            (1000, 0o640, true),
            (0, 0o640, false),
            (0, 0o604, true),
        ] {
            assert_eq!(others_may(owner, mode), refused, "{owner} {mode:o}");
        }
        // What is no file has nobody's secrets in it.
        Credentials::new().add_file(Path::new("/dev/null")).unwrap();
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
