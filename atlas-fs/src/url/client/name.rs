//! [`ClientFiles`]: what `atlas://client/..` is to the tasks of a job. **Pure.**

use std::fmt;
use std::sync::Arc;

use atlas_proto::control::{FilesKey, FilesName};
use url::Url;

use super::super::error::UrlError;
use super::super::path::{self, PathError};
use super::super::source::Kind;
use super::{HOST, NoWay, SCHEME, files_of};
use crate::name::BlobName;
use crate::tree::FileTree;

/// What a job finds under `atlas://client/`: its inputs by their names, and whatever else its client serves.
#[derive(Clone, Debug, Default)]
pub struct ClientFiles {
    served: Option<FilesName>,
    inputs: Option<(FilesName, Arc<FileTree>)>,
}

/// What the files are called whose client has this key.
#[must_use]
pub fn name_of(key: FilesKey) -> FilesName {
    first_half(BlobName::of(&key.0))
}

impl ClientFiles {
    /// What a client serves under this name; nothing, if none.
    #[must_use]
    pub fn new(served: Option<FilesName>) -> Self {
        Self {
            served,
            inputs: None,
        }
    }

    /// Also the inputs of the job, whose tree is this blob. Gives their name.
    #[must_use]
    pub fn with_inputs(self, tree: BlobName, inputs: Arc<FileTree>) -> (Self, FilesName) {
        let name = first_half(tree);
        let inputs = Some((name, inputs));
        (Self { inputs, ..self }, name)
    }

    /// The URL by which caches know what a program calls so. URLs of other schemes are what they are.
    ///
    /// # Errors
    ///
    /// It cannot be the name of a file, or there are no such files.
    pub(crate) fn resolve(&self, url: &Url) -> Result<Url, UrlError> {
        if url.scheme() != SCHEME {
            return Ok(url.clone());
        }
        let wrong = |reason| UrlError::Name {
            url: Box::new(url.clone()),
            reason,
        };
        if files_of(url).is_some() {
            return Err(wrong("only caches call files of clients so"));
        }
        if url.host_str() != Some(HOST) || url.port().is_some() {
            return Err(wrong("the only host of atlas:// is `client`"));
        }
        if url.query().is_some() {
            return Err(wrong("files of a client have no queries"));
        }
        let kind = if matches!(url.path().chars().last(), None | Some('/')) {
            Kind::Folder
        } else {
            Kind::File
        };
        let mut rooted = url.clone();
        if url.path().is_empty() {
            rooted.set_path("/");
        }
        // There and back: of several ways to write a name one is left.
        let plain = path::to_path(&rooted).and_then(|path| path::to_url(&path, kind));
        let plain = plain.map_err(|error| match error {
            PathError::TooLong(_) => UrlError::NameTooLong {
                url: Box::new(url.clone()),
            },
            PathError::Credentials => wrong("files of a client need no user"),
            PathError::Name(_) | PathError::Scheme(_) | PathError::Host(_) => wrong(
                "no file of a client is called so: names are not empty, `.` or `..`, and have no encoded slash in them",
            ),
        })?;
        let Some(name) = self.owner(&plain) else {
            let NoWay(why) = NoWay::none();
            let url = Box::new(url.clone());
            return Err(UrlError::Client { url, why });
        };
        Ok(url_in(name, plain.path()))
    }

    /// Of an input, and of all within it, the inputs; of others the client.
    fn owner(&self, plain: &Url) -> Option<FilesName> {
        let Some((inputs, tree)) = &self.inputs else {
            return self.served;
        };
        let names = names(plain).unwrap_or_default();
        match names.first() {
            Some(first) if tree.get(first).is_some() || tree.has_folder(first) => Some(*inputs),
            Some(_) => self.served.or(Some(*inputs)),
            None => Some(self.served.unwrap_or(*inputs)),
        }
    }
}

/// The names on the way to a file, decoded; none if it cannot be a file's.
pub(super) fn names(url: &Url) -> Option<Vec<String>> {
    let path = url.path().strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Vec::new());
    }
    let names = path.split('/').map(path::decoded);
    names.collect::<Result<_, _>>().ok()
}

/// Whether a URL as caches have it can be asked for.
pub(crate) fn check(url: &Url) -> Result<(), UrlError> {
    let is_plain = url.query().is_none() && url.fragment().is_none() && url.port().is_none();
    if files_of(url).is_some() && is_plain && names(url).is_some() {
        return Ok(());
    }
    Err(UrlError::Name {
        url: Box::new(url.clone()),
        reason: "it is no file of a client",
    })
}

/// It is a file of a client, as caches have it.
pub(crate) fn is_within(url: &Url) -> bool {
    url.scheme() == SCHEME
}

/// The URL as programs have it.
pub(crate) fn shown(url: &Url) -> impl fmt::Display {
    struct Shown<'a>(&'a Url);
    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match files_of(self.0) {
                Some(_) => write!(f, "{SCHEME}://{HOST}{}", self.0.path()),
                None => self.0.fmt(f),
            }
        }
    }
    Shown(url)
}

