#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod arguments;
mod expand;

use proc_macro::TokenStream;

/// Makes a tool of a function: what a model is told of it is what the code says.
///
/// The function, `async` or not, becomes a unit type of its name that is a `Function`, to be put into a `Toolbox`; the
/// function itself stays callable as `name::call(…)`.
///
/// - Its doc comment is the tool's description, and there must be one.
/// - Parameters are owned types that are `serde::Deserialize` and `schemars::JsonSchema`; a doc comment before one is its
///   description. An `Option` may be left out; serde's and schemars' own attributes (`#[serde(default)]`) work on parameters.
/// - A parameter of type `&Context` is the caller's context and no business of the model's.
/// - The result is anything `serde::Serialize`, or a `Result` of such and of an error that can be displayed, whose words go
///   to the model.
///
/// Options: `#[tool(name = "…")]`, `#[tool(description = "…")]`, and `#[tool(strict)]` for providers that can hold a model to
/// the schema exactly (every parameter is required then, and an `Option` may be `null`).
///
/// For those who depend on `loquat`; its twin in `loquat-tools` is the same for those who depend on that alone.
#[proc_macro_attribute]
pub fn tool(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expanded(attribute, item, "::loquat::tools")
}

/// Makes a tool of a function: what a model is told of it is what the code says.
///
/// The function, `async` or not, becomes a unit type of its name that is a `Function`, to be put into a `Toolbox`; the
/// function itself stays callable as `name::call(…)`.
///
/// - Its doc comment is the tool's description, and there must be one.
/// - Parameters are owned types that are `serde::Deserialize` and `schemars::JsonSchema`; a doc comment before one is its
///   description. An `Option` may be left out; serde's and schemars' own attributes (`#[serde(default)]`) work on parameters.
/// - A parameter of type `&Context` is the caller's context and no business of the model's.
/// - The result is anything `serde::Serialize`, or a `Result` of such and of an error that can be displayed, whose words go
///   to the model.
///
/// Options: `#[tool(name = "…")]`, `#[tool(description = "…")]`, and `#[tool(strict)]` for providers that can hold a model to
/// the schema exactly (every parameter is required then, and an `Option` may be `null`).
#[proc_macro_attribute]
pub fn tool_alone(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expanded(attribute, item, "::loquat_tools")
}

fn expanded(attribute: TokenStream, item: TokenStream, root: &str) -> TokenStream {
    expand::tool(attribute.into(), item.into(), root).unwrap_or_else(syn::Error::into_compile_error).into()
}
