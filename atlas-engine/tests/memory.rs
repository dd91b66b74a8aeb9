//! What arrives decides how much memory is taken, not what is promised.

use std::io::Read;

use atlas_engine::frame::read;
use atlas_engine::limits::FRAME_BYTES_MAX;
use atlas_engine::{ReadError, ToEngine};

/// A stream that notes how much room it was ever offered at a time.
struct Offered<'bytes> {
    bytes: &'bytes [u8],
    most: usize,
}

impl Read for Offered<'_> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        self.most = self.most.max(room.len());
        self.bytes.read(room)
    }
}

#[test]
fn a_promise_alone_takes_no_memory() {
    let length = u32::try_from(FRAME_BYTES_MAX).unwrap().to_le_bytes();
    let bytes = [&length[..], &[1; 100]].concat();
    let mut stream = Offered {
        bytes: &bytes,
        most: 0,
    };
    let error = read::<ToEngine>(&mut stream).unwrap_err();
    assert!(matches!(error, ReadError::Io(_)), "{error:?}");
    assert!(stream.most <= 64 << 10, "{}", stream.most);
}
