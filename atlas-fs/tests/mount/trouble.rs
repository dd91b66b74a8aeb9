//! Origins that do not answer as one likes: each has its number, within its time.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::bed::Bed;
use crate::origin::File;

fn errno<T: std::fmt::Debug>(done: io::Result<T>) -> Errno {
    Errno::from_io_error(&done.unwrap_err()).unwrap()
}

#[test]
fn each_trouble_has_its_number_and_is_said() {
    let Some(bed) = Bed::new(|options, _| {
        options.timeouts.attempts_max = 2;
        options.timeouts.first_pause = Duration::from_millis(1);
        options.timeouts.answer = Duration::from_millis(500);
        options.quota = Some(1 << 20);
    }) else {
        return;
    };
    let with = |status| File {
        status,
        ..File::new("x")
    };
    let saying = |name, value: &str, file| File {
        headers: vec![(name, value.to_owned())],
        ..file
    };
    let round = bed.origin.url("/d/round");
    let slow = File {
        delay: Duration::from_secs(3600),
        ..File::new("x")
    };
    let nameless = File {
        is_nameless: true,
        ..File::new(vec![0; 2 << 20])
    };
    let denied = "not allowed to read";
    for (name, file, wanted, said) in [
        ("s401", with(401), Errno::ACCESS, denied),
        ("s403", with(403), Errno::ACCESS, denied),
        ("s407", with(407), Errno::ACCESS, denied),
        ("s404", with(404), Errno::NOENT, ""),
        ("s410", with(410), Errno::NOENT, ""),
        ("s500", with(500), Errno::IO, "answers with status 500"),
        ("s418", with(418), Errno::IO, "answers with status 418"),
        (
            "round",
            saying("location", &round, with(302)),
            Errno::LOOP,
            "redirects to where it cannot be followed",
        ),
        (
            "packed",
            saying("content-encoding", "gzip", File::new("x")),
            Errno::IO,
            "sends what cannot be used: the encoding gzip",
        ),
        ("slow", slow, Errno::TIMEDOUT, "is too slow: an answer took"),
        ("nameless", nameless, Errno::NOSPC, "cannot be stored"),
    ] {
        let path = format!("d/{name}");
        bed.origin.put(&format!("/{path}"), file);
        assert_eq!(errno(fs::read(bed.at(&path))), wanted, "{name}");
        let url = bed.origin.url(&format!("/{path}"));
        let log = bed.said_of(&url);
        assert_eq!(log.is_empty(), said.is_empty(), "{name}: {log}");
        assert!(log.contains(said), "{name}: {log}");
    }
}

/// Answers whoever connects with what is no HTTP.
fn talk_nonsense(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"what a pity\r\n\r\n");
        }
    });
}

#[test]
fn each_way_of_not_being_an_origin_has_its_number_and_is_said() {
    let Some(bed) = Bed::new(|options, _| {
        options.timeouts.attempts_max = 2;
        options.timeouts.first_pause = Duration::from_millis(1);
    }) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nonsense = format!("http://{}/x", listener.local_addr().unwrap());
    talk_nonsense(listener);
    let open = bed.origin.url("/x").replace("http://", "https://");
    for (url, wanted, said) in [
        (
            "http://127.0.0.1:1/x",
            Errno::HOSTUNREACH,
            "cannot be reached",
        ),
        (&open, Errno::PROTO, "does not prove who it is"),
        (&nonsense, Errno::IO, "sends what cannot be used"),
    ] {
        let path = url.replacen("://", "/", 1);
        let path = bed.mounted.folder().join(path);
        assert_eq!(errno(fs::read(path)), wanted, "{url}");
        let log = bed.said_of(url);
        assert!(log.contains(said), "{url}: {log}");
    }
}

#[test]
fn names_that_cannot_be_have_their_numbers_and_nobody_is_asked() {
    let Some(bed) = Bed::new(|_, _| {}) else {
        return;
    };
    let long = "x".repeat(256);
    let not_text = OsStr::from_bytes(b"\xff");
    for (name, wanted) in [
        (OsStr::new(&long), Errno::NAMETOOLONG),
        (not_text, Errno::INVAL),
    ] {
        assert_eq!(errno(fs::metadata(bed.at("").join(name))), wanted);
    }
    bed.origin.asked();
    for (path, wanted) in [
        ("ftp/example.org/x", Errno::NOENT),
        ("http/me@127.0.0.1/x", Errno::NOENT),
    ] {
        let path = bed.mounted.folder().join(path);
        assert_eq!(errno(fs::metadata(&path)), wanted, "{}", path.display());
    }
    assert_eq!(bed.origin.asked(), [""; 0]);
}

#[test]
fn what_is_no_folder_and_what_cannot_be_written_has_its_number() {
    let Some(bed) = Bed::new(|_, _| {}) else {
        return;
    };
    bed.origin.put("/d/x", File::new("x"));
    assert_eq!(errno(fs::read(bed.at("d/x/y"))), Errno::NOTDIR);
    assert_eq!(errno(fs::read_dir(bed.at("d/x"))), Errno::NOTDIR);
    assert_eq!(errno(fs::read(bed.at("d"))), Errno::ISDIR);
    assert_eq!(errno(fs::write(bed.at("d/x"), "y")), Errno::ROFS);
    assert_eq!(errno(fs::write(bed.at("d/new"), "y")), Errno::ROFS);
    assert_eq!(errno(fs::remove_file(bed.at("d/x"))), Errno::ROFS);
}

