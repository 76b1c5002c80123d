#![doc = include_str!("../README.md")]
//!
//! # What is limited where
//!
//! | stage | limit | who |
//! |---|---|---|
//! | waiting for a place, or for another's connection | [`Limits::connect`] and [`Limits::tls`] together | here |
//! | name, TCP, proxy | [`Limits::connect`] | here |
//! | TLS | [`Limits::tls`] | here |
//! | request written to response head | [`Limits::first_byte`], [`Request::first_byte`] | here |
//! | all of the above together | [`loquat_core::Context::deadline`] | here |
//! | an HTTP/2 body that nobody reads | [`Http2Limits::laggard_after`] | here |
//! | a silent HTTP/2 peer, where asked for | [`Http2Limits::ping_every`], [`Http2Limits::ping_timeout`] | here |
//! | first token, gaps, total while the body is read | – | the caller, who can tell an event from a comment |
//!
//! In size: heads and trailers by [`HeadLimits`], unread bodies by [`Http2Limits`], compressed ones by [`DecompressLimits`], whole
//! ones by what the caller allows ([`Body::collect`]). Which addresses are dialled is [`AddressPolicy`]'s to say.
//!
//! # How it is done
//!
//! [`Transport::send`] resolves when the response's head is in; the [`Body`] is then pulled. HTTP/1.1 is our own, driven by the
//! caller's task too; HTTP/2 is the raw `h2` crate with one driver task per connection; TLS is rustls with the platform's
//! certificate authorities. How far a request got is a [`Delivery`](loquat_core::Delivery).
// Denied in the whole workspace, too; the ring alone allows it.
#![deny(unsafe_code)]

mod address;
mod attempt;
mod body;
mod buffers;
mod cancel;
mod config;
mod connect;
#[cfg(feature = "decompress")]
mod decode;
mod http1;
mod http2;
mod io;
mod origin;
mod pool;
mod proxy;
mod request;
mod response;
pub mod ring;
mod socket;
mod stats;
mod timer;
mod trail;
mod transport;
mod upload;

pub use address::{Resolve, Resolving, SystemResolver};
pub use body::Body;
/// Cheaply shared bytes, in which bodies are sent and come.
pub use bytes::Bytes;
pub use config::{
    Config, DecompressLimits, ExtraRoot, HeadLimits, Http2Limits, Http2Mode, Limits, PoolConfig, TcpConfig,
};
/// The types of `http` that appear in this crate's own.
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
pub use http2::Laggard;
/// The words that this crate speaks in, in the version that it speaks.
#[doc(no_inline)]
pub use loquat_core;
/// Which addresses may be dialled.
#[doc(no_inline)]
pub use loquat_core::{AddressPolicy, Network};
pub use origin::{Origin, Url};
pub use proxy::{Proxy, ProxyRules};
pub use request::Request;
pub use response::{ConnectionInfo, Protocol, Response};
pub use stats::Stats;
pub use transport::Transport;
pub use upload::Upload;
