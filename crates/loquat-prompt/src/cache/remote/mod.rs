//! L3: what a fleet shares, in Redis.
//!
//! Encoding 4 KB takes 8 to 23 µs, a look-up on the loopback 80: a remote tier that is asked blindly makes things slower. So
//! it is asked only where what computing costs, as learned, exceeds what asking costs, as learned ([`Costs`], which shows both and
//! can be overruled). What a fleet really shares is what is dear: counts that had to be bought, prompt fragments by name and
//! version, whole answers ([`AnswerCache`]).
//!
//! Redis down, slow, full or talking nonsense is a miss: never an error, and never a delay beyond [`RemoteConfig::budget`]. A value is
//! sealed with a keyed hash over its key, kind, version and content, and names its tenant: one that is cut, changed, moved to
//! another key or written by somebody else is not believed.

mod answers;
mod breaker;
mod canonical;
mod codec;
mod config;
mod cost;
mod kept;
mod link;
mod packing;
mod replay;
mod store;
mod tokens;

pub use answers::{AnswerCache, AnswerLimits};
pub use config::{RemoteConfig, SentinelLogin, Topology};
pub use cost::{Ask, Costs};
pub use store::{Remote, RemoteStats};
pub use tokens::RemoteTokens;
