//! The names of tasks: stable, the same in every target, and never two for one.

use atlas::host::{TaskId, TaskInfo, TaskTable};

use crate::programs::{fib, merged};

#[atlas::spawn(impure)]
fn now(n: u64) -> u64 {
    n
}

#[test]
fn id_of_a_path_never_changes() {
    // XXH3-64 of the path, seed 0. A job's checkpoints and its closures on other
    // machines are found by it: another value here breaks what is running.
    let id = TaskId::of_path("my_crate::my_mod::my_fn");
    assert_eq!(id.number(), GOLDEN);
    assert_eq!(TaskId::from_number(GOLDEN), id);
    assert_eq!(id.to_string(), format!("{GOLDEN:016x}"));
}

#[test]
fn task_is_found_by_the_id_of_its_path() {
    let table = TaskTable::build().unwrap();
    for (path, impure) in [
        ("host::programs::fib", false),
        ("host::programs::merged", false),
        ("host::table::now", true),
    ] {
        let info = table.find(TaskId::of_path(path)).unwrap();
        assert_eq!((info.path(), info.impure()), (path, impure));
    }
    assert!(
        table
            .find(TaskId::of_path("host::programs::nothing"))
            .is_none()
    );
    assert!(table.iter().map(TaskInfo::id).is_sorted());
    assert_eq!(table.iter().count(), table.len());
    assert!(!table.is_empty());
}

#[test]
fn runtime_knows_its_tasks() {
    let runtime = atlas::Runtime::builder().workers(1).build().unwrap();
    let info = runtime.tasks().find(TaskId::of_path("host::table::now"));
    assert!(info.is_some_and(TaskInfo::impure));
}

#[test]
fn two_tasks_of_one_id_are_reported_by_both_names() {
    static TASKS: [TaskInfo; 3] = [
        TaskInfo::of::<fib>(),
        TaskInfo::of::<merged>(),
        TaskInfo::of::<fib>(),
    ];
    assert_eq!(TaskTable::from_infos(&TASKS[..2]).unwrap().len(), 2);
    let collision = TaskTable::from_infos(&TASKS).unwrap_err();
    let id = TaskId::of_path("host::programs::fib");
    assert_eq!(
        collision.to_string(),
        format!(
            "tasks `host::programs::fib` and `host::programs::fib` have the same id {id}: \
             rename one of them, or move it to another module"
        )
    );
}

const GOLDEN: u64 = 0x874e_a182_192e_b2c5;
