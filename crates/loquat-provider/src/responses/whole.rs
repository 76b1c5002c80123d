//! Which item of those that have been told is one that comes whole, and which of its parts have been told.
//!
//! Names decide, where both sides have the same; then what is told, by its length and beginning; then the number. Of what is left,
//! each is taken for the next of its kind: what a stream has told is in the whole, so a text that a server has trimmed or masked
//! since is no news.

use loquat_core::Result;

use super::told::{Aside, Item, MAX_ITEMS, Names, Run, Section, Sort, Told, Words, too_many};

/// How much there is of an item, and how that begins.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    /// All but a summary.
    main: Words,
    summary: Words,
}

impl Extent {
    pub(super) fn add(&mut self, section: Section, words: &Words) {
        let sum = if section == Section::Summary { &mut self.summary } else { &mut self.main };
        let bytes = sum.bytes.saturating_add(words.bytes);
        let first = if sum.bytes == 0 { *words } else { *sum };
        *sum = Words { bytes, ..first };
    }

    fn is_empty(&self) -> bool {
        self.main.bytes == 0 && self.summary.bytes == 0
    }

    pub(super) fn grow(&mut self, section: Section, bytes: usize) {
        let sum = if section == Section::Summary { &mut self.summary } else { &mut self.main };
        sum.bytes = sum.bytes.saturating_add(bytes);
    }

    /// Whether all of that and nothing else has been told.
    fn is_told_by(&self, told: &Self, sort: Sort) -> bool {
        let is_there = |words: &Words| words.bytes > 0;
        let same = |told: &Words, whole: &Words| !is_there(told) || told.are(whole);
        match sort {
            // Of thoughts and their summary one will do.
            Sort::Thoughts => {
                (is_there(&told.main) || is_there(&told.summary))
                    && same(&told.main, &self.main)
                    && same(&told.summary, &self.summary)
            }
            _ => is_there(&told.main) && told.main.are(&self.main),
        }
    }
}

/// An item of the whole response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub(super) place: Option<u64>,
    pub(super) sort: Sort,
    pub(super) names: Names,
    pub(super) extent: Extent,
    /// Which of its parts, among those of all items, are its.
    pub(super) first_part: usize,
    pub(super) parts: usize,
    /// Which of those that have been told it is.
    pub(super) item: Option<usize>,
}

impl Whole {
    fn is_like(&self, item: &Item) -> bool {
        self.extent.is_told_by(&item.extent, self.sort)
    }
}

/// A run of words in an item that is complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) section: Section,
    /// Where it is among those of its section.
    pub(super) number: u64,
    pub(super) words: Words,
    /// As what it has been told.
    pub(super) run: Option<usize>,
    /// It is told only now.
    pub(super) is_news: bool,
    /// What has been told besides its words: citations, probabilities.
    pub(super) has: [bool; 2],
}

/// Most parts of one item of which something has been told.
const MAX_PARTS: usize = 1024;

/// Most parts of one item that are looked at as pieces of one another.
const MAX_JOINED: usize = 128;

