//! `#[atlas::main]`: the program's `main` becomes the root of the job.
//!
//! The body moves into an inner function, which the runtime calls on a worker.
//! Only the exit code comes back to the thread of `main`, so the body may return
//! a `Result` whose error is not `Send`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{ItemFn, Result, ReturnType};

use crate::signature::{self, Rejections};
use crate::task::parse_function;

/// Expands `#[atlas::main(options)] item`.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_function(item.clone(), "main")
        .and_then(|function| check(&function).map(|()| function));
    match signature::both(check_options(options), function) {
        Ok(((), function)) => emit(&function),
        Err(error) => {
            let errors = error.into_compile_error();
            quote!(#item #errors)
        }
    }
}

fn check_options(options: TokenStream) -> Result<()> {
    if options.is_empty() {
        return Ok(());
    }
    Err(syn::Error::new_spanned(
        options,
        "`#[atlas::main]` takes no options: set the number of workers by `ATLAS_WORKERS`, or in \
         the program by `atlas::Runtime::builder()`",
    ))
}

fn check(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    let mut rejections = Rejections::default();
    if signature.ident != "main" {
        rejections.push(
            &signature.ident,
            "`#[atlas::main]` marks the function `main`: for other functions there is \
             `#[atlas::spawn]`",
        );
    }
    if let Some(token) = &signature.asyncness {
        rejections.push(
            token,
            "`main` cannot be `async` under `#[atlas::main]`: remove `async`",
        );
    }
    if let Some(token) = &signature.unsafety {
        rejections.push(token, "`main` cannot be `unsafe`: remove `unsafe`");
    }
    if let Some(abi) = &signature.abi {
        rejections.push(
            abi,
            "`main` cannot be `extern` under `#[atlas::main]`: remove it",
        );
    }
    if !signature.generics.params.is_empty() {
        rejections.push(&signature.generics, "`main` cannot be generic");
    }
    if let Some(clause) = &signature.generics.where_clause {
        rejections.push(clause, "`main` cannot have a `where` clause");
    }
    if !signature.inputs.is_empty() {
        rejections.push(
            &signature.inputs,
            "`main` takes no arguments: read them from `std::env::args()`",
        );
    }
    rejections.or(())
}

fn emit(function: &ItemFn) -> TokenStream {
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
    } = function;
    let returned = &sig.output;
    // A return type that is no `Termination` is reported at its own tokens.
    let inner = match returned {
        ReturnType::Type(_, ty) => quote_spanned!(ty.span()=> __atlas_main),
        ReturnType::Default => quote!(__atlas_main),
    };
    quote! {
        #(#attrs)*
        #vis fn main() -> ::std::process::ExitCode {
            fn __atlas_main() #returned #block
            ::atlas::__private::run_main(#inner)
        }
    }
}
