//! Memory that was freed and is the process's still, and memory that never should be.

/// Gives back to the system what this process has freed and its allocator keeps for later: megabytes, in a daemon that had something
/// large to do and has nothing to do now. It takes about a millisecond, and whoever allocates meanwhile waits.
///
/// The program's code goes, too: the system maps 64 KiB of it around whatever runs once, and never takes that away from a process
/// by itself before memory is short. What is run again is mapped again, from the system's own copy of the file as long as it has one.
///
/// With another allocator than glibc's that one is left alone, and on other systems than Linux it does nothing.
pub fn give_back_memory() {
    give_back_freed();
    #[cfg(target_os = "linux")]
    unmap_code();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back_freed() {
    const KEPT_BYTES: usize = 0;
    // SAFETY: it takes no pointers, and looks at nothing but free memory, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(KEPT_BYTES);
    }
}

/// Only glibc keeps that much.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back_freed() {}

#[cfg(target_os = "linux")]
fn unmap_code() {
    let program = std::env::current_exe();
    let maps = std::fs::read_to_string("/proc/self/maps");
    let (Ok(program), Ok(maps)) = (program, maps) else {
        return;
    };
    for code in maps.lines().filter_map(|line| code_of(line, &program)) {
        let start = std::ptr::with_exposed_provenance_mut(code.start);
        // SAFETY: these pages are those of a file, mapped privately, and cannot be written to: whoever reads or runs them
        // next, on whichever thread, finds the same bytes, since the file of a running program cannot be changed. If the range
        // is mapped otherwise by now the call would reach other memory, but a program's own code is not unmapped while it runs.
        unsafe {
            libc::madvise(start, code.len(), libc::MADV_DONTNEED);
        }
    }
}

/// The addresses of a mapping, a line of proc_pid_maps(5), if it is code of the program.
#[cfg(target_os = "linux")]
fn code_of(line: &str, program: &std::path::Path) -> Option<std::ops::Range<usize>> {
    let mut fields = line.splitn(6, ' ');
    let (range, rights) = (fields.next()?, fields.next()?);
    let path = fields.nth(3)?.trim_start();
    if rights != "r-xp" || std::path::Path::new(path) != program {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some(address(start)?..address(end)?)
}

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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn code_is_told_from_all_else() {
        let program = Path::new("/opt/a b/atlas");
        let code =
            "55d0a000-55d0c000 r-xp 00001000 fe:00 77                         /opt/a b/atlas";
        assert_eq!(code_of(code, program), Some(0x55d0_a000..0x55d0_c000));
        let data =
            "55d0c000-55d0d000 r--p 00003000 fe:00 77                         /opt/a b/atlas";
        assert_eq!(code_of(data, program), None);
        let other =
            "7f00a000-7f00c000 r-xp 00001000 fe:00 78                         /lib/libc.so.6";
        assert_eq!(code_of(other, program), None);
        assert_eq!(
            code_of("7f00a000-7f00c000 r-xp 00000000 00:00 0", program),
            None
        );
        assert_eq!(code_of("", program), None);
    }

    /// What is unmapped is mapped again as it runs.
    #[test]
    fn code_runs_on_when_it_was_given_back() {
        for _ in 0..10 {
            give_back_memory();
            assert_eq!((1..=10_u64).map(|number| number * number).sum::<u64>(), 385);
        }
    }
}
