//! Servers that reach their manager and not each other, as behind two routers that translate addresses: they steal all the same.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::fs;

use atlas_testbed::{Cluster, Manager, Relay, Server, ServerOptions, Shell, program, wait_until};

/// A domain with so many servers of one worker each. What its manager sees of each is a port that takes datagrams from the
/// manager alone.
struct Apart {
    shell: Shell,
    servers: Vec<Server>,
    _relays: Vec<Relay>,
    _manager: Manager,
    _cluster: Cluster,
}

impl Apart {
    fn new(servers: u64) -> Self {
        let cluster = Cluster::new();
        let manager = cluster.root("example.edu");
        let relays = (0..servers).map(|_| Relay::start(manager.address()).unwrap());
        let relays: Vec<Relay> = relays.collect();
        let behind = |relay: &Relay| {
            let options = ServerOptions {
                log: Some("info"),
                ..ServerOptions::default()
            };
            let mut server = cluster.server(&manager, options);
            server.stop();
            let manager = format!("{}\n", relay.address());
            fs::write(server.state().join("manager"), manager).unwrap();
            server.restart();
            server
        };
        let lent = relays.iter().map(behind).collect();
        manager.wait_for_workers(servers);
        Self {
            shell: cluster.login(&manager),
            servers: lent,
            _relays: relays,
            _manager: manager,
            _cluster: cluster,
        }
    }

    /// How often servers have said this.
    fn said(&self, what: &str) -> usize {
        let said = |server: &Server| server.log().matches(what).count();
        self.servers.iter().map(said).sum()
    }
}

/// What comes back comes by the same way. A thief that waited until nobody has answered it for ten seconds stood still for as
/// long, since it asks for one steal at a time.
#[test]
fn regression_servers_that_cannot_reach_each_other_steal_through_their_manager_at_once() {
    let apart = Apart::new(3);
    let folder = apart.shell.here().join("met");
    fs::create_dir(&folder).unwrap();
    let line = ["meet", "3", folder.to_str().unwrap()];
    let job = apart.shell.begin_submit(program("testbed-job"), line);
    wait_until("all tasks run", || {
        fs::read_dir(&folder).unwrap().count() == 3
    });
    assert!(apart.said("the manager relays, since no answer has come yet") > 0);
    // They still try.
    assert_eq!(apart.said("there is no direct way"), 0);
    assert_eq!(job.wait().stdout, b"sum 6, 3 processes\n");
}
