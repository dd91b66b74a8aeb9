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
        found.figures.push((metric, with / without));
        found.notes.push(format!(
            "{program}: {with:.3} s recorded, {without:.3} s without"
        ));
    }
    Ok(found)
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
