//! Asking Cargo: what programs a workspace has, and to build one. What Cargo says to people goes to standard error as it is.

use std::ffi::OsString;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use cargo_metadata::{Message, MetadataCommand, TargetKind};

use super::BuildOptions;
use super::choose::{Kind, Target};

/// The binaries and examples of the workspace around a folder.
pub(super) fn targets(here: &Path) -> anyhow::Result<Vec<Target>> {
    let mut command = MetadataCommand::new();
    command.cargo_path(cargo()).current_dir(here).no_deps();
    let metadata = command.exec().context("`cargo metadata` failed")?;
    let mut targets = Vec::new();
    for package in metadata.workspace_packages() {
        for target in &package.targets {
            let kind = if target.kind.contains(&TargetKind::Bin) {
                Kind::Bin
            } else if target.kind.contains(&TargetKind::Example)
                && target.crate_types.contains(&cargo_metadata::CrateType::Bin)
            {
                Kind::Example
            } else {
                continue;
            };
            targets.push(Target {
                name: target.name.clone(),
                kind,
                package: package.name.to_string(),
                features: target.required_features.clone(),
            });
        }
    }
    Ok(targets)
}

/// Builds a program, and says where its executable is.
pub(super) fn build(
    here: &Path,
    target: &Target,
    options: &BuildOptions,
) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(cargo());
    command.current_dir(here).args(arguments(target, options));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let failed = || {
        format!(
            "cargo could not build the {} `{}` of {}",
            target.kind, target.name, target.package
        )
    };
    let mut cargo = command
        .spawn()
        .context("cannot run cargo: see that it is installed")?;
    let messages = cargo
        .stdout
        .take()
        .context("cargo was started without its output")?;
    let mut executable = None;
    for message in Message::parse_stream(BufReader::new(messages)) {
        // The others are not for this program: a library's, or what a build script prints.
        if let Message::CompilerArtifact(artifact) = message.with_context(failed)?
            && artifact.target.name == target.name
        {
            executable = artifact.executable.or(executable);
        }
    }
    let ended = cargo.wait().with_context(failed)?;
    match executable {
        Some(path) if ended.success() => Ok(path.into()),
        _ => bail!("{}; what it says is above", failed()),
    }
}

fn arguments(target: &Target, options: &BuildOptions) -> Vec<String> {
    let kind = match target.kind {
        Kind::Bin => "--bin",
        Kind::Example => "--example",
    };
    let mut arguments: Vec<String> = ["build", "--package", &target.package, kind, &target.name]
        .map(String::from)
        .into();
    arguments.push("--message-format=json-render-diagnostics".into());
    match options.profile.as_str() {
        "release" => arguments.push("--release".into()),
        profile => arguments.extend(["--profile".into(), profile.into()]),
    }
    if !target.features.is_empty() {
        arguments.extend(["--features".into(), target.features.join(",")]);
    }
    if options.quiet {
        arguments.push("--quiet".into());
    }
    arguments
}

/// Within `cargo run`, the one that runs.
fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_asked_for_one_program_and_nothing_else() {
        let mut target = Target {
            name: "fib".into(),
            kind: Kind::Bin,
            package: "examples".into(),
            features: Vec::new(),
        };
        let mut options = BuildOptions {
            profile: "release".into(),
            package: None,
            quiet: false,
        };
        assert_eq!(
            arguments(&target, &options).join(" "),
            "build --package examples --bin fib --message-format=json-render-diagnostics --release"
        );
        target.kind = Kind::Example;
        target.features = vec!["a".into(), "b".into()];
        options.profile = "dev".into();
        options.quiet = true;
        assert_eq!(
            arguments(&target, &options).join(" "),
            "build --package examples --example fib --message-format=json-render-diagnostics --profile dev --features a,b --quiet"
        );
    }
}
