//! A domain on loopback: a manager, servers, and somebody who is logged in.

use atlas_testbed::{Cluster, Manager, Server, ServerOptions, Shell};

/// A domain that runs; dropped, its processes are killed and its folders removed.
#[derive(Debug)]
pub struct Domain {
    /// Where all of it is.
    pub cluster: Cluster,
    /// Its manager.
    pub manager: Manager,
    /// Its servers.
    pub servers: Vec<Server>,
    /// Who submits jobs.
    pub shell: Shell,
}

impl Domain {
    /// One with so many servers of one worker each; they have joined.
    #[must_use]
    pub fn with_servers(count: u64) -> Self {
        Self::start(count, ServerOptions::default())
    }

    /// As [`Domain::with_servers`], where engines record nothing.
    #[must_use]
    pub fn without_checkpoints(count: u64) -> Self {
        let options = ServerOptions {
            checkpoints: false,
            ..ServerOptions::default()
        };
        Self::start(count, options)
    }

    /// As [`Domain::with_servers`], where servers say what becomes of steals.
    #[must_use]
    pub fn with_steal_logs(count: u64) -> Self {
        let options = ServerOptions {
            log: Some(STEALS),
            ..ServerOptions::default()
        };
        Self::start(count, options)
    }

    fn start(count: u64, options: ServerOptions) -> Self {
        let cluster = Cluster::new();
        let manager = cluster.root("bench.example");
        let shell = cluster.login(&manager);
        let servers = (0..count)
            .map(|_| cluster.server(&manager, options))
            .collect();
        manager.wait_for_workers(count);
        Self {
            cluster,
            manager,
            servers,
            shell,
        }
    }

    /// The processes of the manager and the servers.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        let servers = self.servers.iter().map(|server| server.pid());
        std::iter::once(self.manager.pid()).chain(servers)
    }
}

/// What makes a server tell of steals; the module of `atlas-server` says how.
pub const STEALS: &str = "atlas_server::steal=debug";
