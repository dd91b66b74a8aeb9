//! [`Downloads`]: a bar for each large file that is read for the first time, on standard error if that is a terminal.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::sync::{Arc, Mutex, PoisonError};

use atlas_fs::url::mount::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The bars that are shown.
#[derive(Clone, Debug)]
pub struct Downloads {
    bars: MultiProgress,
    by_url: Arc<Mutex<HashMap<String, ProgressBar>>>,
    is_shown: bool,
}

impl Downloads {
    /// No bars yet; and none ever, if that is wanted or nobody would see them.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self {
            bars: MultiProgress::new(),
            by_url: Arc::default(),
            is_shown: !quiet && io::stderr().is_terminal(),
        }
    }

    /// What a mount is to tell of, if anything.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let downloads = self.clone();
        self.is_shown.then(|| {
            Progress(Arc::new(move |url, to, length| {
                downloads.show(url.as_str(), to, length);
            }))
        })
    }

    /// A file was read so far.
    fn show(&self, url: &str, to: u64, length: u64) {
        if length < LARGE_BYTES {
            return;
        }
        let mut by_url = self.by_url.lock().unwrap_or_else(PoisonError::into_inner);
        if to >= length {
            if let Some(bar) = by_url.remove(url) {
                bar.finish_and_clear();
            }
            return;
        }
        if by_url.len() >= BARS_MAX && !by_url.contains_key(url) {
            return;
        }
        let bar = by_url.entry(url.to_owned()).or_insert_with(|| {
            let bar = self.bars.add(ProgressBar::new(length));
            bar.set_style(style());
            bar.set_message(crate::print::words::printable(url));
            bar
        });
        // Programs that jump about do not make it go back.
        bar.set_position(bar.position().max(to));
    }

    /// Takes all bars away.
    pub fn hide(&self) {
        let mut by_url = self.by_url.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, bar) in by_url.drain() {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bytes:>10} of {total_bytes} {bar:20} {eta:>4} {wide_msg}")
        .expect("the template has no unknown syntax")
}

/// Smaller ones are there before anybody has read a bar.
const LARGE_BYTES: u64 = 64 << 20;
/// More lines than these tell nothing.
const BARS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_have_a_bar_until_they_are_read() {
        let downloads = Downloads::new(true);
        let shown = || {
            let by_url = downloads.by_url.lock().unwrap();
            by_url.get("http://h/x").map(ProgressBar::position)
        };
        downloads.show("http://h/x", 5, LARGE_BYTES - 1);
        assert_eq!(shown(), None);
        downloads.show("http://h/x", 5 << 20, LARGE_BYTES);
        downloads.show("http://h/x", 2 << 20, LARGE_BYTES);
        assert_eq!(shown(), Some(5 << 20));
        downloads.show("http://h/x", LARGE_BYTES, LARGE_BYTES);
        assert_eq!(shown(), None);
        for n in 0..2 * BARS_MAX {
            downloads.show(&format!("http://h/{n}"), 1, LARGE_BYTES);
        }
        assert_eq!(downloads.by_url.lock().unwrap().len(), BARS_MAX);
        downloads.hide();
        assert!(downloads.by_url.lock().unwrap().is_empty());
        assert!(downloads.progress().is_none());
    }
}
