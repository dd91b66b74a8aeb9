//! Two levels of managers: a topmost domain, and two below with servers of their own. Programs give what they give alone, and
//! whoever has nothing to do takes part, wherever the job was submitted.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

mod origin;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use atlas_testbed::{
    Cluster, Manager, Running, Server, ServerOptions, Shell, code, parent, program, told,
    wait_until,
};
use origin::noise;

/// `example.edu`, and `cs` and `bio` below it.
struct Tree {
    root: Manager,
    cs: Manager,
    bio: Manager,
    servers: Vec<Server>,
    cluster: Cluster,
}

impl Tree {
    /// With so many servers of one worker each in the domains below.
    fn new(in_cs: u64, in_bio: u64) -> Self {
        let cluster = Cluster::new();
        let root = cluster.root("example.edu");
        let cs = cluster.below(&root, "cs.example.edu");
        let bio = cluster.below(&root, "bio.example.edu");
        let mut servers = cluster.servers(&cs, in_cs);
        servers.extend(cluster.servers(&bio, in_bio));
        root.wait_for_workers(in_cs + in_bio);
        Self {
            root,
            cs,
            bio,
            servers,
            cluster,
        }
    }

    /// Runs a job whose tasks wait until so many run as there are servers: each needs a worker of its own.
    fn meet(&self, shell: &Shell) {
        let (job, folder) = self.begin_meeting(shell, self.servers.len());
        let met = job.wait();
        assert_eq!(code(&met), 0, "{}", String::from_utf8_lossy(&met.stderr));
        let said = String::from_utf8(met.stdout).unwrap();
        let servers = self.servers.len();
        assert!(said.ends_with(&format!("{servers} processes\n")), "{said}");
        fs::remove_dir_all(folder).unwrap();
    }

    /// Begins such a job, for so many workers; also gives the folder that has a file for each task that runs.
    fn begin_meeting(&self, shell: &Shell, workers: usize) -> (Running, PathBuf) {
        let folder = shell.here().join("meeting");
        fs::create_dir(&folder).unwrap();
        let (workers, path) = (workers.to_string(), folder.to_str().unwrap());
        let line = ["meet-afar", &workers, path];
        (shell.begin_submit(program("testbed-job"), line), folder)
    }
}

