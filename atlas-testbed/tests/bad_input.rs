//! What is wrong gets an error that names it and what to do, and takes no daemon down.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use atlas_testbed::{
    Cluster, Manager, Server, ServerOptions, Shell, TokenOptions, code, program, refusal,
    wait_until,
};

fn one_server(cluster: &Cluster) -> (Manager, Server, Shell) {
    let manager = cluster.root("example.edu");
    let server = cluster.server(&manager, ServerOptions::default());
    manager.wait_for_workers(1);
    let shell = cluster.login(&manager);
    (manager, server, shell)
}

/// A file in the shell's current folder that may be executed.
fn executable(shell: &Shell, name: &str, content: &[u8]) -> PathBuf {
    let path = shell.write(name, content);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn tokens_that_let_nobody_in() {
    let cluster = Cluster::new();
    let (manager, _server, shell) = one_server(&cluster);

    let used_up = manager.token(&TokenOptions::default());
    assert!(cluster.enrol_server(&used_up).status.success());
    let again = refusal(&cluster.enrol_server(&used_up));
    assert!(
        again.contains("example.edu") && again.contains("token"),
        "{again}"
    );

    let expired = manager.token(&TokenOptions {
        ttl: "1ms",
        ..TokenOptions::default()
    });
    let late = refusal(&cluster.enrol_server(&expired));
    assert!(late.contains("token"), "{late}");

    // Of another role, and of none.
    let client = manager.token(&TokenOptions {
        role: "client",
        ..TokenOptions::default()
    });
    let other = refusal(&cluster.enrol_server(&client));
    assert!(other.contains("--role server"), "{other}");
    let server = manager.token(&TokenOptions::default());
    let other = refusal(&cluster.stranger().run(["login", &server]));
    assert!(other.contains("client"), "{other}");
    let mistyped = client.replace('A', "B");
    let other = refusal(&cluster.stranger().run(["login", &mistyped]));
    assert!(other.contains("token"), "{other}");
    let unknown = refusal(&manager.administer(["token", "create", "--role", "king"]));
    assert!(unknown.contains("king"), "{unknown}");

    // What was refused has used up nothing.
    assert!(cluster.stranger().run(["login", &client]).status.success());
    shell.assert_works();
}

#[test]
fn a_folder_that_is_taken_uses_up_no_token() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    for role in ["manager", "standby"] {
        let token = manager.token(&TokenOptions {
            role,
            ..TokenOptions::default()
        });
        let line = match role {
            "manager" => vec!["join", &token, "--domain", "lab.example.edu"],
            _ => vec!["standby", &token],
        };
        // The folders of a manager and of one that is to stand by and has never run.
        let standby = cluster.new_standby(&manager);
        for taken in [manager.state(), &standby] {
            let state = ["--state", taken.to_str().unwrap()];
            let line = [&line[..], &state].concat();
            let refused = cluster.begin(program("atlas-manager"), line).wait();
            let said = refusal(&refused);
            assert!(
                said.contains(taken.to_str().unwrap()) && said.contains("--state"),
                "{role}: {said}"
            );
            assert_eq!(refused.stdout, b"", "{role}");
        }
        let free = cluster.folder().join(role);
        let line = [&line[..], &["--state", free.to_str().unwrap()]].concat();
        let joined = cluster.begin(program("atlas-manager"), line).wait();
        let said = String::from_utf8_lossy(&joined.stderr).into_owned();
        assert!(joined.status.success(), "{role}: {said}");
    }
}

#[test]
fn a_server_of_another_domain_is_turned_away_by_name() {
    let cluster = Cluster::new();
    let (manager, _server, shell) = one_server(&cluster);
    let other = cluster.root("example.org");
    let mut lost = cluster.server(&other, ServerOptions::default());
    other.wait_for_workers(1);
    lost.stop();
    fs::write(
        lost.state().join("manager"),
        format!("{}\n", manager.address()),
    )
    .unwrap();
    lost.restart();
    wait_until("the server says whom it has met, and what to do", || {
        let log = lost.log();
        let mut lines = log.lines();
        lines.any(|line| {
            line.contains("example.edu")
                && line.contains("of a foreign domain, or out of date; enrol")
        })
    });
    assert!(lost.is_running());
    assert_eq!(manager.metrics().get("servers"), 1);
    shell.assert_works();
}

#[test]
fn noise_at_the_port_is_nobodys_concern() {
    let cluster = Cluster::new();
    let (mut manager, mut server, shell) = one_server(&cluster);
    let listens = server.log();
    let (_, address) = listens.split_once(" at ").unwrap();
    let server_address: SocketAddr = address.lines().next().unwrap().parse().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Of all lengths, from one seed; the first bytes make some of them look like QUIC's long headers.
    let mut state: u32 = 0x9e37_79b9;
    for round in 0..2000_usize {
        let datagram: Vec<u8> = (0..round % 1400)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state.to_be_bytes()[0]
            })
            .collect();
        for address in [manager.address(), server_address] {
            // The system may have no room for it.
            let _ = socket.send_to(&datagram, address);
        }
    }
    let garbage = std::io::Write::write_all(
        &mut std::net::TcpStream::connect(manager.http_address()).unwrap(),
        b"\0\xff\r\n\r\n",
    );
    assert!(garbage.is_ok());
    shell.assert_works();
    assert!(manager.is_running() && server.is_running());
    assert_eq!(manager.http("/healthz").as_deref(), Some("ok\n"));
}

