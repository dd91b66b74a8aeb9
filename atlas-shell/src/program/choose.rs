//! Which program of a workspace is meant by a name. Pure.

use std::fmt;

/// A program that Cargo can build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    /// Its name.
    pub(super) name: String,
    /// What it is.
    pub(super) kind: Kind,
    /// The package that it is in.
    pub(super) package: String,
    /// It is built with these features only.
    pub(super) features: Vec<String>,
}

/// What Cargo builds a program as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// `--bin`.
    Bin,
    /// `--example`.
    Example,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice<'a> {
    /// This.
    One(&'a Target),
    /// Any of these.
    Several(Vec<&'a Target>),
    /// Nothing.
    None {
        /// Names like it.
        near: Vec<&'a str>,
        /// How many programs there are.
        targets: usize,
    },
}

/// Looks for a program by name, in one package or in all. A binary goes before an example of its package.
pub(super) fn choose<'a>(name: &str, package: Option<&str>, targets: &'a [Target]) -> Choice<'a> {
    let wanted = |target: &&Target| package.is_none_or(|package| target.package == package);
    let mut found: Vec<_> = targets.iter().filter(wanted).collect();
    let targets = found.len();
    let near = near(name, &found);
    found.retain(|target| target.name == name);
    found.sort_by_key(|target| (&target.package, target.kind));
    found.dedup_by_key(|target| &target.package);
    match found[..] {
        [] => Choice::None { near, targets },
        [target] => Choice::One(target),
        [_, _, ..] => Choice::Several(found),
    }
}

/// Why a choice is none, and what to do.
pub(super) fn explain(name: &str, choice: &Choice<'_>) -> String {
    match choice {
        Choice::One(target) => format!("`{name}` is the {} of {}", target.kind, target.package),
        Choice::Several(targets) => {
            let ways = targets
                .iter()
                .map(|target| format!("`--package {}`", target.package));
            let ways: Vec<_> = ways.collect();
            format!(
                "several packages have a program `{name}`: say which with {}",
                ways.join(" or ")
            )
        }
        Choice::None { targets: 0, .. } => format!(
            "`{name}` is no executable file here, and the Cargo workspace here has no binaries or examples: name an \
             executable by its path"
        ),
        Choice::None { near, .. } if near.is_empty() => format!(
            "`{name}` is neither an executable file here nor a binary or example of the Cargo workspace: `cargo run --bin` \
             lists those that it has"
        ),
        Choice::None { near, .. } => {
            let near: Vec<_> = near.iter().map(|near| format!("`{near}`")).collect();
            format!(
                "`{name}` is neither an executable file here nor a binary or example of the Cargo workspace; there is {}",
                near.join(", ")
            )
        }
    }
}

/// The likest first; all of them, if they are few.
fn near<'a>(name: &str, targets: &[&'a Target]) -> Vec<&'a str> {
    let mut names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let likeness = |other: &str| strsim::jaro_winkler(name, other);
    if names.len() > LISTED_MAX {
        names.retain(|other| likeness(other) >= LIKENESS_MIN);
    }
    names.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    names.truncate(LISTED_MAX);
    names
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bin => "binary",
            Self::Example => "example",
        })
    }
}

/// So many names are read at a glance.
const LISTED_MAX: usize = 6;
/// Swapped and left out letters are above, other words below.
const LIKENESS_MIN: f64 = 0.75;

#[cfg(test)]
mod tests {
    use super::*;

    fn target(package: &str, kind: Kind, name: &str) -> Target {
        Target {
            name: name.into(),
            kind,
            package: package.into(),
            features: Vec::new(),
        }
    }

    #[test]
    fn a_name_is_one_programs_or_the_package_must_be_said() {
        let targets = [
            target("b", Kind::Bin, "fib"),
            target("a", Kind::Example, "fib"),
            target("a", Kind::Bin, "fib"),
            target("a", Kind::Example, "uts"),
        ];
        assert_eq!(choose("uts", None, &targets), Choice::One(&targets[3]));
        let several = choose("fib", None, &targets);
        assert_eq!(several, Choice::Several(vec![&targets[2], &targets[0]]));
        assert_eq!(
            explain("fib", &several),
            "several packages have a program `fib`: say which with `--package a` or `--package b`"
        );
        assert_eq!(choose("fib", Some("a"), &targets), Choice::One(&targets[2]));
    }

    #[test]
    fn an_unknown_name_gets_those_like_it() {
        let few = [
            target("a", Kind::Bin, "raytrace"),
            target("a", Kind::Bin, "fib"),
        ];
        let choice = choose("fob", None, &few);
        let explained = explain("fob", &choice);
        assert!(
            explained.ends_with("there is `fib`, `raytrace`"),
            "{explained}"
        );

        let many = ["one", "two", "three", "four", "five", "six", "nqueens"];
        let many = many.map(|name| target("a", Kind::Bin, name));
        let near = |name| match choose(name, None, &many) {
            Choice::None { near, .. } => near,
            Choice::One(_) | Choice::Several(_) => panic!("{name} was found"),
        };
        assert_eq!(near("nquens"), ["nqueens"]);
        assert!(near("zzz").is_empty());
        assert!(explain("zzz", &choose("zzz", None, &many)).contains("cargo run --bin"));
        assert!(explain("x", &choose("x", None, &[])).contains("has no binaries"));
    }
}
