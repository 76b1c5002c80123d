//! What a stream has told of an answer: of which items, and of which runs of words in them.
//!
//! The format tells everything up to five times: in pieces, when a text is complete, when its part is, when its item is, and once
//! more in the whole response. Servers leave out any of these, of one part or of all, number items and parts from one, all alike or
//! not at all, and give an item another name in each event. So a run of words is known by its number where that decides, and else by what it
//! is: how long, and how it begins. What is new is told at whichever of the five it comes first, and nothing twice. Numbers from the
//! peer are only ever compared. Whose words those are that come whole, is decided in [`parts`], and of items in [`items`].
//!
//! A piece that follows another of its run costs one comparison ([`Told::goes_on`]): how much was told is read off the answer's length
//! when something else comes.

mod items;
mod parts;
mod words;

use loquat_core::{Error, ErrorKind, Result};

pub(super) use items::Whole;
pub(super) use parts::{Again, Heard, Part};
pub(super) use words::{Extent, Names, Words, hash_of};

/// Most items of one answer. Far above any answer that was seen, as the next: together they cost up to 700 KiB.
const MAX_ITEMS: usize = 4096;

/// Most runs of words of those that are not complete. Each event may be compared with all of them.
const MAX_RUNS: usize = 1024;

/// The number of a run that has been forgotten, after all of its item was told.
const GONE: usize = usize::MAX;

/// Room for so many of both is kept for the next answer.
pub(super) const MAX_KEPT: usize = 64;

/// What an item is, as far as that decides which one is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Message,
    Thoughts,
    Call,
    /// Another, by a hash of its type.
    Other(u64),
}

/// Where in its item a run of words is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Text,
    Refusal,
    Thoughts,
    Summary,
    Arguments,
}

impl Section {
    pub(super) const fn sort(self) -> Sort {
        match self {
            Self::Text | Self::Refusal => Sort::Message,
            Self::Thoughts | Self::Summary => Sort::Thoughts,
            Self::Arguments => Sort::Call,
        }
    }
}

/// A run of words, as a server numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    /// The item's number in the output; `None`: the server does not say.
    pub(super) place: Option<u64>,
    pub(super) section: Section,
    /// The part's number in its section; `None` likewise, and for arguments, which are all one.
    pub(super) number: Option<u64>,
}

impl At {
    /// A part of an item that is complete.
    pub(super) fn in_whole(part: &Part) -> Self {
        Self { place: None, section: part.section, number: Some(part.number) }
    }
}

/// What is said of a part besides its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aside {
    Citations,
    Logprobs,
}

impl Aside {
    /// As a detail of the answer.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Citations => "citations",
            Self::Logprobs => "logprobs",
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Item {
    place: Option<u64>,
    sort: Sort,
    names: Names,
    /// A call that has been announced.
    is_announced: bool,
    /// Our number of that call, once it has a name.
    call: Option<u32>,
    is_closed: bool,
    /// There was no room to keep its runs.
    is_forgotten: bool,
    /// What of it has been told.
    extent: Extent,
    /// For whoever looks for several at once: it is one of those.
    is_taken: bool,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    item: usize,
    section: Section,
    number: Option<u64>,
    words: Words,
    in_pieces: bool,
    /// No more pieces of it come.
    is_over: bool,
    /// Bytes of it that have been said again, by each of the two.
    said: [usize; 2],
    has_citations: bool,
    has_logprobs: bool,
    /// As of [`Item`].
    is_taken: bool,
}

impl Run {
    fn has(&self, aside: Aside) -> bool {
        match aside {
            Aside::Citations => self.has_citations,
            Aside::Logprobs => self.has_logprobs,
        }
    }
}

/// All of one answer.
#[derive(Debug)]
pub(super) struct Told {
    /// In the order in which they were met.
    items: Vec<Item>,
    runs: Vec<Run>,
    /// Which items are not complete, in the same order: those that most events are about.
    open: Vec<usize>,
    max_open: usize,
    /// What the last piece was more of, and the answer's length before it.
    current: Option<(At, usize, usize)>,
}

impl Told {
    pub(super) fn new(max_open: usize) -> Self {
        Self { items: Vec::new(), runs: Vec::new(), open: Vec::new(), max_open, current: None }
    }

