//! Servers whose manager stays away: they compute for the domain above as its guests, and go home when it is back.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::fs;
use std::path::Path;

use atlas_testbed::{
    Cluster, Manager, Running, Server, ServerOptions, Shell, code, entries, wait_until,
};

const TOP: &str = "example.edu";
const CS: &str = "cs.example.edu";
const LAB: &str = "lab.cs.example.edu";

/// Servers that do not wait for a minute, so that the tests do not.
fn server(cluster: &Cluster, manager: &Manager) -> Server {
    let options = ServerOptions {
        guest_after: Some(1),
        ..ServerOptions::default()
    };
    cluster.server(manager, options)
}

/// The domains of the servers that a domain has.
fn domains(shell: &Shell) -> Vec<String> {
    let servers = shell.json(["servers"]);
    let domains = servers.iter().map(|server| server["domain"].to_string());
    let mut domains: Vec<String> = domains.collect();
    domains.sort_unstable();
    domains
}

fn wait_for_domains(shell: &Shell, what: &str, domains_are: &[&str]) {
    let expected: Vec<String> = domains_are.iter().map(|it| format!("{it:?}")).collect();
    wait_until(what, || domains(shell) == expected);
}

/// What a server remembers of domains above.
fn wait_for_above(server: &Server, above: &[&Manager]) {
    let line = |above: &&Manager| format!("{} {}\n", above.domain(), above.address());
    let expected: String = above.iter().map(line).collect();
    wait_until("the server knows of the domains above", || {
        fs::read_to_string(server.state().join("above")).is_ok_and(|text| text == expected)
    });
}

/// The tasks run again elsewhere, and then the job ends as it should.
fn end_after_second_run(job: Running, folder: &Path) {
    wait_until("both tasks run again", || entries(folder) >= 4);
    fs::write(folder.join("go"), "").unwrap();
    let ended = job.wait();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(code(&ended), 0, "{error}");
    // Whoever comes to a task after that does not wait, and one process may run both.
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(said.starts_with("sum 3, "), "{said}{error}");
}

#[test]
fn servers_serve_above_while_their_manager_is_away_and_go_home_when_it_is_back() {
    let cluster = Cluster::new();
    let root = cluster.root(TOP);
    let mut cs = cluster.below(&root, CS);
    let mut servers = [(); 2].map(|()| server(&cluster, &cs));
    root.wait_for_workers(2);
    for server in &servers {
        wait_for_above(server, &[&root]);
    }
    let (shell, of_cs) = (cluster.login(&root), cluster.login(&cs));
    wait_for_domains(&shell, "the servers are at home", &[]);
    let (job, folder) = shell.begin_held("first", 2);

    cs.kill();
    // In this life it has never heard of a manager.
    servers[1].kill();
    servers[1].restart();
    wait_for_domains(&shell, "both are guests", &[CS, CS]);
    end_after_second_run(job, &folder);

    // They go home in the middle of a job of their host's, which goes on with them there.
    let (job, folder) = shell.begin_held("second", 2);
    cs.restart();
    cs.wait_for_workers(2);
    wait_for_domains(&shell, "the guests are gone", &[]);
    end_after_second_run(job, &folder);
    of_cs.assert_works();
    root.wait_for_workers(2);
    shell.assert_works();
    // The manager was lost; guests have taken their leave.
    assert_eq!(root.metrics().get("peers_lost_total"), 1);
}

#[test]
fn a_server_goes_farther_if_the_domain_above_has_no_manager_either() {
    let cluster = Cluster::new();
    let root = cluster.root(TOP);
    let mut cs = cluster.below(&root, CS);
    let mut lab = cluster.below(&cs, LAB);
    let guest = server(&cluster, &lab);
    root.wait_for_workers(1);
    wait_for_above(&guest, &[&cs, &root]);
    let (shell, of_cs) = (cluster.login(&root), cluster.login(&cs));
    lab.kill();
    cs.kill();
    wait_for_domains(&shell, "it is a guest of the topmost domain", &[LAB]);
    shell.assert_works();
    // And back, step by step.
    cs.restart();
    wait_for_domains(&of_cs, "it is a guest of the domain above", &[LAB]);
    lab.restart();
    lab.wait_for_workers(1);
    wait_for_domains(&of_cs, "the guest is gone", &[]);
}

#[test]
fn guests_have_no_vote_where_they_are() {
    let cluster = Cluster::new();
    let mut root = cluster.root(TOP);
    let standby = cluster.standby(&root);
    let _own = cluster.servers(&root, 1);
    let mut cs = cluster.below(&root, CS);
    let _guests = [(); 3].map(|()| server(&cluster, &cs));
    root.wait_for_workers(4);
    root.wait_for_health("stands by, and 2 children may vote for it");
    let shell = cluster.login(&root);
    cs.kill();
    wait_for_domains(&shell, "all are there", &[CS, CS, CS, TOP]);
    root.wait_for_health("stands by, and 1 children may vote for it");
    // They follow whoever acts, all the same.
    root.kill();
    standby.wait_for_health("acts in term");
    standby.wait_for_workers(4);
    shell.assert_works();
}

#[test]
fn servers_of_a_domain_that_does_not_let_all_work_in_are_nobodys_guests() {
    let cluster = Cluster::new();
    let root = cluster.root(TOP);
    let mut cs = cluster.below(&root, CS);
    let server = server(&cluster, &cs);
    root.wait_for_workers(1);
    wait_for_above(&server, &[&root]);
    cs.stop();
    let settings = cs.state().join("settings.toml");
    let text = fs::read_to_string(&settings).unwrap();
    let own = text.replace("inflow = [\"*\"]", "inflow = [\"cs.example.edu\"]");
    assert_ne!(own, text);
    fs::write(&settings, own).unwrap();
    cs.restart();
    wait_for_above(&server, &[]);
    // What covers the whole tree is as good as everybody's.
    cs.stop();
    fs::write(&settings, text.replace("[\"*\"]", "[\"example.edu\"]")).unwrap();
    cs.restart();
    wait_for_above(&server, &[&root]);
}