fn url_in(name: FilesName, path: &str) -> Url {
    let url = format!("{SCHEME}://{name}{path}");
    Url::parse(&url).expect("digits are a host, and the path was one of a URL")
}

fn first_half(name: BlobName) -> FilesName {
    let (half, _) = name.0.split_at(16);
    FilesName(half.try_into().expect("a half is 16 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{TreeEntry, TreeFile, TreePath};

    const NAME: FilesName = FilesName([0xab; 16]);

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn resolved(files: &ClientFiles, text: &str) -> Result<String, UrlError> {
        Ok(files.resolve(&url(text))?.to_string())
    }

    #[test]
    fn a_file_of_a_client_has_one_url_within_its_job() {
        let files = ClientFiles::new(Some(NAME));
        let within = |path: &str| format!("atlas://{}{path}", "ab".repeat(16));
        for (text, path) in [
            ("atlas://client/a/b", "/a/b"),
            ("atlas://client/%61/b%20c", "/a/b%20c"),
            ("atlas://client/b c#part", "/b%20c"),
            ("atlas://client", "/"),
            ("atlas://client/", "/"),
            ("atlas://client/a/", "/a/"),
            ("atlas://client/a/../../../x", "/x"),
            ("atlas://client/%2e%2e/%2E%2E/x", "/x"),
        ] {
            assert_eq!(resolved(&files, text).unwrap(), within(path), "{text}");
        }
        let other = ClientFiles::new(Some(FilesName([1; 16])));
        let both = [&files, &other].map(|files| resolved(files, "atlas://client/a").unwrap());
        assert_ne!(both[0], both[1]);
        let elsewhere = "https://example.org/x?y";
        assert_eq!(resolved(&files, elsewhere).unwrap(), elsewhere);
    }

    #[test]
    fn no_name_leads_out_and_no_program_names_the_files_of_another() {
        let files = ClientFiles::new(Some(NAME));
        let other = format!("atlas://{NAME}/a");
        for text in [
            "atlas://client/a%2Fb",
            "atlas://client/..%2Fx",
            "atlas://client/a//b",
            "atlas://client//etc/passwd",
            "atlas://client/%00",
            "atlas://client/%FF",
            "atlas://client/a?b",
            "atlas://me@client/a",
            "atlas://client:80/a",
            "atlas://CLIENT/a",
            "atlas:client/a",
            &other,
        ] {
            let error = files.resolve(&url(text)).unwrap_err();
            assert!(matches!(error, UrlError::Name { .. }), "{text}: {error}");
        }
        for text in ["atlas://client/a", "http://h/x", "atlas:x"] {
            assert!(check(&url(text)).is_err(), "{text}");
        }
        check(&url(&other)).unwrap();
        assert!(check(&url(&format!("{other}%2F.."))).is_err());
    }

    #[test]
    fn a_job_without_such_files_is_told_what_to_do_and_by_the_name_that_it_knows() {
        let asked = url("atlas://client/a%20b");
        let error = ClientFiles::default().resolve(&asked).unwrap_err();
        assert!(matches!(error, UrlError::Client { .. }));
        let said = error.to_string();
        for part in ["atlas://client/a%20b", "--serve", "--input"] {
            assert!(said.contains(part), "{said}");
        }
        let within = ClientFiles::new(Some(NAME)).resolve(&asked).unwrap();
        let said = UrlError::status_of(&within, 404).to_string();
        assert!(said.contains("atlas://client/a%20b "), "{said}");
        assert_eq!(shown(&url("http://h/x")).to_string(), "http://h/x");
    }

    #[test]
    fn inputs_are_found_by_their_names_also_without_a_client() {
        let mut tree = FileTree::new();
        let file = TreeEntry::File(TreeFile {
            bytes: 1,
            executable: false,
            blob: BlobName::of(b"x"),
        });
        for path in ["scene", "more/x"] {
            tree.insert(TreePath::new(path).unwrap(), file).unwrap();
        }
        let blob = BlobName::of(&tree.to_bytes());
        let tree = Arc::new(tree);
        let (alone, inputs) = ClientFiles::default().with_inputs(blob, tree.clone());
        let (both, _) = ClientFiles::new(Some(NAME)).with_inputs(blob, tree);
        for (path, with_client) in [
            ("/scene", inputs),
            ("/more/x", inputs),
            ("/more/none", inputs),
            ("/other", NAME),
            ("/", NAME),
        ] {
            let text = format!("atlas://client{path}");
            let of = |name| Ok::<_, UrlError>(format!("atlas://{name}{path}"));
            assert_eq!(resolved(&both, &text).unwrap(), of(with_client).unwrap());
            assert_eq!(resolved(&alone, &text).unwrap(), of(inputs).unwrap());
        }
    }

    #[test]
    fn a_key_has_one_name() {
        let names = [1, 2].map(|byte| name_of(FilesKey([byte; 16])));
        assert_ne!(names[0], names[1]);
        assert_eq!(names[0], name_of(FilesKey([1; 16])));
    }
}
