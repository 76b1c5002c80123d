//! HTTP/1.1 against servers that behave, and servers that do not.

#[path = "../support/mod.rs"]
mod support;

mod chunked;
mod ending;
mod message;
mod reuse;
