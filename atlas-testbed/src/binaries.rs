//! Where the workspace's binaries are: beside the executable that runs, in `target/PROFILE`.

use std::env;
use std::path::{Path, PathBuf};

/// The path of a binary of the workspace, of the profile that this executable was built with.
///
/// # Panics
///
/// It has not been built.
#[must_use]
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let this = env::current_exe().expect("the system knows what it runs");
    let folder = profile_folder(&this);
    let path = folder.join(name);
    let release = if folder.ends_with("release") {
        " --release"
    } else {
        ""
    };
    assert!(
        path.is_file(),
        "{} is not there: build it with `cargo build --workspace --bins{release}`",
        path.display()
    );
    path
}

/// `target/debug` of `target/debug/deps/name-0123456789abcdef`.
fn profile_folder(executable: &Path) -> &Path {
    let folder = executable.parent().unwrap_or(Path::new("/"));
    let is_within = folder.ends_with("deps") || folder.ends_with("examples");
    match folder.parent() {
        Some(profile) if is_within => profile,
        _ => folder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_benchmarks_and_binaries_find_the_same_folder() {
        for executable in [
            "/t/release/deps/cluster-0123",
            "/t/release/examples/one",
            "/t/release/bench",
        ] {
            assert_eq!(profile_folder(Path::new(executable)), "/t/release");
        }
    }

    #[test]
    #[should_panic(expected = "cargo build --workspace --bins")]
    fn who_misses_a_binary_is_told_how_to_build_it() {
        let _ = program("no-such-program");
    }
}
