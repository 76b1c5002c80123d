//! What a stream has told of an answer: of which items, and of which of their parts.
//!
//! The format tells everything up to four times: in pieces, part by part, item by item, and once more in the whole response.
//! Servers leave out any of these, of one part or of all. So what has been told is remembered by the numbers of item and part, and
//! at each of the four what is new is told, and nothing twice. Numbers from the peer are only ever compared. Where they are missing or do
//! not agree with each other, what may have been told counts as told.

use std::hash::{DefaultHasher, Hash, Hasher};

use loquat_core::{Error, ErrorKind, Result};
use loquat_json::Str;

/// Most items of one answer, and most parts of those that are not complete. Far above any answer that was seen; each costs 40 bytes.
const MAX_KNOWN: usize = 4096;

/// Where a part is among those of its item: thoughts have a text and a summary, each in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// The content, or a call's arguments.
    Content,
    /// The summary of thoughts.
    Summary,
}

/// A part, as a server numbers it.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    /// The item's number in the output; `None`: the server does not say.
    pub(super) place: Option<u64>,
    pub(super) section: Section,
    /// The part's number in its section; `None` likewise, and for arguments, which are all one.
    pub(super) number: Option<u64>,
}

/// What is said of a part besides its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aside {
    Citations,
    Logprobs,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    place: Option<u64>,
    /// A hash of its name; `None` without one.
    id: Option<u64>,
    is_call: bool,
    is_closed: bool,
    /// Something of it has been told.
    is_told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    Untold,
    /// Perhaps not all of them.
    InPieces,
    AtOnce,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    item: usize,
    section: Section,
    number: Option<u64>,
    words: Words,
    has_citations: bool,
    has_logprobs: bool,
}

/// All of one answer.
#[derive(Debug)]
pub(super) struct Told {
    /// In the order in which they were met, and never fewer.
    items: Vec<Item>,
    /// Of items that are not complete.
    parts: Vec<Part>,
    open: usize,
    max_open: usize,
}

impl Told {
    pub(super) fn new(max_open: usize) -> Self {
        Self { items: Vec::new(), parts: Vec::new(), open: 0, max_open }
    }

    /// Forgets the answer, for the next one.
    pub(super) fn renew(&mut self, max_open: usize) {
        self.items.clear();
        self.parts.clear();
        (self.open, self.max_open) = (0, max_open);
    }

    /// An item has been announced.
    pub(super) fn announce(&mut self, place: Option<u64>, id: Option<Str<'_>>, is_call: bool) -> Result<()> {
        let position = self.open_at(place)?;
        let item = &mut self.items[position];
        item.id = item.id.or(id.map(hash));
        (item.is_call, item.is_told) = (is_call, item.is_told || is_call);
        Ok(())
    }

    /// Whether that item is a call that has been announced.
    pub(super) fn is_call(&self, place: Option<u64>) -> bool {
        self.find_open(place).is_some_and(|position| self.items[position].is_call)
    }

    /// A piece of the part's words is about to be told. Whether it is the first of a further part of its item.
    pub(super) fn piece(&mut self, at: At) -> Result<bool> {
        let item = self.open_at(at.place)?;
        self.tell(item, at, Words::InPieces)
    }

    /// The part is complete. `None`: its words have been told. Otherwise they are about to be, and whether it is a further part of its
    /// item. `again`: this says once more what another event has said, or would have.
    pub(super) fn whole(&mut self, at: At, again: bool) -> Result<Option<bool>> {
        let item = match self.find_open(at.place) {
            Some(item) => item,
            None if self.items.iter().any(|item| item.place == at.place) => return Ok(None),
            None => self.open_at(at.place)?,
        };
        let view = View(Some((self, item)));
        let is_told = match at.number {
            Some(number) => view.has_words(at.section, number),
            // Whichever it is: none is told in pieces and then at once.
            None => view.words(at.section).any(|part| again || part.words == Words::InPieces),
        };
        if is_told { Ok(None) } else { self.tell(item, at, Words::AtOnce).map(Some) }
    }

    /// That is about to be told of the part.
    pub(super) fn aside(&mut self, at: At, aside: Aside) -> Result<()> {
        let item = self.open_at(at.place)?;
        self.items[item].is_told = true;
        self.part(item, at)?.note(aside);
        Ok(())
    }