    /// Forgets the answer, for the next one.
    pub(super) fn renew(&mut self, max_open: usize) {
        let Self { items, runs, open, max_open: max, current } = self;
        items.clear();
        items.shrink_to(MAX_KEPT);
        runs.clear();
        runs.shrink_to(MAX_KEPT);
        open.clear();
        open.shrink_to(MAX_KEPT);
        (*max, *current) = (max_open, None);
    }

    /// Whether a piece is more of what the last one was.
    #[inline]
    pub(super) fn goes_on(&self, at: At) -> bool {
        self.current.is_some_and(|(current, ..)| current == at)
    }

    /// Something else than a piece of that comes; so long is the answer now.
    pub(super) fn settle(&mut self, answer_bytes: usize) {
        if let Some((_, run, before)) = self.current.take()
            && let Some(run) = self.runs.get_mut(run)
        {
            let bytes = answer_bytes.saturating_sub(before);
            run.words.bytes = run.words.bytes.saturating_add(bytes);
            if let Some(item) = self.items.get_mut(run.item) {
                item.extent.grow(run.section, bytes);
            }
        }
    }

    /// So much of the answer's length is no words of the run that pieces are told of.
    pub(super) fn skip(&mut self, bytes: usize) {
        if let Some((.., before)) = &mut self.current {
            *before = before.saturating_add(bytes);
        }
    }

    /// A piece that begins like that is about to be told. Whether it is the first of a further run of its item.
    ///
    /// # Errors
    ///
    /// `TooLarge`, here and below: too many items or runs.
    pub(super) fn piece(&mut self, at: At, words: Words, answer_bytes: usize) -> Result<bool> {
        let item = self.open_at(at.place, at.section.sort())?;
        let goes_on = |run: &Run| {
            run.item == item && run.section == at.section && run.number == at.number && !run.is_over
        };
        let known = self.runs.iter().rposition(goes_on);
        let further = known.is_none() && self.has_words(item);
        let run = match known {
            Some(run) => run,
            None => self.begin(item, at, Words { bytes: 0, ..words }, true)?,
        };
        if let (Some(known), Some(item)) = (self.runs.get_mut(run), self.items.get_mut(item))
            && known.words.bytes == 0
        {
            known.in_pieces = true;
            known.words = Words { bytes: 0, ..words };
            item.extent.add(at.section, &known.words);
        }
        self.current = Some((at, run, answer_bytes));
        Ok(further)
    }

    /// A further part of that section has been announced.
    pub(super) fn end_runs(&mut self, at: At) {
        if let Some(item) = self.find_open(at.place, at.section.sort()) {
            let runs = self.runs.iter_mut().filter(|run| run.item == item && run.number.is_none());
            runs.for_each(|run| run.is_over = true);
        }
    }

    /// The run that something is said of besides its words.
    pub(super) fn aside(&mut self, at: At) -> Result<usize> {
        let item = match self.find_open(at.place, at.section.sort()) {
            Some(item) => item,
            None => match self
                .items
                .iter()
                .rposition(|item| item.place == at.place && item.sort == at.section.sort())
            {
                Some(item) => item,
                None => self.open_at(at.place, at.section.sort())?,
            },
        };
        let is_it = |run: &Run| run.item == item && run.section == at.section && run.number == at.number;
        match self.runs.iter().rposition(is_it) {
            Some(run) => Ok(run),
            None => self.begin(item, at, Words::default(), false),
        }
    }

    /// That is told of the run. Whether it had been before, as all has of one that is [`GONE`].
    pub(super) fn note(&mut self, run: usize, aside: Aside) -> bool {
        let Some(run) = self.runs.get_mut(run) else { return true };
        let has = match aside {
            Aside::Citations => &mut run.has_citations,
            Aside::Logprobs => &mut run.has_logprobs,
        };
        std::mem::replace(has, true)
    }

