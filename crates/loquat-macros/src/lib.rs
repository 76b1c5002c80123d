//! The attribute `#[tool]`; use it through the crate that re-exports it, `loquat` or `loquat-tools`, where it is documented.
//!
//! It is exported twice because generated code must name the crate whose items it uses, and a macro cannot find out which
//! of the two its user has.
#![forbid(unsafe_code)]

mod arguments;
mod expand;

use proc_macro::TokenStream;

/// A function as a tool, for those who depend on `loquat`.
#[proc_macro_attribute]
pub fn tool(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expanded(attribute, item, "::loquat::tools")
}

/// The same for those who depend on `loquat-tools` alone, which re-exports it as `tool`.
#[proc_macro_attribute]
pub fn tool_alone(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expanded(attribute, item, "::loquat_tools")
}

fn expanded(attribute: TokenStream, item: TokenStream, root: &str) -> TokenStream {
    expand::tool(attribute.into(), item.into(), root).unwrap_or_else(syn::Error::into_compile_error).into()
}
