//! Memory that was freed and is the process's still, and memory that never should be.

/// Gives back to the system what this process has freed and its allocator keeps for later: megabytes, in a daemon that had something
/// large to do and has nothing to do now. It takes about a millisecond, and whoever allocates meanwhile waits.
///
/// With another allocator than glibc's it does nothing.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back_memory() {
    const KEPT_BYTES: usize = 0;
    // SAFETY: it takes no pointers, and looks at nothing but free memory, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(KEPT_BYTES);
    }
}

/// Only glibc keeps that much.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back_memory() {}

/// Has the system asked for memory for whatever takes megabytes, each time, and given it back as soon as it is freed: for who takes much that is zero
/// and touches little of it. As a rule glibc begins to keep what has that size as soon as some of it is freed, and then fills
/// it with zeros itself, and all of it is in memory.
///
/// It holds for the whole process. With another allocator than glibc's it does nothing.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn map_large_memory() {
    // SAFETY: it takes no pointers, and changes a number under the allocator's own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
    // SAFETY: likewise. Without it, memory would go back and forth with each message: twice the other is what glibc itself takes.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * LARGE_BYTES);
    }
}

/// Others do so in any case, or do not keep it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn map_large_memory() {}

/// More than a message has, which comes and goes often.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: libc::c_int = 8 << 20;
