//! Programs that read files by URL: as jobs on several servers, and alone.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

mod origin;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use atlas_testbed::{Cluster, Manager, Server, ServerOptions, Shell, code, program, wait_until};
use origin::{COUNTED, Origin, books, noise};

#[test]
fn tasks_read_files_by_url_wherever_they_run() {
    let origin = Origin::new(books());
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let _servers = cluster.servers(&manager, 2);
    let shell = cluster.login(&manager);
    let counted = shell.submit(program("wordcount"), [&origin.url("/books/"), "--top", "5"]);
    let error = String::from_utf8_lossy(&counted.stderr);
    assert_eq!(code(&counted), 0, "{error}");
    assert_eq!(String::from_utf8_lossy(&counted.stdout), COUNTED);
    // The manager fetches all of it, once.
    let sent = origin.sent();
    for (path, body) in books() {
        assert_eq!(
            sent.get(path).copied().unwrap_or_default(),
            body.len(),
            "{path}"
        );
    }

    let missing = shell.submit(program("wordcount"), [origin.url("/none/")]);
    assert_eq!(code(&missing), 1);
    let error = String::from_utf8_lossy(&missing.stderr);
    let expected = format!("there is nothing at {} (status 404)", origin.url("/none/"));
    assert!(error.contains(&expected), "{error}");
}

/// A pyramid and a globe that wear one picture.
const SCENE: &str = r#"
[camera]
position = [0, 1.5, 6]
look_at = [0, 1, 0]
vertical_fov_degrees = 35
[sky]
zenith = [0.2, 0.4, 0.9]
horizon = [0.9, 0.8, 0.7]
[materials.painted.diffuse]
color = [1, 1, 1]
texture = { file = "pictures/showcase.png", size = 0.5 }
[[spheres]]
center = [-1, 1, 0]
radius = 1
material = "painted"
[[meshes]]
file = "pyramid.obj"
material = "painted"
translate = [1, 0, 0]
"#;

const PYRAMID: &str = "v -1 0 1\nv 1 0 1\nv 0 2 0\nv 0 0 -1\nvt 0 0\nvt 1 0\nvt 0.5 1\n\
    f 1/1 2/2 3/3\nf 2/1 4/2 3/3\nf 4/1 1/2 3/3\n";

#[test]
fn a_scene_its_meshes_and_its_textures_are_read_by_url() {
    let painted = include_bytes!("../../docs/showcase.png");
    let files = [
        ("scene.toml", SCENE.as_bytes()),
        ("pyramid.obj", PYRAMID.as_bytes()),
        ("pictures/showcase.png", painted),
    ];
    let origin = Origin::new(
        [
            "/a/scene.toml",
            "/a/pyramid.obj",
            "/a/pictures/showcase.png",
        ]
        .into_iter()
        .zip(files.map(|(_, body)| body.to_vec())),
    );
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let _servers = cluster.servers(&manager, 2);
    let shell = cluster.login(&manager);
    let small = [
        "--width",
        "64",
        "--height",
        "32",
        "--samples",
        "4",
        "--quiet",
    ];
    let scene = origin.url("/a/scene.toml");
    let rendered = shell.submit(program("raytrace"), [&small[..], &[&scene]].concat());
    assert_eq!(
        code(&rendered),
        0,
        "{}",
        String::from_utf8_lossy(&rendered.stderr)
    );

    let alone = cluster.stranger();
    fs::create_dir(alone.here().join("pictures")).unwrap();
    for (name, body) in files {
        alone.write(name, body);
    }
    let status = Command::new(program("raytrace"))
        .args(small)
        .args(["--sequential", "scene.toml"])
        .current_dir(alone.here())
        .status();
    assert!(status.unwrap().success());
    let picture = |shell: &Shell| fs::read(shell.here().join("raytrace.png")).unwrap();
    assert!(picture(&shell) == picture(&alone), "the pictures differ");
    for (name, body) in files {
        assert_eq!(origin.sent()[&format!("/a/{name}")], body.len(), "{name}");
    }

    fs::remove_file(shell.here().join("raytrace.png")).unwrap();
    let (served, raytrace) = (alone.here(), program("raytrace"));
    let serving = ["submit", "--quiet", "--serve", served.to_str().unwrap()];
    let what = [
        raytrace.to_str().unwrap(),
        "--",
        "atlas://client/scene.toml",
    ];
    let rendered = shell.run([&serving[..], &what, &small].concat());
    assert_eq!(
        code(&rendered),
        0,
        "{}",
        String::from_utf8_lossy(&rendered.stderr)
    );
    assert!(picture(&shell) == picture(&alone), "the pictures differ");
}

/// `example.edu`, and `cs` and `bio` below it, with so many servers each.
struct Tree {
    root: Manager,
    below: [Manager; 2],
    _servers: Vec<Server>,
    cluster: Cluster,
}

