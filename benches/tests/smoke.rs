//! Runs `local --quick` as a user would, and checks that it prints what readers
//! of its output rely on. The figures themselves mean nothing here.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use serde_json::Value;

#[test]
fn quick_json_has_every_case_and_metric() {
    let output = local(&["--quick", "--json", "--reps", "1"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    let rows: BTreeSet<String> = printed.lines().map(checked_key).collect();
    let missing: Vec<String> = required()
        .into_iter()
        .filter(|key| !rows.contains(key))
        .collect();
    assert!(
        missing.is_empty(),
        "missing: {missing:#?}\nprinted:\n{printed}"
    );
}

#[test]
fn only_runs_what_it_names() {
    let output = local(&[
        "--quick", "--json", "--only", "fib", "--only", "tree", "--reps", "1",
    ]);
    let printed = String::from_utf8(output.stdout).unwrap();
    let benches: BTreeSet<String> = printed
        .lines()
        .map(|line| checked_key(line).split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        benches,
        BTreeSet::from(["fib".to_owned(), "tree".to_owned()])
    );
}

#[test]
fn table_opens_with_the_machine() {
    let output = local(&["--quick", "--only", "seq_in_pool", "--reps", "1"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut lines = printed.lines();
    let machine = lines.next().unwrap();
    assert!(
        machine.contains("rustc") && machine.contains("aligned"),
        "{machine}"
    );
    assert!(
        lines.any(|line| line.starts_with("seq_in_pool")),
        "{printed}"
    );
}

fn local(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_local"))
        .args(arguments)
        .output()
        .expect("cargo built the program before this test");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "local {arguments:?}: {}\n{errors}",
        output.status
    );
    output
}

/// The row's `bench case metric`, once its keys are seen to be right.
fn checked_key(line: &str) -> String {
    let row: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let text = |key: &str| {
        row[key]
            .as_str()
            .unwrap_or_else(|| panic!("no {key}: {line}"))
    };
    let value = row["value"]
        .as_f64()
        .unwrap_or_else(|| panic!("no value: {line}"));
    assert!(value.is_finite(), "{line}");
    assert!(!text("unit").is_empty(), "{line}");
    if text("bench") == "region" {
        assert!(row["k"].is_u64() && row["after_idle_us"].is_u64(), "{line}");
    }
    format!("{} {} {}", text("bench"), text("case"), text("metric"))
}

/// What must be there on any machine. A first steal is not among it: a machine
/// with one core need not see one.
fn required() -> Vec<String> {
    let mut keys = Vec::new();
    let mut require = |bench: &str, cases: &str, metrics: &str| {
        for case in cases.split(' ') {
            keys.extend(
                metrics
                    .split(' ')
                    .map(|metric| format!("{bench} {case} {metric}")),
            );
        }
    };
    for bench in ["fib", "nqueens", "tree", "integrate", "uts"] {
        require(bench, "seq", "ts_ms");
        require(
            bench,
            "join closure rayon chili",
            "t1_over_ts ts_over_t2 ns_per_spawn",
        );
        require(bench, "join closure", "peak_rss_mb");
    }
    for bench in ["fib", "tree", "uts"] {
        require(
            bench,
            "cps",
            "t1_over_ts ts_over_t2 ns_per_spawn peak_rss_mb",
        );
    }
    require("flat", "join closure rayon chili", "ts_over_t2");
    require("flat", "join closure", "peak_rss_mb");
    require("region", "seq join closure rayon chili", "region_us");
    require("seq_in_pool", "seq closure rayon chili", "cores_used");
    require("idle", "closure rayon chili", "idle_cpu_pct");
    keys
}
