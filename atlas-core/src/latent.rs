//! The latent list: work that its owner may hand out, and most often does itself.
//!
//! Each join links one [`Node`] on its stack frame to the node before it; the
//! newest stands in a thread-local word. A node's `word` says how it stands:
//!
//! | `word` | the node is |
//! | --- | --- |
//! | a `&'static NodeKind` | unmarked: its owner goes on by the fast path |
//! | the same, with [`MARKED`] | *marked*: the owner takes the slow path when it comes back |
//! | a `Closure` reference, with [`MARKED`] and [`PROMOTED`] | promoted to that closure |
//!
//! With [`TRACED`] a marked node's work is keyed and timed by its owner (`trace.rs`).
//!
//! Promotion takes the oldest node. To find it without walking the list each
//! time, the walk marks every node that it passes and remembers them, oldest
//! first, in the strand's [`Marked`] queue: each node is walked once in its life.
//!
//! ```text
//!   oldest ─────────────────────────────────────────────▶ newest
//!   promoted (marked)  │  Marked queue (marked)  │  unmarked
//! ```
//!
//! Invariant: the queue holds exactly the marked nodes that are not promoted.
//! An owner that comes back to a marked node finds it at the queue's back, or
//! finds that it has been promoted. A frame (`next.rs`) with several children
//! stays in the queue until its last child is handed out.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ptr::{self, NonNull};

use crate::closure::ClosureRef;

/// The head of a latent record: on the stack of a join, or in a heap frame.
#[repr(C)]
pub(crate) struct Node {
    pub(crate) parent: Cell<*const Node>,
    word: Cell<*const ()>,
}

/// What a kind of node can do.
pub(crate) struct NodeKind {
    /// Turns the node, or one child of it, into a public closure. Called by the
    /// owner's thread, on a node that is in the list.
    pub(crate) promote: unsafe fn(*const Node) -> Promoted,
    /// It is a frame, which has children rather than a call of its owner's.
    pub(crate) is_frame: bool,
}

/// A promoted closure, and whether its node has more to give.
pub(crate) struct Promoted {
    pub(crate) closure: ClosureRef,
    pub(crate) exhausted: bool,
}

impl Node {
    #[inline(always)]
    pub(crate) fn new(parent: *const Node, kind: &'static NodeKind) -> Self {
        Self {
            parent: Cell::new(parent),
            word: Cell::new(ptr::from_ref(kind).cast()),
        }
    }

    /// True if the owner may go on by the fast path.
    #[inline(always)]
    pub(crate) fn is_unmarked(&self) -> bool {
        self.word.get().addr() & MARKED == 0
    }

    /// Makes the owner take the slow path; false if it would already.
    pub(crate) fn mark(&self) -> bool {
        let fresh = self.is_unmarked();
        self.word
            .set(self.word.get().map_addr(|address| address | MARKED));
        fresh
    }

    /// The node's kind, if it is not promoted.
    pub(crate) fn kind(&self) -> Option<&'static NodeKind> {
        let word = self.word.get();
        let kind = word
            .map_addr(|address| address & !(MARKED | TRACED))
            .cast::<NodeKind>();
        // SAFETY: a word without PROMOTED came from a `&'static NodeKind`.
        (word.addr() & PROMOTED == 0).then(|| unsafe { &*kind })
    }

    /// Has the owner key and time its work; false if it would already. The node is marked.
    fn trace(&self) -> bool {
        let fresh = !self.is_traced();
        self.word
            .set(self.word.get().map_addr(|address| address | TRACED));
        fresh
    }

    /// True if the owner is to key and time its work.
    pub(crate) fn is_traced(&self) -> bool {
        self.traced_bit() != 0
    }

    fn traced_bit(&self) -> usize {
        self.word.get().addr() & TRACED
    }

    /// Keeps a reference to the closure that the marked node became.
    pub(crate) fn set_closure(&self, closure: ClosureRef) {
        let pointer = closure.into_raw().as_ptr().cast_const().cast::<()>();
        self.word
            .set(pointer.map_addr(|address| address | MARKED | PROMOTED | self.traced_bit()));
    }

    /// The reference to the closure of a promoted node. It is taken once.
    pub(crate) fn take_closure(&self) -> Option<ClosureRef> {
        let word = self.word.get();
        if word.addr() & PROMOTED == 0 {
            return None;
        }
        let pointer = word
            .map_addr(|address| address & !(MARKED | PROMOTED | TRACED))
            .cast_mut();
        let pointer = NonNull::new(pointer).expect("a promoted node keeps its closure");
        // SAFETY: a word with PROMOTED is a reference of `set_closure`; the
        // owner takes it once, when it leaves the frame.
        Some(unsafe { ClosureRef::from_raw(pointer.cast()) })
    }
}

