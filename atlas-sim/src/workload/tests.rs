//! Claims about the shapes: their totals are exact, their sizes near, and they follow from the seed.

use super::*;

#[test]
fn the_total_work_is_exact_for_every_shape() {
    for shape in Workload::ALL {
        for (total_us, granularity_us) in [
            (0, 10),
            (7, 10),
            (1_000_003, 7),
            (50_000_001, 1000),
            (999, 1),
        ] {
            let tree = Tree::new(&config(shape, total_us, granularity_us));
            assert_eq!(
                tree.walk(u64::MAX).work_ns,
                total_us * 1000,
                "{shape:?} {total_us}"
            );
            assert_eq!(
                tree.walk(u64::MAX),
                tree.sequential(),
                "{shape:?} {total_us}"
            );
        }
    }
}

#[test]
fn random_trees_have_nearly_the_wanted_size() {
    for shape in [Workload::Uts, Workload::UtsBinomial] {
        for nodes in [1, 2, 3, 10, 17, 18, 100, 1000, 30_000, 300_000] {
            let found = Tree::new(&config(shape, nodes * 50, 50)).sequential().nodes;
            assert!(
                found * 2 >= nodes && found <= nodes * 2,
                "{shape:?}: {found} instead of {nodes}"
            );
        }
    }
}

#[test]
fn leaves_have_the_granularity_where_budgets_are_divided() {
    for shape in [
        Workload::Balanced,
        Workload::Skewed,
        Workload::Flat,
        Workload::Chain,
    ] {
        let tree = Tree::new(&config(shape, 10_000_000, 1000));
        assert!(
            tree.costs.leaf.abs_diff(1_000_000) < 2000,
            "{shape:?} {:?}",
            tree.costs
        );
    }
}

#[test]
fn shapes_are_as_deep_as_their_names_say() {
    let depth = |shape| {
        Tree::new(&config(shape, 1_000_000, 10))
            .sequential()
            .max_depth
    };
    assert_eq!(depth(Workload::Flat), 1);
    assert_eq!(depth(Workload::Chain), 99_999);
    assert_eq!(depth(Workload::Balanced), 17);
    assert!((60..150).contains(&depth(Workload::Skewed)));
    assert!((6..20).contains(&depth(Workload::Uts)));
    assert!(depth(Workload::UtsBinomial) > 60);
}

#[test]
fn one_seed_gives_one_tree_and_another_seed_another() {
    for shape in Workload::ALL {
        let result = |seed| {
            Tree::new(&WorkloadConfig {
                seed,
                ..config(shape, 90_000, 9)
            })
            .sequential()
        };
        assert_eq!(result(5), result(5));
        assert_ne!(result(5).result, result(6).result, "{shape:?}");
    }
}

fn config(shape: Workload, total_us: u64, granularity_us: u64) -> WorkloadConfig {
    WorkloadConfig {
        shape,
        total_work: Duration::from_micros(total_us),
        granularity: Duration::from_micros(granularity_us),
        args_bytes: 64,
        result_bytes: 16,
        seed: 11,
    }
}
