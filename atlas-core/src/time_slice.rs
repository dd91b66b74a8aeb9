//! For how long a thread keeps its processor while others want it, too.
//!
//! Linux lets a thread run for its time slice before another of the same priority has the processor, even one that
//! was just woken and has hardly run: that waits for the end of the slice, which is noticed at a tick. A
//! server that answers a steal while all processors compute would answer some milliseconds later, though
//! its answer takes a tenth of one. But who is woken and has a *shorter* slice than the thread that runs goes first, at
//! once (Linux 6.12 and later; earlier ones ignore what is asked for here). So those who carry steals ask for short
//! slices. Those who compute do not ask for long ones: a worker that is woken would wait that much longer for another.
//!
//! A slice is no share of the processor: who has short ones gets them more often. Threads pass theirs on to those that
//! they start, and processes to theirs.

use std::time::Duration;

/// The head of the kernel's `struct sched_attr` (`include/uapi/linux/sched/types.h`), its first version.
#[cfg(target_os = "linux")]
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// With the usual policies: the time slice, in nanoseconds.
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Asks for time slices of this length for the calling thread; zero is for those that the system gives by itself. With short
/// ones, a tenth of a millisecond say, it goes before threads that compute as soon as it is woken.
///
/// A system that knows no such thing ignores it. A thread with another scheduling policy than the usual one is left alone.
#[cfg(target_os = "linux")]
pub fn ask_for_time_slice(slice: Duration) {
    let mut attributes = Attributes::default();
    let size = u32::try_from(size_of::<Attributes>()).unwrap_or(0);
    let own = 0;
    // SAFETY: the kernel writes at most `size` bytes to it.
    let read = unsafe {
        libc::syscall(
            libc::SYS_sched_getattr,
            own,
            &raw mut attributes,
            size,
            NO_FLAGS,
        )
    };
    let usual = u32::try_from(libc::SCHED_OTHER).unwrap_or(0);
    if read != 0 || attributes.policy != usual {
        // It has a policy that somebody chose with care.
        return;
    }
    attributes.size = size;
    attributes.runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: the kernel reads `size` bytes of it. All but the slice is as it was.
    unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            own,
            &raw const attributes,
            NO_FLAGS,
        )
    };
}

/// Only Linux can be asked for that.
#[cfg(not(target_os = "linux"))]
pub fn ask_for_time_slice(_slice: Duration) {}

#[cfg(target_os = "linux")]
const NO_FLAGS: u32 = 0;