/// The marked, unpromoted nodes of one strand, oldest first.
#[derive(Default)]
pub(crate) struct Marked {
    nodes: VecDeque<Queued>,
    /// How many older nodes are promoted and wait; a guess where frames have failed.
    promoted: u32,
}

/// A marked node, and when its owner was told to key and time its work.
#[derive(Clone, Copy)]
struct Queued {
    node: *const Node,
    traced: u64,
}

impl Marked {
    /// The oldest unpromoted node of the list that ends at `newest`, marked.
    ///
    /// # Safety
    /// The list belongs to a strand of this thread, and this queue to that strand.
    pub(crate) unsafe fn oldest(&mut self, newest: *const Node) -> Option<*const Node> {
        if self.nodes.is_empty() {
            // SAFETY: passed on to the caller.
            unsafe { self.mark_newer(newest) };
        }
        Some(self.nodes.front()?.node)
    }

    /// Promotes the oldest work of the list that ends at `newest`.
    ///
    /// # Safety
    /// As for [`Marked::oldest`].
    pub(crate) unsafe fn promote_oldest(&mut self, newest: *const Node) -> Option<ClosureRef> {
        // SAFETY: passed on to the caller.
        let node = unsafe { self.oldest(newest) }?;
        // SAFETY: nodes in the queue are in the list (invariant), so alive.
        let kind = unsafe { (*node).kind() }.expect("queued nodes are not promoted");
        // SAFETY: as above.
        let promoted = unsafe { (kind.promote)(node) };
        if promoted.exhausted {
            self.nodes.pop_front();
            self.promoted = self.promoted.saturating_add(1);
        }
        Some(promoted.closure)
    }

    /// The owner has come back to a marked node that was not promoted: takes it
    /// out of the queue. When it was said to be traced, if it was.
    pub(crate) fn take_back(&mut self, node: *const Node) -> Option<u64> {
        let back = self
            .nodes
            .pop_back_if(|back| ptr::eq(back.node, node))?
            .traced;
        (back != NEVER).then_some(back)
    }

    /// The owner has come back to a promoted node.
    pub(crate) fn forget_promoted(&mut self) {
        self.promoted = self.promoted.saturating_sub(1);
    }

    /// How many nodes were promoted and wait.
    pub(crate) fn promoted(&self) -> u32 {
        self.promoted
    }

    /// How many nodes are marked.
    pub(crate) fn marked(&self) -> u32 {
        let queued = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.promoted.saturating_add(queued)
    }

    /// Marks all nodes, and has their owners key and time what they take back from now on.
    ///
    /// # Safety
    /// As for [`Marked::oldest`].
    pub(crate) unsafe fn trace_all(&mut self, newest: *const Node, now: u64) {
        // SAFETY: passed on to the caller.
        unsafe { self.mark_newer(newest) };
        for queued in self.nodes.iter_mut().rev() {
            // SAFETY: nodes in the queue are in the list (invariant), so alive.
            if !unsafe { &*queued.node }.trace() {
                break;
            }
            queued.traced = now;
        }
    }

    /// Promotes the children of the marked frames, the oldest first and so many at most; with each, how many
    /// nodes are older.
    ///
    /// # Safety
    /// As for [`Marked::oldest`].
    pub(crate) unsafe fn hand_out_frames(&mut self, children_max: usize) -> Vec<(u32, ClosureRef)> {
        let mut handed_out = Vec::new();
        let mut at = 0;
        while let Some(&Queued { node, .. }) = self.nodes.get(at)
            && handed_out.len() < children_max
        {
            // SAFETY: nodes in the queue are in the list (invariant), so alive.
            let kind = unsafe { (*node).kind() }.expect("queued nodes are not promoted");
            if !kind.is_frame {
                at += 1;
                continue;
            }
            let above = self.promoted + u32::try_from(at).unwrap_or(u32::MAX);
            // SAFETY: as above.
            let promoted = unsafe { (kind.promote)(node) };
            handed_out.push((above, promoted.closure));
            if promoted.exhausted {
                self.nodes.remove(at);
                self.promoted = self.promoted.saturating_add(1);
            }
        }
        handed_out
    }

