//! What a source said last, and whether the next thing it says is news or nonsense.

use loquat_core::{Listing, Result};

use crate::policy::believed;

/// The last listing that was given out.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    /// By name: names that resolve to several addresses and registries that keep a table say the same in another order each time.
    last: Option<Listing>,
    accept_empty: bool,
}

impl Keeper {
    pub(crate) fn new(accept_empty: bool) -> Self {
        Self { last: None, accept_empty }
    }

    /// The listing, if it is another than the last.
    ///
    /// # Errors
    /// No endpoint at all after there were some, where that is not to be believed.
    pub(crate) fn news(&mut self, listing: Listing) -> Result<Option<Listing>> {
        let was_full = self.last.as_ref().is_some_and(|last| !last.endpoints.is_empty());
        believed(was_full, &listing, self.accept_empty)?;
        let mut sorted = listing.clone();
        sorted.endpoints.sort_by(|one, other| one.name.cmp(&other.name));
        sorted.refused.sort();
        if self.last.as_ref() == Some(&sorted) {
            return Ok(None);
        }
        self.last = Some(sorted);
        Ok(Some(listing))
    }
}

#[cfg(test)]
mod tests {
    use loquat_core::{Discovered, Endpoint};

    use super::*;

    #[test]
    fn only_news_comes_out_and_nothing_after_something_is_none() {
        let full = Listing::new(vec![Discovered::new("a", Endpoint::new("openai", "http://a", "m"))]);
        for accept_empty in [false, true] {
            let mut keeper = Keeper::new(accept_empty);
            assert!(keeper.news(Listing::default()).expect("nothing yet").is_some(), "the first is news");
            assert!(keeper.news(full.clone()).expect("good").is_some());
            assert!(keeper.news(full.clone()).expect("good").is_none(), "the same again");
            let other = Discovered::new("b", Endpoint::new("openai", "http://b", "m"));
            let mut two = full.clone();
            two.endpoints.push(other);
            two.refused = vec!["no".to_owned(), "nor that".to_owned()];
            assert!(keeper.news(two.clone()).expect("good").is_some());
            two.endpoints.reverse();
            two.refused.reverse();
            assert!(keeper.news(two).expect("good").is_none(), "the same in another order");
            assert!(keeper.news(full.clone()).expect("good").is_some());
            assert_eq!(keeper.news(Listing::default()).is_ok(), accept_empty);
            assert_eq!(keeper.news(full.clone()).expect("good").is_some(), accept_empty);
        }
    }
}