#[test]
fn an_origin_that_says_nothing_keeps_nobody_longer_than_the_timeout() {
    let Some(bed) = Bed::new(|_, mount| mount.timeout = Duration::from_millis(500)) else {
        return;
    };
    let slow = File {
        delay: Duration::from_secs(3600),
        ..File::new("x")
    };
    bed.origin.put("/slow", slow);
    bed.origin.put("/quick", File::new("q"));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let slow: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| errno(fs::read(bed.at("slow")))))
            .collect();
        // Nobody waits behind them.
        assert_eq!(fs::read(bed.at("quick")).unwrap(), b"q");
        for slow in slow {
            assert_eq!(slow.join().unwrap(), Errno::TIMEDOUT);
        }
    });
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn regression_a_file_of_unknown_length_may_take_longer_than_a_call() {
    let Some(bed) = Bed::new(|_, mount| mount.timeout = Duration::from_millis(300)) else {
        return;
    };
    let bytes: Vec<u8> = (0..251).cycle().take(1_500_000).collect();
    let slow = File {
        drip: Some(Duration::from_millis(50)),
        ..File::new(bytes.clone())
    };
    bed.origin.put("/slow", slow);
    let begun = Instant::now();
    assert_eq!(errno(fs::read(bed.at("slow"))), Errno::TIMEDOUT);
    let read = loop {
        match fs::read(bed.at("slow")) {
            Ok(read) => break read,
            Err(error) => assert_eq!(Errno::from_io_error(&error), Some(Errno::TIMEDOUT)),
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
    };
    assert!(read == bytes);
    // It is whole now, and nobody waits for it again.
    assert!(fs::read(bed.at("slow")).unwrap() == bytes);
    let asked = bed.origin.asked();
    let gets = asked.iter().filter(|asked| *asked == "GET /slow");
    assert_eq!(gets.count(), 1, "{asked:?}");
}

#[test]
fn a_stopped_origin_serves_what_is_known_and_says_so() {
    let Some(bed) = Bed::new(|options, mount| {
        options.stale = Duration::from_secs(3600);
        options.timeouts.attempts_max = 1;
        mount.listed_for = Duration::ZERO;
    }) else {
        return;
    };
    let file = File {
        cache_control: "max-age=0",
        ..File::new("known")
    };
    bed.origin.put("/x", file);
    let xattr = |name: &str| {
        let mut value = vec![0; 300];
        let length = rustix::fs::getxattr(bed.at("x"), name, value.as_mut_slice())?;
        value.truncate(length);
        Ok::<_, Errno>(String::from_utf8(value).unwrap())
    };
    assert_eq!(fs::read(bed.at("x")).unwrap(), b"known");
    assert_eq!(xattr("user.atlas.stale"), Err(Errno::NODATA));
    assert_eq!(xattr("user.atlas.url"), Ok(bed.origin.url("/x")));
    assert!(xattr("user.atlas.version").unwrap().contains("of 5 bytes"));
    bed.origin.stop();
    assert_eq!(fs::read(bed.at("x")).unwrap(), b"known");
    assert_eq!(xattr("user.atlas.stale").as_deref(), Ok("1"));
    assert_eq!(xattr("user.other"), Err(Errno::NODATA));
}

#[test]
fn a_folder_that_is_listed_as_it_was_known_says_so() {
    let Some(bed) = Bed::new(|options, mount| {
        options.stale = Duration::from_secs(3600);
        mount.listed_for = Duration::ZERO;
    }) else {
        return;
    };
    let page = |status| File {
        status,
        cache_control: "max-age=0",
        headers: vec![("content-type", "text/html".to_owned())],
        ..File::new("<html><title>Directory listing for /d/</title><a href=\"x\">x</a></html>")
    };
    let is_stale = || {
        assert_eq!(fs::read_dir(bed.at("d")).unwrap().count(), 1);
        let mut value = [0; 10];
        match rustix::fs::getxattr(bed.at("d"), "user.atlas.stale", &mut value) {
            Ok(length) => assert_eq!(value[..length], *b"1"),
            Err(error) => {
                assert_eq!(error, Errno::NODATA);
                return false;
            }
        }
        true
    };
    for (status, wanted) in [(200, false), (503, true), (200, false)] {
        bed.origin.put("/d/", page(status));
        assert_eq!(is_stale(), wanted, "{status}");
    }
}

#[test]
fn a_mount_that_is_busy_goes_when_it_is_closed() {
    let Some(bed) = Bed::new(|_, _| {}) else {
        return;
    };
    bed.origin.put("/x", File::new("x"));
    let folder = bed.mounted.folder().to_owned();
    let open = fs::File::open(bed.at("x")).unwrap();
    assert!(!bed.mounted.unmount().unwrap());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    assert_eq!(io::read_to_string(&open).unwrap(), "x");
}

#[test]
fn two_mounts_at_one_folder_are_refused() {
    let Some(bed) = Bed::new(|_, _| {}) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let cache = tempfile::tempdir().unwrap();
    let files = atlas_fs::url::Files::open(atlas_fs::url::Options::new(cache.path())).unwrap();
    let folder = bed.mounted.folder();
    let again = atlas_fs::url::mount::Mounted::start(files, folder, Default::default());
    assert!(again.unwrap_err().to_string().contains("already"));
    let schemes = atlas_fs::url::path::SCHEMES.len();
    assert_eq!(fs::read_dir(folder).unwrap().count(), schemes);
}
