//! What is measured of files by URL, and the bars.

use clap::ValueEnum;
use serde::Serialize;

use crate::bars::{self, Bar};

/// What is measured together, in the order in which it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Bench {
    /// A file that is stored as a whole: in sequence, and here and there.
    Read,
    /// A file that is read for the first time.
    Cold,
    /// Folders and names.
    Names,
    /// A file that eight servers in two domains read at the same time, by their managers' caches.
    Tree,
    /// Ten times the quota, read by four mounts that share a cache.
    Quota,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Throughput of `dd bs=128k` of a stored file, over native.
    SeqVsNative,
    /// The same without passthrough.
    SeqCopiedVsNative,
    /// Median time of a random read of 4 KiB, over native.
    Rand4kP50VsNative,
    /// Throughput of the first read of a file, over that of `curl` to a file.
    ColdVsCurl,
    /// The same, over `rclone mount`.
    ColdVsRclone,
    /// Time of `find -printf %s` over 10,000 files that nobody has asked for, over native.
    FindColdVsNative,
    /// The same again.
    FindWarmVsNative,
    /// Requests for each folder of that.
    FindRequestsPerFolder,
    /// Median time of `stat`, over native.
    StatVsNative,
    /// The same of a name that is missing.
    NegativeVsNative,
    /// Bytes that the origin has sent, over the length of the file.
    OriginBytesRatio,
    /// The most memory that one of the managers has had.
    ManagerPeakMb,
    /// The most that the cache held, above its quota, in files: each mount has one open.
    FilesAboveQuota,
    /// Reads that failed, or gave other bytes.
    ScanErrors,
    /// Descriptors that a mount has more at the end than in the middle.
    DescriptorsLeaked,
}

/// What a benchmark of files has found.
pub type Found = bars::Found<Metric>;

impl bars::Metric for Metric {
    fn unit(self) -> &'static str {
        match self {
            Self::FindRequestsPerFolder => "requests",
            Self::ManagerPeakMb => "MB",
            Self::FilesAboveQuota => "files",
            Self::ScanErrors => "errors",
            Self::DescriptorsLeaked => "descriptors",
            Self::SeqVsNative
            | Self::SeqCopiedVsNative
            | Self::Rand4kP50VsNative
            | Self::ColdVsCurl
            | Self::ColdVsRclone
            | Self::FindColdVsNative
            | Self::FindWarmVsNative
            | Self::StatVsNative
            | Self::NegativeVsNative
            | Self::OriginBytesRatio => "ratio",
        }
    }

    fn bar(self) -> Bar {
        match self {
            Self::SeqVsNative => Bar::AtLeast(0.9),
            Self::SeqCopiedVsNative => Bar::AtLeast(0.3),
            Self::Rand4kP50VsNative => Bar::AtMost(1.5),
            Self::ColdVsCurl => Bar::AtLeast(1.0),
            Self::ColdVsRclone => Bar::AtLeast(4.0),
            Self::FindColdVsNative => Bar::AtMost(4.0),
            Self::FindRequestsPerFolder | Self::FilesAboveQuota => Bar::AtMost(1.0),
            // Once; what is added is heads of answers, which are not counted.
            Self::OriginBytesRatio => Bar::AtMost(1.01),
            Self::ManagerPeakMb => Bar::AtMost(64.0),
            Self::ScanErrors => Bar::AtMost(0.0),
            // Connections that are kept for the next request come and go.
            Self::DescriptorsLeaked => Bar::AtMost(8.0),
            Self::FindWarmVsNative | Self::StatVsNative | Self::NegativeVsNative => {
                Bar::AtMost(2.0)
            }
        }
    }
}
