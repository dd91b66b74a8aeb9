//! `mount` and `cache`, as people and scripts use them. Where nothing can be mounted, these tests say so and do nothing.
#![expect(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

#[path = "../../atlas-fs/tests/mount/origin.rs"]
#[expect(unreachable_pub, reason = "it is another crate's")]
mod origin;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use origin::{File, Origin};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// An origin, and folders for a mount and its cache. All go when this is dropped, the mount first.
struct Bed {
    mount: Option<(Child, BufReader<ChildStdout>)>,
    origin: Origin,
    dir: TempDir,
    cache: TempDir,
    _runtime: Runtime,
}

impl Bed {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        Self {
            mount: None,
            origin: Origin::start(runtime.handle()),
            dir: tempfile::tempdir().unwrap(),
            cache: tempfile::tempdir().unwrap(),
            _runtime: runtime,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(self.origin.path()).join(path)
    }

    fn shell(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atlas-shell"));
        let command = command.args(args).arg("--cache").arg(self.cache.path());
        command.output().unwrap()
    }

    fn json(&self, args: &[&str]) -> Vec<Value> {
        let output = self.shell(&[args, &["--json"]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    /// Mounts, and gives what is said of it; none where nothing can be mounted.
    fn mount(&mut self) -> Option<Value> {
        self.mount_with(&[])
    }

    /// As [`Bed::mount`], with these options.
    fn mount_with(&mut self, options: &[&str]) -> Option<Value> {
        self.mount_by(Command::new(env!("CARGO_BIN_EXE_atlas-shell")), options)
    }

    /// As [`Bed::mount_with`], by a command that becomes the shell.
    fn mount_by(&mut self, mut shell: Command, options: &[&str]) -> Option<Value> {
        let mut child = shell
            .args(["mount", "--json", "--cache"])
            .arg(self.cache.path())
            .args(options)
            .arg(self.dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut errors = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut errors)
                .unwrap();
            child.wait().unwrap();
            assert!(errors.contains("/dev/fuse"), "{errors}");
            eprintln!("skipped: nothing can be mounted here: {errors}");
            return None;
        }
        self.mount = Some((child, out));
        Some(serde_json::from_str(&line).unwrap())
    }

    /// Ends the process, and gives what it has said since, if it lived to say it.
    fn end(&mut self, signal: Signal) -> Option<Value> {
        let (mut child, mut out) = self.mount.take().unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let status = child.wait().unwrap();
        if signal == Signal::KILL {
            assert_eq!(status.signal(), Some(9));
        } else {
            assert_eq!(status.code(), Some(0));
        }
        serde_json::from_str(&line).ok()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some((mut child, _)) = self.mount.take() {
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            let begun = Instant::now();
            while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < Duration::from_secs(10)
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        while is_mounted(self.dir.path()) {
            let detach = rustix::mount::UnmountFlags::DETACH;
            if rustix::mount::unmount(self.dir.path(), detach).is_err() {
                break;
            }
        }
    }
}

fn is_mounted(dir: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let dir = dir.to_string_lossy();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(&dir))
}

/// `me` with the password `secret`.
const MINE: &str = "Basic bWU6c2VjcmV0";

#[test]
fn regression_credentials_of_a_netrc_file_let_commands_in() {
    let bed = Bed::new();
    let file = File {
        authorization: Some(MINE),
        ..File::new("for me alone")
    };
    bed.origin.put("/x", file);
    let url = bed.origin.url("/x");
    let refused = bed.shell(&["cache", "pin", &url, "--netrc", "/dev/null"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(said.contains("401") && said.contains("netrc"), "{said}");
    let netrc = bed.cache.path().join("netrc");
    let netrc = netrc.to_str().unwrap();
    fs::write(netrc, "machine 127.0.0.1 login me password secret\n").unwrap();
    let pinned = bed.json(&["cache", "pin", &url, "--netrc", netrc]);
    assert_eq!(pinned[0]["complete"], true, "{pinned:?}");
    // A file that is wrong is told of, by those who would use it alone.
    fs::write(netrc, "machine 127.0.0.1\nlogin me pasword secret\n").unwrap();
    let wrong = bed.shell(&["cache", "pin", &url, "--netrc", netrc]);
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(!wrong.status.success());
    assert!(said.contains(netrc) && said.contains("line 2"), "{said}");
    assert!(!said.contains("secret"), "{said}");
    assert_eq!(bed.json(&["cache", "ls", "--netrc", netrc]).len(), 1);
    let wrong = bed.shell(&["cache", "pin", &url, "--netrc", "/dev/null", "--ca", netrc]);
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(!wrong.status.success() && said.contains("PEM"), "{said}");
}

#[test]
fn the_users_netrc_file_lets_a_mount_in() {
    let mut bed = Bed::new();
    let file = File {
        authorization: Some(MINE),
        ..File::new("for me alone")
    };
    bed.origin.put("/x", file);
    let home = tempfile::tempdir().unwrap();
    let netrc = home.path().join(".netrc");
    fs::write(netrc, "default login me password secret\n").unwrap();
    let mut shell = Command::new(env!("CARGO_BIN_EXE_atlas-shell"));
    shell.env("HOME", home.path()).env_remove("NETRC");
    if bed.mount_by(shell, &[]).is_some() {
        assert_eq!(fs::read(bed.at("x")).unwrap(), b"for me alone");
    }
}

/// A file of credentials with a token for the origin's host, and for plain `http`, since the origin speaks nothing else.
fn write_token(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text = "[\"127.0.0.1\"]\ntoken = \"t0ken\"\nplain_http = true\n";
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Puts something there that is for the token of [`write_token`] alone.
fn put_for_token(origin: &Origin) {
    let file = File {
        authorization: Some("Bearer t0ken"),
        ..File::new("for me alone")
    };
    origin.put("/x", file);
}

#[test]
fn tokens_of_a_file_let_commands_in() {
    let bed = Bed::new();
    put_for_token(&bed.origin);
    let url = bed.origin.url("/x");
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("credentials.toml");
    write_token(&path);
    let file = path.to_str().unwrap();
    let without = [
        "cache",
        "pin",
        &url,
        "--netrc",
        "/dev/null",
        "--credentials",
    ];
    let refused = |file: &str, wanted: &[&str]| {
        let refused = bed.shell(&[&without[..], &[file]].concat());
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success());
        assert!(wanted.iter().all(|wanted| said.contains(wanted)), "{said}");
        assert!(!said.contains("t0ken"), "{said}");
    };
    refused("/dev/null", &["401", "plain_http = true"]);
    let none = home.path().join("none");
    refused(
        none.to_str().unwrap(),
        &["none cannot be read", "No such file"],
    );
    // It is not told to who does not encrypt, unless the file says so.
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("plain_http = true", "")).unwrap();
    refused(file, &["401", "plain_http = true"]);
    fs::write(&path, text).unwrap();
    let pinned = bed.json(&[&without[..], &[file]].concat());
    assert_eq!(pinned[0]["complete"], true, "{pinned:?}");
    fs::write(&path, "[\"127.0.0.1\"]\ntoken = t0ken\n").unwrap();
    refused(file, &[file, "line 2", "token = \"...\""]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    refused(file, &["others may read", "chmod 600", file]);
}

#[test]
fn the_users_tokens_are_found_by_the_environment_and_in_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("named.toml");
    let configuration = folder.path().join("configuration");
    let home = folder.path().join("home");
    write_token(&named);
    write_token(&configuration.join("atlas/credentials.toml"));
    write_token(&home.join(".config/atlas/credentials.toml"));
    for (name, value) in [
        ("ATLAS_CREDENTIALS", &named),
        ("XDG_CONFIG_HOME", &configuration),
        ("HOME", &home),
    ] {
        let bed = Bed::new();
        put_for_token(&bed.origin);
        let url = bed.origin.url("/x");
        let mut shell = Command::new(env!("CARGO_BIN_EXE_atlas-shell"));
        shell
            .args(["cache", "pin", &url, "--cache"])
            .arg(bed.cache.path());
        shell.env("HOME", folder.path());
        for other in ["ATLAS_CREDENTIALS", "XDG_CONFIG_HOME", "NETRC"] {
            shell.env_remove(other);
        }
        let refused = shell.output().unwrap();
        assert!(!refused.status.success(), "{name}");
        let pinned = shell.env(name, value).output().unwrap();
        let errors = String::from_utf8_lossy(&pinned.stderr);
        assert!(pinned.status.success(), "{name}: {errors}");
    }
}

#[test]
fn the_users_token_lets_a_mount_in() {
    let mut bed = Bed::new();
    put_for_token(&bed.origin);
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("credentials.toml");
    write_token(&path);
    if bed
        .mount_with(&["--credentials", path.to_str().unwrap()])
        .is_some()
    {
        assert_eq!(fs::read(bed.at("x")).unwrap(), b"for me alone");
    }
}

fn errno<T: std::fmt::Debug>(done: std::io::Result<T>) -> Option<Errno> {
    Errno::from_io_error(&done.unwrap_err())
}

/// What is asked for whenever it is looked at.
fn unsettled(content: &'static str) -> File {
    File {
        cache_control: "max-age=0",
        ..File::new(content)
    }
}

#[test]
fn stale_files_are_served_as_long_as_they_may_be() {
    for (options, wanted) in [
        (&["--stale", "3600"][..], Ok(b"known".to_vec())),
        (&[], Err(Some(Errno::HOSTUNREACH))),
    ] {
        let mut bed = Bed::new();
        bed.origin.put("/x", unsettled("known"));
        if bed.mount_with(options).is_none() {
            return;
        }
        assert_eq!(fs::read(bed.at("x")).unwrap(), b"known");
        bed.origin.stop();
        let read = fs::read(bed.at("x"));
        let read = read.map_err(|error| Errno::from_io_error(&error));
        assert_eq!(read, wanted, "{options:?}");
    }
}

#[test]
fn a_listing_is_believed_as_long_as_it_is_to_be() {
    let page = |names: &str| {
        let links = names
            .chars()
            .map(|name| format!("<a href=\"{name}\">{name}</a>\n"));
        let links: String = links.collect();
        let title = "Directory listing for /d/";
        File {
            cache_control: "max-age=0",
            headers: vec![("content-type", "text/html".to_owned())],
            ..File::new(format!("<html><title>{title}</title>{links}</html>"))
        }
    };
    for (seconds, names) in [("3600", 1), ("0", 2)] {
        let mut bed = Bed::new();
        bed.origin.put("/d/", page("a"));
        if bed.mount_with(&["--listed", seconds]).is_none() {
            return;
        }
        let count = || fs::read_dir(bed.at("d")).unwrap().count();
        assert_eq!(count(), 1);
        bed.origin.put("/d/", page("ab"));
        assert_eq!(count(), names, "--listed {seconds}");
    }
}

#[test]
fn a_pinned_mount_stays_with_what_was_opened_first() {
    for (options, wanted) in [(&["--pin"][..], "first"), (&[], "second")] {
        let mut bed = Bed::new();
        bed.origin.put("/x", unsettled("first"));
        if bed.mount_with(options).is_none() {
            return;
        }
        assert_eq!(fs::read(bed.at("x")).unwrap(), b"first");
        bed.origin.put("/x", unsettled("second"));
        assert_eq!(
            fs::read_to_string(bed.at("x")).unwrap(),
            wanted,
            "{options:?}"
        );
    }
}

#[test]
fn no_call_takes_longer_than_the_timeout() {
    let mut bed = Bed::new();
    let silent = File {
        delay: Duration::from_secs(3600),
        ..File::new("x")
    };
    bed.origin.put("/x", silent);
    if bed.mount_with(&["--timeout", "1"]).is_none() {
        return;
    }
    let begun = Instant::now();
    assert_eq!(errno(fs::read(bed.at("x"))), Some(Errno::TIMEDOUT));
    // An origin alone would be waited for that long, and asked again.
    let answer = atlas_fs::url::Timeouts::default().answer;
    assert!(begun.elapsed() < answer, "{:?}", begun.elapsed());
}

#[test]
fn a_signal_unmounts() {
    let mut bed = Bed::new();
    bed.origin.put("/x", File::new("x"));
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let Some(event) = bed.mount() else { return };
        assert_eq!(event["event"], "mounted");
        assert_eq!(event["cleaned"], false);
        assert_eq!(fs::read(bed.at("x")).unwrap(), b"x");
        let event = bed.end(signal).unwrap();
        assert_eq!(event["event"], "unmounted");
        assert_eq!(event["at_once"], true);
        assert!(!is_mounted(bed.dir.path()));
    }
}

/// Becomes a program as a user who is not root, who may use `/dev/fuse` and nobody else's mounts.
const AS_NOBODY: &str = "mount -t tmpfs none /mnt && mknod -m 666 /mnt/fuse c 10 229 && mount --bind /mnt/fuse /dev/fuse \
    && exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\" \"$@\"";

#[test]
fn regression_who_is_not_root_unmounts_what_a_helper_has_mounted() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: the other tests show this already");
        return;
    }
    let mut bed = Bed::new();
    for folder in [bed.dir.path(), bed.cache.path()] {
        std::os::unix::fs::chown(folder, Some(65534), Some(65534)).unwrap();
    }
    let as_nobody = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", AS_NOBODY, program]);
        command
    };
    let shell = env!("CARGO_BIN_EXE_atlas-shell");
    let tried = as_nobody(shell).arg("--version").output();
    let helped = Command::new("fusermount3").arg("-V").output();
    if !tried.is_ok_and(|tried| tried.status.success()) || helped.is_err() {
        eprintln!("skipped: there is no other user, or no fusermount3, for this test");
        return;
    }
    if bed.mount_by(as_nobody(shell), &[]).is_none() {
        return;
    }
    let event = bed.end(Signal::INT).unwrap();
    assert_eq!(event["event"], "unmounted");
    assert_eq!(event["at_once"], true);
}

