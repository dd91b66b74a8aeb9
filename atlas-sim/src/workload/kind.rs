//! Which closures are measured together: those of one bucket of depths.
//!
//! Depths below [`EXACT_DEPTHS`] have a bucket each. Deeper ones share: eight buckets for each doubling of the
//! depth, so that a tree thousands deep stays far below [`KINDS_MAX`] kinds.
//!
//! [`KINDS_MAX`]: atlas_proto::limits::KINDS_MAX

use atlas_proto::ids::TaskId;
use atlas_proto::job::ClosureKind;

/// The kind of a closure at a depth of a synthetic tree, whose one task is always the same.
#[must_use]
pub fn kind_at(depth: u32) -> ClosureKind {
    kind_of_bucket(depth_bucket(depth))
}

/// The kind that stands for a bucket.
#[must_use]
pub fn kind_of_bucket(bucket: u32) -> ClosureKind {
    ClosureKind {
        task: TaskId(1),
        depth: bucket,
    }
}

/// The bucket of a depth.
#[inline]
#[must_use]
pub fn depth_bucket(depth: u32) -> u32 {
    if depth < EXACT_DEPTHS {
        return depth;
    }
    let octave = depth.ilog2();
    let eighth = (depth >> (octave - 3)) - 8;
    EXACT_DEPTHS + (octave - EXACT_DEPTHS.ilog2()) * 8 + eighth
}

/// The first depth of a bucket; for the bucket after the last, the end of all depths.
#[must_use]
pub fn bucket_start(bucket: u32) -> u64 {
    if bucket < EXACT_DEPTHS {
        return u64::from(bucket);
    }
    let (octaves, eighth) = ((bucket - EXACT_DEPTHS) / 8, (bucket - EXACT_DEPTHS) % 8);
    u64::from(8 + eighth) << (octaves + EXACT_DEPTHS.ilog2() - 3)
}

/// Depths with a bucket of their own: where closures are large, and few enough to matter one by one.
pub const EXACT_DEPTHS: u32 = 32;

#[cfg(test)]
mod tests {
    use atlas_proto::limits::KINDS_MAX;

    use super::*;

    #[test]
    fn every_depth_lies_in_its_bucket() {
        for depth in (0..5000).chain([1 << 20, (1 << 20) + 12_345, u32::MAX - 1, u32::MAX]) {
            let bucket = depth_bucket(depth);
            let (from, to) = (bucket_start(bucket), bucket_start(bucket + 1));
            assert!(
                (from..to).contains(&u64::from(depth)),
                "{depth} in bucket {bucket}: {from}..{to}"
            );
        }
    }

    #[test]
    fn kinds_are_fewer_than_the_protocol_allows() {
        assert!((depth_bucket(u32::MAX) as usize) < KINDS_MAX);
        assert_eq!(bucket_start(depth_bucket(u32::MAX) + 1), 1 << 32);
    }
}
