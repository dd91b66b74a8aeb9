//! Several processes with one store, and processes that are killed.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use atlas_fs::url::{Files, Pins, Source};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::Url;

use crate::origin::{Mood, Origin};
use crate::support::{Scratch, eventually, options, random, read, read_file};

/// In a child: the origin, the store's folder, the quota, what to read, and whose certificates are trusted besides.
const ORIGIN: &str = "ATLAS_TEST_ORIGIN";
const FOLDER: &str = "ATLAS_TEST_FOLDER";
const QUOTA: &str = "ATLAS_TEST_QUOTA";
const NAMES: &str = "ATLAS_TEST_NAMES";
const TRUSTED: &str = "ATLAS_TEST_TRUSTED";

fn child(origin: &Origin, scratch: &Scratch, quota: u64, names: u64) -> Child {
    command(origin.url("/").as_str(), scratch, quota, names)
        .spawn()
        .unwrap()
}

fn command(origin: &str, scratch: &Scratch, quota: u64, names: u64) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "processes::reads_in_a_child", "--nocapture"])
        .env(ORIGIN, origin)
        .env(FOLDER, scratch.folder.path())
        .env(QUOTA, quota.to_string())
        .env(NAMES, names.to_string())
        .stdout(Stdio::piped());
    for variable in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command
            .env_remove(variable)
            .env_remove(variable.to_uppercase());
    }
    command
}