#[test]
fn somebody_elses_umount_ends_it() {
    let mut bed = Bed::new();
    if bed.mount().is_none() {
        return;
    }
    let none = rustix::mount::UnmountFlags::empty();
    rustix::mount::unmount(bed.dir.path(), none).unwrap();
    let (mut child, _) = bed.mount.take().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_killed_mount_is_taken_off_by_the_next_and_open_whole_files_go_on() {
    let mut bed = Bed::new();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    bed.origin.put("/x", File::new(bytes.clone()));
    if bed.mount().is_none() {
        return;
    }
    assert_eq!(fs::read(bed.at("x")).unwrap(), bytes);
    let mut open = fs::File::open(bed.at("x")).unwrap();
    bed.end(Signal::KILL);
    assert!(is_mounted(bed.dir.path()));
    let error = fs::read(bed.at("x")).unwrap_err();
    assert_eq!(
        error.raw_os_error(),
        Some(rustix::io::Errno::NOTCONN.raw_os_error())
    );
    let mut whole = Vec::new();
    match open.read_to_end(&mut whole) {
        Ok(_) => assert_eq!(whole, bytes),
        // Where the kernel does not pass reads through, they end with the process.
        Err(error) => eprintln!("not passed through here: {error}"),
    }
    drop(open);
    bed.origin.asked();
    let event = bed.mount().unwrap();
    assert_eq!(event["cleaned"], true);
    assert_eq!(fs::read(bed.at("x")).unwrap(), bytes);
    assert!(
        bed.origin
            .asked()
            .iter()
            .all(|asked| !asked.starts_with("GET /x"))
    );
}

#[test]
fn what_is_kept_is_listed_verified_pinned_and_removed() {
    let bed = Bed::new();
    let url = bed.origin.url("/x");
    bed.origin.put("/x", File::new(vec![b'x'; 300_000]));
    bed.origin.put("/y", File::new("y"));
    assert_eq!(bed.json(&["cache", "ls"]), [Value::Null; 0]);
    let pinned = bed.json(&["cache", "pin", &url, &bed.origin.url("/y")]);
    assert_eq!(pinned.len(), 2);
    let listed = bed.json(&["cache", "ls"]);
    assert_eq!(
        listed,
        pinned
            .iter()
            .map(|file| {
                let mut file = file.clone();
                file["used_ms"] =
                    listed[usize::from(file["url"] != url.as_str())]["used_ms"].clone();
                file
            })
            .collect::<Vec<_>>()
    );
    assert_eq!(listed[0]["url"], url);
    assert_eq!(listed[0]["bytes_stored"], 300_000);
    assert_eq!(
        (&listed[0]["complete"], &listed[0]["pinned"]),
        (&true.into(), &true.into())
    );
    let table = String::from_utf8(bed.shell(&["cache", "ls"]).stdout).unwrap();
    assert!(
        table.starts_with("URL ") && table.lines().count() == 3,
        "{table}"
    );

    let verified = bed.json(&["cache", "verify", &url]);
    assert_eq!(verified[0]["damaged_blocks"], 0);
    let damaged = fs::read_dir(bed.cache.path().join("files")).unwrap();
    let mut damaged = damaged.map(|entry| entry.unwrap().path()).filter(|path| {
        path.extension().is_some_and(|it| it == "data") && fs::metadata(path).unwrap().len() > 1
    });
    fs::write(damaged.next().unwrap(), vec![b'y'; 300_000]).unwrap();
    let output = bed.shell(&["cache", "verify", &url, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let verified: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verified["damaged_blocks"], 5);
    // What is damaged is not there any more: it comes again.
    assert_eq!(bed.json(&["cache", "ls"])[0]["bytes_stored"], 0);
    bed.json(&["cache", "pin", &url]);
    assert_eq!(bed.json(&["cache", "verify", &url])[0]["damaged_blocks"], 0);

    let totals = &bed.json(&["cache", "stat"])[0];
    assert_eq!(
        (&totals["files"], &totals["pinned"]),
        (&2.into(), &2.into())
    );
    // `/x` came twice.
    let sizes = listed.iter().map(|file| file["bytes"].as_u64().unwrap());
    assert_eq!(
        totals["origin_bytes"].as_u64().unwrap(),
        sizes.sum::<u64>() + 300_000
    );
    assert!(totals["misses"].as_u64() > Some(0) && totals["questions"].as_u64() > Some(0));
    // Pinned files stay.
    assert_eq!(bed.json(&["cache", "gc", "--to", "0"])[0]["files"], 0);
    assert_eq!(bed.json(&["cache", "pin", "--off", &url])[0]["versions"], 1);
    assert_eq!(bed.json(&["cache", "gc", "--to", "0"])[0]["files"], 1);
    let left = bed.json(&["cache", "ls"]);
    assert_eq!(
        (left.len(), &left[0]["url"]),
        (1, &bed.origin.url("/y").into())
    );
}

#[test]
fn versions_that_are_superseded_go() {
    let bed = Bed::new();
    let url = bed.origin.url("/x");
    for bytes in ["first", "second"] {
        let file = File {
            cache_control: "max-age=0",
            ..File::new(bytes)
        };
        bed.origin.put("/x", file);
        bed.json(&["cache", "pin", &url]);
    }
    bed.json(&["cache", "pin", "--off", &url]);
    assert_eq!(bed.json(&["cache", "ls"]).len(), 2);
    assert_eq!(bed.json(&["cache", "gc"])[0]["files"], 1);
    let left = bed.json(&["cache", "ls"]);
    assert_eq!((left.len(), &left[0]["bytes"]), (1, &6.into()));
}

#[test]
fn what_cannot_be_done_is_said() {
    let bed = Bed::new();
    let url = bed.origin.url("/x");
    for (args, words) in [
        (
            ["mount", "/no/such/folder"].as_slice(),
            "make a folder there",
        ),
        (&["cache", "pin", &url], "there is nothing at"),
        (&["cache", "verify", &url], "nothing is kept of"),
    ] {
        let output = bed.shell(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(words), "{errors}");
    }
}

#[test]
fn a_folder_that_is_served_is_at_atlas_client_and_nothing_outside_of_it() {
    let mut bed = Bed::new();
    let all = tempfile::tempdir().unwrap();
    let served = all.path().join("served");
    fs::create_dir_all(served.join("more")).unwrap();
    fs::write(all.path().join("secret"), "secret").unwrap();
    fs::write(served.join("more/a b?"), "hello").unwrap();
    std::os::unix::fs::symlink("../secret", served.join("out")).unwrap();
    let options = ["--serve", served.to_str().unwrap()];
    if bed.mount_with(&options).is_none() {
        return;
    }
    let client = bed.dir.path().join("atlas/client");
    let read = fs::read_to_string(client.join("more/a b%3F"));
    assert_eq!(read.unwrap(), "hello");
    let listed = fs::read_dir(&client).unwrap();
    let listed: Vec<_> = listed.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(listed, ["more"]);
    let refused = fs::read(client.join("out")).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    let other = fs::read_dir(bed.dir.path().join("atlas/other")).unwrap_err();
    assert_eq!(other.kind(), std::io::ErrorKind::NotFound);
    bed.end(Signal::TERM);
}
