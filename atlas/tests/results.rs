//! Results are those of the sequential program, under any schedule.

mod support;

use std::hint::black_box;
use std::sync::OnceLock;

use atlas::Runtime;
use atlas::prelude::*;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use serde::{Deserialize, Serialize};

/// A program: how each node runs its children, and what they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Tree {
    /// Work of some length.
    Leaf(u16),
    /// `join!` of tasks.
    Join(Box<Tree>, Box<Tree>),
    Join3(Box<[Tree; 3]>),
    /// `atlas::join` of Rust closures that borrow.
    Borrow(Box<Tree>, Box<Tree>),
    Scope(Vec<Tree>),
    /// `spawn!`, synced from the first to the last, or the other way.
    Spawn(Vec<Tree>, bool),
    /// `spawn_next!` under a direct task.
    Next1(Box<Tree>),
    Next2(Box<Tree>, Box<Tree>),
    Next3(Box<[Tree; 3]>),
}

use Tree::*;

/// The sequential program. Results depend on the order of the children.
fn sequential(tree: &Tree) -> u64 {
    match tree {
        Leaf(length) => work(*length),
        Join(a, b) | Borrow(a, b) | Next2(a, b) => mix(&[sequential(a), sequential(b)]),
        Join3(children) | Next3(children) => mix(&children.each_ref().map(sequential)),
        Scope(children) | Spawn(children, _) => {
            mix(&children.iter().map(sequential).collect::<Vec<_>>())
        }
        Next1(child) => mix(&[sequential(child)]),
    }
}

/// The parallel program, in direct style.
#[atlas::spawn]
fn direct(tree: Tree) -> u64 {
    match tree {
        Leaf(length) => work(length),
        Join(a, b) => {
            let (a, b) = join!(direct(*a), direct(*b));
            mix(&[a, b])
        }
        Join3(children) => {
            let [a, b, c] = *children;
            let (a, b, c) = join!(direct(a), passing(b), direct(c));
            mix(&[a, b, c])
        }
        Borrow(a, b) => borrow(&a, &b),
        Scope(children) => scoped(&children),
        Spawn(children, reversed) => spawned(children, reversed),
        next @ (Next1(_) | Next2(..) | Next3(_)) => passing(next).sync(),
    }
}

/// The parallel program, in continuation-passing style.
#[atlas::spawn]
fn passing(tree: Tree) -> Next<u64> {
    match tree {
        Leaf(length) => Next::value(work(length)),
        Next1(child) => spawn_next!(passing(*child) => mix1()),
        Next2(a, b) => spawn_next!(passing(*a), direct(*b) => mix2()),
        Next3(children) => {
            let [a, b, c] = *children;
            spawn_next!(passing(a), passing(b), passing(c) => mix3())
        }
        Join(..) | Join3(_) | Borrow(..) | Scope(_) | Spawn(..) => {
            spawn_next!(direct(tree) => same())
        }
    }
}

#[atlas::spawn]
fn same(a: u64) -> u64 {
    a
}

#[atlas::spawn]
fn mix1(a: u64) -> u64 {
    mix(&[a])
}

#[atlas::spawn]
fn mix2(a: u64, b: u64) -> Next<u64> {
    spawn_next!(same(mix(&[a, b])) => same())
}

#[atlas::spawn]
fn mix3(a: u64, b: u64, c: u64) -> u64 {
    mix(&[a, b, c])
}

fn borrow(a: &Tree, b: &Tree) -> u64 {
    let (a, b) = atlas::join(|| direct(a.clone()), || direct(b.clone()));
    mix(&[a, b])
}

fn scoped(children: &[Tree]) -> u64 {
    let mut results = vec![0; children.len()];
    atlas::scope(|scope| {
        for (child, result) in children.iter().zip(&mut results) {
            scope.spawn(move |scope| {
                scope.spawn(move |_| *result = direct(child.clone()));
            });
        }
    });
    mix(&results)
}

fn spawned(children: Vec<Tree>, reversed: bool) -> u64 {
    let handles: Vec<_> = children
        .into_iter()
        .map(|child| spawn!(direct(child)))
        .collect();
    let mut results: Vec<_> = if reversed {
        handles.into_iter().rev().map(Handle::sync).collect()
    } else {
        handles.into_iter().map(Handle::sync).collect()
    };
    if reversed {
        results.reverse();
    }
    mix(&results)
}

fn work(length: u16) -> u64 {
    (0..length).fold(1, |sum, step| mix(&[black_box(sum), u64::from(step)]))
}

fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(parts.len() as u64, |sum, part| {
        (sum.rotate_left(7) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![(0..50_u16).prop_map(Leaf), (0..5_000_u16).prop_map(Leaf)];
    leaf.prop_recursive(7, 128, 3, |inner| {
        let child = || inner.clone().prop_map(Box::new);
        let three = || {
            let three = [inner.clone(), inner.clone(), inner.clone()];
            three.prop_map(Box::new)
        };
        let many = || proptest::collection::vec(inner.clone(), 0..5);
        prop_oneof![
            3 => (child(), child()).prop_map(|(a, b)| Join(a, b)),
            1 => three().prop_map(Join3),
            1 => (child(), child()).prop_map(|(a, b)| Borrow(a, b)),
            1 => many().prop_map(Scope),
            1 => (many(), any::<bool>()).prop_map(|(children, reversed)| Spawn(children, reversed)),
            1 => child().prop_map(Next1),
            2 => (child(), child()).prop_map(|(a, b)| Next2(a, b)),
            1 => three().prop_map(Next3),
        ]
    })
}

/// One runtime for each number of workers, kept for all cases.
fn shared_runtime(workers: usize) -> &'static Runtime {
    static RUNTIMES: [OnceLock<Runtime>; 8] = [const { OnceLock::new() }; 8];
    RUNTIMES[workers - 1].get_or_init(|| support::runtime(workers))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_program_on_any_number_of_workers_gives_the_sequential_result(
        tree in trees(),
        workers in 1..=8_usize,
    ) {
        let expected = sequential(&tree);
        let runtime = shared_runtime(workers);
        let found = runtime.run(|| join!(direct(tree.clone()), passing(tree)));
        prop_assert_eq!(found, (expected, expected));
    }
}
