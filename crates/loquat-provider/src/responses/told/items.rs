//! Which item of those that have been told is one that comes whole.
//!
//! Names decide, where both sides have the same; then what is told, by its length and beginning; then the number. Of what is left,
//! each is taken for the next of its kind. Which of its parts have been told, say [`parts`](super::parts).

use loquat_core::Result;

use super::{
    Item, MAX_ITEMS, Run, Sort, Told,
    parts::Part,
    too_many,
    words::{Extent, Names},
};

/// An item of the whole response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole {
    pub(crate) place: Option<u64>,
    pub(crate) sort: Sort,
    pub(crate) names: Names,
    pub(crate) extent: Extent,
    /// Which of its parts, among those of all items, are its.
    pub(crate) first_part: usize,
    pub(crate) parts: usize,
    /// Which of those that have been told it is.
    pub(crate) item: Option<usize>,
}

impl Whole {
    fn is_like(&self, item: &Item) -> bool {
        self.extent.is_told_by(&item.extent, self.sort)
    }
}

impl Told {
    /// An item is complete. Which it is; `None`: the same has been complete before.
    pub(crate) fn complete(&mut self, whole: &Whole) -> Result<Option<usize>> {
        let &Whole { place, sort, names, .. } = whole;
        let open = self
            .latest_open(sort, |item| names.are(&item.names))
            .or_else(|| {
                let there = self.find_open(place, sort)?;
                (!names.belie(&self.items.get(there)?.names)).then_some(there)
            })
            .or_else(|| self.latest_open(sort, |item| whole.is_like(item)));
        let is_again = |item: &Item| {
            let nameless = names.is_none() || item.names.is_none();
            item.is_closed
                && item.sort == sort
                && match names.are(&item.names) {
                    true => whole.is_like(item) || (item.place == place && whole.extent.is_empty()),
                    false => nameless && place.is_some() && item.place == place && whole.is_like(item),
                }
        };
        let item = match open {
            Some(open) => open,
            None if self.items.iter().any(is_again) => return Ok(None),
            None => self.push(place, sort)?,
        };
        if let Some(item) = self.items.get_mut(item)
            && !names.is_none()
        {
            item.names = names;
        }
        Ok(Some(item))
    }

    /// Finds out which items of the whole response have been told.
    ///
    /// # Errors
    ///
    /// `TooLarge`, where each would have to be compared with too many others.
    pub(crate) fn match_output(&mut self, output: &mut [Whole], parts: &[Part]) -> Result<()> {
        if self.items.is_empty() {
            return Ok(());
        }
        if output.len() > MAX_ITEMS {
            return Err(too_many("items", MAX_ITEMS));
        }
        self.items.iter_mut().for_each(|item| item.is_taken = false);
        self.match_by(output, |_, _, item, whole| whole.names.are(&item.names));
        self.match_by(output, |_, _, item, whole| item.place == whole.place && whole.is_like(item));
        self.match_by(output, |_, _, item, whole| whole.is_like(item));
        self.match_by(output, |runs, at, item, whole| {
            let end = whole.first_part.saturating_add(whole.parts);
            let parts = parts.get(whole.first_part..end).unwrap_or_default();
            let is_in = |run: &Run| {
                parts.iter().any(|part| part.section == run.section && run.words.are(&part.words))
            };
            let mut runs = runs.iter().filter(|run| run.item == at && run.words.bytes > 0);
            !item.is_closed && !item.extent.is_empty() && runs.all(is_in)
        });
        // Of one without words nothing has been changed since.
        let may_be = |item: &Item, whole: &Whole| item.extent.is_empty() == whole.extent.is_empty();
        self.match_by(output, |_, _, item, whole| {
            may_be(item, whole) && item.place == whole.place && !whole.names.belie(&item.names)
        });
        self.match_by(output, |_, _, item, whole| {
            may_be(item, whole) && (whole.names.is_none() || item.names.is_none())
        });
        Ok(())
    }

    fn match_by(&mut self, output: &mut [Whole], is_it: impl Fn(&[Run], usize, &Item, &Whole) -> bool) {
        // Most are told in the order in which they were.
        let mut first = 0;
        for whole in output.iter_mut().filter(|whole| whole.item.is_none()) {
            while self.items.get(first).is_some_and(|item| item.is_taken) {
                first += 1;
            }
            let may_be = |item: &Item| !item.is_taken && item.sort == whole.sort;
            let mut items = self.items.iter().enumerate().skip(first);
            let found = items.find(|(at, item)| may_be(item) && is_it(&self.runs, *at, item, whole));
            whole.item = found.map(|(at, _)| at);
            if let Some(item) = whole.item.and_then(|item| self.items.get_mut(item)) {
                item.is_taken = true;
            }
        }
    }
}
