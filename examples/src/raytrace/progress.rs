//! A progress bar of finished tiles, on standard error.
//!
//! Tasks take only what can be sent, so they count through one counter of the
//! process, which a thread shows ten times a second. Tiles that other machines
//! render are not counted while they are away.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

static TILES_DONE: AtomicU32 = AtomicU32::new(0);

/// Counts one tile as finished.
pub fn count_tile() {
    TILES_DONE.fetch_add(1, Ordering::Relaxed);
}

/// A bar on the terminal, from its making to its drop. Where standard
/// error is no terminal, nothing is shown.
#[derive(Debug)]
pub struct Progress {
    stop: Option<Sender<()>>,
    painter: Option<JoinHandle<()>>,
}

impl Progress {
    /// Shows a bar for this many tiles.
    #[must_use]
    pub fn start(tile_count: u32) -> Self {
        TILES_DONE.store(0, Ordering::Relaxed);
        let (stop, stopped) = mpsc::channel();
        let bar = ProgressBar::new(u64::from(tile_count)).with_style(style());
        let painter = std::thread::spawn(move || {
            while stopped.recv_timeout(REFRESH) == Err(RecvTimeoutError::Timeout) {
                bar.set_position(u64::from(TILES_DONE.load(Ordering::Relaxed)));
            }
            bar.finish_and_clear();
        });
        Self {
            stop: Some(stop),
            painter: Some(painter),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(painter) = self.painter.take() {
            // A painter that panicked has said so; the picture matters more.
            let _ = painter.join();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("rendering {wide_bar} {pos}/{len} tiles, {eta} left")
        .expect("the template has no unknown syntax")
}

/// Time between two paintings.
const REFRESH: Duration = Duration::from_millis(100);
