//! Mounts that one process sees, and mounts that are made when somebody asks for them.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use atlas_engine::{FileAnswer, FileQuestion, frame};
use atlas_fs::url::mount::{Apart, OnDemand, Unserved};
use atlas_fs::url::{FileService, Files, Options, Pins};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::origin::{File, Origin};

/// A service of files, and an origin that they are from.
struct Bed {
    service: Arc<FileService>,
    origin: Origin,
    runtime: Runtime,
    folder: TempDir,
    cache: TempDir,
}

impl Bed {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let cache = tempfile::tempdir().unwrap();
        let service = Arc::new(FileService::new(Options::new(cache.path())));
        let origin = Origin::start(runtime.handle());
        origin.put("/x", File::new("by path"));
        Self {
            service,
            origin,
            runtime,
            folder: tempfile::tempdir().unwrap(),
            cache,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a shell that sees a mount and nobody else; none, with a note, where that is not possible.
    fn start(&self, script: &str) -> Option<(Child, Apart, Unserved<Files>)> {
        let [wanted, otherwise] = ["wanted", "otherwise"].map(|name| self.at(name));
        let options = self.service.mount_options(Pins::new());
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let started = thread::spawn(move || {
            let (apart, mount) = Apart::start(&wanted, &otherwise, options)?;
            Ok::<_, atlas_fs::url::mount::MountError>((command.spawn().unwrap(), apart, mount))
        });
        match started.join().unwrap() {
            Ok(started) => Some(started),
            Err(error) => {
                eprintln!("skipped: nothing can be mounted here for one process: {error}");
                None
            }
        }
    }
}

fn is_mounted(process: &str, folder: &Path) -> bool {
    let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap_or_default();
    let folder = folder.to_string_lossy();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(&folder))
}

#[test]
fn one_process_sees_a_mount_as_long_as_it_is_to() {
    let bed = Bed::new();
    let file = bed.at("wanted").join(bed.origin.path()).join("x");
    let file = file.display();
    let script = format!("cat {file}; echo; read line; cat {file} 2>/dev/null || echo gone");
    let Some((mut child, apart, mount)) = bed.start(&script) else {
        return;
    };
    let service = Arc::clone(&bed.service);
    let attended = bed
        .runtime
        .spawn(async move { service.attend(mount).await });
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "by path\n");
    bed.runtime.block_on(attended).unwrap().unwrap();
    assert_eq!(apart.folder(), bed.at("wanted"));
    assert!(is_mounted(&child.id().to_string(), apart.folder()));
    assert!(!is_mounted("self", apart.folder()));
    let folder = apart.folder().to_owned();
    drop(apart);
    assert!(!is_mounted(&child.id().to_string(), &folder));
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    line.clear();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "gone\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn nobody_is_asked_for_a_mount_that_nobody_uses() {
    let bed = Bed::new();
    let Some((mut child, apart, mount)) = bed.start("read line") else {
        return;
    };
    let service = Arc::clone(&bed.service);
    let attended = bed
        .runtime
        .spawn(async move { service.attend(mount).await });
    drop(child.stdin.take());
    child.wait().unwrap();
    drop(apart);
    // It ends with the last process that sees it, without a store.
    bed.runtime.block_on(attended).unwrap().unwrap();
    assert_eq!(fs::read_dir(bed.cache.path()).unwrap().count(), 0);
}

#[test]
fn who_asks_has_files_mounted_until_that_is_over() {
    let bed = Bed::new();
    let place = Arc::new(OnDemand::new(bed.at("here")));
    let (mut program, service) = UnixStream::pair().unwrap();
    let served = bed
        .service
        .serve(service, Pins::new(), Some(Arc::clone(&place)));
    served.unwrap();
    let mut ask = || {
        frame::write(&mut program, &FileQuestion::Mount).unwrap();
        frame::read::<FileAnswer>(&mut program).unwrap().unwrap()
    };
    let answer = ask();
    if let FileAnswer::Failed(failure) = &answer {
        let why = &failure.message;
        assert!(why.contains("/dev/fuse"), "{why}");
        eprintln!("skipped: nothing can be mounted here: {why}");
        return;
    }
    let FileAnswer::Mounted(folder) = answer else {
        panic!("{answer:?}");
    };
    let folder = PathBuf::from(std::ffi::OsString::from_vec(folder.into()));
    let file = folder.join(bed.origin.path()).join("x");
    assert_eq!(fs::read(&file).unwrap(), b"by path");
    // Asked again, it is the same.
    assert!(matches!(ask(), FileAnswer::Mounted(_)));
    place.end();
    assert!(!is_mounted("self", &folder));
    assert!(!file.exists());
    assert!(matches!(ask(), FileAnswer::Failed(_)));
}
