//! Prompts that grow: a turn of a chat begins with all of the turn before, and what that one had need not be asked for again, message by
//! message. One comparison of it all and one copy of its tokens take its place; what was appended goes the way of any text.
//!
//! A prompt is kept once the segments before it have answered for a part of it, so that what never comes again is never kept; and
//! while hardly any that are kept are found again, one in [`PROBE`] is. All of it is a copy of what could be computed: where another
//! thread has a prompt just now, it is as if there were none.
//!
//! What was appended is kept by the prompt alone at first ([`Late`]), since the next turn asks the prompt. It gets a place of its own
//! among the segments when somebody may ask for it: when a prompt comes that has the same up to the first text kept so and goes on
//! otherwise, and when this one makes room for newer ones. A prompt that lacks what this one began with, as after the oldest turns were
//! dropped, computes such texts once more, and gives them their places.

use std::{
    ops::Range,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::tokenizer::{Cut, Piece, Tokenizer};

/// Prompts kept of one tenant and tokenizer. Which one a prompt begins with is looked for among all of them, some nanoseconds each.
const PROMPTS: usize = 128;
/// And while those that are kept are not found again.
const FEW: usize = 4;
/// Of how many prompts one is kept then.
const PROBE: usize = 16;
/// Prompts that may be kept in vain; one that is found again makes up for [`GAIN`].
const CREDIT: usize = 32;
const GAIN: usize = 4;
/// Shorter prompts are not kept: their segments are found as fast.
const WORTH_BYTES: usize = 256;
/// Bytes of a prompt's end that tell it from others before it is compared.
const TAIL_BYTES: usize = 16;
/// What a prompt costs beside what it holds: its place, five allocations.
const OVERHEAD_BYTES: usize = 256;

/// The prompts of one tenant and tokenizer that were asked for last.
#[derive(Debug)]
pub(crate) struct Grown {
    shelf: Mutex<Shelf>,
    /// Read before the lock is taken.
    entries: AtomicUsize,
    bytes: AtomicUsize,
    /// Of those, what need not be anywhere else. Some may be: while hardly any of what is appended is there, short texts are kept so
    /// without having been looked for.
    late_bytes: AtomicUsize,
}

#[derive(Debug)]
struct Shelf {
    /// In no order: to take one out moves one other.
    prompts: Vec<Kept>,
    /// How many were ever put here.
    put: u64,
    credit: usize,
    passed: usize,
}

#[derive(Debug)]
struct Kept {
    mark: Mark,
    /// How many were put here before it.
    age: u64,
    prompt: Box<Prompt>,
}

impl Shelf {
    fn put(&mut self, prompt: Box<Prompt>) {
        self.prompts.push(Kept { mark: prompt.mark(), age: self.put, prompt });
        self.put += 1;
    }

    /// Takes the oldest one out.
    fn take_oldest(&mut self) -> Option<Box<Prompt>> {
        let (oldest, _) = self.prompts.iter().enumerate().min_by_key(|(_, kept)| kept.age)?;
        Some(self.prompts.swap_remove(oldest).prompt)
    }
}

/// What is looked at of a prompt first.
#[derive(Debug, Clone, Copy)]
struct Mark {
    end: Place,
    /// Where the first text ends that only the prompt keeps.
    late: Option<Place>,
}

/// A place within a prompt, and what tells it from the same place in others.
#[derive(Debug, Clone, Copy)]
struct Place {
    piece: usize,
    /// Bytes of the piece before that one. Where a chat stands the same as in others, what was said before it seldom is as long.
    previous: usize,
    /// Bytes of the prompt before that piece, and of the piece up to there.
    before: usize,
    part: usize,
    /// The last bytes of that part.
    tail: [u8; TAIL_BYTES],
}

/// A text within a prompt that only the prompt keeps, as far as is known, by its bytes, and its tokens.
#[derive(Debug, Clone)]
pub(crate) struct Late {
    pub(crate) text: Range<usize>,
    pub(crate) tokens: Range<usize>,
}

impl Late {
    fn bytes(&self) -> usize {
        self.text.len() + self.tokens.len() * 4
    }
}

/// A prompt and its tokens. Its text is one of the tenant's own, as that of a segment is.
pub(crate) struct Prompt {
    text: String,
    /// Whether it is markup, and where it ends.
    pieces: Vec<(bool, usize)>,
    tokens: Vec<u32>,
    /// The last control token.
    cut: Cut,
    /// In order.
    late: Vec<Late>,
    /// Bytes of those texts, and of their tokens.
    late_bytes: usize,
}

/// Where a grown prompt goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resume {
    pub(crate) piece: usize,
    pub(crate) offset: usize,
    /// So many of the tokens stay.
    pub(crate) tokens: usize,
    /// Bytes of text that they are of.
    pub(crate) bytes: usize,
}

