//! Inputs of machines made of bytes: whatever the bytes are, they mean something.
//!
//! Numbers are mostly small, so that what is said now and then means the same thing as before; some are at the
//! edge of what their type holds.

use std::sync::Arc;
use std::time::Duration;

use atlas_engine::{Key, Recorded};
use atlas_proto::domain::{Domain, DomainPattern};
use atlas_proto::engine::{EngineLoad, Measured, ReadyRun};
use atlas_proto::ids::{GlobalJobId, RequestId, TaskId};
use atlas_proto::job::{Closure, ClosureKind, Finished, JobSpec, Outcome, SharedName};
use atlas_proto::limits::{CLOSURE_BYTES_MAX, LATENCY_MAX, RESULT_BYTES_MAX, SHARED_NAMES_MAX};
use atlas_proto::message::{Destination, EndStealReason, Load, ReturnReason, Share, StealTerms};
use atlas_proto::path::Path;

/// Bytes to be used up.
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn are_made(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte; zero when there are no more.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        byte
    }

    /// A number below `bound`, which is at most 256.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    pub(crate) fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    pub(crate) fn number(&mut self) -> u64 {
        match self.below(8) {
            0 => self.one_of(&[0, 1 << 31, u64::from(u32::MAX), u64::MAX - 1, u64::MAX]),
            1 => u64::from_le_bytes([(); 8].map(|()| self.byte())),
            _ => u64::from(self.byte() % 6),
        }
    }

    pub(crate) fn count(&mut self) -> u32 {
        u32::try_from(self.number()).unwrap_or(u32::MAX)
    }

    pub(crate) fn duration(&mut self) -> Duration {
        match self.below(8) {
            0 => self.one_of(&[Duration::MAX, Duration::MAX / 2, Duration::from_nanos(1)]),
            1 | 2 => Duration::ZERO,
            3 => Duration::from_millis(self.byte().into()),
            _ => Duration::from_secs(u64::from(self.byte()) * 10),
        }
    }

    pub(crate) fn path(&mut self) -> Path {
        let latency = match self.below(4) {
            0 => self.duration(),
            1 => LATENCY_MAX,
            _ => Duration::from_micros(u64::from(self.byte()) * 100),
        };
        Path {
            latency,
            bytes_per_s: self.one_of(&[0, 1, 12_500_000, 125_000_000, u64::MAX]),
        }
    }

    pub(crate) fn load(&mut self) -> Load {
        Load {
            version: self.count(),
            workers: self.count(),
            hungry: self.count(),
            surplus: self.count(),
            surplus_work: self.duration(),
            reach: self.duration(),
        }
    }

    pub(crate) fn domain(&mut self) -> Domain {
        let names = [
            "example.edu",
            "cs.example.edu",
            "lab.cs.example.edu",
            "bio.example.edu",
            "other.org",
        ];
        let name = self.one_of(&names);
        name.parse().expect("the names are domains")
    }

    pub(crate) fn patterns(&mut self) -> Vec<DomainPattern> {
        match self.below(4) {
            0 => Vec::new(),
            1 => vec![DomainPattern::from(self.domain())],
            _ => vec![DomainPattern::ANY],
        }
    }

    pub(crate) fn terms(&mut self) -> StealTerms {
        let destination = self.once_in(3).then(|| Destination {
            domain: self.domain(),
            inflow: self.patterns(),
        });
        StealTerms {
            share: Share(self.one_of(&[0, 1, 512, Share::WHOLE.0])),
            idle: !self.once_in(3),
            work_min: self.cheap(),
            work_min_per_kib: self.cheap(),
            destination,
        }
    }

    /// Mostly nothing, so that steals succeed.
    fn cheap(&mut self) -> Duration {
        if self.once_in(4) {
            self.duration()
        } else {
            Duration::ZERO
        }
    }

    pub(crate) fn spec(&mut self) -> Arc<JobSpec> {
        Arc::new(JobSpec {
            id: GlobalJobId(u128::from(self.byte() % 4)),
            origin: self.domain(),
            engine: "native".to_owned(),
            artifact: [self.byte(); 32],
            options: vec![7; self.below(9)].into(),
        })
    }

    pub(crate) fn kind(&mut self) -> ClosureKind {
        ClosureKind {
            task: TaskId(self.number()),
            depth: self.count(),
        }
    }

    /// A closure that can be sent.
    pub(crate) fn closure(&mut self) -> Closure {
        let bytes = match self.once_in(40) {
            true => CLOSURE_BYTES_MAX - self.below(2) * (CLOSURE_BYTES_MAX / 2),
            false => self.below(30),
        };
        Closure {
            kind: self.kind(),
            args: vec![1; bytes].into(),
            expected: self.duration(),
            shared: match self.once_in(10) {
                true => vec![SharedName([4; 32]); self.below(SHARED_NAMES_MAX + 1)],
                false => Vec::new(),
            },
            above: (0..self.below(5))
                .map(|_| Key([self.byte(); 32]).short())
                .collect(),
        }
    }

    /// A closure of an engine's, who knows no limits.
    pub(crate) fn own_closure(&mut self) -> Closure {
        let closure = self.closure();
        if self.once_in(20) {
            let args = vec![2; CLOSURE_BYTES_MAX + 1].into();
            return Closure { args, ..closure };
        }
        if self.once_in(20) {
            let shared = vec![SharedName([4; 32]); SHARED_NAMES_MAX + 1];
            return Closure { shared, ..closure };
        }
        closure
    }

    /// A result; with `beyond`, it may be one that cannot be sent.
    pub(crate) fn finished(&mut self, beyond: bool) -> Finished {
        let bytes = match self.once_in(30) {
            true => CLOSURE_BYTES_MAX + usize::from(beyond),
            false => self.below(30),
        };
        let bytes = vec![3; bytes].into();
        Finished {
            outcome: match self.below(6) {
                0 | 1 => Outcome::Panic(bytes),
                2 => Outcome::Blob {
                    name: SharedName([3; 32]),
                    bytes: RESULT_BYTES_MAX,
                },
                _ => Outcome::Value(bytes),
            },
            work: self.duration(),
        }
    }

    /// Results as they are kept; with `beyond`, among them one that cannot be sent.
    pub(crate) fn recorded(&mut self, beyond: bool) -> Vec<Recorded> {
        let count = self.below(5);
        let entry = |_| {
            let bytes = match self.once_in(30) {
                true => CLOSURE_BYTES_MAX + usize::from(beyond),
                false => self.below(30),
            };
            Recorded {
                key: Key([self.byte(); 32]),
                result: vec![3; bytes].into(),
                work: self.duration(),
                above: (0..self.below(5))
                    .map(|_| Key([self.byte(); 32]).short())
                    .collect(),
            }
        };
        (0..count).map(entry).collect()
    }

    pub(crate) fn return_reason(&mut self, request: RequestId) -> ReturnReason {
        let request = self.once_in(2).then_some(request);
        self.one_of(&[
            ReturnReason::Asked { request },
            ReturnReason::Asked { request },
            ReturnReason::Retreat,
            ReturnReason::Inflow,
            ReturnReason::NoRoom,
            ReturnReason::EngineFailed,
        ])
    }

    pub(crate) fn end_reason(&mut self) -> EndStealReason {
        self.one_of(&[
            EndStealReason::Done,
            EndStealReason::NoSurplus,
            EndStealReason::NotWorthMoving,
            EndStealReason::Policy,
            EndStealReason::Leaving,
        ])
    }

    pub(crate) fn engine_load(&mut self) -> EngineLoad {
        let runs = self.below(12);
        let run = |_| ReadyRun {
            kind: self.kind(),
            closures: self.count(),
        };
        let oldest = (0..runs).map(run).collect();
        EngineLoad {
            idle: self.count(),
            stopped: self.count(),
            ready: self.count().saturating_add(self.one_of(&[0, 9, 1000])),
            oldest,
        }
    }

    pub(crate) fn measured(&mut self) -> Measured {
        Measured {
            kind: self.kind(),
            work: self.duration(),
            finished: self.count(),
        }
    }
}
