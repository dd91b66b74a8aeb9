//! Files of clients: what stores ask a client for, and what becomes of readers when it is gone, or its files change.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use atlas_fs::url::above::Way;
use atlas_fs::url::client::{
    ClientFiles, ClientWays, LocalFiles, NoWay, Reached, ReachingClient, Shelf, answer,
};
use atlas_fs::url::{Files, Kind, Pins, Source, UrlError};
use atlas_proto::control::FilesName;
use tempfile::TempDir;
use tokio::io::{duplex, split};
use url::Url;

use crate::support::{Scratch, eventually, options, random, read, read_file};

/// A client, or the store that is nearer to it.
#[derive(Debug)]
struct Beside {
    shelf: Option<Arc<Shelf>>,
    nearer: Mutex<Option<Files>>,
    gone: AtomicBool,
    asked: AtomicUsize,
}

impl Beside {
    fn client(folder: &Path) -> Arc<Self> {
        let shelf = Shelf::of_folder(folder).unwrap();
        Self::new(Some(Arc::new(shelf)), None)
    }

    fn new(shelf: Option<Arc<Shelf>>, nearer: Option<Files>) -> Arc<Self> {
        Arc::new(Self {
            shelf,
            nearer: Mutex::new(nearer),
            gone: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        })
    }

    fn go(&self) {
        self.gone.store(true, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn sent(&self) -> u64 {
        self.shelf.as_ref().unwrap().sent()
    }
}

impl ClientWays for Beside {
    fn reach(&self, files: FilesName) -> ReachingClient<'_> {
        Box::pin(async move {
            if self.gone.load(Ordering::SeqCst) {
                return Err(NoWay::gone());
            }
            self.asked.fetch_add(1, Ordering::SeqCst);
            let (near, far) = duplex(64 << 10);
            let [(reader, writer), (far_reader, far_writer)] = [near, far].map(split);
            let far = Way::new(far_reader, far_writer);
            match (&self.shelf, self.nearer.lock().unwrap().clone()) {
                (Some(shelf), _) => drop(tokio::spawn(answer(shelf.clone(), files, far))),
                (None, Some(nearer)) => {
                    tokio::spawn(async move { nearer.answer(far).await });
                }
                (None, None) => return Err(NoWay::none()),
            }
            Ok(Reached {
                way: Way::new(reader, writer),
                is_client: self.shelf.is_some(),
            })
        })
    }
}

const NAME: FilesName = FilesName([7; 16]);

/// A store that asks there. Listings are read as they are.
fn store(clients: &Arc<Beside>) -> (TempDir, Files) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.clients = Some(clients.clone());
    (folder, Files::open(options).unwrap())
}

/// Of a new process of the job.
fn pins() -> Pins {
    Pins::new().with_client(ClientFiles::new(Some(NAME)))
}

fn url(path: &str) -> Url {
    Url::parse(&format!("atlas://client{path}")).unwrap()
}

