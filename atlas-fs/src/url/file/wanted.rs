//! A range of a file, for somebody who is known to want all of it and reads it once, such as a cache below: what is missing is asked
//! for at once, in pieces as large as there may be.

use std::ops::Range;

use super::super::error::UrlError;
use super::UrlFile;
use super::shared::blocks_around;

/// That a range is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// What has failed after that is news.
    pub(super) failed_before: u64,
}

impl UrlFile {
    /// Asks for what is missing of these bytes.
    pub(crate) fn want(&self, range: &Range<u64>) -> Wanted {
        let blocks = blocks_around(range.start, range.end.saturating_sub(range.start));
        let failed_before = self.shared.want(blocks);
        Wanted { failed_before }
    }

    /// Whether these are there.
    pub(crate) fn has(&self, offset: u64, length: usize) -> bool {
        self.shared.has(&blocks_around(offset, length as u64))
    }

    /// As [`UrlFile::read_at`], of what is wanted already; what there is no room to keep is an error.
    pub(crate) async fn read_wanted(
        &self,
        wanted: Wanted,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, UrlError> {
        self.read(offset, buffer, Some(wanted)).await
    }
}
