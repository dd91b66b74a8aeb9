//! Timing: series that take turns, and their medians.
//!
//! On a machine that others use too, clock speed and neighbours drift over
//! seconds. Timing one case to its end and then the next would put the drift
//! into the ratio; so in each repetition every series runs one block, and the
//! median over the repetitions drops what hit one of them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// How often and how long each series is timed.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Blocks of each series.
    pub reps: u32,
    /// The least length of a block; shorter programs run several times in it.
    pub block: Duration,
}

/// One program in one form on one pool.
pub struct Series<'a> {
    label: String,
    run: Box<dyn Fn(u32) -> u64 + 'a>,
    /// How many runs make a block.
    times: u32,
    /// Time of one run, in seconds, from each block.
    samples: Vec<f64>,
}

impl<'a> Series<'a> {
    /// `run` runs the program as many times as it is told and gives back the
    /// answer that all runs agreed on.
    pub fn new(label: String, run: impl Fn(u32) -> u64 + 'a) -> Self {
        Self {
            label,
            run: Box::new(run),
            times: 1,
            samples: Vec::new(),
        }
    }

    /// Runs once to warm up, to see the answer, and to see how long it takes.
    fn calibrate(&mut self, block: Duration) -> u64 {
        let start = Instant::now();
        let answer = (self.run)(1);
        self.times = runs_to_fill(block, start.elapsed());
        answer
    }

    fn time_block(&mut self) {
        let start = Instant::now();
        black_box((self.run)(self.times));
        self.samples
            .push(start.elapsed().as_secs_f64() / f64::from(self.times));
    }
}

/// Runs `body` this many times and gives back the answer of all.
///
/// # Panics
/// If two runs differ.
#[inline(never)]
pub fn repeat(times: u32, mut body: impl FnMut() -> u64) -> u64 {
    let answer = body();
    for _ in 1..times {
        assert_eq!(body(), answer, "two runs of one program differ");
    }
    answer
}

/// Times the series in turns; gives back the median seconds of one run of each.
///
/// # Errors
/// If a series answers otherwise than the first.
pub fn interleave(sampling: Sampling, mut series: Vec<Series<'_>>) -> Result<Vec<f64>> {
    let mut expected = None;
    for one in &mut series {
        eprintln!("{}: warm-up", one.label);
        let answer = one.calibrate(sampling.block);
        let expected = *expected.get_or_insert(answer);
        ensure!(
            answer == expected,
            "{}: answered {answer} in place of {expected}",
            one.label
        );
    }
    for rep in 1..=sampling.reps {
        for one in &mut series {
            eprintln!("{}: {rep} of {}", one.label, sampling.reps);
            one.time_block();
        }
    }
    Ok(series.into_iter().map(|one| median(one.samples)).collect())
}

/// The middle value, or the mean of the two in the middle; 0 of nothing.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[len / 2],
        len => values[len / 2 - 1].midpoint(values[len / 2]),
    }
}

fn runs_to_fill(block: Duration, one: Duration) -> u32 {
    let runs = block.as_nanos().div_ceil(one.as_nanos().max(1)).max(1);
    u32::try_from(runs).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_value() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn blocks_are_filled() {
        let block = Duration::from_millis(400);
        assert_eq!(runs_to_fill(block, Duration::from_millis(150)), 3);
        assert_eq!(runs_to_fill(block, Duration::from_secs(2)), 1);
        assert_eq!(runs_to_fill(Duration::ZERO, Duration::ZERO), 1);
    }

    #[test]
    fn another_answer_is_an_error() {
        let sampling = Sampling {
            reps: 1,
            block: Duration::ZERO,
        };
        let series = |answer| Series::new(format!("says {answer}"), move |_| answer);
        assert!(interleave(sampling, vec![series(1), series(1)]).is_ok());
        let error = interleave(sampling, vec![series(1), series(2)]).unwrap_err();
        assert!(error.to_string().contains("says 2"), "{error}");
    }

    #[test]
    fn series_take_turns() {
        let order = std::cell::RefCell::new(String::new());
        let note = |name: char| {
            let order = &order;
            Series::new(name.to_string(), move |_| {
                order.borrow_mut().push(name);
                7
            })
        };
        let sampling = Sampling {
            reps: 2,
            block: Duration::ZERO,
        };
        interleave(sampling, vec![note('a'), note('b')]).unwrap();
        assert_eq!(order.into_inner(), "ababab");
    }
}
