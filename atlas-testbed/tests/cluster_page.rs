//! `docs/cluster.md` as a newcomer follows it: its commands are run as they stand there, each on the machine that the block's
//! first line names. What differs from the page is in [`Page::substitute`], and nothing else.
//!
//! A machine is a home directory here.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use atlas_testbed::{Cluster, Running, program, wait_for, wait_until};

const PAGE: &str = include_str!("../../docs/cluster.md");

/// A fenced block: the machines that its first line names, and its other lines.
#[derive(Debug, PartialEq)]
struct Block<'a> {
    language: &'a str,
    machines: Vec<&'a str>,
    lines: Vec<&'a str>,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    // Every other part lies within fences.
    let fenced = page.split("```").skip(1).step_by(2);
    let block = |text| {
        let mut lines = str::lines(text);
        let language = lines.next().unwrap();
        let first = lines.next().unwrap();
        let machines = first.strip_prefix("# on ");
        let machines = machines.unwrap_or_else(|| panic!("{first} names no machine"));
        Block {
            language,
            machines: machines.split(" and ").collect(),
            lines: lines.collect(),
        }
    };
    fenced.map(block).collect()
}

/// Somebody who works through the page.
struct Page {
    cluster: Cluster,
    /// What the last `token create` has printed.
    token: String,
    /// Daemons that run, and what they have printed.
    daemons: Vec<Running>,
    outputs: BTreeMap<String, String>,
}

impl Page {
    fn home(&self, machine: &str) -> PathBuf {
        let home = self.cluster.folder().join(machine);
        if !home.exists() {
            fs::create_dir(&home).unwrap();
            // In place of a Cargo workspace, which would be built.
            std::os::unix::fs::symlink(program("nqueens"), home.join("nqueens")).unwrap();
        }
        home
    }

    /// What cannot be as on the page: daemons listen at loopback alone, at ports that the system chooses; the token is a secret;
    /// and the board is smaller.
    fn substitute(&self, line: &str) -> String {
        let loopback = self.cluster.address();
        let domain = |name: &str| format!("--domain {name} --listen {loopback}:0");
        let [metrics, listen] = ["--http", "--listen"].map(|what| format!(" {what} {loopback}:0"));
        line.replace("--domain cs.example.edu", &domain("cs.example.edu"))
            .replace("--domain lab.cs.example.edu", &domain("lab.cs.example.edu"))
            .replace(
                "atlas-manager run",
                &["atlas-manager run", &metrics].concat(),
            )
            .replace("--run", &["--run --workers 1", &listen].concat())
            .replace("TOKEN", &self.token)
            .replace("submit nqueens -- 14", "submit nqueens -- 8")
    }

    /// Runs a line: daemons until they are ready, all others to their end.
    fn follow(&mut self, machine: &str, line: &str) {
        let command = self.substitute(line);
        let home = self.home(machine);
        if line.contains("atlas-manager run") || line.contains("--run") {
            let daemon = self.cluster.begin_line(&home, &format!("exec {command}"));
            wait_until(line, || {
                let said = String::from_utf8(daemon.stdout()).unwrap();
                said.contains("is managed at") || said.contains("workers to")
            });
            self.daemons.push(daemon);
            return;
        }
        let output = self.cluster.begin_line(&home, &command).wait();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {error}");
        let printed = String::from_utf8(output.stdout).unwrap();
        if line.contains("atlas-manager token create") && !line.contains("atlas-shell") {
            printed.trim().clone_into(&mut self.token);
        }
        self.outputs.insert(line.to_owned(), printed);
    }

    /// Puts lines of settings in the place of those that are there for the same keys.
    fn set(&self, machine: &str, lines: &[&str]) {
        let settings = self
            .home(machine)
            .join(".local/state/atlas/manager/settings.toml");
        let mut text = fs::read_to_string(&settings).unwrap();
        for line in lines {
            let key = line.split('=').next().unwrap();
            let old = text.lines().find(|old| old.starts_with(key));
            let old = old
                .unwrap_or_else(|| panic!("there is no {key} in {text}"))
                .to_owned();
            text = text.replace(&old, line);
        }
        fs::write(&settings, text).unwrap();
    }
}

#[test]
fn the_page_leads_to_a_cluster() {
    let mut page = Page {
        cluster: Cluster::new(),
        token: String::new(),
        daemons: Vec::new(),
        outputs: BTreeMap::new(),
    };
    let mut commands = 0;
    let (toml, sh): (Vec<_>, Vec<_>) = blocks(PAGE)
        .into_iter()
        .partition(|block| block.language == "toml");
    for Block {
        machines, lines, ..
    } in sh
    {
        for machine in machines {
            for line in &lines {
                page.follow(machine, line);
            }
        }
        commands += lines.len();
    }
    // Six to three machines, four more to tokens from elsewhere, three to the domain below.
    assert_eq!(commands, 6 + 4 + 3);
    let queens = &page.outputs["atlas-shell submit nqueens -- 14"];
    assert_eq!(queens, "8 queens: 92 ways\n");

    // The settings are read at the next start.
    for Block {
        machines, lines, ..
    } in toml
    {
        drop(page.daemons.pop());
        page.set(machines[0], &lines);
        page.follow(machines[0], "atlas-manager run");
    }
    let domains = wait_for("both domains are there", || {
        page.follow("head", "atlas-shell domains");
        let domains = page.outputs.remove("atlas-shell domains")?;
        domains.contains("lab.cs.example.edu").then_some(domains)
    });
    assert!(domains.contains("cs.example.edu"), "{domains}");
    page.follow("head", "atlas-shell servers");
    let servers = page.outputs["atlas-shell servers"].lines().count();
    assert_eq!(servers, 1 + 2);
}
