//! The attributes and macros of Atlas. Programs use them through the `atlas`
//! crate, whose re-exports hold the guide and the runnable examples.
//!
//! What is expanded names `::atlas::__private` only, so a program needs `atlas`
//! itself among its dependencies and no other crate. Nothing here knows how
//! tasks are scheduled. Every rejection is an error at the offending tokens
//! that says what to write instead, and one expansion reports all it finds.

#![forbid(unsafe_code)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "syn's enums are non-exhaustive, and here the rest is always rejected or passed on"
)]

use proc_macro::TokenStream;

mod calls;
mod join;
mod main_attr;
mod next;
mod signature;
mod task;
mod unroll;

/// Makes a free function a task. The only option is `impure`.
#[proc_macro_attribute]
pub fn spawn(options: TokenStream, item: TokenStream) -> TokenStream {
    task::expand(options.into(), item.into()).into()
}

/// Makes `main` the root of the job.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    main_attr::expand(options.into(), item.into()).into()
}

/// Runs two to twelve task calls in parallel and gives their results as a tuple.
#[proc_macro]
pub fn join(input: TokenStream) -> TokenStream {
    or_compile_error(join::expand(input.into()))
}

/// Spawns one task call and gives its handle. It is `spawn!` in `atlas::prelude`,
/// since an attribute and a function-like macro share one namespace.
#[proc_macro]
pub fn spawn_handle(input: TokenStream) -> TokenStream {
    or_compile_error(join::expand_handle(input.into()))
}

/// Spawns one to eight task calls and the continuation that takes their results.
#[proc_macro]
pub fn spawn_next(input: TokenStream) -> TokenStream {
    or_compile_error(next::expand(input.into()))
}

fn or_compile_error(expansion: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expansion
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}
