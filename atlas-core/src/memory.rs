//! Memory that was freed and is the process's still.

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
