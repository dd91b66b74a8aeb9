//! Programs that know nothing of URLs.

use std::fs;
use std::path::Path;

use crate::bed::Bed;
use crate::origin::{File, Lists};

/// Bytes that look like none else.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// The same files at the origin and in a folder of this machine.
fn fill(bed: &Bed, folder: &Path) {
    let files = [
        ("a.txt", b"one\ntwo needle\n".to_vec()),
        ("empty", Vec::new()),
        ("deep/er/b.txt", b"a needle here\n".to_vec()),
        ("deep/large", noise(1, 3_000_001)),
        ("deep/a b?#%&.txt", b"needle".to_vec()),
        ("deep/\u{e4}\u{1f980}", b"x".to_vec()),
    ];
    for (path, bytes) in files {
        let file = File::new(bytes.clone());
        bed.origin.put(&format!("/data/{path}"), file);
        // A question mark would begin a query.
        let there = folder.join(path.replace('?', "%3F"));
        fs::create_dir_all(there.parent().unwrap()).unwrap();
        fs::write(there, bytes).unwrap();
    }
}

#[test]
fn programs_see_what_they_see_of_the_same_files_here() {
    let Some(bed) = Bed::new(|_, _| {}) else {
        return;
    };
    let here = tempfile::tempdir().unwrap();
    fill(&bed, here.path());
    let there = bed.at("data");
    let both = |program: &str, args: &[&str]| {
        let of_mount = bed.run(&there, program, args);
        assert_eq!(
            of_mount,
            bed.run(here.path(), program, args),
            "{program} {args:?}"
        );
        of_mount
    };
    let sorted = |program: &str| format!("set -e; {program} | LC_ALL=C sort");
    let files = both("sh", &["-c", &sorted("find . -type f -printf '%s %p\\n'")]);
    assert_eq!(files.lines().count(), 6);
    // Twice: through here, and then by what is stored.
    for _ in 0..2 {
        both(
            "sh",
            &["-c", &sorted("find . -type f -exec sha256sum {} +")],
        );
        both("sh", &["-c", &sorted("grep -r needle .")]);
        both(
            "sh",
            &[
                "-c",
                "tar -c --sort=name --mtime=@0 --owner=0 --group=0 --mode=444 . | sha256sum",
            ],
        );
        // It maps what it hashes.
        both("git", &["hash-object", "--no-filters", "deep/large"]);
        both("stat", &["-c", "%s %F", "a.txt", "empty", "deep/large"]);
        both("wc", &["-c", "deep/large", "deep/a b%3F#%&.txt"]);
        both("tail", &["-c", "1000", "deep/er/b.txt"]);
    }
    let long = bed.run(&there, "ls", &["-l", "--time-style=+%F", "a.txt"]);
    assert!(
        long.starts_with("-r--r--r-- 1 ") && long.contains(" 15 2026-11-26 a.txt"),
        "{long}"
    );
    let disk = bed.run(&there, "df", &["-P", "."]);
    assert!(disk.lines().nth(1).unwrap().starts_with("atlas "), "{disk}");
    let whole = fs::read(here.path().join("deep/large")).unwrap();
    assert_eq!(fs::read(there.join("deep/large")).unwrap(), whole);
}

#[test]
fn a_folder_is_one_request_and_its_files_none() {
    let Some(bed) = Bed::new(|_, _| {}) else {
        return;
    };
    for n in 0..3000 {
        bed.origin
            .put(&format!("/many/f{n}"), File::new(vec![b'x'; n]));
    }
    bed.origin.put("/many/deep/g", File::new("g"));
    let find = || {
        bed.run(
            &bed.at("many"),
            "find",
            &[".", "-type", "f", "-printf", "%s\n"],
        )
    };
    let sizes = find();
    let sum: usize = sizes
        .lines()
        .map(|size| size.parse::<usize>().unwrap())
        .sum();
    assert_eq!((sizes.lines().count(), sum), (3001, 2999 * 3000 / 2 + 1));
    let asked = bed.origin.asked();
    let gets = asked.iter().filter(|asked| asked.starts_with("GET"));
    assert_eq!(gets.collect::<Vec<_>>(), ["GET /many/", "GET /many/deep/"]);
    assert!(asked.iter().all(|asked| !asked.contains("/f")), "{asked:?}");
    assert_eq!(find(), sizes);
    assert_eq!(bed.origin.asked(), [""; 0]);
}

#[test]
fn a_missing_name_is_asked_for_once() {
    let Some(bed) = Bed::new(|_, _| {}) else {
        return;
    };
    bed.origin.put("/x", File::new("x"));
    for _ in 0..3 {
        let error = fs::metadata(bed.at("nothing")).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }
    let asked = bed.origin.asked();
    let of_it = asked.iter().filter(|asked| asked.ends_with(" /nothing"));
    assert_eq!(of_it.count(), 1, "{asked:?}");
}

#[test]
fn hosts_are_folders_and_those_visited_are_listed() {
    let Some(bed) = Bed::new(|_, _| {}) else {
        return;
    };
    bed.origin.put("/x", File::new("x"));
    let root = bed.mounted.folder();
    let names = |path: &Path| {
        let names = fs::read_dir(path).unwrap();
        let mut names: Vec<_> = names.map(|name| name.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(root), ["atlas", "http", "https"]);
    assert_eq!(fs::read(bed.at("x")).unwrap(), b"x");
    let host = bed.origin.path();
    assert_eq!(
        names(&root.join("http")),
        [host.strip_prefix("http/").unwrap()]
    );
    assert_eq!(names(&bed.at("")), ["x"]);
    for wrong in ["ftp", "http/EXAMPLE.org", "http/h:80", "http/u@h"] {
        let error = fs::metadata(root.join(wrong)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{wrong}");
    }
}

#[test]
fn folders_are_listed_by_webdav_by_an_index_or_not_at_all() {
    let Some(bed) = Bed::new(|_, _| {}) else {
        return;
    };
    for folder in ["dav", "index", "none"] {
        bed.origin
            .put(&format!("/{folder}/a b"), File::new("12345"));
        bed.origin.put(&format!("/{folder}/deep/y"), File::new("y"));
    }
    let index = "atlas.index 1\n5 2026-11-26T17:01:00Z a b\n- - deep/\n";
    bed.origin.put("/index/atlas.index", File::new(index));
    let list = |folder: &str| {
        let entries = fs::read_dir(bed.at(folder))?;
        let mut entries: Vec<_> = entries
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                let metadata = entry.metadata().unwrap();
                (name, metadata.is_dir(), metadata.len())
            })
            .collect();
        entries.sort();
        Ok::<_, std::io::Error>(entries)
    };
    let wanted = [("a b".to_owned(), false, 5), ("deep".to_owned(), true, 0)];
    bed.origin.list(Lists::ByDav);
    assert_eq!(list("dav").unwrap(), wanted);
    bed.origin.list(Lists::Nothing);
    assert_eq!(list("index").unwrap(), wanted);
    let error = list("none").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    // Who knows a name gets the file.
    assert_eq!(fs::read(bed.at("none/deep/y")).unwrap(), b"y");
}
