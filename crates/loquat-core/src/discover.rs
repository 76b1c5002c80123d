//! Where endpoints come from when nobody wrote them down: a source that is asked for the present ones, again and again.
//!
//! The trait knows no protocol and no choosing. A source says what there is; what becomes of it (a plan, a router's table) is
//! for whoever asks. An error leaves what was said before valid: endpoints do not vanish because a registry did.

use crate::{BoxFuture, Context, Endpoint, Result};

/// An endpoint as a source knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Discovered {
    /// Its name, the same as long as it is the same endpoint; no two of one listing share one.
    pub name: String,
    /// Where it is, and what authenticates there.
    pub endpoint: Endpoint,
    /// Free words that routes select by (`eu`, `h100`), and words for what it can do (`vision`).
    pub tags: Vec<String>,
    /// Whether the source says that it is well; `None` where it says nothing of it.
    pub is_up: Option<bool>,
    /// Its share where shares are weighted, where said.
    pub weight: Option<u32>,
    /// Tokens of prompt and answer together that it holds, where said.
    pub context_window: Option<u32>,
}

impl Discovered {
    /// An endpoint of which only its place is known.
    pub fn new(name: impl Into<String>, endpoint: Endpoint) -> Self {
        Self {
            name: name.into(),
            endpoint,
            tags: Vec::new(),
            is_up: None,
            weight: None,
            context_window: None,
        }
    }
}

/// All endpoints of a source at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Listing {
    /// The endpoints, by name.
    pub endpoints: Vec<Discovered>,
    /// What the source listed and may not or cannot be used, each with the reason; the first few. No credential is in it.
    pub refused: Vec<String>,
}

impl Listing {
    /// These endpoints, in the order of their names; of several with one name the first.
    pub fn new(mut endpoints: Vec<Discovered>) -> Self {
        endpoints.sort_by(|one, other| one.name.cmp(&other.name));
        endpoints.dedup_by(|later, earlier| later.name == earlier.name);
        Self { endpoints, refused: Vec::new() }
    }
}

/// A source of endpoints.
pub trait Discover: Send {
    /// The next listing: the first call gives the present one, each later call waits until it is another. After an error the
    /// next call tries again, itself waiting for as long as that source should be left alone.
    ///
    /// # Errors
    /// The source cannot be asked, or what it says cannot be used. Earlier listings stay valid.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the question that was under way; no change is lost, the next call finds it.
    fn next<'a>(&'a mut self, context: &'a Context) -> BoxFuture<'a, Result<Listing>>;
}

impl<D: Discover + ?Sized> Discover for Box<D> {
    fn next<'a>(&'a mut self, context: &'a Context) -> BoxFuture<'a, Result<Listing>> {
        (**self).next(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_has_each_name_once_and_one_order() {
        let at = |name: &str, port: u16| {
            Discovered::new(name, Endpoint::new("openai", format!("http://10.0.0.1:{port}"), "m"))
        };
        let listing = Listing::new(vec![at("b", 1), at("a", 2), at("b", 3)]);
        assert_eq!(listing.endpoints, [at("a", 2), at("b", 1)]);
    }
}
