//! For the tests of programs that talk to models.
//!
//! A [`Server`] on the loopback speaks HTTP to whatever client is pointed at it, so that everything between the program and
//! the socket is the real thing. It answers from a script ([`Reply`]), replays recorded exchanges ([`Cassette`]), and fails as
//! told ([`Fault`]: cut, stalled until a [`Gate`] is opened, garbage, an error event). A [`Recorder`] stands between a program
//! and a provider and writes such a cassette, with credentials scrubbed before anything is kept ([`Scrubber`]).
//!
//! For tests that need no wire there is [`model`]: a scripted `Model` and a clock moved by hand.
//!
//! Deliberately knows no wire format: bytes in, bytes out.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! use loquat_testing::{Fault, Reply, Server};
//!
//! let half = Reply::events(["{\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}"]).with_fault(Fault::Cut { after: 30 });
//! let server = Server::start([half]).await?;
//! // point a client at server.base_url(), and see that it does not take the half for the whole
//! # assert!(server.base_url().starts_with("http://127.0.0.1:"));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod cassette;
mod fault;
mod record;
mod reply;
mod scrub;
mod server;
mod wire;

pub use cassette::{Cassette, Exchange, RecordedReply, RecordedRequest};
pub use fault::{Fault, Gate};
/// The words that this crate speaks in, in the version that it speaks.
#[doc(no_inline)]
pub use loquat_core;
/// A scripted `Model`, replayed deltas and a clock moved by hand.
pub use loquat_core::test_util as model;
pub use record::Recorder;
pub use reply::Reply;
pub use scrub::Scrubber;
pub use server::Server;
