//! What decoding allocates is bounded by what has arrived, whatever lengths the bytes promise.
//!
//! The allocator of this test counts what its thread holds, and the most that it held.
#![expect(
    clippy::unwrap_used,
    reason = "also outside of the test functions themselves, a failure here is the test's"
)]

#[path = "support/samples.rs"]
mod samples;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use atlas_proto::codec::{PROTOCOL_VERSION, decode, encode};
use atlas_proto::limits::{GRANT_CLOSURES_MAX, LEASES_PER_MESSAGE_MAX, PACKET_BYTES_MAX};
use atlas_proto::message::{LeaseResult, LeasedClosure};
use bytes::Bytes;

#[test]
fn promised_lengths_take_no_memory() {
    for packet in samples::packets() {
        let encoded = encode(&packet).unwrap();
        for at in 1..=encoded.len() {
            for promise in promises() {
                let rest = encoded.get(at + 1..).unwrap_or_default();
                let hostile = [&encoded[..at], &promise, rest].concat();
                check(&hostile);
            }
        }
    }
}

#[test]
fn the_densest_lists_stay_within_the_bound() {
    let results = vec![(1_u8, (0_u8, Bytes::new(), Duration::ZERO)); LEASES_PER_MESSAGE_MAX];
    let body = postcard::to_stdvec(&(1_u8, 2_u8, 3_u8, 4_u8, 13_u8, results)).unwrap();
    let packet = [&[PROTOCOL_VERSION], &body[..]].concat();
    assert!(decode(&packet).is_ok());
    check(&packet);
    // The last element is missing: all the others were taken in.
    check(&packet[..packet.len() - 1]);
}

#[test]
fn packets_that_are_too_large_are_refused_unread() {
    let packet = vec![PROTOCOL_VERSION; PACKET_BYTES_MAX + 1];
    assert_eq!(held_while(|| drop(decode(&packet))), 0);
}

/// The count counts: without this, the bounds above would hold for an allocator that sees nothing.
#[test]
fn the_allocator_counts() {
    assert_eq!(held_while(|| drop(vec![0_u8; 1000])), 1000);
}

fn check(packet: &[u8]) {
    let held = held_while(|| drop(decode(packet)));
    let most = held_max(packet.len());
    assert!(
        held <= most,
        "{held} bytes held where {most} are allowed for {packet:02x?}"
    );
}

/// Every byte that has arrived promises at most one element of a list, and no list is over its limit.
fn held_max(packet_len: usize) -> usize {
    let element = size_of::<LeasedClosure>().max(size_of::<LeaseResult>());
    let longest = (GRANT_CLOSURES_MAX * size_of::<LeasedClosure>())
        .max(LEASES_PER_MESSAGE_MAX * size_of::<LeaseResult>());
    // The job of a grant, and the headers of shared names.
    let fixed = 1024;
    fixed + packet_len + (element * packet_len).min(longest)
}

/// Numbers as lengths are encoded: around the limits, and as large as can be.
fn promises() -> impl Iterator<Item = Vec<u8>> {
    let lens = [60, 255, 1025, 4096, 1 << 20, 1 << 32, u64::MAX];
    lens.into_iter()
        .map(|len: u64| postcard::to_stdvec(&len).unwrap())
}

/// The most that this thread held at a time during `body`, beyond what it held before.
fn held_while(body: impl FnOnce()) -> usize {
    let before = HELD.get();
    MOST.set(before);
    body();
    (MOST.get() - before).unsigned_abs()
}

struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: memory comes from and goes to the system's allocator, and the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get().wrapping_add_unsigned(layout.size()));
        MOST.set(MOST.get().max(HELD.get()));
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // What another thread allocated may be freed here: the count may fall below zero.
        HELD.set(HELD.get().wrapping_sub_unsigned(layout.size()));
        // SAFETY: the caller's promise about the memory is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;
