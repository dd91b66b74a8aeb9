//! Stack overflow of a strand: a message that says what to do, then abort.
//!
//! The standard library prints a message for the stacks of its own threads; a
//! strand's guard pages are unknown to it. This handler looks whether the
//! faulting address lies in the guard of the strand that the thread runs; any
//! other fault goes to the handler that was there before.

use std::cell::Cell;
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;

/// Installs the handler, once per process.
pub(crate) fn install_handler() {
    PREVIOUS.get_or_init(|| {
        // SAFETY: all-zero is a valid `sigaction`: the default action, no flags.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        [libc::SIGSEGV, libc::SIGBUS].map(|signal| {
            // SAFETY: as above.
            let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: both pointers are valid, and the handler is
            // async-signal-safe (it reads thread-locals without destructor,
            // writes to a descriptor and aborts).
            unsafe { libc::sigaction(signal, &raw const action, &raw mut previous) };
            previous
        })
    });
}

/// Gives this thread an alternate signal stack if it has none. The memory is
/// never freed: it may be in use until the thread's last instruction.
pub(crate) fn ensure_signal_stack() {
    // SAFETY: all-zero is a valid `stack_t`.
    let mut current: libc::stack_t = unsafe { std::mem::zeroed() };
    // SAFETY: only reads the current setting.
    unsafe { libc::sigaltstack(ptr::null(), &raw mut current) };
    if current.ss_flags & libc::SS_DISABLE == 0 {
        return;
    }
    let memory = Box::leak(vec![0_u8; SIGNAL_STACK_BYTES].into_boxed_slice());
    let stack = libc::stack_t {
        ss_sp: memory.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: memory.len(),
    };
    // SAFETY: the memory lives for ever.
    unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
}

/// Says which addresses are the guard of the strand that this thread runs now.
pub(crate) fn set_guard(guard: &Range<usize>) {
    GUARD.set((guard.start, guard.end));
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t`.
    let info_of_fault = unsafe { &*info };
    // SAFETY: the handler is for signals that have an address.
    let address = unsafe { info_of_fault.si_addr() }.addr();
    let (start, end) = GUARD.get();
    if (start..end).contains(&address) {
        // SAFETY: writes constant bytes to standard error.
        unsafe { libc::write(2, MESSAGE.as_ptr().cast(), MESSAGE.len()) };
        // SAFETY: abort is async-signal-safe.
        unsafe { libc::abort() };
    }
    let previous = PREVIOUS
        .get()
        .map(|[segv, bus]| if signal == libc::SIGSEGV { segv } else { bus });
    match previous {
        Some(action) if action.sa_sigaction > libc::SIG_IGN => {
            // SAFETY: what another handler registered as its address; every
            // installed handler accepts the three arguments (C ABI).
            let chained: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(action.sa_sigaction) };
            chained(signal, info, context);
        }
        _ => {
            // SAFETY: restores the default action; the fault repeats on return.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

thread_local! {
    static GUARD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

static PREVIOUS: OnceLock<[libc::sigaction; 2]> = OnceLock::new();

const MESSAGE: &str = "\natlas: a strand has overflowed its stack. Raise the stack size with the \
environment variable ATLAS_STACK (for example ATLAS_STACK=64M) or with \
Runtime::builder().stack_bytes(..), or recurse less deeply.\n";

/// Enough for the handler with a wide vector state on the frame.
const SIGNAL_STACK_BYTES: usize = 64 * 1024;
