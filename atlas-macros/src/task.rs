//! `#[atlas::spawn]`: the function itself, and beside it a type of the same name
//! that implements `Task`.
//!
//! The type lives in the type namespace and the function in the value namespace,
//! so one `use m::fib` imports both, and `join!(fib(n))` finds the task from the
//! path of the call. A rejected function is still emitted as it stands, so that
//! the program sees no errors but the rejection.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, FnArg, Ident, ItemFn, Token, Type};

use crate::calls::fresh_names;
use crate::signature::{self, Rejections};
use crate::unroll;

/// Expands `#[atlas::spawn(options)] item`.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let function = match parse_function(item.clone(), "spawn") {
        Ok(function) => function,
        Err(error) => {
            let errors = error.into_compile_error();
            return quote!(#item #errors);
        }
    };
    match signature::both(Options::parse.parse2(options), signature::check(&function)) {
        Ok((options, ())) => Task { function, options }.emit(),
        Err(error) if signature::is_associated(&function.sig) => {
            let errors = error.into_compile_error();
            quote!(#item #errors)
        }
        Err(error) => emit_rejected(&function, error),
    }
}

/// Emits the function, and an implementation whose associated types contain the
/// errors: whoever calls the task meets a type that was already reported. The
/// errors stand for array lengths, since one in a type's place counts as `()`.
fn emit_rejected(function: &ItemFn, error: syn::Error) -> TokenStream {
    let visibility = &function.vis;
    let name = &function.sig.ident;
    let conditions = conditions(function);
    let errors = error.into_iter().map(|error| error.into_compile_error());
    quote! {
        #function
        #(#conditions)*
        #[allow(non_camel_case_types, dead_code, missing_docs)]
        #visibility struct #name {}
        #(#conditions)*
        impl ::atlas::__private::Task for #name {
            type Args = (#([(); #errors],)*);
            type Returned = <Self as ::atlas::__private::Task>::Args;
            const PATH: &'static str = "";
            const IMPURE: bool = false;
            fn call(arguments: Self::Args) -> Self::Returned { arguments }
        }
    }
}

/// A function that passed every syntactic check.
struct Task {
    function: ItemFn,
    options: Options,
}

impl Task {
    fn emit(&self) -> TokenStream {
        let function = self.emit_function();
        let marker = self.emit_marker();
        let assertions = self.emit_assertions();
        let implementation = self.emit_implementation();
        let registration = self.emit_registration();
        quote!(#function #marker #assertions #implementation #registration)
    }

    /// The function that the program wrote, and that its plain calls reach. A
    /// small recursive one has its own calls inlined, once.
    fn emit_function(&self) -> TokenStream {
        unroll::emit(&self.function)
    }

    /// The type that carries the `Task` implementation. Its braces keep the
    /// value namespace free for the function.
    fn emit_marker(&self) -> TokenStream {
        let conditions = conditions(&self.function);
        let visibility = &self.function.vis;
        let name = self.name();
        quote! {
            #(#conditions)*
            #[doc(hidden)]
            #[allow(
                non_camel_case_types,
                dead_code,
                missing_docs,
                missing_copy_implementations,
                missing_debug_implementations,
                unreachable_pub,
                unnameable_types
            )]
            #visibility struct #name { _unconstructible: ::core::convert::Infallible }
        }
    }

    fn emit_implementation(&self) -> TokenStream {
        let conditions = conditions(&self.function);
        let name = self.name();
        let path_tail = format!("::{}", name.unraw());
        let impure = self.options.impure;
        let types = self.argument_types();
        let list = self.function.sig.paren_token.span.join();
        let arguments = quote_spanned!(list=> type Args = (#(#types,)*););
        let returned = signature::returned_type(&self.function.sig);
        let returned = quote_spanned!(returned.span()=> type Returned = #returned;);
        // Not the parameters' own names: one of them may be the function's name.
        let values = fresh_names("argument", types.len());
        quote! {
            #(#conditions)*
            #[doc(hidden)]
            #[automatically_derived]
            #[allow(deprecated, clippy::type_complexity, clippy::unused_unit)]
            impl ::atlas::__private::Task for #name {
                #arguments
                #returned
                const PATH: &'static str =
                    ::core::concat!(::core::module_path!(), #path_tail);
                const IMPURE: bool = #impure;
                #[inline(always)]
                fn call((#(#values,)*): Self::Args) -> Self::Returned {
                    #name(#(#values),*)
                }
            }
        }
    }

    fn emit_registration(&self) -> TokenStream {
        let conditions = conditions(&self.function);
        let name = self.name();
        quote! {
            #(#conditions)*
            ::atlas::__private::inventory::submit! {
                ::atlas::__private::TaskInfo::of::<#name>()
            }
        }
    }

    /// Requires of each argument type, at its own tokens, that it can leave the
    /// process: the bound on the whole tuple would not say which one cannot. In
    /// a signature it is checked, and reported, before any function body.
    fn emit_assertions(&self) -> TokenStream {
        let conditions = conditions(&self.function);
        let arguments = self
            .argument_types()
            .into_iter()
            .map(|ty| quote_spanned!(ty.span()=> _: ::atlas::__private::AssertArgument<#ty>));
        quote! {
            #(#conditions)*
            const _: () = {
                #[allow(dead_code, clippy::too_many_arguments, clippy::type_complexity)]
                fn arguments_are_portable(#(#arguments),*) {}
            };
        }
    }

    fn name(&self) -> &Ident {
        &self.function.sig.ident
    }

    fn argument_types(&self) -> Vec<&Type> {
        let inputs = self.function.sig.inputs.iter();
        inputs
            .filter_map(|input| match input {
                FnArg::Typed(typed) => Some(&*typed.ty),
                FnArg::Receiver(_) => None,
            })
            .collect()
    }
}

/// The conditions under which the function exists.
fn conditions(function: &ItemFn) -> Vec<&Attribute> {
    let attributes = function.attrs.iter();
    attributes
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .collect()
}

/// What stands in the parentheses of the attribute.
#[derive(Default)]
struct Options {
    impure: bool,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self::default();
        let mut rejections = Rejections::default();
        for option in Punctuated::<syn::Meta, Token![,]>::parse_terminated(input)? {
            match &option {
                syn::Meta::Path(path) if path.is_ident("impure") && !options.impure => {
                    options.impure = true;
                }
                syn::Meta::Path(path) if path.is_ident("impure") => {
                    rejections.push(path, "`impure` is given twice");
                }
                other => rejections.push(
                    other,
                    "unknown option: the only one is `impure`, for a task whose second run may \
                     give another result",
                ),
            }
        }
        rejections.or(options)
    }
}

/// Parses the item under the attribute `#[atlas::<attribute>]`.
pub(crate) fn parse_function(item: TokenStream, attribute: &str) -> syn::Result<ItemFn> {
    syn::parse2(item.clone()).map_err(|unparsed| {
        let problem = if syn::parse2::<syn::TraitItemFn>(item.clone()).is_ok() {
            "a trait's method has no body of its own"
        } else if let Ok(item) = syn::parse2::<syn::Item>(item.clone()) {
            return syn::Error::new_spanned(
                item,
                format_args!("`#[atlas::{attribute}]` marks a function: put it on a free `fn`"),
            );
        } else {
            return unparsed;
        };
        syn::Error::new_spanned(
            item,
            format_args!("`#[atlas::{attribute}]` marks a free function: {problem}"),
        )
    })
}