fn served() -> (TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let content = random(5_000_003, 1);
    fs::create_dir(folder.path().join("more")).unwrap();
    fs::write(folder.path().join("large"), &content).unwrap();
    fs::write(folder.path().join("more/small one"), b"hello").unwrap();
    fs::write(folder.path().join("more/empty"), b"").unwrap();
    (folder, content)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gives_each_byte_once_to_a_tree_of_stores() {
    let (folder, content) = served();
    let client = Beside::client(folder.path());
    let (_top, top) = store(&client);
    let nearer = Beside::new(None, Some(top.clone()));
    let stores: Vec<_> = (0..4).map(|_| store(&nearer)).collect();
    let reads = stores.iter().map(|(_, files)| {
        let files = files.clone();
        tokio::spawn(async move { read(&files, &url("/large"), &pins()).await.unwrap() })
    });
    for read in reads.collect::<Vec<_>>() {
        assert!(read.await.unwrap() == content);
    }
    let bytes = content.len() as u64;
    assert_eq!(client.sent(), bytes);
    assert_eq!(top.figures().origin_bytes, bytes);
    for (_, files) in &stores {
        let figures = files.figures();
        assert_eq!((figures.origin_bytes, figures.above_bytes), (0, bytes));
    }

    // Once more, of what is small, empty, missing, and a folder; and not soon again.
    let look = async |files: &Files| {
        let pins = pins();
        let small = url("/more/small%20one");
        assert_eq!(read(files, &small, &pins).await.unwrap(), b"hello");
        assert_eq!(read(files, &url("/more/empty"), &pins).await.unwrap(), b"");
        let error = read(files, &url("/none"), &pins).await.unwrap_err();
        assert!(matches!(error, UrlError::NotFound { .. }), "{error}");
        assert!(
            error.to_string().contains("atlas://client/none "),
            "{error}"
        );
        let entries = files.list(&url("/more/"), &pins).await.unwrap();
        let entries = entries
            .iter()
            .map(|entry| (entry.name.as_str(), entry.size));
        let both = [("empty", Some(0)), ("small one", Some(5))];
        assert_eq!(entries.collect::<Vec<_>>(), both);
        for folder in ["/more", "/more/", ""] {
            let metadata = files.metadata(&url(folder), &pins).await.unwrap();
            assert_eq!(metadata.kind, Kind::Folder, "{folder}");
        }
        let error = files.open(&url("/more"), &pins).await.unwrap_err();
        assert!(matches!(error, UrlError::IsFolder { .. }), "{error}");
    };
    look(&stores[0].1).await;
    assert_eq!(client.sent(), bytes + 5);
    for (_, files) in &stores {
        look(files).await;
    }
    assert_eq!(client.sent(), bytes + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_is_there_when_the_client_is_gone_and_the_rest_is_an_error() {
    let (folder, _) = served();
    let client = Beside::client(folder.path());
    let (_top, top) = store(&client);
    let nearer = Beside::new(None, Some(top.clone()));
    let (_first, first) = store(&nearer);
    let small = url("/more/small%20one");
    assert_eq!(read(&first, &small, &pins()).await.unwrap(), b"hello");
    let of_job = pins();
    let opened = first.open(&url("/large"), &of_job).await.unwrap();
    client.go();
    // Also in a store that has never seen it.
    let (_second, second) = store(&nearer);
    for files in [&first, &second] {
        assert_eq!(read(files, &small, &pins()).await.unwrap(), b"hello");
        let error = read(files, &url("/more/other"), &pins()).await.unwrap_err();
        assert!(matches!(error, UrlError::Client { .. }), "{error}");
        let said = error.to_string();
        for part in ["atlas://client/more/other", "not connected", "--input"] {
            assert!(said.contains(part), "{said}");
        }
    }
    let mut some = vec![0; 1000];
    opened.read_at(0, &mut some).await.unwrap();
    let error = read_file(&opened).await.unwrap_err();
    assert!(matches!(error, UrlError::Client { .. }), "{error}");
    assert!(
        error.to_string().contains("atlas://client/large"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_is_an_error_and_no_read_mixes_versions() {
    let (folder, content) = served();
    let client = Beside::client(folder.path());
    let (_kept, files) = store(&client);
    let of_job = pins();
    let opened = files.open(&url("/large"), &of_job).await.unwrap();
    opened.read_at(0, &mut [0; 10]).await.unwrap();
    let path = folder.path().join("large");
    let other = random(content.len(), 2);
    fs::write(&path, &other).unwrap();
    match read_file(&opened).await {
        // It was quicker.
        Ok(read) => assert!(read == content),
        Err(error) => {
            assert!(matches!(error, UrlError::Changed { .. }), "{error}");
            assert!(
                error.to_string().contains("atlas://client/large"),
                "{error}"
            );
        }
    }
    // A job that has not read it reads the present one, once what is known is not fresh any more.
    eventually_reads(&files, &other).await;
}

async fn eventually_reads(files: &Files, expected: &[u8]) {
    for _ in 0..100 {
        if matches!(read(files, &url("/large"), &pins()).await, Ok(read) if read == expected) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the present version is not read");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_two_jobs_never_mix_and_a_job_without_files_has_none() {
    let [(one, _), (other, _)] = [served(), served()];
    fs::write(other.path().join("more/small one"), b"other").unwrap();
    let clients = [&one, &other].map(|folder| Beside::client(folder.path()));
    // One store that has both, as a manager's.
    let (kept, first) = store(&clients[0]);
    let small = url("/more/small%20one");
    assert_eq!(read(&first, &small, &pins()).await.unwrap(), b"hello");
    let mut options = options(kept.path());
    options.clients = Some(clients[1].clone());
    let second = Files::open(options).unwrap();
    let of_other = Pins::new().with_client(ClientFiles::new(Some(FilesName([8; 16]))));
    assert_eq!(read(&second, &small, &of_other).await.unwrap(), b"other");
    assert_eq!(read(&first, &small, &pins()).await.unwrap(), b"hello");
    let error = read(&first, &small, &Pins::new()).await.unwrap_err();
    assert!(error.to_string().contains("--serve"), "{error}");
    let asked = clients[0].asked();
    let named = Url::parse(&format!("atlas://{NAME}/more/small%20one")).unwrap();
    let error = read(&first, &named, &pins()).await.unwrap_err();
    assert!(matches!(error, UrlError::Name { .. }), "{error}");
    assert_eq!(clients[0].asked(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_this_machine_leave_nothing_behind() {
    let (folder, content) = served();
    let (clients, own) = LocalFiles::new(Shelf::of_own_folder(folder.path()).unwrap());
    let scratch = Scratch::with(|options| options.clients = Some(clients));
    let of_program = Pins::new().with_client(own);
    let read = read(&scratch.files, &url("/large"), &of_program).await;
    assert!(read.unwrap() == content);
    eventually("it is gone", || scratch.files.usage().unwrap().files == 0).await;
}
