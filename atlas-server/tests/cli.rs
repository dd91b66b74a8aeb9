//! The binary's command line: help, versions, and what is said to who mistypes.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::process::{Command, Output};

fn server(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atlas-server"));
    command.args(args).output().unwrap()
}

fn refused(args: &[&str]) -> String {
    let output = server(args);
    assert!(!output.status.success() && output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn it_says_what_it_is_and_what_it_can_do() {
    let version = server(&["--version"]);
    assert!(version.status.success());
    let expected = format!("atlas-server {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(version.stdout, expected.as_bytes());
    let help = String::from_utf8(server(&["--help"]).stdout).unwrap();
    assert!(help.contains("join") && help.contains("run"), "{help}");
}

#[test]
fn help_says_when_a_server_becomes_a_guest_and_how_to_forbid_it() {
    let help = String::from_utf8(server(&["run", "--help"]).stdout).unwrap();
    let (_, told) = help.split_once("--guest-after").unwrap();
    let told = told.split_once("--nice").unwrap().0;
    assert!(
        told.contains("0: never") && told.contains("[default: 60]"),
        "{told}"
    );
}

#[test]
fn shells_complete_subcommands() {
    for shell in ["bash", "zsh", "fish"] {
        let completions = server(&["completions", shell]);
        assert!(completions.status.success());
        let script = String::from_utf8(completions.stdout).unwrap();
        assert!(
            script.contains("atlas-server") && script.contains("join"),
            "{shell}: {script}"
        );
    }
}

#[test]
fn what_is_mistyped_is_named() {
    assert!(refused(&["lend"]).contains("lend"));
    assert!(refused(&["join", "no-token"]).contains("no-token"));
    assert!(refused(&["run", "--workers", "0"]).contains("--workers"));
    assert!(refused(&["run", "--guest-after", "soon"]).contains("--guest-after"));
}

#[test]
fn who_has_not_joined_is_told_how_to() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let error = refused(&["run", "--state", state]);
    assert!(error.contains("atlas-server join TOKEN"), "{error}");
    assert!(error.contains(state), "{error}");
}