impl Told {
    /// An item is complete. Which it is; `None`: the same has been complete before.
    pub(super) fn complete(&mut self, whole: &Whole) -> Result<Option<usize>> {
        let &Whole { place, sort, names, .. } = whole;
        let find = |is_it: &dyn Fn(&Item) -> bool| {
            self.items.iter().rposition(|item| item.sort == sort && is_it(item))
        };
        let again = find(&|item| {
            let nameless = names.is_none() || item.names.is_none();
            item.is_closed
                && match names.are(&item.names) {
                    true => whole.is_like(item) || (item.place == place && whole.extent.is_empty()),
                    false => nameless && place.is_some() && item.place == place && whole.is_like(item),
                }
        });
        let open = find(&|item| !item.is_closed && names.are(&item.names))
            .or_else(|| {
                let there = self.find_open(place, sort)?;
                (!names.belie(&self.items.get(there)?.names)).then_some(there)
            })
            .or_else(|| find(&|item| !item.is_closed && whole.is_like(item)));
        let item = match (open, again) {
            (Some(open), _) => open,
            (None, Some(_)) => return Ok(None),
            (None, None) => self.push(place, sort)?,
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
    pub(super) fn match_output(&mut self, output: &mut [Whole], parts: &[Part]) -> Result<()> {
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
        for whole in output.iter_mut().filter(|whole| whole.item.is_none()) {
            let may_be = |item: &Item| !item.is_taken && item.sort == whole.sort;
            let mut items = self.items.iter().enumerate();
            let found = items.find(|(at, item)| may_be(item) && is_it(&self.runs, *at, item, whole));
            whole.item = found.map(|(at, _)| at);
            if let Some(item) = whole.item.and_then(|item| self.items.get_mut(item)) {
                item.is_taken = true;
            }
        }
    }

    /// Finds out which parts of that item have been told: those have a run then.
    ///
    /// # Errors
    ///
    /// `TooLarge`, as above.
    pub(super) fn match_parts(&mut self, item: usize, parts: &mut [Part]) -> Result<()> {
        let mut runs = self.runs.iter_mut().filter(|run| run.item == item && run.words.bytes > 0).peekable();
        if runs.peek().is_none() {
            return Ok(());
        }
        if parts.len() > MAX_PARTS {
            return Err(too_many("parts in one item", MAX_PARTS));
        }
        runs.for_each(|run| run.is_taken = false);
        self.match_parts_by(item, parts, |run, part| {
            run.number == Some(part.number) && run.words.are(&part.words)
        });
        self.match_parts_by(item, parts, |run, part| run.words.are(&part.words));
        self.match_joined(item, parts);
        self.match_parts_by(item, parts, |run, part| run.number == Some(part.number));
        self.match_parts_by(item, parts, |_, _| true);
        for part in parts.iter_mut() {
            if let Some(run) = part.run.and_then(|run| self.runs.get(run)) {
                part.has = [Aside::Citations, Aside::Logprobs].map(|aside| run.has(aside));
            }
        }
        Ok(())
    }

    fn match_parts_by(&mut self, item: usize, parts: &mut [Part], is_it: impl Fn(&Run, &Part) -> bool) {
        for part in parts.iter_mut().filter(|part| part.run.is_none() && part.words.bytes > 0) {
            let may_be = |run: &Run| {
                run.item == item && run.section == part.section && run.words.bytes > 0 && !run.is_taken
            };
            part.run = self.runs.iter().position(|run| may_be(run) && is_it(run, part));
            if let Some(run) = part.run.and_then(|run| self.runs.get_mut(run)) {
                run.is_taken = true;
            }
        }
    }

    /// Parts that are numbered alike, or not at all, are told as one run; and one part as several, where each piece has its number.
    fn match_joined(&mut self, item: usize, parts: &mut [Part]) {
        let runs = self.runs.iter().filter(|run| run.item == item).count();
        if runs.max(parts.len()) > MAX_JOINED {
            return;
        }
        for section in [Section::Text, Section::Refusal, Section::Thoughts, Section::Summary] {
            let is_run = |run: &Run| {
                run.item == item && run.section == section && run.words.bytes > 0 && !run.is_taken
            };
            for at in 0..self.runs.len() {
                let Some(run) = self.runs.get(at).filter(|run| is_run(run) && run.in_pieces) else {
                    continue;
                };
                let is_part =
                    |part: &Part| part.run.is_none() && part.section == section && part.words.bytes > 0;
                let sizes = parts.iter().map(|part| is_part(part).then_some(part.words.bytes));
                let begins =
                    |part: usize| parts.get(part).is_some_and(|part| part.words.begin_like(&run.words));
                if let Some(range) = adding_up_to(run.words.bytes, sizes, begins) {
                    self.runs[at].is_taken = true;
                    parts[range].iter_mut().filter(|part| is_part(part)).for_each(|part| part.run = Some(at));
                }
            }
            for part in parts.iter_mut().filter(|part| part.run.is_none() && part.section == section) {
                let sizes = self.runs.iter().map(|run| is_run(run).then_some(run.words.bytes));
                let begins =
                    |run: usize| self.runs.get(run).is_some_and(|run| part.words.begin_like(&run.words));
                if let Some(range) = adding_up_to(part.words.bytes, sizes, begins) {
                    part.run = Some(range.start);
                    self.runs[range].iter_mut().filter(|run| is_run(run)).for_each(|run| run.is_taken = true);
                }
            }
        }
    }
}

/// The first of them, one after the other but for those that are none, which come to that sum together.
fn adding_up_to(
    bytes: usize,
    sizes: impl Iterator<Item = Option<usize>>,
    begins: impl Fn(usize) -> bool,
) -> Option<std::ops::Range<usize>> {
    let sizes: Vec<(usize, usize)> =
        sizes.enumerate().filter_map(|(at, size)| size.map(|size| (at, size))).collect();
    let (mut from, mut sum) = (0, 0_usize);
    // A window over them that is made longer and shorter: each is looked at twice.
    for to in 0..sizes.len() {
        sum = sum.saturating_add(sizes[to].1);
        while sum > bytes {
            sum -= sizes[from].1;
            from += 1;
        }
        if sum == bytes && bytes > 0 && begins(sizes[from].0) {
            return Some(sizes[from].0..sizes[to].0 + 1);
        }
    }
    None
}
