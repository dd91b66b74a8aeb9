//! Logins that let others in, and those that may not.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use atlas_testbed::{Cluster, Manager, Shell, TokenOptions, code, program};

/// Somebody who is logged in with a token of this role.
fn login(cluster: &Cluster, manager: &Manager, role: &str) -> Shell {
    let shell = cluster.stranger();
    let token = manager.token(&TokenOptions {
        role,
        ..TokenOptions::default()
    });
    let said = shell.ok(["login", &token]);
    let expected = format!("logged in to {} as {role} ", manager.domain());
    assert!(said.starts_with(&expected), "{said}");
    shell
}

/// What is said to who gets no token.
fn refused(shell: &Shell, line: &[&str]) -> String {
    let refused = shell.run([&["token"], line].concat());
    let error = String::from_utf8(refused.stderr.clone()).unwrap();
    assert_eq!(code(&refused), 77, "{error}");
    assert_eq!(refused.stdout, b"");
    error
}

#[test]
fn an_administrator_lets_servers_and_clients_in_from_afar() {
    let cluster = Cluster::new();
    let mut manager = cluster.root("example.edu");
    let admin = login(&cluster, &manager, "admin");
    // As on the manager's machine, a token is for one server unless something else is said.
    let token = admin.ok(["token"]);
    let (listen, state) = (
        format!("{}:0", cluster.address()),
        cluster.folder().join("server"),
    );
    let line = ["join", "--run", token.trim(), "--workers", "1"];
    let line = [
        &line[..],
        &["--listen", &listen, "--state", state.to_str().unwrap()],
    ];
    let _server = cluster.begin(program("atlas-server"), line.concat());
    manager.wait_for_workers(1);
    let again = cluster.enrol_server(token.trim());
    let error = String::from_utf8(again.stderr).unwrap();
    assert!(error.contains("used up"), "{error}");

    let line = ["token", "--role", "client", "--uses", "2", "--ttl", "30min"];
    let token = admin.ok(line);
    // It is the manager that keeps it, as it keeps its own.
    manager.kill();
    manager.restart();
    for shell in [cluster.stranger(), cluster.stranger()] {
        shell.ok(["login", token.trim()]);
        let queens = shell.submit(program("nqueens"), ["6"]);
        assert_eq!(queens.stdout, b"6 queens: 4 ways\n");
    }
    // Whoever administers is a client, too.
    let queens = admin.submit(program("nqueens"), ["6"]);
    assert_eq!(queens.stdout, b"6 queens: 4 ways\n");
    let short = admin.ok(["token", "--ttl", "1ms"]);
    let late = cluster.enrol_server(short.trim());
    let error = String::from_utf8(late.stderr).unwrap();
    assert!(error.contains("expired"), "{error}");
    let lost = admin.ok(["token", "--address", "nowhere.invalid:7117"]);
    let error = String::from_utf8(cluster.enrol_server(lost.trim()).stderr).unwrap();
    assert!(error.contains("nowhere.invalid:7117"), "{error}");
}

#[test]
fn who_may_make_no_token_is_told_how_to_get_one() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let client = cluster.login(&manager);
    for role in ["server", "client", "manager", "standby", "admin"] {
        let error = refused(&client, &["--role", role]);
        let way = "atlas-manager token create --role admin";
        assert!(error.contains(way), "{role}: {error}");
    }
    // What is worth more than a place in the domain is given out on the manager's machine alone.
    let admin = login(&cluster, &manager, "admin");
    for role in ["manager", "standby", "admin"] {
        let error = refused(&admin, &["--role", role]);
        let way = format!("atlas-manager token create --role {role}");
        assert!(error.contains(&way), "{role}: {error}");
    }
    let error = refused(&admin, &["--ttl", "31days"]);
    assert!(error.contains("30 days at most"), "{error}");
    let error = refused(&admin, &["--uses", "0"]);
    assert!(error.contains("give 1 use or more"), "{error}");
    let unknown = admin.run(["token", "--role", "king"]);
    let error = String::from_utf8(unknown.stderr.clone()).unwrap();
    assert!(
        code(&unknown) == 2 && error.contains("king") && error.contains("admin"),
        "{error}"
    );
}
