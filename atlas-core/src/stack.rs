//! Stacks for strands: reserved in slabs, guarded at the low end, reused for ever.
//!
//! Address space is cheap and pages are not: a slab reserves the whole of many
//! stacks in one mapping, and memory is taken only where a strand touches it. The
//! guard below each stack is set with `MADV_GUARD_INSTALL` (Linux 6.13), which
//! splits no mapping, so that the number of strands is not bound by the kernel's
//! limit on mappings; where the kernel does not know it, `mprotect` serves.
//!
//! ```text
//!   slab: │guard│   stack 0   │guard│   stack 1   │ ...     (addresses grow →)
//! ```
//!
//! Invariant: a [`Stack`] is handed out to one strand at a time, and the slab is
//! unmapped only after all of its stacks are back ([`Stacks`] outlives the workers).

use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use corosensei::stack::StackPointer;

/// All stacks of one runtime.
pub(crate) struct Stacks {
    stack_bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    slabs: Vec<Slab>,
    free: Vec<Stack>,
}

/// One mapping.
struct Slab {
    base: NonZeroUsize,
    bytes: usize,
}

/// One stack: its guard's low end, and its own high end.
pub(crate) struct Stack {
    limit: NonZeroUsize,
    base: NonZeroUsize,
}

impl Stacks {
    /// Stacks of at least `stack_bytes` usable bytes each.
    pub(crate) fn new(stack_bytes: usize) -> Self {
        Self {
            stack_bytes: stack_bytes
                .next_multiple_of(PAGE_BYTES)
                .max(STACK_BYTES_MIN),
            inner: Mutex::default(),
        }
    }

    /// A stack from the free list or from a new slab.
    ///
    /// # Errors
    /// The system's, if it has no address space left.
    pub(crate) fn take(&self) -> io::Result<Stack> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stack) = inner.free.pop() {
            return Ok(stack);
        }
        let count = (inner.slabs.len() + 1).next_power_of_two() * SLAB_STACKS_MIN;
        let count = count.min(SLAB_STACKS_MAX);
        let (slab, mut stacks) = Slab::map(count, self.stack_bytes)?;
        inner.slabs.push(slab);
        let stack = stacks.pop();
        inner.free.append(&mut stacks);
        Ok(stack.expect("a slab has at least one stack"))
    }

    /// Gives back to the system what an idle strand has used of its stack, but
    /// for the top.
    pub(crate) fn trim(&self, guard: &Range<usize>) {
        let low = ptr::with_exposed_provenance_mut(guard.end);
        let bytes = self.stack_bytes.saturating_sub(KEPT_BYTES);
        // SAFETY: inside the stack of an idle strand, which stands in its first
        // kilobytes.
        unsafe { libc::madvise(low, bytes, libc::MADV_DONTNEED) };
    }

    /// Takes a stack back.
    pub(crate) fn give_back(&self, stack: Stack) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.free.push(stack);
    }
}

impl Slab {
    fn map(count: usize, stack_bytes: usize) -> io::Result<(Self, Vec<Stack>)> {
        let stride = GUARD_BYTES + stack_bytes;
        let bytes = stride
            .checked_mul(count)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: a new anonymous mapping, anywhere.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonZeroUsize::new(address.addr()).expect("a mapping is never at zero");
        let slab = Self { base, bytes };
        let mut stacks = Vec::with_capacity(count);
        for low in (0..count).map(|index| address.wrapping_byte_add(index * stride)) {
            guard(low)?;
            stacks.push(Stack {
                limit: NonZeroUsize::new(low.addr()).expect("inside a mapping"),
                base: NonZeroUsize::new(low.addr() + stride).expect("inside a mapping"),
            });
        }
        Ok((slab, stacks))
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`; the runtime's strands have ended (invariant).
        unsafe {
            libc::munmap(
                ptr::with_exposed_provenance_mut(self.base.get()),
                self.bytes,
            )
        };
    }
}

impl Stack {
    /// The addresses whose touch is an overflow of this stack.
    pub(crate) fn guard(&self) -> Range<usize> {
        self.limit.get()..self.limit.get() + GUARD_BYTES
    }
}

// SAFETY: base and limit bound a mapped, aligned region with a guard at its low end.
unsafe impl corosensei::stack::Stack for Stack {
    fn base(&self) -> StackPointer {
        self.base
    }

    fn limit(&self) -> StackPointer {
        self.limit
    }
}

/// Makes the pages at `low` trap.
fn guard(low: *mut libc::c_void) -> io::Result<()> {
    // SAFETY: the range is the low end of a stack that nobody uses yet.
    if unsafe { libc::madvise(low, GUARD_BYTES, MADV_GUARD_INSTALL) } == 0 {
        return Ok(());
    }
    // SAFETY: as above.
    match unsafe { libc::mprotect(low, GUARD_BYTES, libc::PROT_NONE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Not in the `libc` crate yet; `include/uapi/asm-generic/mman-common.h`.
const MADV_GUARD_INSTALL: libc::c_int = 102;
/// Rust probes a large frame page by page, so one page would do; four also
/// catch C code with frames of moderate size.
const GUARD_BYTES: usize = 4 * PAGE_BYTES;
/// The unit in which sizes are rounded; a multiple of the page size of the
/// systems that Atlas runs on.
const PAGE_BYTES: usize = 16 * 1024;
/// What the panic machinery and a backtrace need, with room.
const STACK_BYTES_MIN: usize = 64 * 1024;
/// What an idle strand's stack keeps: most strands need no more.
const KEPT_BYTES: usize = 64 * 1024;
/// A program with few strands reserves little; one with many maps rarely.
const SLAB_STACKS_MIN: usize = 4;
const SLAB_STACKS_MAX: usize = 64;