impl Grown {
    pub(crate) fn new() -> Self {
        let shelf = Shelf { prompts: Vec::new(), put: 0, credit: CREDIT, passed: 0 };
        Self {
            shelf: Mutex::new(shelf),
            entries: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            late_bytes: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Of the bytes, those of what can be had elsewhere, too, as far as is known.
    pub(crate) fn copied_bytes(&self) -> usize {
        self.bytes().saturating_sub(self.late_bytes.load(Relaxed))
    }

    fn count(&self, prompt: &Prompt) {
        self.bytes.fetch_add(prompt.size(), Relaxed);
        self.late_bytes.fetch_add(prompt.late_bytes, Relaxed);
    }

    /// How many bytes fewer there are now.
    fn discount(&self, prompt: &Prompt) -> usize {
        let size = prompt.size();
        self.bytes.fetch_sub(size, Relaxed);
        self.late_bytes.fetch_sub(prompt.late_bytes, Relaxed);
        size
    }

    fn set(&self, shelf: &Shelf) {
        self.entries.store(shelf.prompts.len(), Relaxed);
    }

    /// The longest prompt that these pieces begin with, taken out, and where they go on; second, how many bytes fewer there are here now.
    pub(crate) fn take(
        &self,
        pieces: &[Piece<'_>],
        tokenizer: &dyn Tokenizer,
    ) -> Option<(Box<Prompt>, Resume, usize)> {
        if self.entries.load(Relaxed) == 0 {
            return None;
        }
        let mut starts = Starts::of(pieces);
        let mut shelf = self.lock();
        let mut longest = None;
        let mut bytes = 0;
        for (index, Kept { mark: Mark { end, .. }, .. }) in shelf.prompts.iter().enumerate() {
            if end.bytes() >= bytes && end.is_in(&mut starts) {
                (longest, bytes) = (Some(index), end.bytes());
            }
        }
        let prompt = shelf.prompts.swap_remove(longest?).prompt;
        self.set(&shelf);
        drop(shelf);
        let Some(resume) = prompt.resume(pieces, tokenizer) else {
            self.put_back(prompt);
            return None;
        };
        let size = self.discount(&prompt);
        Some((prompt, resume, size))
    }

    /// One that was taken out, unchanged.
    fn put_back(&self, prompt: Box<Prompt>) {
        let mut shelf = self.lock();
        shelf.put(prompt);
        self.set(&shelf);
    }

    /// The prompts that keep a text alone up to which these pieces may begin alike, taken out; second, how many bytes fewer there
    /// are here now.
    pub(crate) fn take_alike(&self, pieces: &[Piece<'_>]) -> (Vec<Prompt>, usize) {
        let (mut alike, mut removed) = (Vec::new(), 0);
        if self.entries.load(Relaxed) > 0 {
            let mut starts = Starts::of(pieces);
            let mut shelf = self.lock();
            let mut is_alike = |mark: &Mark| mark.late.is_some_and(|late| late.is_in(&mut starts));
            let taken = shelf.prompts.extract_if(.., |kept| is_alike(&kept.mark));
            alike.extend(taken.map(|kept| *kept.prompt));
            self.set(&shelf);
            removed = alike.iter().map(|prompt| self.discount(prompt)).sum();
        }
        (alike, removed)
    }

    /// Whether a prompt of so many bytes, of which segments answered for so many, is worth being kept.
    pub(crate) fn admits(&self, bytes: usize, answered: usize) -> bool {
        if bytes < WORTH_BYTES || answered < bytes / 4 {
            return false;
        }
        let mut shelf = self.lock();
        if shelf.credit > 0 {
            shelf.credit -= 1;
            return true;
        }
        shelf.passed = (shelf.passed + 1) % PROBE;
        shelf.passed == 0
    }

    /// Keeps a prompt, for the first time or as it has grown; the others that made room.
    pub(crate) fn put(&self, prompt: Box<Prompt>, has_grown: bool, max_bytes: usize) -> Vec<Prompt> {
        let mut removed = Vec::new();
        let mut shelf = self.lock();
        self.count(&prompt);
        shelf.put(prompt);
        if has_grown {
            shelf.credit = (shelf.credit + GAIN).min(CREDIT);
        }
        let most = if shelf.credit > 0 { PROMPTS } else { FEW };
        let mut over = shelf.prompts.len().saturating_sub(most);
        while over > 0 || self.bytes() > max_bytes {
            let Some(oldest) = shelf.take_oldest() else { break };
            self.discount(&oldest);
            removed.push(*oldest);
            over = over.saturating_sub(1);
        }
        self.set(&shelf);
        removed
    }

    /// Takes the oldest one out; how many bytes fewer there are now, 0 where there are none.
    pub(crate) fn evict(&self) -> usize {
        let mut shelf = self.lock();
        let Some(oldest) = shelf.take_oldest() else { return 0 };
        self.set(&shelf);
        self.discount(&oldest)
    }
}

/// Where pieces begin, in the bytes of all. The first one that is asked for is counted, as hardly any other is; when another one is, all are
/// written out.
struct Starts<'a> {
    pieces: &'a [Piece<'a>],
    counted: Option<(usize, usize)>,
    all: Vec<usize>,
}

impl<'a> Starts<'a> {
    fn of(pieces: &'a [Piece<'a>]) -> Self {
        Self { pieces, counted: None, all: Vec::new() }
    }

    /// Where that piece begins, which is one of them.
    fn at(&mut self, piece: usize) -> usize {
        let bytes = |piece: &Piece<'_>| piece.text().len();
        match self.counted {
            Some((counted, start)) if counted == piece => return start,
            Some(_) => {}
            None => {
                let start = self.pieces.iter().take(piece).map(bytes).sum();
                self.counted = Some((piece, start));
                return start;
            }
        }
        if self.all.is_empty() {
            let mut start = 0;
            self.all.extend(self.pieces.iter().map(|piece| {
                let this = start;
                start += bytes(piece);
                this
            }));
        }
        self.all.get(piece).copied().unwrap_or_default()
    }
}

/// The last bytes of a piece, filled up with zeros.
fn tail(text: &[u8]) -> [u8; TAIL_BYTES] {
    match text.last_chunk() {
        Some(tail) => *tail,
        None => {
            let mut tail = [0; TAIL_BYTES];
            tail.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
            tail
        }
    }
}

/// Whether they are equal. Without a call where they are short, as what a template says between messages is.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (Some(first), Some(last)) = (one.first_chunk::<16>(), one.last_chunk::<16>()) else {
        return one == other;
    };
    if one.len() > 32 || one.len() != other.len() {
        return one == other;
    }
    let word = |bytes: &[u8; 16]| u128::from_le_bytes(*bytes);
    other.first_chunk().zip(other.last_chunk()).is_some_and(|(other_first, other_last)| {
        (word(first) ^ word(other_first)) | (word(last) ^ word(other_last)) == 0
    })
}

