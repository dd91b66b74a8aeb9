//! Recursive inlining: a small task's calls of itself are inlined once.
//!
//! LLVM never inlines a function into itself, and gcc does: that is most of what
//! separates them on fine-grained recursion. So the function gets a copy of its
//! body as an inner function, `#[inline(always)]`, and within the outer body the
//! function's name is bound to the copy. In the copy it is the function again.
//!
//! ```text
//!   fn fib(n) {
//!       fn inlined(n) { body }     // calls fib
//!       let fib = inlined;
//!       body                       // calls inlined
//!   }
//! ```
//!
//! Items and statics in a body would exist twice, and a large body would gain
//! nothing: such functions stay as they are. So do all functions of a build with
//! debug assertions, whose backtraces should look like the source.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::{FnArg, Ident, ItemFn, Pat, Stmt};

/// Emits `function`, with its own calls inlined if that is worth it.
pub(crate) fn emit(function: &ItemFn) -> TokenStream {
    if !is_worth_it(function) {
        return quote!(#function);
    }
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
    } = function;
    let name = &sig.ident;
    let inlined = format_ident!("{name}_inlined", span = proc_macro2::Span::mixed_site());
    let mut inlined_sig = sig.clone();
    inlined_sig.ident = inlined.clone();
    let body = &block.stmts;
    quote! {
        #(#attrs)*
        #vis #sig {
            #[cfg(not(debug_assertions))]
            #[inline(always)]
            #[allow(warnings, clippy::all)]
            #inlined_sig #block
            #[cfg(not(debug_assertions))]
            #[allow(unused_variables)]
            let #name = #inlined;
            #(#body)*
        }
    }
}

fn is_worth_it(function: &ItemFn) -> bool {
    let name = &function.sig.ident;
    let body = &function.block.stmts;
    let mut seen = Seen::default();
    for statement in body {
        seen.look_at(statement.to_token_stream(), name);
    }
    seen.recursive
        && !seen.has_static
        && seen.tokens <= TOKENS_MAX
        && !body
            .iter()
            .any(|statement| matches!(statement, Stmt::Item(_)))
        && !function.sig.inputs.iter().any(|input| binds(input, name))
}

/// True if a parameter has the function's own name.
fn binds(input: &FnArg, name: &Ident) -> bool {
    match input {
        FnArg::Receiver(_) => false,
        FnArg::Typed(typed) => match &*typed.pat {
            Pat::Ident(pattern) => pattern.ident == *name,
            pattern => pattern
                .to_token_stream()
                .into_iter()
                .any(|token| matches!(token, TokenTree::Ident(ident) if ident == *name)),
        },
    }
}

/// What a body's tokens show.
#[derive(Default)]
struct Seen {
    tokens: usize,
    recursive: bool,
    has_static: bool,
}

impl Seen {
    fn look_at(&mut self, tokens: TokenStream, name: &Ident) {
        for token in tokens {
            self.tokens += 1;
            match token {
                TokenTree::Group(group) => self.look_at(group.stream(), name),
                TokenTree::Ident(ident) => {
                    self.recursive |= ident == *name;
                    self.has_static |= ident == "static" || ident == "thread_local";
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

/// About ten lines. Beyond, a call costs little beside the body, and the copy
/// takes registers and instruction cache.
const TOKENS_MAX: usize = 120;
