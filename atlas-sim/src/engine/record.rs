//! What an engine records of a job, and what it remembers of what others have.
//!
//! Every finished node is recorded under the key of the closure that it would be, together with all that finished within an
//! interval; a result that was returned for a lent node, too. What is too large for a message is not. A node whose result is remembered takes no time, whether it would be run or lent.
//!
//! What finished below a node that finished in the same interval is left out: nobody would look for it. What was accepted is its lender's to
//! record.

use std::collections::BTreeMap;
use std::time::Duration;

use atlas_engine::Above;
use atlas_proto::engine::{EngineEvent, Recorded};
use atlas_proto::ids::JobAlias;
use atlas_proto::limits::CLOSURE_BYTES_MAX;
use atlas_proto::time::Time;
use bytes::BytesMut;

use super::clock::Work;
use super::job::{Accepted, Frame, TICKET};
use super::slab::Slab;
use crate::workload::{Done, PlaceSet, Tree, TreeNode, decode_result, encode_result_in, name_of};

/// The records of one job.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Finished since the last time, by the frame above.
    fresh: BTreeMap<u32, Vec<Fresh>>,
    /// Finished since then below frames that are gone.
    of_gone: Vec<(Fresh, Above)>,
    recorded_at: Time,
    /// For the next results to be recorded.
    room: BytesMut,
    remembered: PlaceSet,
    /// Of the same name as what others remember, and different.
    different: BTreeMap<u64, Done>,
}

#[derive(Clone, Copy, Debug)]
struct Fresh {
    node: TreeNode,
    result: u64,
    work: Work,
}

impl Records {
    /// A node is done, with all below it: a result for the frame `above`. If it had a frame itself, that was at `place`.
    #[inline]
    pub(super) fn finished(
        &mut self,
        place: Option<u32>,
        above: u32,
        node: TreeNode,
        done: (u64, Work),
    ) {
        let (result, work) = done;
        if work < WORK_MIN {
            return;
        }
        if let Some(place) = place {
            self.fresh.remove(&place);
        }
        let fresh = Fresh { node, result, work };
        self.fresh.entry(above).or_default().push(fresh);
    }

    /// The frames at these places are gone, and others may come there: nothing will finish above what finished below them.
    pub(super) fn forget_frames(
        &mut self,
        places: impl Fn(u32) -> bool,
        above: impl Fn(u32) -> Above,
    ) {
        let gone = self.fresh.extract_if(.., |place, _| places(*place));
        for (place, fresh) in gone {
            let above = above(place);
            let fresh = fresh.into_iter().map(|fresh| (fresh, above));
            self.of_gone.extend(fresh);
        }
    }

    /// The frame of a ticket is gone: what it was of is its lender's to record.
    pub(super) fn forget_ticket(&mut self, place: u32) {
        self.fresh.remove(&place);
    }

    /// When there is something to tell; none if there is nothing.
    pub(super) fn due(&self) -> Option<Time> {
        (!self.fresh.is_empty() || !self.of_gone.is_empty()).then(|| self.recorded_at + INTERVAL)
    }

    /// What is due; all that there is if nothing runs.
    pub(super) fn take(
        &mut self,
        now: Time,
        idle: bool,
        job: JobAlias,
        tree: &Tree,
        above: impl Fn(u32) -> Above,
    ) -> Option<EngineEvent> {
        if self.due().is_none_or(|due| due > now && !idle) {
            return None;
        }
        self.recorded_at = now;
        let fresh = std::mem::take(&mut self.fresh).into_iter();
        let fresh = fresh.flat_map(|(place, fresh)| {
            let above = above(place);
            fresh.into_iter().map(move |fresh| (fresh, above))
        });
        let fresh = fresh.chain(std::mem::take(&mut self.of_gone));
        let result_bytes = tree.config().result_bytes;
        if result_bytes > CLOSURE_BYTES_MAX {
            return None;
        }
        let room = &mut self.room;
        let recorded = |(fresh, above): (Fresh, Above)| Recorded {
            key: tree.key(&fresh.node),
            result: encode_result_in(room, fresh.result, result_bytes),
            work: Duration::from_nanos(fresh.work),
            above,
        };
        let entries = fresh.map(recorded).collect();
        Some(EngineEvent::Recorded { job, entries })
    }

    /// The last of those with one name counts.
    pub(super) fn remember(&mut self, tree: &Tree, entries: Vec<Recorded>) {
        let mut table = tree.remembered().table();
        for Recorded {
            key, result, work, ..
        } in entries
        {
            let work = u64::try_from(work.as_nanos()).unwrap_or(u64::MAX);
            let Some(result) = decode_result(&result) else {
                continue;
            };
            let (name, done) = (name_of(&key), (result, work));
            match table.keep(name, done) {
                Some(place) => {
                    self.remembered.insert(place);
                    self.different.remove(&name);
                }
                None => drop(self.different.insert(name, done)),
            }
        }
    }

    /// Some node may take no time.
    pub(super) fn remembers_any(&self) -> bool {
        !self.remembered.is_empty() || !self.different.is_empty()
    }

    /// The result of a node and the work that it took, if it is remembered.
    pub(super) fn look_up(&self, tree: &Tree, node: &TreeNode) -> Option<Done> {
        if !self.remembers_any() {
            return None;
        }
        let name = name_of(&tree.key(node));
        let different = self.different.get(&name).copied();
        different.or_else(|| tree.remembered().table().find(name, &self.remembered))
    }
}

/// The nodes above what is delivered to the frame at a place.
pub(super) fn above(
    place: u32,
    frames: &Slab<Frame>,
    tickets: &Slab<Accepted>,
    tree: &Tree,
) -> Above {
    let accepted = tickets[frames[place].ticket].above;
    let mut place = place;
    let here = std::iter::from_fn(|| {
        let frame = &frames[place];
        place = frame.parent;
        (place != TICKET).then(|| tree.key(&frame.node).short())
    });
    here.chain(accepted.keys().iter().copied()).collect()
}

/// A record takes some microseconds of a slow link: what is computed in twenty times that is not worth it.
const WORK_MIN: Work = 200_000;
const INTERVAL: Duration = Duration::from_secs(1);
