//! One program in all its forms, and what is asked of each: how much longer it
//! takes with one worker than the sequential program (T1/Ts), how much shorter
//! with two (Ts/T2), and what a single join costs.

use anyhow::{Context, Result};

use crate::options::Size;
use crate::pools::Pools;
use crate::procs::{child_peak_rss_mb, own_peak_rss_mb};
use crate::report::{Bench, Case, Metric, Row, Variant, name};
use crate::sample::{Sampling, Series, interleave, repeat};

/// A program with its input, ready to run; it answers with a number that is
/// the same in all forms.
pub type Body = Box<dyn Fn() -> u64 + Send + Sync>;

/// The same for chili, which hands its scope through every call.
pub type ChiliBody = Box<dyn Fn(&mut chili::Scope<'_>) -> u64 + Send + Sync>;

/// A program in all its forms.
///
/// Bodies are called through a pointer and hide their input from the compiler
/// (`black_box`), so that no form is specialised for it, or merged with another.
pub struct Program {
    /// What it is called.
    pub bench: Bench,
    /// How many joins the parallel forms make.
    pub joins: u64,
    /// Plain Rust.
    pub sequential: Body,
    /// Atlas tasks with `join!`.
    pub join: Body,
    /// Atlas tasks with `spawn_next!`, where that is a natural way to write it.
    pub cps: Option<Body>,
    /// `atlas::join`.
    pub closure: Body,
    /// `rayon::join`.
    pub rayon: Body,
    /// `chili::Scope::join`; left out where chili cannot run the program.
    pub chili: Option<ChiliBody>,
}

impl Program {
    /// The forms in which this program exists, the sequential one first.
    pub fn cases(&self) -> impl Iterator<Item = Case> {
        let forms = [
            (Case::Seq, true),
            (Case::Join, true),
            (Case::Cps, self.cps.is_some()),
            (Case::Closure, true),
            (Case::Rayon, true),
            (Case::Chili, self.chili.is_some()),
        ];
        forms
            .into_iter()
            .filter_map(|(case, exists)| exists.then_some(case))
    }

    /// Runs one form this many times in the pool of its runtime.
    ///
    /// # Errors
    /// If the program has no such form.
    pub fn run(&self, case: Case, pools: &Pools, times: u32) -> Result<u64> {
        let in_atlas = |body: &Body| pools.atlas.run(|| repeat(times, body));
        let answer = match case {
            Case::Seq => Some(repeat(times, &self.sequential)),
            Case::Join => Some(in_atlas(&self.join)),
            Case::Cps => self.cps.as_ref().map(in_atlas),
            Case::Closure => Some(in_atlas(&self.closure)),
            Case::Rayon => Some(pools.rayon.install(|| repeat(times, &self.rayon))),
            Case::Chili => self.chili.as_ref().map(|body| {
                let mut scope = pools.chili.scope();
                repeat(times, || body(&mut scope))
            }),
        };
        answer.with_context(|| format!("{} has no form {}", name(self.bench), name(case)))
    }

    /// Times all forms with one and with two workers.
    ///
    /// # Errors
    /// If a form answers otherwise than the sequential one.
    pub fn measure(&self, one: &Pools, two: &Pools, sampling: Sampling) -> Result<Vec<Row>> {
        let mut series = vec![self.series(Case::Seq, one)];
        let parallel: Vec<Case> = self.cases().filter(|case| *case != Case::Seq).collect();
        for case in &parallel {
            series.push(self.series(*case, one));
            series.push(self.series(*case, two));
        }
        let medians = interleave(sampling, series)?;
        let (ts, pairs) = medians.split_first().context("nothing was timed")?;

        let mut rows = vec![Row::new(self.bench, Case::Seq, Metric::TsMs, ts * 1e3)];
        for (case, pair) in parallel.iter().zip(pairs.chunks_exact(2)) {
            let (t1, t2) = (pair[0], pair[1]);
            #[expect(
                clippy::cast_precision_loss,
                reason = "a count of joins is far below 2^53"
            )]
            let per_spawn = (t1 - ts) / self.joins.max(1) as f64;
            rows.push(Row::new(self.bench, *case, Metric::T1OverTs, t1 / ts));
            rows.push(Row::new(self.bench, *case, Metric::TsOverT2, ts / t2));
            rows.push(Row::new(
                self.bench,
                *case,
                Metric::NsPerSpawn,
                per_spawn * 1e9,
            ));
        }
        Ok(rows)
    }

    /// Times all forms with two workers only.
    ///
    /// # Errors
    /// If a form answers otherwise than the sequential one.
    pub fn measure_speedup(
        &self,
        two: &Pools,
        sampling: Sampling,
        variant: Variant,
    ) -> Result<Vec<Row>> {
        let series = self.cases().map(|case| self.series(case, two)).collect();
        let medians = interleave(sampling, series)?;
        let ts = *medians.first().context("nothing was timed")?;
        let rows = self.cases().zip(&medians).map(|(case, time)| match case {
            Case::Seq => Row::new(self.bench, case, Metric::TsMs, ts * 1e3),
            Case::Join | Case::Cps | Case::Closure | Case::Rayon | Case::Chili => {
                Row::new(self.bench, case, Metric::TsOverT2, ts / time)
            }
        });
        Ok(rows.map(|row| row.with(variant)).collect())
    }

    /// The peak memory of each Atlas form, measured in children.
    ///
    /// # Errors
    /// If a child fails.
    pub fn peak_rss(&self, size: Size, variant: Variant) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for case in self.cases() {
            if matches!(case, Case::Join | Case::Cps | Case::Closure) {
                eprintln!("{} {}: peak memory", name(self.bench), name(case));
                let peak = child_peak_rss_mb(self.bench, case, size)?;
                rows.push(Row::new(self.bench, case, Metric::PeakRssMb, peak).with(variant));
            }
        }
        Ok(rows)
    }

    /// What such a child does: runs the case once and says what it took.
    ///
    /// # Errors
    /// If the program has no such form, or the kernel does not say.
    pub fn own_peak_rss_mb(&self, case: Case, two: &Pools) -> Result<f64> {
        self.run(case, two, 1)?;
        own_peak_rss_mb()
    }

    fn series<'a>(&'a self, case: Case, pools: &'a Pools) -> Series<'a> {
        let label = match case {
            Case::Seq => format!("{} seq", name(self.bench)),
            Case::Join | Case::Cps | Case::Closure | Case::Rayon | Case::Chili => {
                format!("{} {} on {}", name(self.bench), name(case), pools.workers)
            }
        };
        Series::new(label, move |times| {
            self.run(case, pools, times)
                .expect("only forms that exist become series")
        })
    }
}
