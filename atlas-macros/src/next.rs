//! `spawn_next!(f(a), g(b) => k(captured, ..))`: children, and the continuation
//! whose first arguments are their results.
//!
//! The expansion keeps arguments typed and gives the runtime a function that
//! assembles the continuation's arguments from the results and what was captured.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Result, Token};

use crate::calls::{Caller, TaskCall, fresh_names, reported_at};
use crate::signature::{self, ARGUMENTS_MAX, Rejections};

/// Expands `spawn_next!(f(a), g(b) => k(captured, ..))`.
pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    let spawned: SpawnNext = syn::parse2(input)?;
    spawned.check()?;
    Ok(spawned.emit())
}

struct SpawnNext {
    children: Vec<TaskCall>,
    continuation: TaskCall,
}

impl Parse for SpawnNext {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let children = parse_children(input)?;
        if input.is_empty() {
            return Err(Error::new(
                Span::call_site(),
                format_args!(
                    "`spawn_next!` needs `=>` and the continuation that takes the children's \
                     results: {USAGE}; to wait for them here, use `atlas::join!`"
                ),
            ));
        }
        let arrow: Token![=>] = input.parse()?;
        if input.is_empty() {
            return Err(Error::new_spanned(
                arrow,
                format_args!("the continuation is missing after `=>`: {USAGE}"),
            ));
        }
        let continuation = TaskCall::from_expr(input.parse()?, SPAWN_NEXT);
        input.parse::<Option<Token![,]>>()?;
        if !input.is_empty() {
            return Err(input.error(format_args!("there is one continuation: {USAGE}")));
        }
        let (children, continuation) = signature::both(children, continuation)?;
        Ok(Self {
            children,
            continuation,
        })
    }
}

/// Parses up to the `=>`. The outer error ends the parse, the inner one tells
/// of calls that are no tasks.
fn parse_children(input: ParseStream<'_>) -> Result<Result<Vec<TaskCall>>> {
    let mut rejections = Rejections::default();
    let mut children = Vec::new();
    while !input.is_empty() && !input.peek(Token![=>]) {
        let child = TaskCall::from_expr(input.parse()?, SPAWN_NEXT);
        children.extend(rejections.take(child));
        let comma: Option<Token![,]> = input.parse()?;
        if comma.is_none() && !input.is_empty() && !input.peek(Token![=>]) {
            return Err(input.error(format_args!(
                "expected `,` and the next child, or `=>` and the continuation: {USAGE}"
            )));
        }
    }
    Ok(rejections.or(children))
}

impl SpawnNext {
    fn check(&self) -> Result<()> {
        let mut rejections = Rejections::default();
        let children = self.children.len();
        if children == 0 {
            rejections.push(
                self.continuation.task(),
                format_args!(
                    "`spawn_next!` has no children to wait for: return \
                     `Next::value(..)`, or name them, {USAGE}"
                ),
            );
        }
        if let Some(first_above) = self.children.get(CHILDREN_MAX) {
            rejections.push(
                first_above.task(),
                format_args!(
                    "`spawn_next!` takes at most {CHILDREN_MAX} children: split them over two \
                     levels of tasks"
                ),
            );
        }
        if children + self.continuation.arguments_len() > ARGUMENTS_MAX {
            rejections.push(
                self.continuation.task(),
                format_args!(
                    "the continuation takes at most {ARGUMENTS_MAX} arguments, results of \
                     children included: gather some of them in a struct"
                ),
            );
        }
        rejections.or(())
    }

    fn emit(&self) -> TokenStream {
        let tasks = self.children.iter().map(TaskCall::task);
        let arguments = self.children.iter().map(TaskCall::arguments);
        let results = fresh_names("result", self.children.len());
        let continuation = self.continuation.task();
        let captured = self.continuation.arguments();
        let captures = fresh_names("captured", self.continuation.arguments_len());
        // What does not fit the continuation is reported at its name.
        let place = continuation.span();
        let (fitted, kept) = (reported_at(&results, place), reported_at(&captures, place));
        let assembled = quote_spanned!(place=> (#(#fitted,)* #(#kept,)*));
        quote! {
            ::atlas::__private::spawn_next::<(#(#tasks,)*), #continuation, _, _>(
                (#(#arguments,)*),
                #captured,
                |(#(#results,)*), (#(#captures,)*)| #assembled,
            )
        }
    }
}

/// The runtime implements its tuple trait of children up to here.
const CHILDREN_MAX: usize = 8;

const USAGE: &str = "`spawn_next!(f(x), g(y) => k(z))`";

const SPAWN_NEXT: Caller = Caller {
    name: "spawn_next!",
    local: "the function `atlas::join(|| .., || ..)`",
};