#[test]
fn what_is_no_program_for_the_servers_is_named() {
    let cluster = Cluster::new();
    let (_manager, _server, shell) = one_server(&cluster);
    // An ELF header for s390: 64 bits, big-endian, executable.
    let mut elf = b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0\0\x02\0\x16\0\0\0\x01".to_vec();
    elf.resize(4096, 0);
    let elf = executable(&shell, "mainframe", &elf);
    let said = refusal(&shell.submit(elf, [""; 0]));
    assert!(
        said.contains("mainframe") && said.contains("no program for this machine"),
        "{said}"
    );

    let text = executable(&shell, "notes", b"buy milk\n");
    let said = refusal(&shell.submit(text, [""; 0]));
    assert!(
        said.contains("notes") && said.contains("no program for this machine"),
        "{said}"
    );

    let plain = shell.write("plain", "buy milk\n");
    let said = refusal(&shell.submit(plain, [""; 0]));
    assert!(
        said.contains("plain") && said.contains("executable"),
        "{said}"
    );
    let said = refusal(&shell.submit("./missing", [""; 0]));
    assert!(said.contains("missing"), "{said}");
    let job = program("testbed-job");
    let line = [
        "submit",
        "--input",
        "nowhere",
        job.to_str().unwrap(),
        "--",
        "print",
    ];
    let said = refusal(&shell.run(line));
    assert!(said.contains("nowhere"), "{said}");
    shell.assert_works();
}

#[test]
fn a_program_without_atlas_is_told_what_it_lacks() {
    let cluster = Cluster::new();
    let (_manager, _server, shell) = one_server(&cluster);
    let ended = shell.submit("/bin/true", [""; 0]);
    assert_eq!(code(&ended), 70);
    let said = refusal(&ended);
    assert!(
        said.contains("true is no program of Atlas") && said.contains("#[atlas::main]"),
        "{said}"
    );
    let asleep = executable(
        &shell,
        "asleep",
        b"#!/bin/sh\necho zzz >&2; exec sleep 1000\n",
    );
    let said = refusal(&shell.submit(asleep, [""; 0]));
    assert!(
        said.contains("asleep") && said.contains("#[atlas::main]"),
        "{said}"
    );
    assert!(said.contains("zzz"), "{said}");
    shell.assert_works();
}

#[test]
fn a_program_of_another_version_is_to_be_built_with_the_servers() {
    let cluster = Cluster::new();
    let (_manager, _server, shell) = one_server(&cluster);
    let fails = |how: &str| {
        let ended = shell.submit(program("other-version"), [how]);
        assert_eq!(code(&ended), 70);
        refusal(&ended)
    };
    // Of the two, either may be the one that notices.
    let is_named = |said: &str| {
        said.contains("other-version ")
            && said.contains("is of version ")
            && said.contains("with the version of Atlas that the server has")
            && !said.contains("no program of Atlas")
    };
    for how in ["speaks", "reads"] {
        let said = fails(how);
        assert!(is_named(&said), "{how}: {said}");
    }
    assert_eq!(shell.job(1)["state"], "failed");
    shell.assert_works();
}

#[test]
fn a_port_in_use_is_named_with_the_option_that_chooses_another() {
    let cluster = Cluster::new();
    let (manager, server, shell) = one_server(&cluster);
    let (taken, port) = (manager.address().to_string(), manager.address().port());
    let port = format!("port {port}");
    let served = manager.http_address().to_string();

    let other = cluster.root("example.org");
    let state = other.state().to_owned();
    drop(other);
    let begin = |options: &[&str]| {
        let line = [&["run", "--state", state.to_str().unwrap()], options].concat();
        cluster.begin(program("atlas-manager"), line).wait()
    };
    let said = refusal(&begin(&["--listen", &taken, "--http", "none"]));
    let is_named = |said: &str| said.contains(&port) && said.contains("is already in use");
    assert!(is_named(&said), "{said}");
    let said = refusal(&begin(&["--listen", "127.0.0.1:0", "--http", &served]));
    assert!(said.contains(&served) && said.contains("--http"), "{said}");

    // Its own folder is in use.
    let said = refusal(&manager.administer(["run", "--listen", "127.0.0.1:0", "--http", "none"]));
    assert!(said.contains("in use"), "{said}");

    let state = server.state().to_str().unwrap();
    let line = ["run", "--listen", &taken, "--state", state];
    let said = refusal(&cluster.begin(program("atlas-server"), line).wait());
    assert!(is_named(&said), "{said}");
    shell.assert_works();
}
