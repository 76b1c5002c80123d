//! What stands in the attribute, and what the function's parameters are.

use proc_macro2::TokenStream;
use syn::{Attribute, Error, Expr, ExprLit, FnArg, Ident, Lit, Meta, Pat, Result, Signature, Type};

/// `#[tool(name = "…", description = "…", strict)]`.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) is_strict: bool,
}

impl Options {
    pub(crate) fn parse(attribute: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("name") {
                options.name = Some(meta.value()?.parse::<syn::LitStr>()?.value());
            } else if meta.path.is_ident("description") {
                options.description = Some(meta.value()?.parse::<syn::LitStr>()?.value());
            } else if meta.path.is_ident("strict") {
                options.is_strict = true;
            } else {
                return Err(meta.error("`tool` knows `name = \"…\"`, `description = \"…\"` and `strict`"));
            }
            Ok(())
        });
        syn::parse::Parser::parse2(parser, attribute)?;
        Ok(options)
    }
}

/// A parameter that the model fills in, or the caller's context.
pub(crate) enum Parameter {
    Filled { attributes: Vec<Attribute>, name: Ident, kind: Box<Type> },
    Context,
}

/// The parameters, with their attributes taken off the function, where they may not stay.
pub(crate) fn parameters(signature: &mut Signature) -> Result<Vec<Parameter>> {
    signature.inputs.iter_mut().map(parameter).collect()
}

fn parameter(input: &mut FnArg) -> Result<Parameter> {
    let FnArg::Typed(input) = input else {
        return Err(Error::new_spanned(input, "a tool is a free function: it has no `self`"));
    };
    let attributes = std::mem::take(&mut input.attrs);
    if is_context(&input.ty) {
        return Ok(Parameter::Context);
    }
    if let Type::Reference(_) = &*input.ty {
        return Err(Error::new_spanned(
            &input.ty,
            "a tool's parameters are owned (`String`, not `&str`), save for `&Context`",
        ));
    }
    match &*input.pat {
        Pat::Ident(pattern) if pattern.subpat.is_none() => {
            Ok(Parameter::Filled { attributes, name: pattern.ident.clone(), kind: input.ty.clone() })
        }
        pattern => {
            Err(Error::new_spanned(pattern, "a tool's parameters have plain names, which the model sees"))
        }
    }
}

/// `&Context`, by whatever path.
fn is_context(kind: &Type) -> bool {
    let Type::Reference(reference) = kind else { return false };
    matches!(&*reference.elem, Type::Path(path) if last_is(path, "Context"))
}

/// Whether a path's last segment is that word.
pub(crate) fn last_is(path: &syn::TypePath, word: &str) -> bool {
    path.path.segments.last().is_some_and(|segment| segment.ident == word)
}

/// The doc comment's text, lines joined as they stand.
pub(crate) fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    let lines: Vec<_> =
        lines.map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    lines.join("\n").trim().to_owned()
}
