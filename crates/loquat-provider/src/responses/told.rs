//! What a stream has told of an answer: of which items, and of which runs of words in them.
//!
//! The format tells everything up to five times: in pieces, when a text is complete, when its part is, when its item is, and once
//! more in the whole response. Servers leave out any of these, of one part or of all, number items and parts from one, all alike or
//! not at all, and give an item another name in each event. So a run of words is known by its number where that decides, and else by what it
//! is: how long, and how it begins. What is new is told at whichever of the five it comes first, and nothing twice. Numbers from the
//! peer are only ever compared; which item an item of the whole response is, says [`whole`](super::whole).
//!
//! A piece that follows another of its run costs one comparison ([`Told::goes_on`]): how much was told is read off the answer's length
//! when something else comes.

use std::hash::{DefaultHasher, Hash, Hasher};

use loquat_core::{Error, ErrorKind, Result};
use loquat_json::Str;

use super::whole::{Extent, Part};

/// Most items of one answer. Far above any answer that was seen, as the next: together they cost up to 700 KiB.
pub(super) const MAX_ITEMS: usize = 4096;

/// Most runs of words of those that are not complete. Each event may be compared with all of them.
const MAX_RUNS: usize = 1024;

/// Room for so many of both is kept for the next answer.
pub(super) const MAX_KEPT: usize = 64;

/// A scratch that is larger is not kept, in bytes.
const MAX_SCRATCH_BYTES: usize = 4 * 1024;

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

/// How words begin and how many bytes they are: enough to know them by, among those of one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) bytes: usize,
    /// Without white space in front, which servers trim; zeros after it.
    pub(super) head: [u8; 8],
}

impl Words {
    /// Of a text, by way of a scratch, which keeps no long one.
    pub(super) fn of(text: Str<'_>, scratch: &mut String) -> Self {
        let words = Self::of_plain(text.decode_lossy(scratch));
        if scratch.capacity() > MAX_SCRATCH_BYTES {
            *scratch = String::new();
        }
        words
    }

    pub(super) fn of_plain(text: &str) -> Self {
        let mut head = [0; 8];
        // Half a character may be a whole one by the next piece.
        let known = text.split('\u{fffd}').next().unwrap_or_default().trim_ascii_start().as_bytes();
        head.iter_mut().zip(known).for_each(|(to, byte)| *to = *byte);
        Self { bytes: text.len(), head }
    }

    /// Whether they may begin alike: the one may be shorter.
    pub(super) fn begin_like(&self, other: &Self) -> bool {
        self.head.iter().zip(&other.head).all(|(a, b)| a == b || *a == 0 || *b == 0)
    }

    pub(super) fn are(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.begin_like(other)
    }
}

/// The two events that may follow the pieces of a run and hold all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Its text is complete.
    Text,
    /// Its part is.
    Part,
}

/// What has come of words that are complete: of which run they are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Heard {
    /// They have been told.
    Before(usize),
    /// They are about to be; `is_further`: after others of the same item.
    Now { run: usize, is_further: bool },
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
pub(super) struct Item {
    pub(super) place: Option<u64>,
    pub(super) sort: Sort,
    pub(super) names: Names,
    /// A call that has been announced.
    pub(super) is_announced: bool,
    /// Our number of that call, once it has a name.
    pub(super) call: Option<u32>,
    pub(super) is_closed: bool,
    /// What of it has been told.
    pub(super) extent: Extent,
    /// For whoever looks for several at once: it is one of those.
    pub(super) is_taken: bool,
}

/// Hashes of what an item is called.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Names {
    id: Option<u64>,
    call_id: Option<u64>,
}

impl Names {
    pub(super) fn of(id: Option<Str<'_>>, call_id: Option<Str<'_>>) -> Self {
        Self { id: id.map(hash_of), call_id: call_id.map(hash_of) }
    }

    pub(super) fn are(&self, other: &Self) -> bool {
        let same = |a: Option<u64>, b: Option<u64>| a.is_some() && a == b;
        same(self.id, other.id) || same(self.call_id, other.call_id)
    }

    /// Whether the two are certainly of different calls: those keep their names from event to event, as their results go by them.
    pub(super) fn belie(&self, other: &Self) -> bool {
        matches!((self.call_id, other.call_id), (Some(a), Some(b)) if a != b)
    }

    pub(super) fn is_none(&self) -> bool {
        self.id.is_none() && self.call_id.is_none()
    }
}

