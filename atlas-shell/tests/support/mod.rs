//! A manager that runs no jobs: it answers clients over the real network, and "runs" what it is given by its arguments.
//!
//! | argument | the job |
//! | --- | --- |
//! | `exit=N` | exits with N; with 0, if nothing is said |
//! | `hang` | goes on until it is killed |
//! | `fail` | fails |
//! | `lose` | prints something, and more when the connection has broken |
//! | `lose-answer` | is taken in, and the connection breaks before that is said |
//!
//! Each prints its arguments to standard output and bytes that are no text to standard error. Output is sent in frames of a
//! few bytes, some of which come twice. What was
//! given as input is left as output.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses a part of it, and a failure here is the test's"
)]

mod answers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use atlas_net::enrol::Lifetimes;
use atlas_net::identity::{
    DomainAuthority, Identity, LEAF_LIFETIME, NodeKey, Role, Secret, Token, Tokens,
};
use atlas_net::{Arrival, Connection, Endpoint, EndpointOptions};
use atlas_proto::control::{JobStatus, Submission};
use atlas_shell::blobs::Blobs;
use atlas_shell::state::Login;
use tokio::sync::{oneshot, watch};

/// It is there until it is dropped.
pub(crate) struct FakeManager {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the tests look at.
pub(crate) struct Shared {
    pub(crate) authority: DomainAuthority,
    pub(crate) tokens: Mutex<Tokens>,
    pub(crate) jobs: Mutex<Vec<Job>>,
    pub(crate) blobs: Blobs,
    pub(crate) renewals: Mutex<u32>,
    /// Of users' certificates.
    pub(crate) lifetime: Duration,
    /// Counts changes of jobs.
    pub(crate) changed: watch::Sender<u64>,
}

pub(crate) struct Job {
    pub(crate) submission: Submission,
    pub(crate) status: JobStatus,
    pub(crate) output: [Vec<u8>; 2],
}

impl FakeManager {
    pub(crate) fn start() -> Self {
        Self::start_with(LEAF_LIFETIME)
    }

    /// That of another domain.
    pub(crate) fn start_in(domain: &str) -> Self {
        Self::begin(domain, LEAF_LIFETIME)
    }

    /// One that lets in users for so long.
    pub(crate) fn start_with(lifetime: Duration) -> Self {
        Self::begin("cs.example.edu", lifetime)
    }

    fn begin(domain: &str, lifetime: Duration) -> Self {
        let now = SystemTime::now();
        let shared = Arc::new(Shared {
            authority: DomainAuthority::init(domain.parse().unwrap(), now).unwrap(),
            tokens: Mutex::default(),
            jobs: Mutex::default(),
            blobs: Blobs::new().unwrap(),
            renewals: Mutex::default(),
            lifetime,
            changed: watch::channel(0).0,
        });
        let identity = identity(&shared.authority, Role::Manager, now, LEAF_LIFETIME);
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let served = shared.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let any = "127.0.0.1:0".parse().unwrap();
                let endpoint = Endpoint::bind(any, identity, &EndpointOptions::manager()).unwrap();
                tell.send(endpoint.local_address().unwrap()).unwrap();
                tokio::select! {
                    () = serve(&endpoint, &served) => {}
                    _ = stopped => endpoint.close("the manager stops").await,
                }
            });
        });
        Self {
            address: told.recv().unwrap(),
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// A login as a client, whose certificate is so old.
    pub(crate) fn login(&self, age: Duration) -> Login {
        self.login_as(Role::Client, age)
    }

    pub(crate) fn login_as(&self, role: Role, age: Duration) -> Login {
        Login {
            identity: identity(
                &self.shared.authority,
                role,
                SystemTime::now() - age,
                self.shared.lifetime,
            ),
            addresses: vec![self.address.to_string()],
        }
    }

    pub(crate) fn token(&self, role: Role) -> String {
        let secret = Secret::generate().unwrap();
        let mut tokens = self.shared.tokens.lock().unwrap();
        let hour = Duration::from_secs(3600);
        tokens
            .create(SystemTime::now(), &secret, role, hour, 1)
            .unwrap();
        let token = Token {
            domain: self.shared.authority.domain().clone(),
            role,
            addresses: vec![self.address.to_string()],
            authority: self.shared.authority.fingerprint(),
            secret,
        };
        token.to_string()
    }
}

impl Shared {
    fn lifetimes(&self) -> Lifetimes {
        Lifetimes {
            node: self.lifetime,
            ..Lifetimes::default()
        }
    }
}

impl Drop for FakeManager {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn identity(
    authority: &DomainAuthority,
    role: Role,
    made: SystemTime,
    lifetime: Duration,
) -> Identity {
    let key = NodeKey::generate().unwrap();
    let issued = authority.issue(&key.request().unwrap(), role, made, lifetime);
    Identity::new(key, issued.unwrap(), SystemTime::now()).unwrap()
}

async fn serve(endpoint: &Endpoint, shared: &Arc<Shared>) {
    while let Some(arrival) = endpoint.accept().await {
        let shared = shared.clone();
        match arrival {
            Ok(Arrival::Node(connection)) => {
                tokio::spawn(answer_all(connection, shared));
            }
            Ok(Arrival::Enrolment(enrolment)) => {
                tokio::spawn(async move {
                    let Shared {
                        authority, tokens, ..
                    } = &*shared;
                    let _ = enrolment
                        .answer(authority, tokens, &shared.lifetimes(), SystemTime::now())
                        .await;
                });
            }
            _ => {}
        }
    }
}

async fn answer_all(connection: Connection, shared: Arc<Shared>) {
    while let Ok((kind, stream)) = connection.accept_stream().await {
        tokio::spawn(answers::answer(
            kind,
            stream,
            connection.clone(),
            shared.clone(),
        ));
    }
}

/// The binary, with a state folder of its own.
pub(crate) struct Shell {
    pub(crate) folder: tempfile::TempDir,
}

impl Shell {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("here")).unwrap();
        Self { folder }
    }

    /// Its working directory.
    pub(crate) fn here(&self) -> PathBuf {
        self.folder.path().join("here")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atlas-shell"));
        command.args(args).current_dir(self.here());
        command.env("ATLAS_STATE", self.folder.path().join("state"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What it prints, if all goes well.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{args:?}: {:?}: {error}",
            output.status
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The code that it ends with and what it says to people, if not.
    pub(crate) fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), error)
    }

    /// An executable to submit.
    pub(crate) fn program(&self) -> PathBuf {
        let path = self.here().join("program");
        executable(&path, b"#!/bin/sh\nexit 0\n");
        path
    }
}

pub(crate) fn executable(path: &Path, content: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
