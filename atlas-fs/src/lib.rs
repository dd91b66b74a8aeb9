//! **Driver crate.** Files on their way: blobs, the stores that they lie in, and trees of files made of them.
//!
//! - [`BlobName`]: a *blob* is immutable bytes, named by their BLAKE3 hash.
//! - [`Store`]: a folder of blobs, in the form in which they travel or as plain files, with what sends and receives
//!   them over any stream.
//! - [`FileTree`]: files and folders by their paths, with the blobs that they are.
//!
//! - [`exchange`]: blobs between two nodes that are connected.
//! - [`url`]: files of the web, by URL: fetched in pieces, kept, and read as often as one likes.
//!
//! Nothing here decides who gets which blob. What comes from them is not
//! believed: it is a blob when it has a blob's hash. Decompressing and hashing happen on threads that may block.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! use atlas_fs::Store;
//!
//! let store = Store::open(folder.path())?;
//! let name = store.add_bytes(b"some bytes")?;
//! assert!(store.has_packed(name));
//! assert_eq!(store.read(name, 1000)?, b"some bytes");
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod add;
mod blocking;
mod content;
pub mod daemon;
pub mod exchange;
mod file_error;
pub mod frames;
mod link;
mod name;
mod pack;
mod receive;
mod send;
pub mod state;
mod store;
pub mod tree;
mod trim;
mod turns;
mod unpack;
pub mod url;

pub use add::{AddAs, AddError, Added};
pub use content::ReadBlobError;
pub use file_error::FileError;
pub use name::{BlobName, ParseBlobNameError};
pub use receive::ReceiveError;
pub use send::SendBlobError;
pub use store::{OpenError, Store};
pub use tree::FileTree;
pub use trim::{TrimError, Trimmed};
pub use turns::{Turn, Turns};
pub use unpack::Fault;
