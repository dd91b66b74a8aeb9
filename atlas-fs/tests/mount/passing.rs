//! Whole files that the kernel reads itself, past the mount's process.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use atlas_fs::url::mount::{MountOptions, Mounted, take_off_dead};
use atlas_fs::url::{Files, Options};

use crate::bed::Bed;
use crate::origin::{File, Origin};

/// In a child: where to mount, and where to keep what comes.
const FOLDER: &str = "ATLAS_TEST_MOUNT";
const CACHE: &str = "ATLAS_TEST_CACHE";
const LENGTH: usize = 3_000_001;
/// Longer than anything that is waited for takes, also on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn content() -> Vec<u8> {
    (0..251).cycle().take(LENGTH).collect()
}

/// Why the kernel passes nothing through here, if it does not: said by the system, and not by the mount, whose word is what is tested.
fn not_offered(cache: &Path) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root may pass files to the kernel".to_owned());
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|word| word.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 9) {
        return Some(format!("Linux {} cannot, 6.9 can", release.trim()));
    }
    let config = Command::new("zcat").arg("/proc/config.gz").output();
    let config = config.map(|config| String::from_utf8_lossy(&config.stdout).into_owned());
    let config = config.unwrap_or_default();
    if !config.is_empty() && !config.contains("CONFIG_FUSE_PASSTHROUGH=y") {
        return Some("this kernel is built without it".to_owned());
    }
    let disk = rustix::fs::statfs(cache).unwrap();
    (u64::try_from(disk.f_type).unwrap_or_default() == OVERLAY)
        .then(|| "the store is on a file system that lies on another one".to_owned())
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn whole_files_are_read_by_the_kernel_itself_where_it_can() {
    let Some(bed) = Bed::new(|_, _| {}) else {
        return;
    };
    bed.origin.put("/x", File::new(content()));
    let passed = || bed.files.figures().passed_through;
    assert!(fs::read(bed.at("x")).unwrap() == content());
    assert_eq!(passed(), 0, "it was not whole when it was opened");
    if let Some(why) = not_offered(bed.cache()) {
        eprintln!("skipped: {why}");
        return;
    }
    // The kernel says later that nobody has it open any more, and until then it stays as it was opened.
    eventually("it is passed through", || {
        assert!(fs::read(bed.at("x")).unwrap() == content());
        passed() > 0
    });
    let (before, read) = (passed(), bed.files.figures());
    for _ in 0..10 {
        assert!(fs::read(bed.at("x")).unwrap() == content());
    }
    assert!(passed() > before);
    let after = bed.files.figures();
    assert_eq!((after.hits, after.misses), (read.hits, read.misses));
}

#[test]
fn without_passthrough_none_are() {
    let Some(bed) = Bed::new(|_, mount| mount.passthrough = false) else {
        return;
    };
    bed.origin.put("/x", File::new(content()));
    for _ in 0..5 {
        assert!(fs::read(bed.at("x")).unwrap() == content());
    }
    assert_eq!(bed.files.figures().passed_through, 0);
}

/// A mount's process, which is killed at the latest when this is dropped, and what it has mounted is taken off.
struct Serving<'a> {
    process: Child,
    folder: &'a Path,
}

impl Serving<'_> {
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        take_off_dead(self.folder).unwrap();
    }
}

/// Mounts, in a process of its own, until that is killed.
#[test]
fn serves_in_a_child() {
    let (Some(folder), Some(cache)) = (env::var_os(FOLDER), env::var_os(CACHE)) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let files = Files::open(Options::new(cache)).unwrap();
    match Mounted::start(files, Path::new(&folder), MountOptions::default()) {
        Ok(mounted) => {
            println!("mounted");
            std::io::stdout().flush().unwrap();
            runtime.block_on(mounted.ended());
        }
        Err(error) => println!("not mounted: {error}"),
    }
}

/// Prints what it has mapped when it hears that it is to, which is after the mount's process is gone.
const MAPS: &str = "import hashlib, mmap, sys
file = open(sys.argv[1], 'rb')
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
print('mapped', flush=True)
sys.stdin.readline()
print(hashlib.sha256(mapped).hexdigest(), flush=True)
";

#[test]
fn what_the_kernel_reads_itself_outlives_the_process_that_has_mounted_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let origin = Origin::start(runtime.handle());
    origin.put("/x", File::new(content()));
    let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    if let Some(why) = not_offered(cache.path()) {
        eprintln!("skipped: {why}");
        return;
    }
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "passing::serves_in_a_child", "--nocapture"])
        .env(FOLDER, folder.path())
        .env(CACHE, cache.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut serving = Serving {
        process: child,
        folder: folder.path(),
    };
    let out = BufReader::new(serving.process.stdout.take().unwrap());
    let said = out
        .lines()
        .map(Result::unwrap)
        .find(|line| line.contains("mounted"));
    if said.as_deref() != Some("mounted") {
        eprintln!("skipped: {said:?}");
        return;
    }
    let path = folder.path().join(origin.path()).join("x");
    let _inside = runtime.enter();
    let files = Files::open(Options::new(cache.path())).unwrap();
    // A process tells its sums every other second.
    eventually("it is passed through", || {
        assert!(fs::read(&path).unwrap() == content());
        files.sums().unwrap().passed_through > 0
    });
    let mut open = fs::File::open(&path).unwrap();
    let mut mapping = mapping(&path);
    serving.kill();
    // Whatever pages there are, none is of the mount's process.
    let error = fs::read(&path).unwrap_err();
    assert_eq!(
        error.raw_os_error(),
        Some(rustix::io::Errno::NOTCONN.raw_os_error())
    );
    for _ in 0..2 {
        let mut whole = Vec::new();
        open.seek(SeekFrom::Start(0)).unwrap();
        open.read_to_end(&mut whole).unwrap();
        assert!(whole == content());
    }
    let Some((process, out)) = &mut mapping else {
        eprintln!("skipped: there is no python3 here that maps a file");
        return;
    };
    process.stdin.take().unwrap().write_all(b"\n").unwrap();
    let mut said = String::new();
    out.read_line(&mut said).unwrap();
    assert!(process.wait().unwrap().success(), "{said}");
    assert_eq!(said.trim(), sha256_of(&content()));
}

type Mapping = (Child, BufReader<std::process::ChildStdout>);

/// A process that has mapped the file, if there is a program for that.
fn mapping(path: &Path) -> Option<Mapping> {
    let mut process = Command::new("python3")
        .args(["-c", MAPS])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut out = BufReader::new(process.stdout.take()?);
    let mut said = String::new();
    out.read_line(&mut said).unwrap();
    (said == "mapped\n").then_some((process, out))
}

fn sha256_of(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let output = Command::new("sha256sum").arg(file.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    said.split(' ').next().unwrap().to_owned()
}

/// What `statfs` says of overlayfs, as containers have it: the kernel passes nothing through to it.
const OVERLAY: u64 = 0x794c_7630;
