//! What daemons keep of files by URL, damaged by hand or by a disk: jobs read what the origin has, or are told that they cannot, and
//! daemons stay up.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

mod origin;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use atlas_testbed::{
    Cluster, Manager, Running, Server, ServerOptions, Shell, code, program, told, wait_until,
};
use origin::{Origin, noise};

/// What becomes of each file of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    /// Bytes in its middle are others, if it holds what the origin has sent.
    DataFlipped,
    /// Bytes in its middle are others, if it holds what is known of that.
    RestFlipped,
    /// Its second half is gone.
    Cut,
    /// It is gone.
    Removed,
}

const ALL: [Damage; 4] = [
    Damage::DataFlipped,
    Damage::RestFlipped,
    Damage::Cut,
    Damage::Removed,
];

impl Damage {
    /// Gives how many files there are.
    fn spoil(self, folder: &Path) -> usize {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let spoilt = entries.map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                return self.spoil(&path);
            }
            let is_data = path.extension().is_some_and(|kind| kind == "data");
            match self {
                Self::DataFlipped | Self::RestFlipped => {
                    if is_data != (self == Self::DataFlipped) {
                        return 0;
                    }
                    flip(&File::options().read(true).write(true).open(path).unwrap());
                }
                Self::Cut => {
                    let file = File::options().write(true).open(path).unwrap();
                    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
                }
                Self::Removed => fs::remove_file(path).unwrap(),
            }
            1
        });
        spoilt.sum()
    }
}

fn flip(file: &File) {
    let length = file.metadata().unwrap().len();
    let begin = length.saturating_sub(FLIPPED_BYTES) / 2;
    let mut bytes = vec![0; usize::try_from(length.min(FLIPPED_BYTES)).unwrap()];
    file.read_exact_at(&mut bytes, begin).unwrap();
    for byte in &mut bytes {
        *byte ^= 0xff;
    }
    file.write_all_at(&bytes, begin).unwrap();
}

/// More than the digest by which tests compare files passes over.
const FLIPPED_BYTES: u64 = 4096;

/// A domain with one server, and what its jobs read.
struct Bed {
    contents: [Vec<u8>; 2],
    origin: Origin,
    shell: Shell,
    server: Server,
    manager: Manager,
    _cluster: Cluster,
}

impl Bed {
    fn new() -> Self {
        let contents = [noise(3_000_000), noise(20_000)];
        let [large, small] = contents.clone();
        let cluster = Cluster::new();
        let manager = cluster.root("example.edu");
        let server = cluster.server(&manager, ServerOptions::default());
        manager.wait_for_workers(1);
        Self {
            contents,
            origin: Origin::new([("/large", large), ("/small", small)]),
            shell: cluster.login(&manager),
            server,
            manager,
            _cluster: cluster,
        }
    }

    /// A job that has read the beginnings of both files, and waits.
    fn begin(&self) -> Running {
        let folder = self.shell.here().join("meeting");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let [large, small] = ["/large", "/small"].map(|path| self.origin.url(path));
        let line = ["urls", folder.to_str().unwrap(), &large, &small];
        let job = self.shell.begin_submit(program("testbed-job"), line);
        wait_until("the job has begun to read", || folder.join("read").exists());
        job
    }

    /// Lets the job go on. Gives what it has seen of the files that were open, and of the same ones when they were opened again.
    fn end(&self, job: Running) -> [[String; 2]; 2] {
        fs::write(self.shell.here().join("meeting/go"), "").unwrap();
        let ended = job.wait();
        let error = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(code(&ended), 0, "{error}");
        let said = String::from_utf8(ended.stdout).unwrap();
        let seen = |how: &str| {
            let lines = said.lines().filter_map(|line| line.strip_prefix(how));
            let lines: Vec<String> = lines.map(str::to_owned).collect();
            lines.try_into().unwrap()
        };
        [seen("open: "), seen("again: ")]
    }

    fn told(&self) -> [String; 2] {
        self.contents.each_ref().map(|content| told(content))
    }

    /// A job reads all of both files, as they are.
    fn assert_reads(&self) {
        let [open, again] = self.end(self.begin());
        assert_eq!([&open, &again], [&self.told(); 2]);
    }

    /// The folders of files by URL. Gives of how many files.
    fn spoil(&self, how: Damage) -> [usize; 2] {
        let states = [self.server.state(), self.manager.state()];
        states.map(|state| how.spoil(&state.join("urls")))
    }
}

#[test]
fn files_by_url_that_are_damaged_while_daemons_are_down_are_fetched_anew() {
    let mut bed = Bed::new();
    bed.assert_reads();
    for how in ALL {
        bed.server.kill();
        bed.manager.kill();
        assert!(bed.spoil(how).iter().all(|files| *files >= 2), "{how:?}");
        bed.manager.restart();
        bed.server.restart();
        bed.manager.wait_for_workers(1);
        bed.assert_reads();
    }
}

#[test]
fn files_by_url_that_are_damaged_while_daemons_run_are_fetched_anew() {
    let mut bed = Bed::new();
    let expected = bed.told();
    for how in ALL {
        // Who has them open reads what they were, or is told that it cannot.
        let job = bed.begin();
        assert!(bed.spoil(how).iter().all(|files| *files >= 2), "{how:?}");
        for seen in bed.end(job) {
            for (seen, expected) in seen.iter().zip(&expected) {
                let is_file = seen.contains(" bytes, ");
                assert!(!is_file || seen == expected, "{how:?}: {seen}");
            }
        }
        // Nobody has.
        bed.spoil(how);
        bed.assert_reads();
    }
    assert!(bed.server.is_running() && bed.manager.is_running());
}