    /// Of an item that is complete now: what of it has been told. `None` if all of it, under this name.
    pub(super) fn close(&mut self, place: Option<u64>, id: Option<Str<'_>>) -> Result<Option<View<'_>>> {
        let id = id.map(hash);
        let is_repeated =
            |item: &Item| item.is_closed && item.place == place && id.is_some() && item.id == id;
        if self.find_open(place).is_none() && self.items.iter().any(is_repeated) {
            return Ok(None);
        }
        let position = self.open_at(place)?;
        let item = &mut self.items[position];
        (item.id, item.is_closed, item.is_told) = (id.or(item.id), true, true);
        self.open -= 1;
        Ok(Some(View(Some((self, position)))))
    }

    /// What [`close`](Self::close) gave has been looked at.
    pub(super) fn forget_closed(&mut self) {
        let Self { items, parts, .. } = self;
        parts.retain(|part| !items.get(part.item).is_some_and(|item| item.is_closed));
    }

    /// Of the item that the whole response has as number `place` of `total`: what has been told of it. `None`: all, or nobody knows.
    pub(super) fn in_whole(&self, place: u64, total: usize, id: Option<Str<'_>>) -> Option<View<'_>> {
        let id = id.map(hash);
        let with_id = self.items.iter().position(|item| id.is_some() && item.id == id);
        let known = with_id.or_else(|| self.items.iter().rposition(|item| item.place == Some(place)));
        match known {
            Some(position) if self.items[position].is_closed => None,
            Some(position) => Some(View(Some((self, position)))),
            // Numbered otherwise than in the stream, if there are no more of them.
            None if self.items.len() >= total => None,
            None if self.items.iter().any(|item| item.place.is_none() && item.is_told) => None,
            None => Some(View::NOTHING),
        }
    }

    /// Whether the whole response may have this many items.
    ///
    /// # Errors
    ///
    /// `TooLarge`, where each would have to be compared with too many others.
    pub(super) fn check_total(&self, total: usize) -> Result<()> {
        if self.items.is_empty() || total <= MAX_KNOWN { Ok(()) } else { Err(too_many("items")) }
    }

    fn find_open(&self, place: Option<u64>) -> Option<usize> {
        self.items.iter().rposition(|item| item.place == place && !item.is_closed)
    }

    fn open_at(&mut self, place: Option<u64>) -> Result<usize> {
        if let Some(position) = self.find_open(place) {
            return Ok(position);
        }
        if self.open >= self.max_open {
            let max = self.max_open;
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("the answer has more items open than max_tool_calls ({max})"),
            ));
        }
        if self.items.len() >= MAX_KNOWN {
            return Err(too_many("items"));
        }
        self.open += 1;
        self.items.push(Item { place, id: None, is_call: false, is_closed: false, is_told: false });
        Ok(self.items.len() - 1)
    }

    /// What is known of that part.
    fn part(&mut self, item: usize, at: At) -> Result<&mut Part> {
        let At { section, number, .. } = at;
        let is_it = |part: &Part| part.item == item && part.section == section && part.number == number;
        let position = match self.parts.iter().rposition(is_it) {
            Some(position) => position,
            None if self.parts.len() >= MAX_KNOWN => return Err(too_many("parts")),
            None => {
                let words = Words::Untold;
                self.parts.push(Part {
                    item,
                    section,
                    number,
                    words,
                    has_citations: false,
                    has_logprobs: false,
                });
                self.parts.len() - 1
            }
        };
        Ok(&mut self.parts[position])
    }

    /// The part's words are about to be told. Whether they are the first of a further part of its item.
    fn tell(&mut self, item: usize, at: At, words: Words) -> Result<bool> {
        self.items[item].is_told = true;
        let part = self.part(item, at)?;
        let is_first = std::mem::replace(&mut part.words, words) == Words::Untold;
        Ok(is_first && at.number.is_some() && View(Some((self, item))).further(at))
    }
}

impl Part {
    fn note(&mut self, aside: Aside) {
        match aside {
            Aside::Citations => self.has_citations = true,
            Aside::Logprobs => self.has_logprobs = true,
        }
    }
}

/// What has been told of one item.
#[derive(Clone, Copy)]
pub(super) struct View<'t>(Option<(&'t Told, usize)>);

impl View<'_> {
    pub(super) const NOTHING: Self = Self(None);

    fn parts(&self, section: Section) -> impl Iterator<Item = &Part> {
        self.0.into_iter().flat_map(move |(told, item)| {
            told.parts.iter().filter(move |part| part.item == item && part.section == section)
        })
    }

    fn words(&self, section: Section) -> impl Iterator<Item = &Part> {
        self.parts(section).filter(|part| part.words != Words::Untold)
    }

    /// That there is a call.
    pub(super) fn is_call(&self) -> bool {
        self.0.is_some_and(|(told, item)| told.items[item].is_call)
    }

    /// Words of that section.
    pub(super) fn has_any(&self, section: Section) -> bool {
        self.words(section).next().is_some()
    }

    /// The words of that part, or some that may be its.
    pub(super) fn has_words(&self, section: Section, number: u64) -> bool {
        self.words(section).any(|part| part.number.is_none_or(|known| known == number))
    }

    /// That about the part of the content, or what may be about it.
    pub(super) fn has_aside(&self, aside: Aside, number: u64) -> bool {
        self.parts(Section::Content).filter(|part| part.number.is_none_or(|known| known == number)).any(
            |part| match aside {
                Aside::Citations => part.has_citations,
                Aside::Logprobs => part.has_logprobs,
            },
        )
    }

    /// Words of another part than that.
    fn further(&self, at: At) -> bool {
        [Section::Content, Section::Summary]
            .into_iter()
            .any(|section| self.words(section).any(|part| section != at.section || part.number != at.number))
    }
}

/// Names are as long as a peer likes: their hashes are not. Two alike make one item count as told that was not.
fn hash(id: Str<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.raw().hash(&mut hasher);
    hasher.finish()
}

fn too_many(what: &str) -> Error {
    Error::new(ErrorKind::TooLarge, format!("the answer has more {what} than {MAX_KNOWN}"))
}