    /// Whether nothing has been.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// An item has been announced. Which it is.
    pub(super) fn announce(&mut self, place: Option<u64>, sort: Sort, names: Names) -> Result<usize> {
        let nameless = |item: &Item| item.names.is_none() && !item.is_announced;
        let begun = self.find_open(place, sort).filter(|&item| nameless(&self.items[item]));
        let item = match begun {
            Some(item) => item,
            None => self.push(place, sort)?,
        };
        self.items[item].names = names;
        Ok(item)
    }

    /// An item is complete that is none of those that are known. Which it is.
    fn push(&mut self, place: Option<u64>, sort: Sort) -> Result<usize> {
        if self.open.len() >= self.max_open {
            let max = self.max_open;
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("the answer has more items open than max_tool_calls ({max})"),
            ));
        }
        if self.items.len() >= MAX_ITEMS {
            return Err(too_many("items", MAX_ITEMS));
        }
        self.open.push(self.items.len());
        self.items.push(Item {
            place,
            sort,
            names: Names::default(),
            is_announced: false,
            call: None,
            is_closed: false,
            is_forgotten: false,
            extent: Extent::default(),
            is_taken: false,
        });
        Ok(self.items.len() - 1)
    }

    pub(super) fn is_closed(&self, item: usize) -> bool {
        self.items.get(item).is_some_and(|item| item.is_closed)
    }

    /// Of a call that has been announced, our number of it, once it has a name.
    pub(super) fn announced(&self, item: usize) -> Option<Option<u32>> {
        self.items.get(item).filter(|item| item.is_announced).map(|item| item.call)
    }

    /// Whether that has been told of the part of that number before its words, or of one that has none.
    pub(super) fn has_aside(&self, item: usize, number: u64, aside: Aside) -> bool {
        let is_it = |run: &Run| {
            let is_there = run.item == item && run.section == Section::Text && run.words.bytes == 0;
            is_there && run.number.is_none_or(|known| known == number)
        };
        self.runs.iter().any(|run| is_it(run) && run.has(aside))
    }

    /// All of that item has been told.
    pub(super) fn close(&mut self, item: usize, extent: Extent) {
        if let Some(known) = self.items.get_mut(item).filter(|known| !known.is_closed) {
            // In the order of the item now, and not as it was told.
            known.extent = extent;
            known.is_closed = true;
            self.open.retain(|open| *open != item);
        }
    }

    /// Makes room for so many more runs, as far as there are some of items that are complete. Those that are kept change their places,
    /// and pieces that go on are told of theirs at its new one.
    pub(super) fn make_room(&mut self, wanted: usize) {
        if self.runs.len().saturating_add(wanted) <= MAX_RUNS {
            return;
        }
        let Self { items, runs, current, .. } = self;
        let is_kept = |run: &Run| items.get(run.item).is_some_and(|item| !item.is_closed);
        *current = current.and_then(|(at, run, before)| {
            runs.get(run).filter(|run| is_kept(run))?;
            let place = runs[..run].iter().filter(|run| is_kept(run)).count();
            Some((at, place, before))
        });
        runs.retain(is_kept);
        items.iter_mut().filter(|item| item.is_closed).for_each(|item| item.is_forgotten = true);
    }

    /// A run of that item is told, or what is said besides it.
    pub(super) fn begin(&mut self, item: usize, at: At, words: Words, in_pieces: bool) -> Result<usize> {
        self.make_room(1);
        if self.runs.len() >= MAX_RUNS {
            return Err(too_many("parts at once", MAX_RUNS));
        }
        if let Some(item) = self.items.get_mut(item) {
            item.extent.add(at.section, &words);
        }
        let At { section, number, .. } = at;
        self.runs.push(Run {
            item,
            section,
            number,
            words,
            in_pieces,
            is_over: false,
            said: [0; 2],
            has_citations: false,
            has_logprobs: false,
            is_taken: false,
        });
        Ok(self.runs.len() - 1)
    }

    /// The item at that place which is not complete; or that of a server which does not always say its place.
    fn find_open(&self, place: Option<u64>, sort: Sort) -> Option<usize> {
        self.latest_open(sort, |item| item.place == place)
            .or_else(|| self.latest_open(sort, |item| item.place.is_none() || place.is_none()))
    }

    fn latest_open(&self, sort: Sort, is_it: impl Fn(&Item) -> bool) -> Option<usize> {
        let is_it = |at: &usize| self.items.get(*at).is_some_and(|item| item.sort == sort && is_it(item));
        self.open.iter().rev().copied().find(is_it)
    }

    /// The arguments that a piece of some belongs to: those of the call at that place, or of the latest where there is none. Beside them
    /// our number of that call, once it has a name.
    pub(super) fn call_at(&self, place: Option<u64>) -> Option<(At, Option<u32>)> {
        let is_open = |item: &&Item| item.is_announced && !item.is_closed;
        let is_there = |item: &&Item| item.sort == Sort::Call && item.place == place;
        let mut there = self.items.iter().rev().filter(is_there).peekable();
        let item = match there.peek() {
            // If that is complete, it is not another's.
            Some(_) => there.find(is_open),
            None => self.items.iter().rev().find(is_open),
        }?;
        Some((At { place: item.place, section: Section::Arguments, number: None }, item.call))
    }

    /// An item is a call, and has been announced as one; its number, if it has a name.
    pub(super) fn begin_call(&mut self, item: usize, call: Option<u32>) {
        if let Some(item) = self.items.get_mut(item) {
            (item.is_announced, item.call) = (true, call);
        }
    }

    /// The call of those arguments has been given a name.
    pub(super) fn name_call(&mut self, at: At, call: Option<u32>) {
        let is_it = |item: &&mut Item| item.is_announced && !item.is_closed && item.place == at.place;
        if let Some(item) = self.items.iter_mut().rev().find(is_it) {
            item.call = call;
        }
    }

    fn open_at(&mut self, place: Option<u64>, sort: Sort) -> Result<usize> {
        match self.find_open(place, sort) {
            Some(item) => Ok(item),
            None => self.push(place, sort),
        }
    }

    /// Whether any words of that item have been told.
    pub(super) fn has_words(&self, item: usize) -> bool {
        self.runs.iter().any(|run| run.item == item && (run.in_pieces || run.words.bytes > 0))
    }
}

