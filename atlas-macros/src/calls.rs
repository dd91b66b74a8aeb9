//! Calls of tasks, `path(arguments)`, as the function-like macros take them.
//!
//! A call stays a call to whoever reads the program. Here it is taken apart: the
//! path names the task in the type namespace, and the arguments become a tuple.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Expr, ExprCall, Ident, Path};

use crate::signature::Rejections;

/// A macro, as its messages speak of it.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    /// Its name with the exclamation mark.
    pub(crate) name: &'static str,
    /// What to use for closures and borrowed data.
    pub(crate) local: &'static str,
}

/// `path(arguments)`.
pub(crate) struct TaskCall {
    task: Path,
    arguments: Vec<Expr>,
    parentheses: Span,
}

impl TaskCall {
    /// Takes `expression` apart, or says why it is no call of a task.
    pub(crate) fn from_expr(expression: Expr, caller: Caller) -> syn::Result<Self> {
        let Caller { name, local } = caller;
        let takes = format!("`{name}` takes calls of tasks, `f(x)`");
        let reject = |tokens: &dyn ToTokens, problem: String| {
            Err(syn::Error::new_spanned(tokens.to_token_stream(), problem))
        };
        match ungroup(expression) {
            Expr::Call(call) => Self::from_call(call, caller),
            Expr::Closure(closure) => reject(
                &closure,
                format!("{takes}: for closures and borrowed data there is {local}"),
            ),
            Expr::MethodCall(call) => reject(
                &call,
                format!(
                    "{takes}, and a method cannot be one: make it a free function under \
                     `#[atlas::spawn]`; for borrowed data there is {local}"
                ),
            ),
            Expr::Path(path) => {
                let text = path.to_token_stream().to_string().replace(' ', "");
                reject(&path, format!("{takes}: write the call, `{text}(..)`"))
            }
            Expr::Macro(call) => reject(
                &call,
                format!(
                    "{takes}, not of macros: put the macro into a function under `#[atlas::spawn]`"
                ),
            ),
            other => reject(
                &other,
                format!(
                    "{takes}: put this expression into a function under `#[atlas::spawn]`; for \
                     closures and borrowed data there is {local}"
                ),
            ),
        }
    }

    fn from_call(call: ExprCall, Caller { name, local }: Caller) -> syn::Result<Self> {
        let callee = match ungroup(*call.func) {
            Expr::Path(callee) if callee.qself.is_none() => callee,
            callee => {
                return Err(syn::Error::new_spanned(
                    callee,
                    format_args!(
                        "`{name}` finds a task by its name: call a function under \
                         `#[atlas::spawn]`; for closures and borrowed data there is {local}"
                    ),
                ));
            }
        };
        let mut rejections = Rejections::default();
        for attribute in call.attrs.iter().chain(&callee.attrs) {
            rejections.push(
                attribute,
                format_args!("`{name}` takes calls without attributes"),
            );
        }
        for segment in &callee.path.segments {
            if !segment.arguments.is_none() {
                rejections.push(
                    &segment.arguments,
                    format_args!("a task has no type parameters: `{name}` takes calls, `f(x)`"),
                );
            }
        }
        rejections.or(Self {
            task: callee.path,
            arguments: call.args.into_iter().collect(),
            parentheses: call.paren_token.span.join(),
        })
    }

    /// The task's name as a type.
    pub(crate) fn task(&self) -> &Path {
        &self.task
    }

    /// The arguments as a tuple.
    pub(crate) fn arguments(&self) -> TokenStream {
        let arguments = &self.arguments;
        quote_spanned!(self.parentheses=> (#(#arguments,)*))
    }

    /// A closure from the tuple of arguments to what the call returns. It names
    /// the function as a value: what the caller sees under that name is called.
    pub(crate) fn call(&self) -> TokenStream {
        let task = &self.task;
        let values = fresh_names("value", self.arguments.len());
        quote!(|(#(#values,)*)| #task(#(#values),*))
    }

    /// How many arguments there are.
    pub(crate) fn arguments_len(&self) -> usize {
        self.arguments.len()
    }

    /// A statement that evaluates the arguments now and binds them to `name`.
    pub(crate) fn bind_arguments(&self, name: &Ident) -> TokenStream {
        let (task, arguments) = (&self.task, self.arguments());
        quote!(let #name: <#task as ::atlas::__private::Task>::Args = #arguments;)
    }
}

/// A name that neither captures nor shadows the program's own.
pub(crate) fn fresh_name(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// Numbered names that neither capture nor shadow the program's own.
pub(crate) fn fresh_names(prefix: &str, count: usize) -> Vec<Ident> {
    (0..count)
        .map(|i| fresh_name(&format!("{prefix}_{i}")))
        .collect()
}

/// The same names, for a use whose errors belong at `place`.
pub(crate) fn reported_at(names: &[Ident], place: Span) -> Vec<Ident> {
    let located = |name: &Ident| Ident::new(&name.to_string(), name.span().located_at(place));
    names.iter().map(located).collect()
}

/// Takes off the invisible groups in which `macro_rules!` passes a fragment on.
fn ungroup(expression: Expr) -> Expr {
    match expression {
        Expr::Group(group) if group.attrs.is_empty() => ungroup(*group.expr),
        other => other,
    }
}