impl Place {
    /// Bytes of the prompt up to there.
    fn bytes(&self) -> usize {
        self.before + self.part
    }

    /// Whether these pieces may be the same up to there.
    #[inline]
    fn is_in(&self, starts: &mut Starts<'_>) -> bool {
        let Some(piece) = starts.pieces.get(self.piece) else { return false };
        let previous = self.piece.checked_sub(1).and_then(|previous| starts.pieces.get(previous));
        previous.map_or(0, |previous| previous.text().len()) == self.previous
            && piece.text().as_bytes().get(..self.part).is_some_and(|part| tail(part) == self.tail)
            && starts.at(self.piece) == self.before
    }
}

impl Prompt {
    /// A prompt with its tokens, whose last control token is that.
    pub(crate) fn new(pieces: &[Piece<'_>], tokens: &[u32], cut: Cut) -> Self {
        let bytes = pieces.iter().map(|piece| piece.text().len()).sum::<usize>();
        // Room for two more turns such as the mean one.
        let mut prompt = Self {
            text: String::with_capacity(bytes + bytes / 4),
            pieces: Vec::with_capacity(pieces.len() + 8),
            tokens: Vec::with_capacity(tokens.len() + tokens.len() / 4),
            cut,
            late: Vec::new(),
            late_bytes: 0,
        };
        prompt.append(pieces);
        prompt.tokens.extend_from_slice(tokens);
        prompt
    }

    fn append(&mut self, pieces: &[Piece<'_>]) {
        for piece in pieces {
            self.text.push_str(piece.text());
            self.pieces.push((piece.is_markup(), self.text.len()));
        }
    }

    /// It has become that, whose tokens after those that stay are these. Where some do not stay, it no longer keeps their text alone.
    pub(crate) fn grow(&mut self, pieces: &[Piece<'_>], resume: Resume, tokens: &[u32], cut: Option<Cut>) {
        if let Some((_, end)) = self.pieces.pop() {
            let known = self.pieces.len();
            let start = self.pieces.last().map_or(0, |(_, end)| *end);
            if let Some(piece) = pieces.get(known) {
                self.text.push_str(piece.text().get(end - start..).unwrap_or_default());
                self.pieces.push((piece.is_markup(), self.text.len()));
            }
            self.append(pieces.get(known + 1..).unwrap_or_default());
        }
        while let Some(late) = self.late.pop_if(|late| late.tokens.end > resume.tokens) {
            self.late_bytes -= late.bytes();
        }
        self.tokens.truncate(resume.tokens);
        self.tokens.extend_from_slice(tokens);
        self.cut = cut.unwrap_or(self.cut);
    }

    /// It alone keeps that, too, which comes after whatever it keeps so already.
    pub(crate) fn keep_late(&mut self, late: Late) {
        self.late_bytes += late.bytes();
        self.late.push(late);
    }

    /// The texts that it keeps alone and their tokens; it does no longer.
    pub(crate) fn take_late(&mut self) -> impl Iterator<Item = (&str, &[u32])> {
        self.late_bytes = 0;
        let late = std::mem::take(&mut self.late);
        late.into_iter().filter_map(|late| Some((self.text.get(late.text)?, self.tokens.get(late.tokens)?)))
    }

    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        let late = self.late.capacity() * size_of::<Late>();
        OVERHEAD_BYTES
            + self.text.capacity()
            + self.tokens.capacity() * 4
            + self.pieces.capacity() * 16
            + late
    }

    fn mark(&self) -> Mark {
        let late = self.late.first().map(|late| late.text.end);
        let late = late.map(|at| self.place(self.pieces.partition_point(|(_, end)| *end < at), at));
        Mark { end: self.place(self.pieces.len().saturating_sub(1), self.text.len()), late }
    }

    /// That place, which is in that piece.
    fn place(&self, piece: usize, at: usize) -> Place {
        let before = self.start(piece);
        let part = self.text.as_bytes().get(before..at).unwrap_or_default();
        let previous = before - self.start(piece.saturating_sub(1));
        Place { piece, previous, before, part: part.len(), tail: tail(part) }
    }

    /// Where a piece begins.
    pub(crate) fn start(&self, piece: usize) -> usize {
        piece.checked_sub(1).and_then(|before| self.pieces.get(before)).map_or(0, |(_, end)| *end)
    }

    /// The last markup with a control token, and that token, if it is the first in it, as it is where it begins it: the next turn's
    /// is likely to be the same.
    pub(crate) fn markup(&self) -> Option<(&str, (usize, usize, u32))> {
        let Cut { piece, start, end, tokens } = self.cut;
        let (_, piece_end) = self.pieces.get(piece)?;
        let markup = self.text.get(self.start(piece)..*piece_end).filter(|_| start == 0)?;
        Some((markup, (start, end, *self.tokens.get(tokens.checked_sub(1)?)?)))
    }

    /// Where pieces go on that begin with this prompt: at its end, where a control token follows or nothing, or else behind its
    /// last control token, since what is after that is one text with what follows. `None` where they do not begin with it.
    fn resume(&self, pieces: &[Piece<'_>], tokenizer: &dyn Tokenizer) -> Option<Resume> {
        let last = self.pieces.len().checked_sub(1)?;
        let (mut start, mut part) = (0, 0);
        for (number, ((is_markup, end), piece)) in self.pieces.iter().zip(pieces).enumerate() {
            let known = self.text.as_bytes().get(start..*end)?;
            let text = piece.text().as_bytes();
            // The last one may be longer now.
            let same = if number == last { text.get(..known.len())? } else { text };
            if piece.is_markup() != *is_markup || !is_same(same, known) {
                return None;
            }
            (start, part) = (*end, known.len());
        }
        let piece = pieces.get(last)?;
        let longest = tokenizer.longest_control();
        let bytes = self.text.len();
        let at_end = |piece, offset| Resume { piece, offset, tokens: self.tokens.len(), bytes };
        if part == piece.text().len() {
            let is_apart = pieces.get(last + 1).is_none_or(|next| {
                if self.markup().is_some_and(|(markup, (start, ..))| {
                    start == 0 && next.is_markup() && next.text() == markup
                }) {
                    return true;
                }
                // A control token that begins a part of a text begins the text.
                let start = next.text().get(..next.text().floor_char_boundary(64)).unwrap_or_default();
                next.is_markup() && tokenizer.find_control(start).is_some_and(|(place, _)| place.start == 0)
            });
            if is_apart {
                return Some(at_end(last + 1, 0));
            }
        } else if piece.is_markup() {
            // What was found stays what is found only where what is new cannot make it longer.
            let longest = longest?;
            if self.cut.piece == last && self.cut.start + longest > part {
                return None;
            }
            let from = if self.cut.piece == last { self.cut.end } else { 0 };
            // Whatever ends before the new part was not found before either.
            let from = from.max(piece.text().floor_char_boundary(part.saturating_sub(longest)));
            let found = tokenizer.find_control(piece.text().get(from..)?);
            if found.is_some_and(|(place, _)| from + place.start == part) {
                return Some(at_end(last, part));
            }
        }
        let Cut { piece, end, tokens, .. } = self.cut;
        let before =
            piece.checked_sub(1).and_then(|before| self.pieces.get(before)).map_or(0, |(_, end)| *end);
        Some(Resume { piece, offset: end, tokens, bytes: before + end })
    }
}

/// Without the text.
impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prompt({} bytes)", self.text.len())
    }
}
