//! Which functions can be tasks: a closure must be able to leave the process
//! with nothing but a task id and its encoded arguments.
//!
//! [`check`] looks at syntax alone and reports all it finds at once. What syntax
//! cannot show (is this type serialisable?) is asserted in the expansion, where
//! the compiler knows types.

use proc_macro2::Span;
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{FnArg, Ident, ItemFn, Lifetime, ReturnType, Signature, Type};

/// Serde's and the standard library's tuple traits reach a little further than
/// this; a task with more wants a struct.
pub(crate) const ARGUMENTS_MAX: usize = 12;

/// All reasons to reject one input, each at its own tokens.
#[derive(Default)]
pub(crate) struct Rejections(Option<syn::Error>);

impl Rejections {
    /// Rejects `tokens`.
    pub(crate) fn push(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.merge(syn::Error::new_spanned(tokens, message));
    }

    /// Adds an error that was found elsewhere.
    pub(crate) fn merge(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            none => *none = Some(error),
        }
    }

    /// The value, or nothing and one more rejection.
    pub(crate) fn take<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.merge(error)).ok()
    }

    /// `value`, if nothing was rejected.
    pub(crate) fn or<T>(self, value: T) -> syn::Result<T> {
        match self.0 {
            None => Ok(value),
            Some(error) => Err(error),
        }
    }
}

/// Both values, or all errors.
pub(crate) fn both<A, B>(a: syn::Result<A>, b: syn::Result<B>) -> syn::Result<(A, B)> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(mut a), Err(b)) => {
            a.combine(b);
            Err(a)
        }
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
    }
}

/// Rejects what cannot be a task.
pub(crate) fn check(function: &ItemFn) -> syn::Result<()> {
    let signature = &function.sig;
    let mut rejections = Rejections::default();
    check_qualifiers(signature, &mut rejections);
    check_generics(signature, &mut rejections);
    check_arguments(signature, &mut rejections);
    if let ReturnType::Type(_, returned) = &signature.output {
        check_type(returned, Place::Returned, &mut rejections);
    }
    rejections.or(())
}

fn check_qualifiers(signature: &Signature, rejections: &mut Rejections) {
    if let Some(token) = &signature.asyncness {
        rejections.push(
            token,
            "a task cannot be `async`: write it as an ordinary function, which waits for its \
             children with `atlas::join!`; or never waits, with `atlas::spawn_next!`",
        );
    }
    if let Some(token) = &signature.unsafety {
        rejections.push(
            token,
            "a task cannot be `unsafe`: other machines call it with nothing but its arguments; \
             put the unsafe operation into a block inside a safe function",
        );
    }
    if let Some(abi) = &signature.abi {
        rejections.push(
            abi,
            "a task cannot be `extern`: call the foreign function from an ordinary function",
        );
    }
}

fn check_generics(signature: &Signature, rejections: &mut Rejections) {
    let generics = &signature.generics;
    for parameter in &generics.params {
        let advice = match parameter {
            syn::GenericParam::Lifetime(_) => {
                "a task cannot have lifetime parameters: its arguments are owned; for borrowed \
                 data use the function `atlas::join`"
            }
            syn::GenericParam::Type(_) => {
                "a task cannot have type parameters: every machine must find it under one name; \
                 write one task for each type, which calls a shared generic function"
            }
            syn::GenericParam::Const(_) => {
                "a task cannot have const parameters: every machine must find it under one name; \
                 make it an ordinary argument"
            }
        };
        rejections.push(parameter, advice);
    }
    if let Some(clause) = &generics.where_clause {
        rejections.push(
            clause,
            "a task cannot have a `where` clause, because it is not generic: remove it",
        );
    }
}

fn check_arguments(signature: &Signature, rejections: &mut Rejections) {
    for argument in &signature.inputs {
        match argument {
            FnArg::Receiver(receiver) => rejections.push(
                receiver,
                "a task cannot be a method: make it a free function that takes the value as an \
                 owned argument",
            ),
            FnArg::Typed(typed) => {
                for attribute in &typed.attrs {
                    if is_conditional(attribute) {
                        rejections.push(
                            attribute,
                            "an argument of a task cannot be conditional: put `#[cfg(..)]` on two \
                             versions of the function",
                        );
                    }
                }
                check_type(&typed.ty, Place::Argument, rejections);
            }
        }
    }
    if let Some(first_above) = signature.inputs.iter().nth(ARGUMENTS_MAX) {
        rejections.push(
            first_above,
            format_args!(
                "a task takes at most {ARGUMENTS_MAX} arguments: gather some of them in a struct"
            ),
        );
    }
    if let Some(variadic) = &signature.variadic {
        rejections.push(variadic, "a task cannot be variadic: take a `Vec` instead");
    }
}

