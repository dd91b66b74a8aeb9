//! `join!` and the function-like `spawn!`.
//!
//! All arguments are evaluated first, from left to right, as in the sequential
//! program. Then the first call runs on this worker; the later ones are latent,
//! the last of them outermost, hence the first that a thief takes.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Result, Token};

use crate::calls::{Caller, TaskCall, fresh_name, fresh_names};
use crate::signature::Rejections;

/// Expands `join!(f(a), g(b), ..)`.
pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    let children = parse_calls(input, JOIN)?;
    match &*children {
        [] => Err(Error::new(
            Span::call_site(),
            format_args!("`join!` takes 2 to {CHILDREN_MAX} calls of tasks: `join!(f(x), g(y))`"),
        )),
        [only] => Err(Error::new_spanned(
            only.task(),
            "`join!` has one child and nothing to run beside it: call it directly, `f(x)`, or \
             give it a sibling, `join!(f(x), g(y))`",
        )),
        [first, rest @ ..] => match children.get(CHILDREN_MAX) {
            Some(first_above) => Err(Error::new_spanned(
                first_above.task(),
                format_args!(
                    "`join!` takes at most {CHILDREN_MAX} calls: join some of them in a task of \
                     their own"
                ),
            )),
            None => Ok(emit(first, rest)),
        },
    }
}

/// Expands `spawn!(f(a))`.
pub(crate) fn expand_handle(input: TokenStream) -> Result<TokenStream> {
    const USAGE: &str =
        "`spawn!` takes one call of a task: `let child = spawn!(f(x));`, then `child.sync()`";
    match &*parse_calls(input, SPAWN)? {
        [] => Err(Error::new(Span::call_site(), USAGE)),
        [child] => {
            let (task, name) = (child.task(), fresh_name("arguments"));
            let binding = child.bind_arguments(&name);
            Ok(quote!({ #binding ::atlas::__private::spawn_task::<#task>(#name) }))
        }
        [_, second, ..] => Err(Error::new_spanned(second.task(), USAGE)),
    }
}

fn parse_calls(input: TokenStream, caller: Caller) -> Result<Vec<TaskCall>> {
    let expressions = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(input)?;
    let mut rejections = Rejections::default();
    let calls = expressions
        .into_iter()
        .filter_map(|expression| rejections.take(TaskCall::from_expr(expression, caller)))
        .collect();
    rejections.or(calls)
}

fn emit(first: &TaskCall, rest: &[TaskCall]) -> TokenStream {
    let arguments = fresh_names("arguments", 1 + rest.len());
    let results = fresh_names("result", 1 + rest.len());
    let children = std::iter::once(first).chain(rest);
    let bindings = children
        .zip(&arguments)
        .map(|(child, name)| child.bind_arguments(name));

    let (task, first_arguments, first_result) = (first.task(), &arguments[0], &results[0]);
    let call = first.call();
    let mut work = quote!(::atlas::__private::first_task::<#task, _>(#first_arguments, #call));
    let mut pattern = quote!(#first_result);
    for ((child, arguments), result) in rest.iter().zip(&arguments[1..]).zip(&results[1..]) {
        let task = child.task();
        work = quote!(::atlas::__private::join_task::<#task, _>(#work, #arguments));
        pattern = quote!((#pattern, #result));
    }
    quote! {{
        #(#bindings)*
        let #pattern = ::atlas::__private::First::run(#work);
        (#(#results),*)
    }}
}

/// The widest join: one more level of recursion costs less than a longer chain
/// of nested closures costs the compiler.
const CHILDREN_MAX: usize = 12;

const JOIN: Caller = Caller {
    name: "join!",
    local: "the function `atlas::join(|| .., || ..)`",
};

const SPAWN: Caller = Caller {
    name: "spawn!",
    local: "the function `atlas::join(|| .., || ..)`",
};