#[cold]
fn too_many(what: &str, max: usize) -> Error {
    Error::new(ErrorKind::TooLarge, format!("the answer has more than {max} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(place: u64) -> At {
        At { place: Some(place), section: Section::Text, number: Some(0) }
    }

    /// A text that is told in pieces while others, before and after it, are complete and have to make room.
    #[test]
    fn a_run_that_goes_on_is_known_at_its_new_place() -> Result<()> {
        let mut told = Told::new(8);
        let word = Words::of_plain("word");
        let complete = |told: &mut Told, place| {
            told.whole(at(place), word, Again::Text)?;
            let item = told.find_open(Some(place), Sort::Message).unwrap_or_default();
            told.close(item, Extent::default());
            Ok::<(), Error>(())
        };
        complete(&mut told, 0)?;
        told.piece(at(1), Words::of_plain("abc"), 100)?;
        for place in 2..MAX_RUNS as u64 {
            complete(&mut told, place)?;
        }
        assert_eq!(told.runs.len(), MAX_RUNS);
        told.make_room(1);
        assert_eq!(told.runs.len(), 1);
        assert!(told.goes_on(at(1)));
        told.settle(109);
        assert_eq!(told.runs[0].words, Words { bytes: 9, ..Words::of_plain("abc") });
        Ok(())
    }

    /// What goes on may be of an item that has been closed: then there is nothing to go on with.
    #[test]
    fn a_run_that_goes_on_may_be_gone() -> Result<()> {
        let mut told = Told::new(8);
        told.piece(at(0), Words::of_plain("abc"), 0)?;
        told.close(0, Extent::default());
        told.make_room(MAX_RUNS);
        assert!(told.runs.is_empty() && !told.goes_on(at(0)));
        Ok(())
    }
}