    /// Marks the unmarked end of the list and queues it.
    ///
    /// # Safety
    /// As for [`Marked::oldest`].
    unsafe fn mark_newer(&mut self, newest: *const Node) {
        let queued = self.nodes.len();
        let mut next = newest;
        // SAFETY: each node of the list is alive: its frame is on the strand's
        // stack, or on the heap until its owner comes back to it.
        while let Some(node) = unsafe { next.as_ref() } {
            if !node.mark() {
                break;
            }
            self.nodes.push_back(Queued {
                node,
                traced: NEVER,
            });
            next = node.parent.get();
        }
        if self.nodes.len() > queued + 1 {
            self.nodes.make_contiguous()[queued..].reverse();
        }
    }
}

/// The bits of a node's word; kinds and closures are aligned to 8 at least.
const MARKED: usize = 1;
const PROMOTED: usize = 2;
const TRACED: usize = 4;
/// No node is said to be traced at this time.
const NEVER: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::new_closure;
    use crate::join::Body;

    /// One that can be promoted once.
    const ONCE: &NodeKind = &NodeKind {
        promote: promote_once,
        is_frame: false,
    };
    /// One that always has more.
    const MORE: &NodeKind = &NodeKind {
        promote: promote_more,
        is_frame: true,
    };

    unsafe fn promote_once(node: *const Node) -> Promoted {
        let closure = new_closure(Body(|| ()), None);
        // SAFETY: the tests' nodes are alive.
        unsafe { &*node }.set_closure(closure.clone());
        Promoted {
            closure,
            exhausted: true,
        }
    }

    unsafe fn promote_more(_: *const Node) -> Promoted {
        Promoted {
            closure: new_closure(Body(|| ()), None),
            exhausted: false,
        }
    }

    fn oldest(marked: &mut Marked, newest: &Node) -> Option<*const Node> {
        // SAFETY: the tests' nodes are alive, and linked.
        unsafe { marked.oldest(newest) }
    }

    fn promote(marked: &mut Marked, newest: &Node) -> Option<ClosureRef> {
        // SAFETY: as above.
        unsafe { marked.promote_oldest(newest) }
    }

    #[test]
    fn oldest_node_is_promoted_first_and_each_once() {
        let a = Node::new(ptr::null(), ONCE);
        let b = Node::new(&raw const a, ONCE);
        let c = Node::new(&raw const b, ONCE);
        let mut marked = Marked::default();
        for node in [&a, &b, &c] {
            let closure = promote(&mut marked, &c).expect("some are left");
            assert!(node.take_closure() == Some(closure));
        }
        assert!(promote(&mut marked, &c).is_none());
        assert!(oldest(&mut marked, &c).is_none());
    }

    #[test]
    fn node_that_its_owner_took_back_is_not_promoted() {
        let a = Node::new(ptr::null(), ONCE);
        let b = Node::new(&raw const a, ONCE);
        let mut marked = Marked::default();
        assert_eq!(oldest(&mut marked, &b), Some(&raw const a));
        assert!(!a.is_unmarked() && !b.is_unmarked());
        marked.take_back(&raw const b);
        assert!(promote(&mut marked, &a).is_some());
        assert!(promote(&mut marked, &a).is_none());
        assert!(b.kind().is_some() && b.take_closure().is_none());
        assert!(a.kind().is_none());
        drop(a.take_closure());
    }

    #[test]
    fn nodes_linked_after_the_walk_are_found_when_the_older_are_gone() {
        let a = Node::new(ptr::null(), ONCE);
        let mut marked = Marked::default();
        assert_eq!(oldest(&mut marked, &a), Some(&raw const a));
        let b = Node::new(&raw const a, ONCE);
        assert!(b.is_unmarked());
        assert!(promote(&mut marked, &b).is_some());
        assert_eq!(oldest(&mut marked, &b), Some(&raw const b));
        drop(a.take_closure());
    }

    #[test]
    fn node_with_more_children_stays_the_oldest() {
        let a = Node::new(ptr::null(), MORE);
        let b = Node::new(&raw const a, ONCE);
        let mut marked = Marked::default();
        for _ in 0..3 {
            assert!(promote(&mut marked, &b).is_some());
            assert_eq!(oldest(&mut marked, &b), Some(&raw const a));
        }
        marked.take_back(&raw const b);
        marked.take_back(&raw const a);
        assert!(oldest(&mut marked, &b).is_none());
    }
}
