//! HTTP/1.1 against servers that behave, and servers that do not.

#[path = "../support/mod.rs"]
mod support;

// What knows no socket is tested without one.
#[path = "../../src/http1/answer/mod.rs"]
#[allow(dead_code, reason = "the connection uses more of it than a test")]
mod answer;

mod chunked;
mod ending;
mod hostile;
mod message;
mod oracle;
mod reuse;
mod whole;
