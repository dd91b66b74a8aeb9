//! Jobs that read files of the client that has submitted them.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use atlas_testbed::{Cluster, Manager, Running, Server, Shell, code, program, told, wait_until};
use rustix::process::Signal;

/// `example.edu`, and `cs` and `bio` below it, with a server each. Jobs are submitted in `cs`.
struct Tree {
    root: Manager,
    cs: Manager,
    bio: Manager,
    shell: Shell,
    _servers: Vec<Server>,
    cluster: Cluster,
}

impl Tree {
    fn new() -> Self {
        let cluster = Cluster::new();
        let root = cluster.root("example.edu");
        let [cs, bio] =
            ["cs.example.edu", "bio.example.edu"].map(|name| cluster.below(&root, name));
        let mut servers = cluster.servers(&cs, 1);
        servers.extend(cluster.servers(&bio, 1));
        root.wait_for_workers(2);
        let shell = cluster.login(&cs);
        Self {
            root,
            cs,
            bio,
            shell,
            _servers: servers,
            cluster,
        }
    }

    /// Submits a job whose tasks meet in folders of these names, one in each domain.
    fn begin(&self, options: &[&str], what: &str, folders: &[&str], urls: &[&str]) -> Running {
        let folders: Vec<PathBuf> = folders
            .iter()
            .map(|name| self.shell.here().join(name))
            .collect();
        for folder in &folders {
            fs::create_dir(folder).unwrap();
        }
        let folders = folders.iter().map(|folder| folder.to_str().unwrap());
        let job = program("testbed-job");
        let mut line = vec!["submit"];
        line.extend(options);
        line.extend([job.to_str().unwrap(), "--", what, "2"]);
        line.extend(folders);
        line.extend(urls);
        self.shell.begin(line)
    }

    /// Serves `small` and `large` to a job that has read the one and begun with the other in another process than its first, and waits for `go` in the
    /// folder.
    fn begin_to_read(&self, small: &[u8]) -> (Served, Running, PathBuf) {
        let served = Served::new(&self.shell);
        served.write("small", small);
        served.write("large", &noise(FILE_BYTES, 1));
        let urls = ["atlas://client/large", "atlas://client/small"];
        let options = ["--quiet", "--serve", served.path()];
        let job = self.begin(&options, "pin-afar", &["meeting", "second"], &urls);
        let second = self.shell.here().join("second");
        wait_until("the job has begun to read", || second.join("read").exists());
        (served, job, second)
    }
}

/// A folder that is served, beside one with a secret.
struct Served(PathBuf);

impl Served {
    fn new(shell: &Shell) -> Self {
        let folder = shell.here().join("served");
        fs::create_dir_all(folder.join("books/more")).unwrap();
        fs::write(shell.here().join("secret"), SECRET).unwrap();
        let this = Self(folder);
        for (path, content) in books() {
            this.write(path, &content);
        }
        this
    }

    fn write(&self, path: &str, content: &[u8]) {
        fs::write(self.0.join(path), content).unwrap();
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

fn books() -> [(&'static str, Vec<u8>); 3] {
    let line = |times: usize, text: &str| text.repeat(times).into_bytes();
    [
        ("books/one.txt", line(2000, "The cat and the dog.\n")),
        (
            "books/two two.txt",
            line(500, "A dog, a cat; nothing else!\n"),
        ),
        ("books/more/empty.txt", Vec::new()),
    ]
}

/// So many bytes that do not repeat.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        state.rotate_left(32).to_le_bytes()
    });
    words.flatten().take(bytes).collect()
}

