//! What a job has printed, in files of its own, and who waits for more.
//!
//! A root may be run again, and two runs may be told at a time; what they print is the same. So each piece says where it stands
//! in its stream, and counts only beyond what is there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use atlas_proto::control::{OUTPUT_CHUNK_BYTES_MAX, OutputFrame, OutputStream};
use tokio::sync::watch;

/// The output of one job.
#[derive(Debug)]
pub(crate) struct Sink {
    folder: PathBuf,
    files: Mutex<[File; 2]>,
    bytes: watch::Sender<[u64; 2]>,
}

impl Sink {
    /// Opens what is in the folder, which is made if it is not there.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let open = |name: &str| {
            let mut options = OpenOptions::new();
            options
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(folder.join(name))
        };
        let files = [open("stdout")?, open("stderr")?];
        let bytes = [files[0].metadata()?.len(), files[1].metadata()?.len()];
        Ok(Self {
            folder: folder.to_owned(),
            files: Mutex::new(files),
            bytes: watch::Sender::new(bytes),
        })
    }

    /// How much of each stream is there, now and whenever it has grown.
    pub(crate) fn bytes(&self) -> watch::Receiver<[u64; 2]> {
        self.bytes.subscribe()
    }

    /// Takes in a piece. One that begins beyond what is there is of another run, and is dropped: that run's earlier pieces
    /// are still to come.
    pub(crate) fn write(&self, frame: &OutputFrame) -> io::Result<()> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let which = frame.stream.index();
        let known = self.bytes.borrow()[which];
        let Some(skip) = known.checked_sub(frame.offset) else {
            return Ok(());
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let Some(new) = frame.bytes.get(skip..).filter(|new| !new.is_empty()) else {
            return Ok(());
        };
        files[which].write_all_at(new, known)?;
        let length = u64::try_from(new.len()).unwrap_or(0);
        self.bytes.send_modify(|bytes| bytes[which] += length);
        Ok(())
    }

    /// The next piece from there on; none at the end of what is there.
    pub(crate) fn read(
        &self,
        stream: OutputStream,
        offset: u64,
    ) -> io::Result<Option<OutputFrame>> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.bytes.borrow()[stream.index()];
        let left = usize::try_from(known.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(OUTPUT_CHUNK_BYTES_MAX)];
        if bytes.is_empty() {
            return Ok(None);
        }
        files[stream.index()].read_exact_at(&mut bytes, offset)?;
        let bytes = bytes.into();
        Ok(Some(OutputFrame {
            stream,
            offset,
            bytes,
        }))
    }

    /// The job is forgotten.
    pub(crate) fn remove(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "the output of an old job cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(offset: u64, text: &str) -> OutputFrame {
        OutputFrame {
            stream: OutputStream::Out,
            offset,
            bytes: text.to_owned().into(),
        }
    }

    #[test]
    fn what_comes_twice_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::open(folder.path()).unwrap();
        let text = || {
            let read = sink.read(OutputStream::Out, 0).unwrap();
            read.map(|frame| String::from_utf8(frame.bytes.to_vec()).unwrap())
        };
        assert_eq!(text(), None);
        sink.write(&piece(0, "one ")).unwrap();
        sink.write(&piece(0, "one ")).unwrap();
        sink.write(&piece(2, "e two")).unwrap();
        sink.write(&piece(20, "late")).unwrap();
        assert_eq!(text().as_deref(), Some("one two"));
        assert_eq!(*sink.bytes().borrow(), [7, 0]);
        assert_eq!(sink.read(OutputStream::Err, 0).unwrap(), None);
        let again = Sink::open(folder.path()).unwrap();
        assert_eq!(
            again.read(OutputStream::Out, 4).unwrap(),
            Some(piece(4, "two"))
        );
    }
}
