//! Whose words those are that come whole: by themselves, in their part, or in their item.
//!
//! Numbers decide, where both sides have the same and the words agree; then the words; then the number alone. Of what is left, each
//! is taken for the next of its kind: what a stream has told is in the whole, so a text that a server has trimmed or masked since
//! is no news.

use loquat_core::Result;

use super::{Aside, At, GONE, Item, Run, Section, Told, too_many, words::Words};

/// The two events that may follow the pieces of a run and hold all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Its text is complete.
    Text,
    /// Its part is.
    Part,
}

/// What has come of words that are complete: of which run they are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Heard {
    /// They have been told.
    Before(usize),
    /// They are about to be; `is_further`: after others of the same item.
    Now { run: usize, is_further: bool },
}

/// A run of words in an item that is complete.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) section: Section,
    /// Where it is among those of its section.
    pub(crate) number: u64,
    pub(crate) words: Words,
    /// As what it has been told.
    pub(crate) run: Option<usize>,
    /// It is told only now.
    pub(crate) is_news: bool,
    /// What has been told besides its words: citations, probabilities.
    pub(crate) has: [bool; 2],
}

/// Most parts of one item of which something has been told.
const MAX_PARTS: usize = 1024;

/// Most parts of one item that are looked at as pieces of one another.
const MAX_JOINED: usize = 128;

impl Told {
    /// A run is complete, with these words.
    pub(crate) fn whole(&mut self, at: At, words: Words, again: Again) -> Result<Heard> {
        let sort = at.section.sort();
        let open = self.find_open(at.place, sort);
        if let Some(run) = open.and_then(|item| self.say_again(item, at, words, again)) {
            return Ok(Heard::Before(run));
        }
        // An event that comes after its item's end; or one of another item, at the same place.
        let is_closed = |item: &Item| item.is_closed && item.place == at.place && item.sort == sort;
        if let Some(item) = self.items.iter().rposition(is_closed) {
            if let Some(run) = self.find_closed(item, at, words) {
                return Ok(Heard::Before(run));
            }
            let Item { is_forgotten, place, extent, .. } = &self.items[item];
            if *is_forgotten && place.is_some() && extent.are(at.section, &words) {
                return Ok(Heard::Before(GONE));
            }
        }
        let item = match open {
            Some(item) => item,
            None => self.open_at(at.place, sort)?,
        };
        let is_further = self.has_words(item);
        let run = self.begin(item, at, words, false)?;
        self.runs[run].said[again as usize] = words.bytes;
        Ok(Heard::Now { run, is_further })
    }

    /// The run of an item that is complete which has these words, and the same number if one has.
    fn find_closed(&self, item: usize, at: At, words: Words) -> Option<usize> {
        let is_it = |run: &Run| run.item == item && run.section == at.section && run.words.bytes > 0;
        let find = |rule: &dyn Fn(&Run) -> bool| self.runs.iter().position(|run| is_it(run) && rule(run));
        find(&|run| run.number == at.number && run.words.are(&words))
            .or_else(|| find(&|run| run.words.are(&words)))
            .or_else(|| {
                let begins = |run: &Run| run.words.begin_like(&words) && words.bytes < run.words.bytes;
                find(&|run| run.in_pieces && begins(run))
            })
    }

    /// The run that has these words, of those that have been told of an item. It has been said again now.
    fn say_again(&mut self, item: usize, at: At, words: Words, again: Again) -> Option<usize> {
        let said = |run: &Run| run.said[again as usize];
        let is_it = |run: &Run| run.item == item && run.section == at.section && run.words.bytes > 0;
        let numbered = |run: &Run| at.number.is_some() && run.number == at.number;
        let may_be = |run: &Run| run.number == at.number || run.number.is_none() || at.number.is_none();
        let is_same = |run: &Run| may_be(run) && run.words.are(&words) && (numbered(run) || said(run) == 0);
        // Runs that are all numbered alike, or not at all, look like one.
        let is_in = |run: &Run| {
            let left = run.words.bytes.saturating_sub(said(run));
            let begins = said(run) > 0 || run.words.begin_like(&words);
            may_be(run) && run.in_pieces && words.bytes <= left && begins
        };
        // A text that the server has trimmed or masked since.
        let is_changed = |run: &Run| numbered(run) && said(run) == 0;
        let find = |rule: &dyn Fn(&Run) -> bool| self.runs.iter().position(|run| is_it(run) && rule(run));
        let found = find(&is_same).or_else(|| find(&is_in)).or_else(|| find(&is_changed))?;
        let run = self.runs.get_mut(found)?;
        let said = &mut run.said[again as usize];
        *said = said.saturating_add(words.bytes).min(run.words.bytes);
        run.is_over = true;
        Some(found)
    }

    /// Finds out which parts of that item have been told: those have a run then.
    ///
    /// # Errors
    ///
    /// `TooLarge`, as above.
    pub(crate) fn match_parts(&mut self, item: usize, parts: &mut [Part]) -> Result<()> {
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
