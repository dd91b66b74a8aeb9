//! The numbers behind the figures, as Markdown.

use std::fmt::Write as _;

use super::figure::{Cell, Figure, POLICIES, name};
use super::worlds::{Scale, base_in_words, seeds};

/// The whole file.
pub(super) fn markdown(figures: &[Figure], scale: Scale) -> String {
    let command = match scale {
        Scale::Full => "cargo run --release -p atlas-sim -- plots --to docs/scheduling",
        Scale::Quick => "cargo run --release -p atlas-sim -- plots --quick --to <directory>",
    };
    let seeds: Vec<String> = seeds(scale).iter().map(u64::to_string).collect();
    let mut text = format!(
        "# Tables\n\n\
         Written by `{command}`; not to be edited.\n\n\
         Base world: {}. The numbers are averages over the seeds {}. \
         `-`: not run; `<`: had not ended when it was given up.\n",
        base_in_words(scale),
        seeds.join(", ")
    );
    for figure in figures {
        push_figure(&mut text, figure);
    }
    text
}

fn push_figure(text: &mut String, figure: &Figure) {
    let _ = write!(
        text,
        "\n## {}\n\n![{}]({}.svg)\n\n{}.\n",
        figure.title, figure.title, figure.name, figure.world
    );
    for note in figure.notes() {
        let _ = write!(text, "\n{note}.\n");
    }
    push_table(text, figure, "Efficiency", |cell| {
        let bound = if cell.finished { "" } else { "< " };
        format!("{bound}{:.3}", cell.efficiency)
    });
    push_table(text, figure, "Messages per server and second", |cell| {
        format!("{:.2}", cell.messages)
    });
    push_table(
        text,
        figure,
        "Closures moved from domain to domain",
        |cell| format!("{:.0}", cell.moved_far),
    );
}

fn push_table(text: &mut String, figure: &Figure, title: &str, show: impl Fn(&Cell) -> String) {
    let policies = POLICIES.map(name).join(" | ");
    let _ = write!(
        text,
        "\n{title}:\n\n| {} | {policies} |\n| --- |{}\n",
        figure.axis,
        " ---: |".repeat(POLICIES.len())
    );
    for (index, point) in figure.points.iter().enumerate() {
        let cells = POLICIES.map(|policy| {
            let cell = figure.cells.get(&(index, policy));
            cell.map_or_else(|| String::from("-"), &show)
        });
        let _ = writeln!(text, "| {} | {} |", point.label, cells.join(" | "));
    }
}