fn said(output: &Output) -> &str {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(code(output), 0, "{error}");
    std::str::from_utf8(&output.stdout).unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn each_byte_leaves_the_client_once_for_servers_of_two_domains() {
    let tree = Tree::new();
    let served = Served::new(&tree.shell);
    let large = noise(FILE_BYTES, 1);
    served.write("large", &large);
    let options = ["--serve", served.path()];
    let job = tree.begin(
        &options,
        "fetch-afar",
        &["meeting"],
        &["atlas://client/large"],
    );
    let read = job.wait();
    // One line: both have seen the same.
    assert_eq!(said(&read), format!("{}\n2 processes\n", told(&large)));
    let given = format!("the job has read 16.0 MiB of {}", served.path());
    assert!(error(&read).contains(&given), "{}", error(&read));
    let bytes = |manager: &Manager| {
        let metrics = manager.metrics();
        ["origin", "parent"].map(|from| metrics.get(&format!("url_bytes_from_{from}_total")))
    };
    let length = u64::try_from(FILE_BYTES).unwrap();
    assert_eq!(bytes(&tree.cs), [length, 0]);
    assert_eq!(bytes(&tree.root), [0, length]);
    assert_eq!(bytes(&tree.bio), [0, length]);

    // Another client's file of the same name is another file.
    let other = tree.cluster.login(&tree.cs);
    let other_served = Served::new(&other);
    let another = noise(1000, 2);
    other_served.write("large", &another);
    let meeting = other.here().join("meeting");
    fs::create_dir(&meeting).unwrap();
    let job = program("testbed-job");
    let line = [
        "submit",
        "--quiet",
        "--serve",
        other_served.path(),
        job.to_str().unwrap(),
        "--",
        "fetch-afar",
        "2",
        meeting.to_str().unwrap(),
        "atlas://client/large",
    ];
    let read = other.run(line);
    assert_eq!(said(&read), format!("{}\n2 processes\n", told(&another)));
}

#[test]
fn folders_are_listed_and_nothing_outside_of_them_is_read() {
    let tree = Tree::new();
    let served = Served::new(&tree.shell);
    let shell = &tree.shell;
    let counted = |program: &Path| {
        let program = program.to_str().unwrap();
        let line = ["submit", "--quiet", "--serve", served.path(), program];
        shell.run([&line[..], &["--", "atlas://client/books/", "--top", "2"]].concat())
    };
    assert_eq!(said(&counted(&program("wordcount"))), COUNTED);

    let secret = shell.here().join("secret");
    symlink("../secret", served.0.join("out")).unwrap();
    symlink(&secret, served.0.join("absolute")).unwrap();
    symlink("..", served.0.join("up")).unwrap();
    let within = secret.to_str().unwrap().trim_start_matches('/');
    let absolute = format!("atlas://client//{within}");
    let urls = [
        "atlas://client/out",
        "atlas://client/absolute",
        "atlas://client/up/secret",
        "atlas://client/../secret",
        "atlas://client/%2e%2e/secret",
        "atlas://client/..%2Fsecret",
        "atlas://client/books/..%2F..%2F..%2Fsecret",
        "atlas://0123456789abcdef0123456789abcdef/secret",
        &absolute,
    ];
    let options = ["--quiet", "--serve", served.path()];
    let read = tree
        .begin(&options, "fetch-afar", &["meeting"], &urls)
        .wait();
    let said = said(&read);
    // Both have seen the same of each, and two are the same.
    assert_eq!(said.lines().count(), urls.len(), "{said}");
    assert!(
        !said.contains(SECRET) && !said.contains(" bytes, "),
        "{said}"
    );
    for (kind, count) in [
        ("PermissionDenied", 3),
        ("NotFound", 1),
        ("InvalidInput", 4),
    ] {
        let lines = said.lines().filter(|line| line.starts_with(kind)).count();
        assert_eq!(lines, count, "{kind}: {said}");
    }
    let refused =
        "PermissionDenied: not allowed to read atlas://client/out: it leads out of the folder";
    assert!(said.contains(refused), "{said}");
}

#[test]
fn a_file_that_changes_while_a_job_reads_it_is_an_error() {
    let tree = Tree::new();
    let small = b"the first version of it";
    let (served, job, second) = tree.begin_to_read(small);
    served.write("large", &noise(FILE_BYTES, 2));
    served.write("small", b"another version");
    fs::write(second.join("go"), "").unwrap();
    let ended = job.wait();
    let said = said(&ended);
    // What was read is kept by managers; of the other file nobody has all.
    assert!(said.contains(&told(small)), "{said}");
    let stale = "StaleNetworkFileHandle: atlas://client/large has changed at its origin";
    assert!(said.contains(stale), "{said}");
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn when_the_client_is_killed_what_was_read_stays_and_the_rest_is_an_error_in_time() {
    let tree = Tree::new();
    let small = b"it was read before";
    let (_, job, second) = tree.begin_to_read(small);
    job.signal(Signal::KILL);
    drop(job.wait());
    let killed = Instant::now();
    fs::write(second.join("go"), "").unwrap();
    let ended = tree.shell.wait(1);
    assert_eq!(code(&ended), 0, "{}", error(&ended));
    assert!(
        killed.elapsed() < Duration::from_secs(60),
        "{:?}",
        killed.elapsed()
    );
    let said = tree.shell.ok(["output", "1"]);
    assert!(said.contains(&told(small)), "{said}");
    let gone = "HostUnreachable: atlas://client/large cannot be had: the client that has submitted the job is not connected any more";
    assert!(said.contains(gone) && said.contains("--input"), "{said}");
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn a_job_without_a_served_folder_is_told_so_and_reads_its_inputs_when_nobody_is_there() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let _servers = cluster.servers(&manager, 1);
    let shell = cluster.login(&manager);
    let served = Served::new(&shell);
    let books = served.0.join("books");
    let counting = program("wordcount");
    let [books, counting] = [&books, &counting].map(|path| path.to_str().unwrap());
    let args = ["--", "atlas://client/books/", "--top", "2"];

    let refused = shell.run([&["submit", "--quiet", counting][..], &args].concat());
    assert_eq!(code(&refused), 1);
    let why = error(&refused);
    for part in [
        "atlas://client/books/ cannot be had",
        "--serve DIR",
        "--input",
    ] {
        assert!(why.contains(part), "{why}");
    }
    let both = ["submit", "--detach", "--serve", served.path(), counting];
    let refused = shell.run([&both[..], &args].concat());
    assert_eq!(code(&refused), 2, "{}", error(&refused));

    let line = ["submit", "--detach", "--input", books, counting];
    let number = shell.ok([&line[..], &args].concat());
    let number: u64 = number.trim().parse().unwrap();
    assert_eq!(code(&shell.wait(number)), 0);
    assert_eq!(shell.ok(["output", &number.to_string()]), COUNTED);
}

#[test]
fn an_embedded_cluster_and_a_program_alone_read_the_same_folder() {
    let cluster = Cluster::new();
    let shell = cluster.stranger();
    let served = Served::new(&shell);
    let home = tempfile::tempdir().unwrap();
    let program = program("wordcount");
    let args = ["atlas://client/books/", "--top", "2"];
    let mut submit = shell.command([
        "submit",
        "--quiet",
        "--workers",
        "2",
        "--serve",
        served.path(),
    ]);
    submit.arg(&program).arg("--").args(args);
    let run = |command: &mut Command| {
        command
            .env("HOME", home.path())
            .env_remove("XDG_CACHE_HOME");
        command.stdin(Stdio::null()).output().unwrap()
    };
    assert_eq!(said(&run(&mut submit)), COUNTED);

    let mut alone = Command::new(&program);
    alone.args(args).current_dir(&served.0);
    assert_eq!(said(&run(&mut alone)), COUNTED);
    let mut named = Command::new(&program);
    named.args(args).env("ATLAS_CLIENT_FILES", served.path());
    assert_eq!(said(&run(named.current_dir("/"))), COUNTED);
    // The user's own files are not copied to the user's cache.
    let mut kept = shell.command(["--json", "cache", "ls"]);
    assert_eq!(said(&run(&mut kept)), "");
    let mut nowhere = Command::new(&program);
    nowhere.args(args).env("ATLAS_CLIENT_FILES", "/nowhere");
    let nowhere = run(&mut nowhere);
    assert_eq!(code(&nowhere), 1);
    assert!(
        error(&nowhere).contains("ATLAS_CLIENT_FILES"),
        "{}",
        error(&nowhere)
    );
}

const SECRET: &str = "it is not for others";
const COUNTED: &str = "     4000 the
     2500 cat
13000 words, 7 different, in 3 files of 56000 bytes
";
/// Long enough for ranges in parallel, and short enough for machines that are busy.
const FILE_BYTES: usize = 16 << 20;
