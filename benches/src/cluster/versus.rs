//! Two servers with one worker each against one process with two workers: what distribution costs where it is not needed.

use anyhow::{Result, ensure};

use super::domain::Domain;
use super::figures::{Found, Metric};
use super::job::{run_here, seconds, submit};
use crate::options::Size;
use crate::sample::median;

/// Fibonacci numbers: nothing but calls.
///
/// # Errors
/// If the job fails.
pub fn fib(reps: u32, size: Size) -> Result<Found> {
    let times = compare("fib", &[size.pick("46", "32")], reps)?;
    Ok(times.found(Metric::FibVsLocal, times.cluster / times.here))
}

/// n-queens.
///
/// # Errors
/// If the job fails.
pub fn nqueens(reps: u32, size: Size) -> Result<Found> {
    let times = compare("nqueens", &[size.pick("16", "12")], reps)?;
    Ok(times.found(Metric::NqueensVsLocal, times.cluster / times.here))
}

/// Ray tracing, the picture that the program makes by itself; the ratio is of speeds. What a job costs once, at its beginning and
/// its end, weighs more in a shorter one, which is told as a note.
///
/// # Errors
/// If the job fails.
pub fn raytrace(reps: u32, size: Size) -> Result<Found> {
    let whole: &[&str] = size.pick(&[], &["--samples", "2"]);
    let short = size.pick(["--samples", "16"], ["--samples", "1"]);
    let times = compare("raytrace", whole, reps)?;
    let mut found = times.found(Metric::RaytraceVsLocal, times.here / times.cluster);
    let times = compare("raytrace", &short, reps)?;
    found.notes.push(format!(
        "with `{}`: {:.3} of the speed, {:.2} s and {:.2} s",
        short.join(" "),
        times.here / times.cluster,
        times.cluster,
        times.here
    ));
    Ok(found)
}

/// What was seen of a program.
struct Times {
    cluster: f64,
    here: f64,
    /// Closures in all runs on the cluster: what thieves were given, and what engines have encoded.
    stolen: u64,
    serialised: u64,
    reps: u32,
}

impl Times {
    fn found(&self, metric: Metric, ratio: f64) -> Found {
        let Self {
            cluster,
            here,
            stolen,
            serialised,
            reps,
        } = self;
        Found {
            figures: vec![(metric, ratio)],
            notes: vec![
                format!("{cluster:.2} s on two servers, {here:.2} s in one process"),
                format!(
                    "{stolen} closures were stolen in {reps} runs, {serialised} were serialised"
                ),
            ],
        }
    }
}

fn compare(program: &str, args: &[&str], reps: u32) -> Result<Times> {
    let domain = Domain::with_steal_logs(2);
    let (mut cluster, mut here) = (Vec::new(), Vec::new());
    for _ in 0..reps {
        let submitted = submit(&domain.shell, program, args)?;
        let alone = run_here(&domain.shell, program, args)?;
        ensure!(
            answer(&submitted) == answer(&alone),
            "{program} answers `{submitted}` and `{alone}`"
        );
        cluster.push(seconds(&submitted)?);
        here.push(seconds(&alone)?);
    }
    let logs: String = domain.servers.iter().map(|server| server.log()).collect();
    Ok(Times {
        cluster: median(cluster),
        here: median(here),
        stolen: closures(&logs, ": stolen "),
        serialised: closures(&logs, ": serialised "),
        reps,
    })
}

/// What a program printed first, up to where its time may stand.
fn answer(printed: &str) -> Option<&str> {
    printed.lines().next()?.split(',').next()
}

/// The sum over the lines of a kind.
fn closures(logs: &str, kind: &str) -> u64 {
    let lines = logs.lines().filter_map(|line| line.split_once(kind));
    let counts = lines.filter_map(|(_, rest)| {
        let (_, count) = rest.split_once("closures=")?;
        count.split_whitespace().next()?.parse::<u64>().ok()
    });
    counts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closures_are_summed_by_kind() {
        let log = "t DEBUG atlas_server::steal: serialised closures=3\n\
                   t DEBUG atlas_server::steal: stolen closures=2 asked_us=1 accepted_us=2\n\
                   t DEBUG atlas_server::steal: stolen closures=1 asked_us=4 accepted_us=5\n";
        assert_eq!(closures(log, ": stolen "), 3);
        assert_eq!(closures(log, ": serialised "), 3);
    }

    #[test]
    fn answers_leave_times_out() {
        assert_eq!(
            answer("fib(24) = 46368\n\n0.001 s"),
            Some("fib(24) = 46368")
        );
        assert_eq!(
            answer("a.png: 64x36, 1 samples, 1.25 s, 2 M"),
            Some("a.png: 64x36")
        );
    }
}
