//! What it costs to record children that have finished, when nothing is ever lost.

use anyhow::Result;
use atlas_testbed::Shell;

use super::figures::{Found, Metric};
use crate::cluster::domain::Domain;
use crate::cluster::job::{seconds, submit};
use crate::options::Size;
use crate::sample::median;

/// The same programs on two domains, of which one's servers record nothing.
///
/// # Errors
/// If a job fails.
pub fn checkpoints(reps: u32, size: Size) -> Result<Found> {
    let programs: [(Metric, &str, &[&str]); 3] = [
        (
            Metric::CheckpointCostFib,
            "fib",
            size.pick(&["45"], &["30"]),
        ),
        (
            Metric::CheckpointCostUts,
            "uts",
            size.pick(&["t1l"], &["t3-mini"]),
        ),
        (
            Metric::CheckpointCostRaytrace,
            "raytrace",
            // By itself, a picture of some seconds.
            size.pick(&[], &["--samples", "1"]),
        ),
    ];
    let mut found = Found {
        figures: Vec::new(),
        notes: Vec::new(),
    };
    for (metric, program, args) in programs {
        let [with, without] = take_turns(program, args, reps)?;
        found.figures.push((metric, ratio(with, without)));
        found.notes.push(format!(
            "{program}: {with:.3} s recorded, {without:.3} s without{}",
            if without < SECONDS_MIN {
                ", which is too short to tell"
            } else {
                ""
            }
        ));
    }
    Ok(found)
}

/// One over the other; not a number if that is too short.
fn ratio(with: f64, without: f64) -> f64 {
    if without < SECONDS_MIN {
        f64::NAN
    } else {
        with / without
    }
}

/// The median seconds with recording, and without. Who begins changes from turn to turn.
fn take_turns(program: &str, args: &[&str], reps: u32) -> Result<[f64; 2]> {
    let domains = [Domain::with_servers(2), Domain::without_checkpoints(2)];
    let mut times = [Vec::new(), Vec::new()];
    let time = |shell: &Shell| seconds(&submit(shell, program, args)?);
    for turn in 0..reps {
        let order = if turn % 2 == 0 { [0, 1] } else { [1, 0] };
        for place in order {
            times[place].push(time(&domains[place].shell)?);
        }
    }
    Ok(times.map(median))
}

/// Programs tell milliseconds: of fewer than ten, one more or less is not what recording costs.
const SECONDS_MIN: f64 = 0.010;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars::Figure;
    use crate::faults::figures::Bench;

    /// It was not a number, and a bar that was missed.
    #[test]
    fn regression_what_is_too_short_to_tell_is_no_figure() {
        let figure = |with, without| {
            let value = ratio(with, without);
            Figure::new(Bench::CheckpointCost, Metric::CheckpointCostUts, value)
        };
        for (with, without) in [(0.0, 0.0), (0.001, 0.0), (0.02, 0.009)] {
            let figure = figure(with, without);
            let json = figure.json().unwrap();
            assert!(json.contains(r#""value":null,"#), "{json}");
            let line = figure.line();
            assert!(
                line.contains(" - ratio") && line.ends_with("not measured"),
                "{line}"
            );
        }
        let json = figure(0.505, 0.5).json().unwrap();
        assert!(json.contains(r#""value":1.01,"#), "{json}");
        assert!(figure(0.6, 0.5).line().ends_with("MISSED"));
    }
}