impl Tree {
    fn new(servers_each: u64) -> Self {
        let cluster = Cluster::new();
        let root = cluster.root("example.edu");
        let below = ["cs.example.edu", "bio.example.edu"].map(|name| cluster.below(&root, name));
        let servers = below
            .iter()
            .flat_map(|manager| cluster.servers(manager, servers_each));
        let servers = servers.collect();
        root.wait_for_workers(2 * servers_each);
        Self {
            root,
            below,
            _servers: servers,
            cluster,
        }
    }
}

fn said(output: &std::process::Output) -> &str {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(code(output), 0, "{error}");
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn an_origin_sends_a_file_once_to_eight_servers_in_two_domains() {
    let content = noise(FILE_BYTES);
    let origin = Origin::new([("/large", content.clone())]);
    let tree = Tree::new(4);
    let shell = tree.cluster.login(&tree.below[0]);
    let folder = shell.here().join("meeting");
    fs::create_dir(&folder).unwrap();
    let url = origin.url("/large");
    let line = ["fetch-afar", "8", folder.to_str().unwrap(), &url];
    let read = shell.submit(program("testbed-job"), line);
    let said = said(&read);
    // One line: all have seen the same.
    let (seen, processes) = said.split_once('\n').unwrap();
    assert_eq!(processes, "8 processes\n", "{said}");
    assert!(seen.starts_with(&format!("{FILE_BYTES} bytes, ")), "{said}");
    assert_eq!(origin.sent(), [("/large".to_owned(), FILE_BYTES)].into());

    let bytes = |manager: &Manager| {
        let metrics = manager.metrics();
        ["origin", "parent"].map(|from| metrics.get(&format!("url_bytes_from_{from}_total")))
    };
    let length = u64::try_from(FILE_BYTES).unwrap();
    assert_eq!(bytes(&tree.root), [length, 0]);
    for manager in &tree.below {
        assert_eq!(bytes(manager), [0, length], "{}", manager.domain());
        let metrics = manager.metrics();
        let reads = metrics.get("url_hits_total") + metrics.get("url_misses_total");
        assert!(reads >= length / (64 << 10), "{reads}");
        assert!(metrics.get("url_bytes_from_store_total") <= 4 * length);
    }
}

#[test]
fn a_job_reads_one_version_on_all_its_servers() {
    let small = b"the first version of it".to_vec();
    let origin = Origin::new([("/large", noise(FILE_BYTES)), ("/small", small.clone())]);
    let tree = Tree::new(1);
    let shell = tree.cluster.login(&tree.below[0]);
    let [folder, second] = ["meeting", "second"].map(|name| shell.here().join(name));
    for folder in [&folder, &second] {
        fs::create_dir(folder).unwrap();
    }
    let urls = ["/large", "/small"].map(|path| origin.url(path));
    let [folder, second_path] = [&folder, &second].map(|folder| folder.to_str().unwrap());
    let line = ["pin-afar", "2", folder, second_path, &urls[0], &urls[1]];
    let job = shell.begin_submit(program("testbed-job"), line);
    wait_until("the job has begun to read", || second.join("read").exists());
    origin.replace("/large", &noise(FILE_BYTES - 1));
    origin.replace("/small", b"another version");
    fs::write(second.join("go"), "").unwrap();
    let ended = job.wait();
    let said = said(&ended);
    // What was read is kept by managers; of the other file nobody has all.
    assert!(said.contains(&format!("{} bytes, ", small.len())), "{said}");
    let stale = format!(
        "StaleNetworkFileHandle: {} has changed at its origin",
        urls[0]
    );
    assert!(said.contains(&stale), "{said}");
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(said.ends_with("\n2 processes\n"), "{said}");

    // The next job has the present ones.
    let meeting = shell.here().join("another");
    fs::create_dir(&meeting).unwrap();
    let line = [
        "fetch-afar",
        "2",
        meeting.to_str().unwrap(),
        &urls[0],
        &urls[1],
    ];
    let next = shell.submit(program("testbed-job"), line);
    let next = self::said(&next);
    assert!(
        next.contains("\n15 bytes, ") || next.starts_with("15 bytes, "),
        "{next}"
    );
    assert!(
        next.contains(&format!("{} bytes, ", FILE_BYTES - 1)),
        "{next}"
    );
}

#[test]
fn a_job_that_begins_anew_with_its_manager_reads_what_it_has_read_before() {
    let before = b"the first version of it".to_vec();
    let origin = Origin::new([("/small", before.clone())]);
    let cluster = Cluster::new();
    let mut manager = cluster.root("example.edu");
    let _servers = cluster.servers(&manager, 2);
    let shell = cluster.login(&manager);
    let [folder, second] = ["meeting", "second"].map(|name| shell.here().join(name));
    for folder in [&folder, &second] {
        fs::create_dir(folder).unwrap();
    }
    let url = origin.url("/small");
    let [folder, second_path] = [&folder, &second].map(|folder| folder.to_str().unwrap());
    let line = ["pin-afar", "2", folder, second_path, &url];
    let job = shell.begin_submit(program("testbed-job"), line);
    wait_until("the job has begun to read", || second.join("read").exists());
    // A process that has read it, and the manager that has said which version it was, are gone.
    fs::remove_file(second.join("read")).unwrap();
    manager.kill();
    origin.replace("/small", b"another version");
    manager.restart();
    wait_until("the job begins anew", || second.join("read").exists());
    fs::write(second.join("go"), "").unwrap();
    let ended = job.wait();
    let said = said(&ended);
    assert!(
        said.starts_with(&format!("{} bytes, ", before.len())),
        "{said}"
    );
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn servers_ask_the_origin_when_their_manager_keeps_no_files() {
    let origin = Origin::new(books());
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    // What is no folder cannot hold files.
    fs::write(manager.state().join("urls"), "").unwrap();
    let _servers = cluster.servers(&manager, 2);
    let shell = cluster.login(&manager);
    let counted = shell.submit(program("wordcount"), [&origin.url("/books/"), "--top", "5"]);
    assert_eq!(said(&counted), COUNTED);
    assert_eq!(manager.metrics().get("url_bytes_from_origin_total"), 0);
}

#[test]
fn programs_ask_what_is_known_and_read_texts_in_a_job_and_alone() {
    let files = [
        ("/d/text", "Zwölf Boxkämpfer".as_bytes().to_vec()),
        ("/d/empty", Vec::new()),
        ("/d/noise", vec![b'a', 0xff]),
    ];
    let origin = Origin::new(files);
    let urls = ["/d/text", "/d/empty", "/d/noise", "/d/none", "/d/"].map(|path| origin.url(path));
    let [_, _, noise, none, folder] = &urls;
    let expected = format!(
        "Some(18) stale=false\nZwölf Boxkämpfer\n\
         Some(0) stale=false\n\n\
         Some(2) stale=false\nInvalidData: {noise} is no text in UTF-8: invalid utf-8 sequence of 1 bytes from index 1\n\
         NotFound Some(404)\nNotFound: there is nothing at {none} (status 404)\n\
         a folder\nIsADirectory: {folder} is a folder\n"
    );
    let line: Vec<&str> = [&["texts"][..], &urls.each_ref().map(String::as_str)].concat();
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let _servers = cluster.servers(&manager, 2);
    let shell = cluster.login(&manager);
    let read = shell.submit(program("testbed-job"), &line);
    assert_eq!(said(&read), expected);

    let home = tempfile::tempdir().unwrap();
    let mut alone = Command::new(program("testbed-job"));
    alone.args(&line).env("HOME", home.path());
    let alone = alone.env_remove("XDG_CACHE_HOME").stdin(Stdio::null());
    assert_eq!(said(&alone.output().unwrap()), expected);
}

#[test]
fn a_server_with_a_token_reads_what_its_manager_may_not() {
    let origin = Origin::new(books());
    origin.admit("Bearer t0ken");
    let cluster = Cluster::new();
    let path = cluster.folder().join("credentials.toml");
    let text = "[\"127.0.0.1\"]\ntoken = \"t0ken\"\nplain_http = true\n";
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let manager = cluster.root("example.edu");
    let _server = cluster.server(
        &manager,
        ServerOptions {
            credentials: Some("credentials.toml"),
            ..ServerOptions::default()
        },
    );
    let shell = cluster.login(&manager);
    let counted = shell.submit(program("wordcount"), [&origin.url("/books/"), "--top", "5"]);
    assert_eq!(said(&counted), COUNTED);
    assert_eq!(manager.metrics().get("url_bytes_from_origin_total"), 0);
}

/// Long enough for ranges in parallel, and short enough for machines that are busy.
const FILE_BYTES: usize = 16 << 20;

#[test]
fn a_program_that_runs_alone_has_its_files_fetched_by_the_shell() {
    let origin = Origin::new(books());
    let home = tempfile::tempdir().unwrap();
    let count = || {
        let mut command = Command::new(program("wordcount"));
        command.args([&origin.url("/books/"), "--top", "5"]);
        command
            .env("HOME", home.path())
            .env_remove("XDG_CACHE_HOME");
        command.stdin(Stdio::null()).output().unwrap()
    };
    let counted = count();
    let error = String::from_utf8_lossy(&counted.stderr);
    assert_eq!(code(&counted), 0, "{error}");
    assert_eq!(String::from_utf8_lossy(&counted.stdout), COUNTED);
    let sent = origin.sent();
    // The next one asks whether anything has changed, and what has.
    origin.replace("/books/two.txt", b"changed");
    let counted = count();
    assert!(String::from_utf8_lossy(&counted.stdout).contains("1210001 words"));
    for (path, bytes) in origin.sent() {
        if path.ends_with(".txt") && path != "/books/two.txt" {
            assert_eq!(bytes, sent[&path], "{path} was sent again");
        }
    }

    let mut lost = Command::new(program("wordcount"));
    lost.arg(origin.url("/books/"));
    lost.env("ATLAS_SHELL", "/nowhere/atlas-shell");
    let lost = lost.output().unwrap();
    assert_eq!(code(&lost), 1);
    let error = String::from_utf8_lossy(&lost.stderr);
    assert!(
        error.contains("`/nowhere/atlas-shell`, which cannot be started: install it"),
        "{error}"
    );
}
