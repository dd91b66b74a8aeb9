//! The facade that programs use.
#![forbid(unsafe_code)]

mod shared;

pub use atlas_core::{
    BuildError, Builder, Handle, Next, Portable, Runtime, Scope, Stats, TaskPanic, catch, join, run,
    scope,
};
pub use atlas_macros::{join, main, spawn, spawn_next};
pub use shared::{Shared, share};

/// What a program imports: `use atlas::prelude::*;`.
pub mod prelude {
    pub use crate::{Handle, Next, join, spawn_next};
    pub use atlas_macros::spawn_handle as spawn;
}

/// What the macros expand to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use atlas_core::*;
}
