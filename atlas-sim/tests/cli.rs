//! The command as a user types it.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are not seen to be tests"
)]

use std::process::{Command, Output};

use atlas_sim::report::Report;

fn atlas_sim(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_atlas-sim"))
        .args(arguments.split_whitespace())
        .output()
        .unwrap()
}

/// Of a world that is over soon.
const SMALL: &str = "--servers 16 --levels 2 --work-per-server 5s --granularity 50ms";

fn reports(arguments: &str) -> Vec<Report> {
    let output = atlas_sim(&format!("{SMALL} --json {arguments}"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn all_policies_run_beside_each_other() {
    let reports = reports("--policy all");
    assert_eq!(reports.len(), 4);
    for report in &reports {
        let job = report.job.as_ref().unwrap();
        assert!(job.correct, "{report}");
        assert!(report.real_s.is_some());
    }
    let table = String::from_utf8(atlas_sim(&format!("{SMALL} --policy all")).stdout).unwrap();
    let policies = table
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .collect::<Vec<_>>();
    assert_eq!(policies, ["policy", "atlas", "random", "crs", "central"]);
}

#[test]
fn faults_do_not_change_the_result() {
    for faults in ["loss", "crash", "churn --mean-life 10s"] {
        let report = reports(&format!(
            "--faults {faults} --wire --workers 2 --speeds unequal"
        ))
        .remove(0);
        assert!(report.job.as_ref().unwrap().correct, "{faults}: {report}");
    }
}

#[test]
fn a_job_may_come_from_a_leaf_domain() {
    let report = reports("--submit leaf --workload skewed").remove(0);
    assert!(report.job.unwrap().correct);
}

#[test]
fn a_trace_is_json_with_a_span_for_busy_workers() {
    let path = std::env::temp_dir().join(format!("atlas-sim-trace-{}.json", std::process::id()));
    for policy in ["atlas", "crs", "central"] {
        reports(&format!("--policy {policy} --trace {}", path.display()));
        let text = std::fs::read_to_string(&path).unwrap();
        let entries: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let busy = entries.iter().filter(|entry| entry["name"] == "1 busy");
        let busy_us: f64 = busy.filter_map(|entry| entry["dur"].as_f64()).sum();
        // Sixteen servers with five seconds of work each.
        assert!((79.9e6..80.1e6).contains(&busy_us), "{policy}: {busy_us}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_printed_scenario_runs_as_its_options_do() {
    let options = format!("{SMALL} --faults churn --mean-life 10s --seed 6");
    let printed = atlas_sim(&format!("{options} --print-scenario")).stdout;
    let path = std::env::temp_dir().join(format!("atlas-sim-scenario-{}.json", std::process::id()));
    std::fs::write(&path, printed).unwrap();
    let replay = reports(&format!("--scenario {}", path.display())).remove(0);
    let direct = reports("--faults churn --mean-life 10s --seed 6").remove(0);
    assert_eq!((replay.events, replay.job), (direct.events, direct.job));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn what_cannot_be_had_is_said_in_a_sentence() {
    for (arguments, sentence) in [
        ("--policy all --trace x", "--trace is of one policy"),
        (
            "--policy crs --faults loss",
            "--faults is for --policy atlas",
        ),
        ("--policy crs --idle 5", "--idle is for --policy atlas"),
        ("--granularity 5h", "write s, ms or us"),
    ] {
        let output = atlas_sim(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && error.contains(sentence),
            "{arguments}: {error}"
        );
    }
}

#[test]
fn seeds_are_checked_and_a_scenario_is_replayed() {
    let output = atlas_sim("--seeds 0..3");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("3 of 3 seeds hold"), "{text}");
    let checked = atlas_sim(&format!("{SMALL} --check"));
    let text = String::from_utf8(checked.stdout).unwrap();
    assert!(text.starts_with("all holds"), "{text}");
}

#[test]
fn plots_are_well_formed_and_alike_in_every_run() {
    let directory = std::env::temp_dir().join(format!("atlas-sim-plots-{}", std::process::id()));
    let runs = ["one", "other"].map(|name| {
        let to = directory.join(name);
        let output = atlas_sim(&format!("plots --quick --to {}", to.display()));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{error}");
        to
    });
    let tables = std::fs::read_to_string(runs[0].join("tables.md")).unwrap();
    for name in ["servers.svg", "granularity.svg", "latency.svg", "shape.svg"] {
        let [svg, again] = runs
            .each_ref()
            .map(|run| std::fs::read_to_string(run.join(name)).unwrap());
        assert_eq!(svg, again, "{name}");
        let document = roxmltree::Document::parse(&svg).unwrap();
        assert_eq!(document.root_element().tag_name().name(), "svg");
        let texts: Vec<&str> = document
            .descendants()
            .filter_map(|node| node.text())
            .map(str::trim)
            .collect();
        for policy in ["atlas", "random", "crs", "central"] {
            assert!(texts.contains(&policy), "{name} does not name {policy}");
        }
        assert!(tables.contains(name), "the tables do not show {name}");
    }
    assert_eq!(
        tables,
        std::fs::read_to_string(runs[1].join("tables.md")).unwrap()
    );
    std::fs::remove_dir_all(directory).unwrap();
}