fn stdout(output: &std::process::Output) -> &str {
    assert_eq!(
        code(output),
        0,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn programs_give_what_they_give_alone() {
    let tree = Tree::new(2, 2);
    let shell = tree.cluster.login(&tree.root);
    let queens = shell.submit(program("nqueens"), ["13"]);
    assert_eq!(stdout(&queens), "13 queens: 73712 ways\n");

    let shell = tree.cluster.login(&tree.cs);
    let nodes = shell.submit(program("uts"), ["t3"]);
    assert_eq!(
        stdout(&nodes),
        "T3: 4112897 nodes, 3599034 leaves, depth 1572\n"
    );
    assert!(tree.bio.metrics().get("closures_borrowed_total") > 0);
}

#[test]
fn a_picture_is_the_same_to_the_bit() {
    // Its own domain has no servers: a busy machine would make so small a picture before another domain has heard of it.
    let tree = Tree::new(2, 0);
    let shell = tree.cluster.login(&tree.bio);
    let options = ["--width", "64", "--height", "48", "--samples", "32"];
    let line = [&options[..], &["--quiet", "--out", "picture.png"]].concat();
    let rendered = shell.submit(program("raytrace"), &line);
    assert_eq!(stdout(&rendered), "");

    let alone = tree.cluster.stranger().here();
    let mut local = Command::new(program("raytrace"));
    assert!(
        local
            .args(&line)
            .current_dir(&alone)
            .status()
            .unwrap()
            .success()
    );
    let [far, near] = [shell.here(), alone].map(|folder| fs::read(folder.join("picture.png")));
    assert!(far.unwrap() == near.unwrap(), "the pictures differ");
    let borrowed = tree.cs.metrics().get("closures_borrowed_total");
    assert!(borrowed > 0, "no server of another domain took part");
}

#[test]
fn servers_of_another_domain_take_what_exceeds_a_domains_own() {
    let tree = Tree::new(2, 2);
    let shell = tree.cluster.login(&tree.cs);
    tree.meet(&shell);
    assert!(tree.bio.metrics().get("closures_borrowed_total") > 0);
    let jobs = shell.json(["ps", "--all"]);
    assert_eq!(jobs[0]["state"], "exited");
}

/// The daemons whose engines run tasks that have noted in the folder that they do.
fn daemons_at_work(folder: &Path) -> BTreeSet<u32> {
    let names = fs::read_dir(folder).unwrap().flatten();
    let names = names.map(|entry| entry.file_name().into_string().unwrap());
    let engines = names.filter_map(|name| name.split_once('-')?.1.parse().ok());
    engines.filter_map(parent).collect()
}

#[test]
fn a_job_ends_right_without_a_domain_that_has_a_part_of_it_and_its_servers_come_back_to_work() {
    let mut tree = Tree::new(1, 2);
    let shell = tree.cluster.login(&tree.root);
    // One more than there are: it waits until it may go on.
    let (job, folder) = tree.begin_meeting(&shell, 4);
    let own = tree.servers[1..].iter().map(|server| server.pid());
    let own: BTreeSet<u32> = own.collect();
    wait_until("all servers take part", || {
        daemons_at_work(&folder).len() == 3
    });
    assert!(daemons_at_work(&folder).is_superset(&own));
    tree.bio.kill();
    // Its manager is missed first, so that none of its servers can give back what it had.
    tree.root.wait_for_workers(1);
    fs::write(folder.join("go"), "").unwrap();
    let ended = job.wait();
    // Tasks are numbered from one.
    assert!(stdout(&ended).starts_with("sum 820, "), "{ended:?}");
    assert_eq!(shell.job(1)["state"], "exited");
    fs::remove_dir_all(&folder).unwrap();

    tree.bio.restart();
    tree.bio.wait_for_workers(2);
    tree.root.wait_for_workers(3);
    // Each server has to take part.
    tree.meet(&shell);
    assert!(tree.servers.iter_mut().all(|server| server.is_running()));
}

#[test]
fn a_domain_without_servers_has_its_jobs_done_by_others() {
    let tree = Tree::new(0, 2);
    let shell = tree.cluster.login(&tree.cs);
    tree.meet(&shell);
    assert!(tree.root.metrics().get("closures_lent_total") > 0);
}

#[test]
fn a_domain_with_one_worker_shares_its_work() {
    let tree = Tree::new(1, 2);
    let shell = tree.cluster.login(&tree.cs);
    assert_eq!(code(&shell.submit(program("uts"), ["t3"])), 0);
    assert!(tree.bio.metrics().get("closures_borrowed_total") > 0);
}

/// What a manager has fetched: how many blobs, and how many bytes of them.
fn fetched(manager: &Manager) -> (u64, u64) {
    let metrics = manager.metrics();
    let get = |name| metrics.get(name);
    (get("blobs_fetched_total"), get("blob_bytes_fetched_total"))
}

/// What a manager fetches for a job of [`SHARED_BYTES`]: the program, and the value with its length.
fn program_and_value() -> (u64, u64) {
    let program = fs::metadata(program("testbed-job")).unwrap().len();
    (2, program + SHARED_BYTES + 4)
}

#[test]
fn a_shared_value_goes_once_to_each_domain() {
    let tree = Tree::new(2, 2);
    let shell = tree.cluster.login(&tree.cs);
    let folder = shell.here().join("meeting");
    fs::create_dir(&folder).unwrap();
    let (bytes, path) = (SHARED_BYTES.to_string(), folder.to_str().unwrap());
    let alone = Command::new(program("testbed-job"))
        .args(["digest", &bytes])
        .output();
    let digest = stdout(&alone.unwrap()).to_owned();

    let line = ["share-afar", "4", &bytes, path];
    let shared = shell.submit(program("testbed-job"), line);
    let expected = format!("sum 820, 4 processes\n{SHARED_BYTES} bytes, {digest}");
    assert_eq!(stdout(&shared), expected);
    for manager in [&tree.root, &tree.cs, &tree.bio] {
        assert_eq!(
            fetched(manager),
            program_and_value(),
            "{}",
            manager.domain()
        );
    }
}

#[test]
fn large_results_come_from_another_domain() {
    let tree = Tree::new(1, 1);
    let shell = tree.cluster.login(&tree.cs);
    let folder = shell.here().join("meeting");
    fs::create_dir(&folder).unwrap();
    let line = ["large-afar", "2", "4000000", folder.to_str().unwrap()];
    let ended = shell.submit(program("testbed-job"), line);
    assert_eq!(stdout(&ended), "20 right, 2 processes\n");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 20, "each ran once");
    let program = fs::metadata(program("testbed-job")).unwrap().len();
    // One result at least has come up and down.
    for manager in [&tree.bio, &tree.root, &tree.cs] {
        let (blobs, bytes) = fetched(manager);
        let results = blobs - 1;
        let domain = manager.domain();
        assert!(results > 0, "{domain}: {blobs} blobs");
        // With their lengths and processes.
        let beside = bytes - program - results * 4_000_000;
        assert!(beside <= results * 16, "{domain}: {bytes} bytes");
    }
}

#[test]
fn an_input_goes_once_to_each_domain() {
    let tree = Tree::new(2, 2);
    let shell = tree.cluster.login(&tree.cs);
    let folder = shell.here().join("meeting");
    fs::create_dir(&folder).unwrap();
    // Of such bytes blobs become no smaller on their way.
    let content = noise(INPUT_BYTES);
    shell.write("large", &content);
    let job = program("testbed-job");
    let line = [
        "submit",
        "--quiet",
        "--input",
        "large",
        job.to_str().unwrap(),
        "--",
    ];
    let what = ["fetch-afar", "4", folder.to_str().unwrap(), "large"];
    let read = shell.run([&line[..], &what].concat());
    let expected = format!("{}\n4 processes\n", told(&content));
    assert_eq!(stdout(&read), expected);

    // The program, the tree of inputs, and the only one.
    let job_bytes = fs::metadata(&job).unwrap().len() + INPUT_BYTES as u64;
    for manager in [&tree.root, &tree.cs, &tree.bio] {
        let (blobs, bytes) = fetched(manager);
        assert_eq!(blobs, 3, "{}", manager.domain());
        let tree_bytes = bytes.checked_sub(job_bytes);
        assert!(
            tree_bytes.is_some_and(|bytes| bytes < 1000),
            "{bytes}, of {job_bytes}"
        );
    }
}

#[test]
fn a_value_that_a_borrower_shares_comes_to_where_its_job_is_from() {
    let mut tree = Tree::new(0, 2);
    let two = ServerOptions {
        workers: 2,
        ..ServerOptions::default()
    };
    tree.servers.push(tree.cluster.server(&tree.cs, two));
    tree.root.wait_for_workers(4);
    let shell = tree.cluster.login(&tree.cs);
    let [first, second] = ["first", "second"].map(|name| shell.here().join(name));
    for folder in [&first, &second] {
        fs::create_dir(folder).unwrap();
    }
    let bytes = SHARED_BYTES.to_string();
    let [first, second_path] = [&first, &second].map(|folder| folder.to_str().unwrap());
    // All processes but that of `main` are in the other domain, and one of them makes the value.
    let line = ["share-from-afar", "4", &bytes, first, second_path];
    let job = shell.begin_submit(program("testbed-job"), line);
    for manager in [&tree.bio, &tree.root, &tree.cs] {
        let what = format!("{} has the value", manager.domain());
        wait_until(&what, || fetched(manager) == program_and_value());
    }
    fs::write(second.join("go"), "").unwrap();
    let ended = job.wait();
    let said = stdout(&ended);
    assert!(["2 processes\n", "3 processes\n"].contains(&said), "{said}");
}

/// A large file.
const INPUT_BYTES: usize = 5_000_000;
/// Six times what a closure may take.
const SHARED_BYTES: u64 = 20_000_000;

#[test]
fn work_stays_where_the_policy_keeps_it() {
    let mut tree = Tree::new(2, 1);
    tree.bio.stop();
    let settings = tree.bio.state().join("settings.toml");
    let text = fs::read_to_string(&settings).unwrap();
    assert!(text.contains("inflow = [\"*\"]"), "{text}");
    let own = "inflow = [\"bio.example.edu\"]";
    fs::write(&settings, text.replace("inflow = [\"*\"]", own)).unwrap();
    tree.bio.restart();
    tree.bio.wait_for_workers(1);
    tree.root.wait_for_workers(3);

    // Tasks that wait until three run, and two workers where they may.
    let shell = tree.cluster.login(&tree.cs);
    let (met, folder) = tree.begin_meeting(&shell, 3);
    wait_until("two of the tasks run", || {
        fs::read_dir(&folder).unwrap().count() == 2
    });
    // A third has no place before there is another server that may take it.
    tree.servers
        .push(tree.cluster.server(&tree.cs, ServerOptions::default()));
    assert_eq!(stdout(&met.wait()), "sum 465, 3 processes\n");
    assert_eq!(tree.bio.metrics().get("closures_borrowed_total"), 0);

    let own = tree.cluster.login(&tree.bio);
    let queens = own.submit(program("nqueens"), ["7"]);
    assert_eq!(stdout(&queens), "7 queens: 40 ways\n");
}
