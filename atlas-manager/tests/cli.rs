//! The binary's command line: help, versions, and what is said to who mistypes.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::process::{Command, Output};

fn manager(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atlas-manager"));
    command.args(args).output().unwrap()
}

fn refused(args: &[&str]) -> String {
    let output = manager(args);
    assert!(!output.status.success() && output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn it_says_what_it_is_and_what_it_can_do() {
    let version = manager(&["--version"]);
    assert!(version.status.success());
    let expected = format!("atlas-manager {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(version.stdout, expected.as_bytes());
    let help = String::from_utf8(manager(&["--help"]).stdout).unwrap();
    for command in ["init", "join", "run", "token"] {
        assert!(help.contains(command), "{help}");
    }
}

#[test]
fn shells_complete_subcommands() {
    for shell in ["bash", "zsh", "fish"] {
        let completions = manager(&["completions", shell]);
        assert!(completions.status.success());
        let script = String::from_utf8(completions.stdout).unwrap();
        assert!(
            script.contains("atlas-manager") && script.contains("standby"),
            "{shell}: {script}"
        );
    }
}

#[test]
fn what_is_mistyped_is_named() {
    assert!(refused(&["begin"]).contains("begin"));
    assert!(refused(&["init", "--domain", "no_domain!"]).contains("no_domain!"));
    assert!(refused(&["join", "no-token", "--domain", "a.b"]).contains("no-token"));
    assert!(refused(&["run", "--http", "everywhere"]).contains("everywhere"));
}

#[test]
fn what_is_missing_is_told_with_the_command_that_makes_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    for line in [&["run"][..], &["token", "create"]] {
        let error = refused(&[line, &["--state", state]].concat());
        assert!(error.contains("atlas-manager init"), "{error}");
        assert!(error.contains(state), "{error}");
    }
}

#[test]
fn a_domain_is_not_begun_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let line = [
        "init",
        "--domain",
        "example.edu",
        "--state",
        state.to_str().unwrap(),
    ];
    assert!(manager(&line).status.success());
    assert!(refused(&line).contains("already"));
}
