//! The table of messages in `docs/protocol.md` says what the code does.

#[path = "support/names.rs"]
mod names;
#[path = "support/samples.rs"]
mod samples;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const DOC: &str = include_str!("../../docs/protocol.md");
const HEADER: [&str; 5] = [
    "message",
    "from -> to",
    "sequenced",
    "purpose",
    "owning test",
];

#[test]
fn every_message_has_one_row_in_the_enums_order() {
    let documented: Vec<&str> = rows().map(|[message, ..]| message).collect();
    assert_eq!(documented, names::NAMES);
}

#[test]
fn sequenced_is_as_the_code_has_it() {
    let packets = samples::packets();
    let sequenced: BTreeMap<&str, bool> = packets
        .iter()
        .map(|packet| (names::name(&packet.message), packet.message.is_sequenced()))
        .collect();
    for [message, _, said, ..] in rows() {
        let said = match said {
            "yes" => true,
            "no" => false,
            _ => panic!("{message}: sequenced is yes or no, not {said}"),
        };
        assert_eq!(said, sequenced[message], "{message}");
    }
}

#[test]
fn every_row_is_filled_in() {
    for row in rows() {
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        let (from, to) = row[1].split_once(" -> ").expect("from -> to");
        let parties = [
            "child", "manager", "server", "thief", "victim", "lender", "borrower", "any",
        ];
        assert!(parties.contains(&from) && parties.contains(&to), "{row:?}");
    }
}

#[test]
fn owning_tests_exist() {
    let mut tests = Vec::new();
    for folder in ["src", "tests"] {
        collect_tests(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &mut tests,
        );
    }
    assert!(tests.iter().any(|test| test == "owning_tests_exist"));
    assert!(tests.iter().all(|test| test != "collect_tests"));
    for [message, .., owner] in rows() {
        assert!(
            tests.iter().any(|test| test == owner),
            "{message}: no test is called {owner}; name the one in docs/protocol.md that now owns it"
        );
    }
}

/// The cells of the table of messages, without the backquotes around names.
fn rows() -> impl Iterator<Item = [&'static str; 5]> {
    let mut lines = DOC
        .lines()
        .skip_while(|line| cells(line) != Some(HEADER))
        .take_while(|line| line.starts_with('|'));
    assert!(
        lines.next().is_some(),
        "docs/protocol.md has no table of messages"
    );
    let rows: Vec<_> = lines
        .skip(1)
        .map(|line| cells(line).unwrap_or_else(|| panic!("not five cells: {line}")))
        .collect();
    rows.into_iter()
}

fn cells(line: &'static str) -> Option<[&'static str; 5]> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    let cells: Vec<&str> = inner
        .split('|')
        .map(|cell| cell.trim().trim_matches('`'))
        .collect();
    cells.try_into().ok()
}

/// The names of the tests in all source files of a folder.
fn collect_tests(folder: &Path, tests: &mut Vec<String>) {
    let entries = fs::read_dir(folder).expect("the crate's folders are there");
    for entry in entries {
        let path = entry.expect("the crate's folders can be read").path();
        if path.is_dir() {
            collect_tests(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).expect("the crate's sources can be read");
            tests.extend(test_names(&source).map(str::to_owned));
        }
    }
}

/// The names of the functions that follow a line `#[test]`.
fn test_names(source: &str) -> impl Iterator<Item = &str> {
    let mut lines = source.lines().map(str::trim);
    std::iter::from_fn(move || {
        lines.find(|line| *line == "#[test]")?;
        lines.find_map(|line| line.strip_prefix("fn ")?.split_once('('))
    })
    .map(|(name, _)| name)
}
