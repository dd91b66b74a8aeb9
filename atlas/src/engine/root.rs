//! The job's root: `main` as a task.

use std::io::Write as _;
use std::os::unix::ffi::OsStringExt;
use std::process::{ExitCode, Termination};
use std::sync::OnceLock;

use atlas_core::{Task, TaskInfo};
use atlas_engine::CommandLine;

/// The task of the root closure. It is in no registry: only an engine has it.
struct Root;

impl Task for Root {
    type Args = (CommandLine,);
    type Returned = u8;
    const PATH: &'static str = "main";
    const IMPURE: bool = true;

    fn call((line,): (CommandLine,)) -> u8 {
        let own = std::env::args_os().skip(1).map(OsStringExt::into_vec);
        assert!(
            line.0 == own.collect::<Vec<_>>(),
            "the engine was started with another command line than the job's"
        );
        let main = MAIN.get().expect("an engine knows its `main`");
        let code = main();
        // The process lives on, and what it has printed is to be seen now. As at the end of a process, nobody hears if this
        // fails.
        let _ = std::io::stdout().flush();
        code
    }
}

/// The task of the root closure.
pub(super) fn info() -> &'static TaskInfo {
    const { &TaskInfo::of::<Root>() }
}

/// Says what the root runs.
pub(super) fn set_main<R: Termination + 'static>(main: fn() -> R) {
    // A process has one `main`: a second call changes nothing.
    let _ = MAIN.set(Box::new(move || number(main().report())));
}

/// The number of an exit code, which it does not tell by itself.
fn number(code: ExitCode) -> u8 {
    let same = |number: &u8| ExitCode::from(*number) == code;
    (0..=u8::MAX).find(same).unwrap_or(1)
}

static MAIN: OnceLock<Box<dyn Fn() -> u8 + Send + Sync>> = OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;
    use atlas_engine::ROOT_TASK;

    #[test]
    fn root_has_the_reserved_id() {
        assert_eq!(
            info().id().number(),
            ROOT_TASK.0,
            "{:#x}",
            info().id().number()
        );
    }

    #[test]
    fn exit_codes_are_numbers() {
        for code in [0, 1, 2, 101, 255] {
            assert_eq!(number(ExitCode::from(code)), code);
        }
        assert_eq!(number(Ok::<(), String>(()).report()), 0);
    }
}
