//! Runs the benchmarks that the command line names, one after the other, and
//! prints the rows of each as soon as it is done.
//!
//! Tables and JSON go to standard output, all else to standard error.

use std::io::{self, Write};
use std::num::NonZero;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::options::{Options, Size};
use crate::pools::Pools;
use crate::procs;
use crate::program::Program;
use crate::report::{Bench, Case, Row, Variant, table};
use crate::workloads::{fib, flat, idle, integrate, nqueens, region, seq_in_pool, tree, uts};

/// Does what the command line says.
///
/// # Errors
/// If a form of a program answers wrongly, a pool or a child cannot be started,
/// or the output cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let two = Pools::start(TWO)?;
    if let Some(case) = options.peak_rss_of {
        return print_own_peak_rss(options, case, &two);
    }
    let one = Pools::start(NonZero::<usize>::MIN)?;
    if options.json {
        eprintln!("{}", procs::machine());
    } else {
        println!("{}", procs::machine());
    }
    let all = Bench::value_variants();
    let chosen = if options.only.is_empty() {
        all
    } else {
        &options.only
    };
    for bench in all.iter().filter(|bench| chosen.contains(bench)) {
        print(*bench, &measure(*bench, options, &one, &two)?, options.json)?;
    }
    Ok(())
}

fn measure(bench: Bench, options: &Options, one: &Pools, two: &Pools) -> Result<Vec<Row>> {
    let (size, sampling) = (options.size(), options.sampling());
    match bench {
        Bench::Flat => flat::measure(two, sampling, size),
        Bench::Region => region::measure(two, sampling.reps, size),
        Bench::SeqInPool => Ok(seq_in_pool::measure(two, sampling.reps, size)),
        Bench::Idle => Ok(idle::measure(two, size)),
        Bench::Fib | Bench::Nqueens | Bench::Tree | Bench::Integrate | Bench::Uts => {
            let program = program(bench, size)?;
            let mut rows = program.measure(one, two, sampling)?;
            rows.extend(program.peak_rss(size, Variant::default())?);
            Ok(rows)
        }
    }
}

fn program(bench: Bench, size: Size) -> Result<Program> {
    Ok(match bench {
        Bench::Fib => fib::program(size),
        Bench::Nqueens => nqueens::program(size),
        Bench::Tree => tree::program(size),
        Bench::Integrate => integrate::program(size),
        Bench::Uts => uts::program(size),
        Bench::Flat => flat::program(size),
        Bench::Region | Bench::SeqInPool | Bench::Idle => {
            bail!("this benchmark is no program with several forms")
        }
    })
}

fn print_own_peak_rss(options: &Options, case: Case, two: &Pools) -> Result<()> {
    let [bench] = options.only[..] else {
        bail!("give --only with one program");
    };
    println!(
        "{}",
        program(bench, options.size())?.own_peak_rss_mb(case, two)?
    );
    Ok(())
}

fn print(bench: Bench, rows: &[Row], json: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    if json {
        for row in rows {
            writeln!(out, "{}", row.json()?).context("cannot write to standard output")?;
        }
    } else {
        writeln!(out, "{}", table(bench, rows)).context("cannot write to standard output")?;
    }
    Ok(out.flush()?)
}

const TWO: NonZero<usize> = NonZero::new(2).expect("two is not zero");