/// Reads what it is told to, in a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn reads_in_a_child() {
    let Ok(origin) = env::var(ORIGIN) else { return };
    let origin = Url::parse(&origin).unwrap();
    let mut options = options(&PathBuf::from(env::var(FOLDER).unwrap()));
    options.quota = Some(env::var(QUOTA).unwrap().parse().unwrap());
    options.authorities_pem = env::var(TRUSTED).unwrap_or_default().into_bytes();
    // As long as another process may keep this one waiting.
    options.timeouts.idle = Duration::from_secs(20);
    let files = Files::open_store(options, |_, _, _| Ok(Vec::new())).unwrap();
    let names: u64 = env::var(NAMES).unwrap().parse().unwrap();
    let mut descriptors = None;
    for name in 0..names {
        let url = origin.join(&name.to_string()).unwrap();
        let file = files.open(&url, &Pins::new()).await.unwrap();
        let content = read_file(&file).await.unwrap();
        assert!(content == random(content.len(), name), "{url}");
        drop(file);
        if name == names / 2 {
            descriptors = Some(open_descriptors());
        }
    }
    // Connections come and go; a leak would be one for each file.
    let descriptors = descriptors.unwrap();
    let more = open_descriptors().saturating_sub(descriptors);
    assert!(
        more < 12,
        "{descriptors} descriptors, and {more} more later"
    );
    println!("all read");
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn finished(child: Child) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("all read"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_scan_ten_times_the_quota_and_stay_below_it() {
    const QUOTA_BYTES: u64 = 8 << 20;
    const FILE: usize = 1 << 20;
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    for name in 0..80 {
        origin.put(&format!("/{name}"), random(FILE, name));
    }
    let children: Vec<_> = (0..4)
        .map(|_| child(&origin, &scratch, QUOTA_BYTES, 80))
        .collect();
    let waiting = tokio::task::spawn_blocking(move || children.into_iter().for_each(finished));
    let mut most = 0;
    while !waiting.is_finished() {
        // Files may go while they are counted, and then count or not.
        if let Ok(usage) = scratch.files.usage() {
            most = most.max(usage.bytes);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    waiting.await.unwrap();
    assert!(most <= QUOTA_BYTES + FILE as u64, "{most} bytes");
    assert!(most > QUOTA_BYTES / 2, "{most} bytes: it was hardly used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_in_the_middle_of_a_write_leaves_what_is_right() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let content = random(32 << 20, 0);
    origin.put_as("/0", content.clone(), &[Mood::Pace(20_000)]);
    let mut child = child(&origin, &scratch, 1 << 30, 1);
    eventually("half of it is sent", || origin.bytes() > content.len() / 2).await;
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    let before = origin.bytes();
    assert!(before < content.len(), "it was killed too late");
    origin.change("/0", |resource| resource.moods.clear());
    let files = scratch.again();
    assert!(read(&files, &origin.url("/0"), &Pins::new()).await.unwrap() == content);
    // What was stored is not fetched again: of what is on its way at a time, a part is lost.
    let again = origin.bytes() - before;
    assert!(again < content.len() - (8 << 20), "{again} bytes again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_has_of_a_file_of_unknown_length_is_removed_and_what_a_living_one_has_stays()
 {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let content = random(8 << 20, 0);
    let slow = [Mood::NoRanges, Mood::Chunked, Mood::Pace(4_000)];
    origin.put_as("/0", content.clone(), &slow);
    let spools = scratch.folder.path().join("spools");
    let lie_there = || fs::read_dir(&spools).unwrap().count();
    let mut killed = child(&origin, &scratch, 1 << 30, 1);
    let bytes_there = || scratch.files.usage().map_or(0, |usage| usage.bytes);
    eventually("some of it lies there", || bytes_there() > 1 << 20).await;
    // Whoever opens the store leaves it alone.
    drop(scratch.again());
    assert_eq!(lie_there(), 1);
    // SIGKILL.
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(lie_there(), 1, "it was killed too late");
    assert!(bytes_there() > 1 << 20);
    let files = scratch.again();
    assert_eq!(lie_there(), 0);
    let after = files.usage().unwrap();
    assert!(after.bytes < 1 << 16, "{after:?}");
    // Another one is left alone by all, and ends well.
    let living = child(&origin, &scratch, 1 << 30, 1);
    eventually("it lies there", || lie_there() == 1).await;
    drop(scratch.again());
    scratch.files.shrink_to(0).unwrap();
    tokio::task::spawn_blocking(move || finished(living))
        .await
        .unwrap();
    assert_eq!(lie_there(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_has_stored_another_finds() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    origin.put("/0", random(5 << 20, 0));
    finished(child(&origin, &scratch, 1 << 30, 1));
    let (bytes, requests) = (origin.bytes(), origin.requests());
    finished(child(&origin, &scratch, 1 << 30, 1));
    assert_eq!((origin.bytes(), origin.requests()), (bytes, requests));
    // What both have counted is known to a third.
    let sums = scratch.files.sums().unwrap();
    assert_eq!((sums.origin_bytes, sums.questions), (bytes as u64, 1));
    assert!(sums.hits > 0 && sums.misses > 0, "{sums:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_processes_miss_at_once_is_fetched_once() {
    const FILE: usize = 24 << 20;
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    // Each connection takes seconds for its range, so that both processes read all the while.
    origin.put_as("/0", random(FILE, 0), &[Mood::Pace(4_000)]);
    let children = [0, 1].map(|_| child(&origin, &scratch, 1 << 30, 1));
    tokio::task::spawn_blocking(move || children.into_iter().for_each(finished))
        .await
        .unwrap();
    // Both ask which version there is, and the first bytes come along.
    let (bytes, twice) = (origin.bytes(), 256 << 10);
    assert!((FILE..=FILE + twice).contains(&bytes), "{bytes} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_process_that_is_killed_fetches_the_rest() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let content = random(8 << 20, 0);
    origin.put_as("/0", content.clone(), &[Mood::Pace(2_000)]);
    let mut child = child(&origin, &scratch, 1 << 30, 1);
    eventually("some of it is sent", || origin.bytes() > 1 << 20).await;
    let (files, url) = (scratch.files.clone(), origin.url("/0"));
    let reading = tokio::spawn(async move { read(&files, &url, &Pins::new()).await });
    // The other has the blocks that are waited for.
    eventually("they are waited for", || scratch.files.figures().misses > 0).await;
    child.kill().unwrap();
    child.wait().unwrap();
    origin.change("/0", |resource| resource.moods.clear());
    assert!(reading.await.unwrap().unwrap() == content);
    assert!(origin.bytes() < 2 * content.len(), "{}", origin.bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_the_environment_is_asked_in_place_of_the_origin() {
    let (proxy, scratch) = (Origin::start().await, Scratch::new());
    // What a proxy is asked for is a whole URL. The name is one that nobody has (RFC 6761).
    proxy.put("http://files.invalid/0", random(5 << 20, 0));
    let child = command("http://files.invalid/", &scratch, 1 << 30, 1)
        .env("http_proxy", proxy.url("/").as_str())
        .spawn()
        .unwrap();
    finished(child);
    assert_eq!(proxy.bytes(), 5 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_needs_no_proxy_is_asked_itself() {
    let (origin, proxy, scratch) = (Origin::start().await, Origin::start().await, Scratch::new());
    origin.put("/0", random(1 << 20, 0));
    let child = command(origin.url("/").as_str(), &scratch, 1 << 30, 1)
        .env("http_proxy", proxy.url("/").as_str())
        .env("no_proxy", "example.org,127.0.0.1")
        .spawn()
        .unwrap();
    finished(child);
    assert_eq!((origin.bytes(), proxy.requests()), (1 << 20, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_goes_through_a_tunnel_of_the_proxy() {
    let (origin, certificate) = Origin::start_tls("files.invalid").await;
    let scratch = Scratch::new();
    origin.put("/0", random(1 << 20, 0));
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", proxy.local_addr().unwrap());
    let to = origin.address;
    let tunnels = tokio::spawn(async move {
        let mut tunnels = JoinSet::new();
        loop {
            let (stream, _) = proxy.accept().await.unwrap();
            tunnels.spawn(tunnel(stream, to));
        }
    });
    let child = command("https://files.invalid/", &scratch, 1 << 30, 1)
        .env("https_proxy", at)
        .env(TRUSTED, String::from_utf8(certificate).unwrap())
        .spawn()
        .unwrap();
    finished(child);
    assert_eq!(origin.bytes(), 1 << 20);
    tunnels.abort();
}

/// Connects whoever asks for `files.invalid` with an address, as a proxy does.
async fn tunnel(stream: TcpStream, to: SocketAddr) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).await.unwrap(), 0, "{head}");
    }
    assert!(
        head.starts_with("CONNECT files.invalid:443 HTTP/1.1\r\n"),
        "{head}"
    );
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let mut origin = TcpStream::connect(to).await.unwrap();
    // Either side may end it first.
    let _ = copy_bidirectional(&mut stream, &mut origin).await;
}
