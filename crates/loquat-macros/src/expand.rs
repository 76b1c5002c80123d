//! The function as a unit type of its name that is a `Function`.
//!
//! A type and not a value made by a call, so that `Toolbox::new().with(weather)` reads as it should; the function itself
//! stays callable as `weather::call(…)`. The parameters become a private struct, from which serde reads what the model
//! wrote and schemars derives what the model is told: neither can drift from the function.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Error, ItemFn, LitStr, Result, ReturnType, Type};

use crate::arguments::{Options, Parameter, documentation, last_is, parameters};

pub(crate) fn tool(attribute: TokenStream, item: TokenStream, root: &str) -> Result<TokenStream> {
    let options = Options::parse(attribute)?;
    let mut function: ItemFn = syn::parse2(item)?;
    if !function.sig.generics.params.is_empty() {
        return Err(Error::new_spanned(&function.sig.generics, "a tool has no generics: its schema is one"));
    }
    let description = options.description.unwrap_or_else(|| documentation(&function.attrs));
    if description.is_empty() {
        return Err(Error::new_spanned(
            &function.sig.ident,
            "a tool needs a doc comment (or `description = \"…\"`): it is all that the model knows of it",
        ));
    }
    let ident = function.sig.ident.clone();
    let plain = ident.to_string();
    let name = options.name.unwrap_or_else(|| plain.trim_start_matches("r#").to_owned());
    if name.is_empty()
        || name.len() > 64
        || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    {
        return Err(Error::new_spanned(
            &ident,
            "a tool's name is 1 to 64 letters, digits, `_` or `-`, as every provider demands",
        ));
    }

    let parameters = parameters(&mut function.sig)?;
    let root: syn::Path = syn::parse_str(root)?;
    let private = quote!(#root::__private);
    let serde_path = LitStr::new(&quote!(#private::serde).to_string().replace(' ', ""), Span::call_site());
    let schemars_path =
        LitStr::new(&quote!(#private::schemars).to_string().replace(' ', ""), Span::call_site());
    let (mut fields, mut names, mut passed) = (Vec::new(), Vec::new(), Vec::new());
    for parameter in &parameters {
        match parameter {
            Parameter::Filled { attributes, name, kind } => {
                fields.push(quote!(#(#attributes)* #name: #kind));
                names.push(name);
                passed.push(quote!(#name));
            }
            Parameter::Context => passed.push(quote!(__context)),
        }
    }

    let outcome = match &function.sig.output {
        ReturnType::Type(_, kind) if matches!(&**kind, Type::Path(path) if last_is(path, "Result")) => {
            quote!(#private::outcome)
        }
        _ => quote!(#private::success),
    };
    let wait = function.sig.asyncness.is_some().then(|| quote!(.await));
    let is_strict = options.is_strict;
    let (attributes, visibility) = (std::mem::take(&mut function.attrs), function.vis.clone());
    function.vis = syn::parse_quote!(pub);
    function.sig.ident = syn::Ident::new("call", ident.span());

    Ok(quote! {
        #(#attributes)*
        #[allow(non_camel_case_types)]
        #[derive(Debug, Clone, Copy)]
        #visibility struct #ident;

        const _: () = {
            #[derive(#private::serde::Deserialize, #private::schemars::JsonSchema)]
            #[serde(crate = #serde_path)]
            #[schemars(crate = #schemars_path)]
            struct __Arguments {
                #(#fields,)*
            }

            impl #ident {
                /// The function itself.
                #[allow(unreachable_pub)]
                #function
            }

            impl #root::Function for #ident {
                fn tool(&self) -> #root::Tool {
                    #private::described::<__Arguments>(#name, #description, #is_strict)
                }

                fn invoke<'a>(
                    &'a self,
                    __context: &'a #root::Context,
                    __arguments: &'a str,
                ) -> #private::BoxFuture<'a, ::core::result::Result<::std::string::String, #root::ToolError>> {
                    ::std::boxed::Box::pin(async move {
                        let __Arguments { #(#names),* } = #private::arguments(__arguments)?;
                        #outcome(Self::call(#(#passed),*)#wait)
                    })
                }
            }
        };
    })
}
