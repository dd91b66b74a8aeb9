//! The switch between the real synchronisation primitives and loom's.
//!
//! The parts that are model-checked (the closure's state word, the join
//! counter, the sleep protocol) take their atomics from here, and from nowhere
//! else. `RUSTFLAGS="--cfg atlas_loom"` turns the switch.

#[cfg(not(atlas_loom))]
pub(crate) use std::sync::atomic;

#[cfg(atlas_loom)]
pub(crate) use loom::sync::atomic;
