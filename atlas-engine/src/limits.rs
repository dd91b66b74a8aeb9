//! The bounds of what one side can make the other hold, each with the reason for its size.
//!
//! Where a server passes a field on to other machines, the bound is the one that holds between those.

use crate::{Above, Key, SharedName};

/// The body of a frame: a grant's closures, or the largest closure, with room for the numbers.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Arguments of one closure, its result or its panic, wherever they go in a message: what fits into one packet with all else. Half of
/// a picture of 640 by 360 pixels fits; a result that does not goes as a blob.
pub const CLOSURE_BYTES_MAX: usize = 3 << 20;
/// A result that goes as a blob. Who makes it and who gets it hold it encoded and decoded at a time: some GiB each. Beyond it,
/// work is done again by its lender.
pub const RESULT_BYTES_MAX: u64 = 1 << 30;
/// Shared values that one closure names: with their names, closures of small arguments stay small. A value beyond them travels in
/// the arguments.
pub const SHARED_NAMES_MAX: usize = 64;
/// What one closure takes at most: its arguments, and the names of shared values.
pub const CLOSURE_SIZE_MAX: usize = CLOSURE_BYTES_MAX + SHARED_NAMES_MAX * SharedName::BYTES;
/// Closures in one answer to a request, as in one grant between machines.
pub const LENT_CLOSURES_MAX: usize = 4096;
/// The closures' sizes in one answer: with the numbers they fit into a frame, and the largest closure fits in.
pub const LENT_BYTES_MAX: usize = CLOSURE_SIZE_MAX;
/// Runs of ready closures in one report: the oldest few decide what leaves.
pub const READY_RUNS_MAX: usize = 8;
/// Kinds in one report of what was measured; an engine with more sends several.
pub const SAMPLES_MAX: usize = 512;
/// Results in one message of those that are kept, between engine and server as between machines.
pub const RECORDS_MAX: usize = 4096;
/// Their sizes in one message: with the numbers they fit into a frame, and the largest result fits in.
pub const RECORDS_BYTES_MAX: usize =
    CLOSURE_BYTES_MAX + RECORDS_MAX * (Key::BYTES + Above::BYTES_MAX);
/// Paths in one message of tasks; an engine with more sends several.
pub const TASKS_MAX: usize = 1024;
/// The path of one task. What is longer is cut: the end says more than the beginning.
pub const TASK_PATH_BYTES_MAX: usize = 256;
/// Workers of one engine: as many as a runtime has at most.
pub const WORKERS_MAX: u32 = 1024;
/// A URL: as long as servers accept, and some more for the error that says so.
pub const URL_BYTES_MAX: usize = 16 << 10;
/// Bytes of a file in one answer: several make a frame's cost small.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Entries of a folder in one answer; with the longest names they fit into a frame.
pub const FILE_ENTRIES_MAX: usize = 8192;
/// A name in a folder, as file systems have them.
pub const FILE_NAME_BYTES_MAX: usize = 255;
/// What people are told of a file: some URLs and their story.
pub const FILE_MESSAGE_BYTES_MAX: usize = 64 << 10;
/// A path of this machine's: as long as its kernel takes.
pub const PATH_BYTES_MAX: usize = 4096;
