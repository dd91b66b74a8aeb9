//! The runtimes under test, and one way to write a program for those that join
//! plain Rust closures.
//!
//! Pools live from start to end, as they would in a program. An idle pool must
//! not disturb the case being timed; chili's heartbeat runs as long as a scope
//! exists, so a scope exists only while it is timed.

use std::num::NonZero;

use anyhow::{Context, Result};

/// Each runtime with the same number of workers.
pub struct Pools {
    /// How many workers.
    pub workers: usize,
    /// Atlas.
    pub atlas: atlas::Runtime,
    /// rayon.
    pub rayon: rayon::ThreadPool,
    /// chili; the thread that opens a scope is one of the workers.
    pub chili: chili::ThreadPool,
}

impl Pools {
    /// Starts the runtimes.
    ///
    /// # Errors
    /// If one of them cannot start its threads.
    pub fn start(workers: NonZero<usize>) -> Result<Self> {
        let count = workers.get();
        let atlas = atlas::Runtime::builder().workers(count).build();
        let rayon = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .stack_size(STACK_BYTES)
            .build();
        let chili = chili::Config {
            thread_count: Some(workers),
            ..chili::Config::default()
        };
        Ok(Self {
            workers: count,
            atlas: atlas.with_context(|| format!("no Atlas pool of {count} workers"))?,
            rayon: rayon.with_context(|| format!("no rayon pool of {count} workers"))?,
            chili: chili::ThreadPool::with_config(chili),
        })
    }
}

/// A fork-join over two closures.
pub trait Fork {
    /// Runs both, perhaps at the same time.
    fn join<A, B, RA, RB>(a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send;
}

/// `atlas::join`.
pub struct Atlas;

impl Fork for Atlas {
    #[inline(always)]
    fn join<A, B, RA, RB>(a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send,
    {
        atlas::join(a, b)
    }
}

/// `rayon::join`.
pub struct Rayon;

impl Fork for Rayon {
    #[inline(always)]
    fn join<A, B, RA, RB>(a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send,
    {
        rayon::join(a, b)
    }
}

/// rayon's threads overflow their usual stack on the deep trees of `uts`.
const STACK_BYTES: usize = 64 << 20;