fn check_type(ty: &Type, place: Place, rejections: &mut Rejections) {
    if let (Type::Never(_), Place::Returned) = (ty, place) {
        rejections.push(
            ty,
            "a task must return to its parent: return `()`; a panic in it reaches the parent's sync",
        );
        return;
    }
    TypeCheck { place, rejections }.visit_type(ty);
}

#[derive(Clone, Copy)]
enum Place {
    Argument,
    Returned,
}

impl Place {
    const fn noun(self) -> &'static str {
        match self {
            Self::Argument => "an argument of a task",
            Self::Returned => "the result of a task",
        }
    }
}

/// Looks for types that never cross to another machine, at any depth.
struct TypeCheck<'a> {
    place: Place,
    rejections: &'a mut Rejections,
}

impl TypeCheck<'_> {
    fn reject(&mut self, tokens: impl ToTokens, problem: &str) {
        let noun = self.place.noun();
        self.rejections
            .push(tokens, format_args!("{noun} {problem}"));
    }
}

impl<'ast> Visit<'ast> for TypeCheck<'_> {
    fn visit_type(&mut self, ty: &'ast Type) {
        match ty {
            Type::Reference(reference) => {
                let owned = owned_form(&reference.elem);
                self.reject(
                    reference,
                    &format!(
                        "cannot be borrowed, it may leave this process: take it owned, {owned}; \
                         for borrowed data use the function `atlas::join`"
                    ),
                );
            }
            Type::ImplTrait(_) => self.reject(ty, "cannot be `impl Trait`: name a concrete type"),
            Type::TraitObject(_) => self.reject(
                ty,
                "cannot be `dyn Trait`, which has no portable form: use an enum of the concrete types",
            ),
            _ => visit::visit_type(self, ty),
        }
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" {
            self.reject(
                lifetime,
                "cannot hold a borrow, it may leave this process: use an owned type; for borrowed \
                 data use the function `atlas::join`",
            );
        }
    }

    fn visit_ident(&mut self, ident: &'ast Ident) {
        if ident == "Self" {
            self.reject(
                ident,
                "cannot be `Self`: a task is a free function, outside of any `impl` block",
            );
        }
    }
}

/// What to write instead of a reference to `ty`.
fn owned_form(ty: &Type) -> String {
    match ty {
        Type::Slice(slice) => format!("`Vec<{}>`", source_text(&slice.elem)),
        Type::Path(path) if path.path.is_ident("str") => "`String`".to_owned(),
        _ => format!("`{}`", source_text(ty)),
    }
}

/// The type as a person writes it: tokens print with a space around each.
fn source_text(ty: &Type) -> String {
    let mut text = ty.to_token_stream().to_string();
    for (spaced, tight) in [
        (" :: ", "::"),
        (" < ", "<"),
        (" >", ">"),
        (" ,", ","),
        (" ;", ";"),
    ] {
        text = text.replace(spaced, tight);
    }
    text
}

/// True if the function can only stand in an `impl` block or a trait.
pub(crate) fn is_associated(signature: &Signature) -> bool {
    struct FindsSelf(bool);
    impl<'ast> Visit<'ast> for FindsSelf {
        fn visit_ident(&mut self, ident: &'ast Ident) {
            self.0 |= ident == "Self";
        }
    }
    let mut finds_self = FindsSelf(signature.receiver().is_some());
    finds_self.visit_signature(signature);
    finds_self.0
}

/// True for `#[cfg(..)]` and `#[cfg_attr(..)]`.
pub(crate) fn is_conditional(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr")
}

/// The type that a function returns, `()` if it names none.
pub(crate) fn returned_type(signature: &Signature) -> Type {
    match &signature.output {
        ReturnType::Type(_, ty) => (**ty).clone(),
        ReturnType::Default => syn::parse_quote_spanned!(Span::call_site()=> ()),
    }
}
