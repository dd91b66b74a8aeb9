//! `wordcount FOLDER`: which words are how often in the files below a folder of the web.
#![forbid(unsafe_code)]

use std::time::Instant;

use anyhow::{Result, anyhow};
use atlas_examples::wordcount::{By, count};
use clap::Parser;

/// Counts the words of all files below a folder.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// The folder's URL; with --mounted, its path, as in `/atlas/https/example.org/books/`.
    folder: String,
    /// Read by plain paths: below `/atlas` in a job, of a mount (`atlas-shell mount`), or of any folder that all servers see.
    #[arg(long)]
    mounted: bool,
    /// Print so many of the words that are there most often.
    #[arg(long, default_value_t = 10)]
    top: usize,
}

#[atlas::main]
fn main() -> Result<()> {
    let options = Options::parse();
    let by = if options.mounted { By::Path } else { By::Url };
    let mut folder = options.folder;
    if !folder.ends_with('/') {
        folder.push('/');
    }
    let start = Instant::now();
    let counts = count(by, &folder).map_err(|error| anyhow!(error))?;
    let seconds = start.elapsed().as_secs_f64();
    for (word, times) in counts.most(options.top) {
        println!("{times:>9} {word}");
    }
    println!(
        "{} words, {} different, in {} files of {} bytes",
        counts.total(),
        counts.words.len(),
        counts.files,
        counts.bytes
    );
    eprintln!("{seconds:.3} s");
    Ok(())
}
