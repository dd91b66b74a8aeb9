//! What `submit JOB` runs: an executable that is named by its path, or a program of the Cargo workspace here.
//!
//! A path is looked at first, and then no Cargo is asked: that takes longer than everything else.

mod build;
mod choose;

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::exit::{self, Exit};

use choose::Choice;

/// How a program is built, if it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildOptions {
    /// Cargo's profile.
    pub profile: String,
    /// The package that the program is in, if several have one of its name.
    pub package: Option<String>,
    /// Say nothing unless it fails.
    pub quiet: bool,
}

/// Where JOB leads.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    Executable(PathBuf),
    Cargo(String),
}

/// The executable that JOB stands for, seen from the folder `here`; built before, if it is a program of a workspace.
///
/// # Errors
///
/// There is none, or it cannot be built.
pub fn resolve(job: &OsString, here: &Path, options: &BuildOptions) -> anyhow::Result<PathBuf> {
    // What cannot be meant is a mistake on the command line.
    let named = named(job, here);
    match named.map_err(|error| Exit::error(exit::USAGE, format!("{error:#}")))? {
        Named::Executable(path) => Ok(path),
        Named::Cargo(name) => {
            let targets = build::targets(here).with_context(|| {
                format!("`{name}` is no executable file here, and its Cargo workspace cannot be looked at")
            })?;
            match choose::choose(&name, options.package.as_deref(), &targets) {
                Choice::One(target) => build::build(here, target, options),
                choice @ (Choice::Several(_) | Choice::None { .. }) => {
                    Err(Exit::error(exit::USAGE, choose::explain(&name, &choice)))
                }
            }
        }
    }
}

/// What people call the job, unless they name it.
#[must_use]
pub fn name_of(executable: &Path) -> String {
    let name = executable.file_name().unwrap_or(executable.as_os_str());
    name.to_string_lossy().into_owned()
}

fn named(job: &OsString, here: &Path) -> anyhow::Result<Named> {
    let path = here.join(job);
    let is_path = Path::new(job).components().count() > 1;
    match path.metadata() {
        Ok(metadata) if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 => {
            return Ok(Named::Executable(path));
        }
        Ok(metadata) if is_path && metadata.is_file() => bail!(
            "{} is not executable: make it so with `chmod +x`, or name the program rather than its source",
            path.display()
        ),
        Ok(_) if is_path => bail!("{} is no file: name an executable", path.display()),
        Err(error) if is_path && error.kind() == io::ErrorKind::NotFound => bail!(
            "{} is not there: build it first, or give the name of a Cargo binary or example alone",
            path.display()
        ),
        Err(error) if is_path => {
            return Err(error).with_context(|| format!("cannot look at {}", path.display()));
        }
        // A bare name may be that of a folder as well as of a program.
        Ok(_) | Err(_) => {}
    }
    match job.to_str() {
        Some(name) if !name.is_empty() => Ok(Named::Cargo(name.into())),
        _ => bail!(
            "{} is not there, and no name that Cargo knows",
            path.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn options() -> BuildOptions {
        BuildOptions {
            profile: "dev".into(),
            package: None,
            quiet: true,
        }
    }

    #[test]
    fn executables_are_taken_as_they_are_and_other_paths_are_errors() {
        let here = tempfile::tempdir().unwrap();
        let here = here.path();
        let program = here.join("program");
        fs::write(&program, "").unwrap();
        let error = |job: &str| named(&job.into(), here).unwrap_err().to_string();
        assert!(
            error("./program").contains("chmod +x"),
            "{}",
            error("./program")
        );
        assert_eq!(
            named(&"program".into(), here).unwrap(),
            Named::Cargo("program".into())
        );

        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let is_program = |job: OsString| match named(&job, here).unwrap() {
            Named::Executable(path) => path.ends_with("program"),
            Named::Cargo(_) => false,
        };
        assert!(is_program("program".into()) && is_program("./program".into()));
        assert!(is_program(program.into()));
        assert!(error("a/b").contains("is not there"), "{}", error("a/b"));
        assert!(error(here.to_str().unwrap()).contains("is no file"));
        fs::create_dir(here.join("fib")).unwrap();
        assert_eq!(
            named(&"fib".into(), here).unwrap(),
            Named::Cargo("fib".into())
        );
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Two packages, with programs that both have and others that one has.
    fn workspace(here: &Path) {
        write(
            &here.join("Cargo.toml"),
            "[workspace]\nmembers = ['a', 'b']\nresolver = '3'\n",
        );
        for package in ["a", "b"] {
            let manifest =
                format!("[package]\nname = '{package}'\nversion = '0.0.0'\nedition = '2024'\n");
            let folder = here.join(package);
            write(&folder.join("Cargo.toml"), &manifest);
            write(&folder.join("src/bin/both.rs"), "fn main() {}");
        }
        write(
            &here.join("a/src/bin/one.rs"),
            "fn main() { println!(\"one\") }",
        );
        write(
            &here.join("b/examples/shown.rs"),
            "fn main() { println!(\"shown\") }",
        );
    }

    #[test]
    fn programs_of_a_workspace_are_built() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        workspace(here);
        for (name, printed) in [("one", "one\n"), ("shown", "shown\n")] {
            let path = resolve(&name.into(), &here.join("a"), &options()).unwrap();
            let ran = std::process::Command::new(&path).output().unwrap();
            assert_eq!(
                String::from_utf8_lossy(&ran.stdout),
                printed,
                "{}",
                path.display()
            );
        }
        let error = |options| format!("{:#}", resolve(&"both".into(), here, options).unwrap_err());
        let several = error(&options());
        assert!(
            several.contains("--package a") && several.contains("--package b"),
            "{several}"
        );
        let package = Some("b".to_string());
        resolve(
            &"both".into(),
            here,
            &BuildOptions {
                package,
                ..options()
            },
        )
        .unwrap();
        let near = resolve(&"shwon".into(), here, &options()).unwrap_err();
        assert!(near.to_string().contains("`shown`"), "{near}");
        let profile = "none".to_string();
        let failed = BuildOptions {
            profile,
            ..options()
        };
        let failed = resolve(&"one".into(), here, &failed).unwrap_err();
        assert!(failed.to_string().contains("`one`"), "{failed:#}");
    }

    #[test]
    fn without_a_workspace_that_is_said() {
        let here = tempfile::tempdir().unwrap();
        let error = resolve(&"fib".into(), here.path(), &options()).unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains("`fib` is no executable file here"),
            "{error}"
        );
        assert!(error.contains("Cargo.toml"), "{error}");
    }
}