/// A hash of a text, to compare it by.
pub(super) fn hash_of(text: Str<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.raw().hash(&mut hasher);
    hasher.finish()
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) item: usize,
    pub(super) section: Section,
    pub(super) number: Option<u64>,
    pub(super) words: Words,
    pub(super) in_pieces: bool,
    /// No more pieces of it come.
    is_over: bool,
    /// Bytes of it that have been said again, by each of the two.
    said: [usize; 2],
    has_citations: bool,
    has_logprobs: bool,
    /// As of [`Item`].
    pub(super) is_taken: bool,
}

impl Run {
    pub(super) fn has(&self, aside: Aside) -> bool {
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
    pub(super) items: Vec<Item>,
    pub(super) runs: Vec<Run>,
    open: usize,
    max_open: usize,
    /// What the last piece was more of, and the answer's length before it.
    current: Option<(At, usize, usize)>,
}

impl Told {
    pub(super) fn new(max_open: usize) -> Self {
        Self { items: Vec::new(), runs: Vec::new(), open: 0, max_open, current: None }
    }

    /// Forgets the answer, for the next one.
    pub(super) fn renew(&mut self, max_open: usize) {
        let Self { items, runs, open, max_open: max, current } = self;
        items.clear();
        items.shrink_to(MAX_KEPT);
        runs.clear();
        runs.shrink_to(MAX_KEPT);
        (*open, *max, *current) = (0, max_open, None);
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

    /// A run is complete, with these words.
    pub(super) fn whole(&mut self, at: At, words: Words, again: Again) -> Result<Heard> {
        let sort = at.section.sort();
        let open = self.find_open(at.place, sort);
        if let Some(run) = open.and_then(|item| self.say_again(item, at, words, again)) {
            return Ok(Heard::Before(run));
        }
        // An event that comes after its item's end; or one of another item, at the same place.
        let is_closed = |item: &Item| item.is_closed && item.place == at.place && item.sort == sort;
        if let Some(item) = self.items.iter().rposition(is_closed)
            && let Some(run) = self.find_closed(item, at, words)
        {
            return Ok(Heard::Before(run));
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

    /// That is told of the run. Whether it had been before.
    pub(super) fn note(&mut self, run: usize, aside: Aside) -> bool {
        let Some(run) = self.runs.get_mut(run) else { return false };
        let has = match aside {
            Aside::Citations => &mut run.has_citations,
            Aside::Logprobs => &mut run.has_logprobs,
        };
        std::mem::replace(has, true)
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
    pub(super) fn push(&mut self, place: Option<u64>, sort: Sort) -> Result<usize> {
        if self.open >= self.max_open {
            let max = self.max_open;
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("the answer has more items open than max_tool_calls ({max})"),
            ));
        }
        if self.items.len() >= MAX_ITEMS {
            return Err(too_many("items", MAX_ITEMS));
        }
        self.open += 1;
        self.items.push(Item {
            place,
            sort,
            names: Names::default(),
            is_announced: false,
            call: None,
            is_closed: false,
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
        if let Some(item) = self.items.get_mut(item).filter(|item| !item.is_closed) {
            // In the order of the item now, and not as it was told.
            item.extent = extent;
            item.is_closed = true;
            self.open = self.open.saturating_sub(1);
        }
    }

    /// Makes room for so many runs, which may change the places of those that are known.
    pub(super) fn make_room(&mut self, wanted: usize) -> Result<()> {
        let max = MAX_RUNS.saturating_sub(wanted);
        if wanted > 0 && self.runs.len() > max {
            let Self { items, runs, .. } = self;
            runs.retain(|run| items.get(run.item).is_some_and(|item| !item.is_closed));
            if self.runs.len() > max || wanted > MAX_RUNS {
                return Err(too_many("parts at once", MAX_RUNS));
            }
        }
        Ok(())
    }

    /// A run of that item is told, or what is said besides it.
    pub(super) fn begin(&mut self, item: usize, at: At, words: Words, in_pieces: bool) -> Result<usize> {
        self.make_room(1)?;
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
    pub(super) fn find_open(&self, place: Option<u64>, sort: Sort) -> Option<usize> {
        let is_open = |item: &Item| !item.is_closed && item.sort == sort;
        let is_there = |item: &Item| is_open(item) && item.place == place;
        let may_be = |item: &Item| is_open(item) && (item.place.is_none() || place.is_none());
        self.items.iter().rposition(is_there).or_else(|| self.items.iter().rposition(may_be))
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
pub(super) fn too_many(what: &str, max: usize) -> Error {
    Error::new(ErrorKind::TooLarge, format!("the answer has more than {max} {what}"))
}
