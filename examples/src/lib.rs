//! The example programs of Atlas, as modules that the benchmarks and the tests
//! call too; `src/bin/` holds the command lines.
//!
//! Each module has its program as tasks and, beside them, the same program as
//! plain sequential Rust: what the tasks are measured against.
#![forbid(unsafe_code)]

pub mod fib;
pub mod nqueens;
pub mod raytrace;
pub mod uts;
pub mod wordcount;

#[cfg(test)]
mod tests {
    use atlas::host::{TaskId, TaskTable};

    #[test]
    fn tasks_have_the_ids_that_they_have_in_every_target() {
        let table = TaskTable::build().unwrap();
        let paths = include_str!("../tests/task_paths.txt");
        for path in paths.lines() {
            let task = table.find(TaskId::of_path(path));
            assert_eq!(task.map(atlas::host::TaskInfo::path), Some(path));
        }
    }
}
