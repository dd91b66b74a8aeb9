//! A task's id is the same in the library's own tests, here, and in every binary:
//! machines that run different builds of one program find it by that.

// Links the library, and with it its tasks.
use atlas_examples as _;

use atlas::host::{TaskId, TaskInfo, TaskTable};

#[test]
fn tasks_have_the_ids_that_they_have_in_every_target() {
    let table = TaskTable::build().unwrap();
    for path in include_str!("task_paths.txt").lines() {
        let task = table.find(TaskId::of_path(path));
        assert_eq!(task.map(TaskInfo::path), Some(path));
    }
}
