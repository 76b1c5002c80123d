//! Shapes of documents, and the bounded store of them that all extractors of the same fields share.
//!
//! A shape is a document without its strings and numbers: member names, brackets, `true`, `false`, `null` and white space.
//! It holds no content, so it may outlive the stream that it was seen in, and serve another. The store is read when a
//! stream meets something new and written when it has learned something; never per event.

use std::iter;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memchr::{memchr, memchr2};

use crate::found::{Hit, Kind};
use crate::outline::Outline;
use crate::pattern::{Content, Hole, Pattern, Shift};
use crate::scan;

/// Strings and numbers a document may have to be predicted: one bit each. Chunks have about ten, usage reports forty.
pub(crate) const MAX_SLOTS: usize = 128;

/// Length of a document that may become a template, in bytes. The longest of 20,000 recorded text events has 27 KB, 99 of
/// 100 less than 2 KB.
pub(crate) const MAX_TEXT_BYTES: usize = 16 * 1024;

/// Length of a shape that is shared, in bytes.
const MAX_SHARED_BYTES: usize = 4 * 1024;

/// Hits in a document that may become a template.
const MAX_HITS: usize = 256;

/// Shapes shared. A provider's stream has three to six; what is beyond makes room for the servers that speak the same
/// format with members of their own. Recorded streams of Anthropic's format take 3 % fewer instructions than with sixteen, and no
/// fewer with sixty-four.
const MAX_SHARED: usize = 32;

/// Documents remembered that had no known shape: a stream brings three to six.
const SKETCHES: usize = 64;

/// What the store's streams may lose by prediction before their successors begin without it: what the first few of any kind pay for
/// being learned from. Then some dozens do without before one tries.
const PATIENT_DEBT: i32 = 64;
const MAX_DEBT: i32 = 96;

/// What good times are worth later.
const MAX_CREDIT: i32 = 192;

/// A string or number of a document (for a string, what is between the quotes), or the spaces before its last bracket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) content: Content,
}

/// What is known of a document that is looked for among the shapes.
#[derive(Clone, Copy)]
pub(crate) enum Drawn<'o> {
    /// Where all its tokens are.
    Outline(&'o Outline),
    /// How many strings it has that is of one line.
    Strings(usize),
}

/// How many tokens and strings the documents of a shape have: another number means another shape, which tells most apart without a look
/// at them.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    tokens: usize,
    /// Names included.
    strings: usize,
}

impl Size {
    pub(crate) fn is_of(self, drawn: Drawn<'_>) -> bool {
        match drawn {
            Drawn::Outline(outline) => self.tokens == outline.places().len(),
            Drawn::Strings(strings) => self.strings == strings,
        }
    }
}

/// A document without its strings and numbers: a pattern in which every one of them is a hole.
pub(crate) struct Shape {
    pub(crate) pattern: Pattern,
    /// For each hole, which token of the outline begins it: the opening quote, the number, the bracket after the spaces.
    anchors: Vec<usize>,
    size: Size,
    /// White space between its values has line ends.
    pub(crate) has_line_ends: bool,
    /// How deep it nests and how many values the full pass found: the limits of whoever uses the shape must allow them.
    pub(crate) depth: usize,
    pub(crate) matches: usize,
    /// Which of its strings and numbers were seen to change within a stream, whichever: low half, high half. Bits are only ever set.
    changing: [AtomicU64; 2],
    /// What came after it, in whichever stream.
    next: Successor,
}

impl Shape {
    /// The shape of a document that has been validated. `None` if it is too large to be worth it.
    pub(crate) fn new(
        json: &str,
        outline: &Outline,
        tokens: &[Token],
        hits: &[Hit],
        fields: usize,
        depth: usize,
    ) -> Option<Self> {
        if json.len() > MAX_TEXT_BYTES || tokens.len() > MAX_SLOTS || hits.len() > MAX_HITS {
            return None;
        }
        let mut text = String::with_capacity(json.len());
        let mut holes = Vec::with_capacity(tokens.len());
        let mut anchors = Vec::with_capacity(tokens.len());
        let mut places = outline.places().iter().enumerate();
        let mut taken = 0;
        for &Token { start, end, content } in tokens {
            let anchor = match content {
                Content::Text => start.checked_sub(1)?,
                Content::Number => start,
                Content::Spaces => end,
            };
            anchors.push(places.find(|(_, place)| **place as usize == anchor)?.0);
            text.push_str(json.get(taken..start)?);
            taken = end;
            let place = text.len();
            holes.push(Hole { start: place, end: place, content });
        }
        text.push_str(json.get(taken..)?);
        // What it held of content is given back.
        text.shrink_to_fit();
        let has_line_ends = memchr2(b'\n', b'\r', text.as_bytes()).is_some();
        let mut pattern = Pattern::new(text, holes)?;
        pattern.hits.all.reserve_exact(hits.len());
        // A value begins and ends outside of strings and numbers, or with one; spaces, which may be none, come after it.
        let place = |at: usize, before: usize| {
            let removed: usize = tokens[..before].iter().map(|token| token.end - token.start).sum();
            Some((at - removed, u16::try_from(before).ok()?))
        };
        let start = |at: usize| place(at, tokens.partition_point(|token| token.end <= at));
        let end = |at: usize| place(at, tokens.partition_point(|token| token.start < at));
        for hit in hits.iter().filter(|hit| hit.kind != Kind::Superseded) {
            let ((start, holes_before), (end, holes_until)) = (start(hit.start)?, end(hit.end)?);
            pattern.hits.all.push(Hit { start, end, holes_before, holes_until, ..*hit });
        }
        pattern.hits.index(fields);
        Some(Self {
            pattern,
            anchors,
            has_line_ends,
            size: Size {
                tokens: outline.places().len(),
                strings: outline.places().iter().filter(|at| is_quote(json, **at)).count() / 2,
            },
            depth,
            matches: hits.len(),
            changing: Default::default(),
            next: Successor::default(),
        })
    }

    /// Which of its strings and numbers were seen to change within a stream, one bit each.
    pub(crate) fn changing(&self) -> u128 {
        let [low, high] = &self.changing;
        u128::from(low.load(Ordering::Relaxed)) | u128::from(high.load(Ordering::Relaxed)) << 64
    }

    /// Takes note of what was seen to change.
    #[expect(clippy::cast_possible_truncation, reason = "one half at a time")]
    fn note_changing(&self, changing: u128) {
        let [low, high] = &self.changing;
        low.fetch_or(changing as u64, Ordering::Relaxed);
        high.fetch_or((changing >> 64) as u64, Ordering::Relaxed);
    }

    /// [`fits`](Self::fits) without an outline, for the document at the front of `input`. Costs less than drawing one, but not less than
    /// that where it does not fit.
    pub(crate) fn match_document<'i>(&self, input: &'i [u8], shifts: &mut Vec<Shift>) -> Option<&'i str> {
        let document = self.pattern.match_document(input, shifts)?;
        (document.len() <= MAX_TEXT_BYTES).then_some(document)
    }

    /// Whether the document that was drawn has this shape; its `shifts` then.
    pub(crate) fn fits(&self, json: &str, drawn: Drawn<'_>, shifts: &mut Vec<Shift>) -> bool {
        self.size.is_of(drawn)
            && match drawn {
                Drawn::Outline(outline) => self.shift(json.as_bytes(), outline, shifts).is_some(),
                Drawn::Strings(_) => self
                    .match_document(json.as_bytes(), shifts)
                    .is_some_and(|found| found.len() == json.len()),
            }
    }

    /// As sound as a match of the pattern ([`Pattern`]): the outline has found all strings valid, and says where each ends.
    fn shift(&self, json: &[u8], outline: &Outline, shifts: &mut Vec<Shift>) -> Option<()> {
        let (text, holes) = (self.pattern.text(), self.pattern.holes());
        shifts.clear();
        shifts.reserve(holes.len() + 1);
        shifts.push(Shift::default());
        let (mut literal, mut at) = (0, 0);
        for (hole, &anchor) in holes.iter().zip(&self.anchors) {
            let before = text.as_bytes().get(literal..hole.start)?;
            let start = at + before.len();
            let place = *outline.places().get(anchor)? as usize;
            let end = match hole.content {
                Content::Text if place + 1 == start => *outline.places().get(anchor + 1)? as usize,
                Content::Number if place == start => scan::number_end(json, start)?,
                Content::Spaces if json.get(start..place)?.iter().all(|byte| *byte == b' ') => place,
                _ => return None,
            };
            if json.get(at..start)? != before {
                return None;
            }
            let escaped = hole.content == Content::Text
                && outline.has_escapes
                && memchr(b'\\', json.get(start..end)?).is_some();
            shifts.push(Shift { by: end.wrapping_sub(hole.end), escaped });
            literal = hole.end;
            at = end;
        }
        (json.get(at..)? == text.as_bytes().get(literal..)?).then_some(())
    }

    /// Which strings and numbers differ between two documents of this shape, one bit each. `shifts` are those of the second; where they
    /// are in the first is found anew, in `own`: few are ever asked.
    pub(crate) fn changes(&self, document: &str, json: &str, shifts: &[Shift], own: &mut Vec<Shift>) -> u128 {
        if self.pattern.match_document(document.as_bytes(), own).is_none() {
            debug_assert!(false, "a document has its shape");
            return 0;
        }
        let text = |json, slot, shifts: &[Shift]| {
            let (start, end) = self.pattern.hole_at(slot, shifts)?;
            str::get(json, start..end)
        };
        let slots = 0..self.pattern.holes().len();
        let changing = slots.filter(|slot| text(json, *slot, shifts) != text(document, *slot, own));
        changing.fold(0, |bits, slot| bits | 1 << slot)
    }

    /// Whether it is short enough to be shared.
    pub(crate) fn may_be_shared(&self) -> bool {
        self.pattern.text().len() <= MAX_SHARED_BYTES
    }

    /// What it is known by, as long as it lives.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn is_same(&self, other: &Self) -> bool {
        self.pattern.text() == other.pattern.text() && self.pattern.holes() == other.pattern.holes()
    }
}

fn is_quote(json: &str, at: u32) -> bool {
    json.as_bytes().get(at as usize) == Some(&b'"')
}

/// A shape that is shared.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) shape: Arc<Shape>,
    pub(crate) size: Size,
}

/// The shape that comes after another one: a hint.
#[derive(Default)]
struct Successor {
    /// Its address. The lowest bit, which no shape's has, is set when it came twice in a row: streams that vary would be
    /// promised something else every time.
    address: AtomicUsize,
}

impl Successor {
    /// The address that came twice in a row.
    fn likely(&self) -> Option<usize> {
        let address = self.address.load(Ordering::Relaxed);
        (address & 1 != 0).then_some(address & !1)
    }

    fn note(&self, shape: &Shape) {
        let (before, now) = (self.address.load(Ordering::Relaxed), shape.address());
        // One that came twice is doubted once before it is given up.
        let after = if before & !1 == now {
            now | 1
        } else if before & 1 != 0 {
            before & !1
        } else {
            now
        };
        if before != after {
            self.address.store(after, Ordering::Relaxed);
        }
    }
}

/// What was in the store at some time. Cheap to take.
#[derive(Clone, Default)]
pub(crate) struct Snapshot {
    version: u64,
    pub(crate) shapes: Arc<[Known]>,
}

impl Snapshot {
    /// Where a shape is.
    pub(crate) fn position(&self, address: usize) -> Option<usize> {
        self.shapes.iter().position(|known| known.shape.address() == address)
    }
}

/// The store.
pub(crate) struct Shapes {
    version: AtomicU64,
    latest: Mutex<Arc<[Known]>>,
    /// What a stream began with.
    first: Successor,
    /// What the last documents looked like from afar that had no known shape.
    sketches: [AtomicU64; SKETCHES],
    /// What prediction has saved, less what it has cost, of late; in what a template saves of one event.
    balance: AtomicI32,
}

impl Default for Shapes {
    fn default() -> Self {
        Self {
            version: AtomicU64::default(),
            latest: Mutex::default(),
            first: Successor::default(),
            sketches: [const { AtomicU64::new(0) }; SKETCHES],
            balance: AtomicI32::new(0),
        }
    }
}

impl Shapes {
    /// Takes note of what prediction has saved, or cost. Of what threads note at once some may be lost.
    pub(crate) fn settle(&self, gain: i32) {
        let balance = self.balance.load(Ordering::Relaxed).saturating_add(gain);
        self.balance.store(balance.clamp(-MAX_DEBT, MAX_CREDIT), Ordering::Relaxed);
    }

    /// Whether it pays, as far as is known.
    pub(crate) fn pays(&self) -> bool {
        self.balance.load(Ordering::Relaxed) > -PATIENT_DEBT
    }

    /// Whether a document of which these were counted (tokens, strings and numbers, hits, levels) was here before, as far as is
    /// remembered; it is remembered now. What occurs once is not worth a shape.
    pub(crate) fn recurs(&self, counts: [usize; 4]) -> bool {
        // Neighbouring numbers go to different places. Zero is nobody's.
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let sketch = counts
            .iter()
            .fold(1u64, |sketch, count| (sketch ^ *count as u64).wrapping_mul(ODD).rotate_left(23));
        let place = (sketch >> 32) as usize % SKETCHES;
        let Some(known) = self.sketches.get(place) else { return false };
        // Another stream may come in between: then it is studied once more, or once less.
        let recurs = known.load(Ordering::Relaxed) == sketch;
        if !recurs {
            known.store(sketch, Ordering::Relaxed);
        }
        recurs
    }

    /// Address of the shape that is likely to come after this one, `None` for the beginning.
    pub(crate) fn after(&self, last: Option<&Shape>) -> Option<usize> {
        last.map_or(&self.first, |last| &last.next).likely()
    }

    /// Takes note of what came after what.
    pub(crate) fn note_after(&self, last: Option<&Shape>, shape: &Shape) {
        last.map_or(&self.first, |last| &last.next).note(shape);
    }

    /// Whether something was added since the snapshot was taken. One load.
    #[inline]
    pub(crate) fn is_newer(&self, snapshot: &Snapshot) -> bool {
        snapshot.version != self.version.load(Ordering::Acquire)
    }

    /// What is in it now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let version = self.version.load(Ordering::Acquire);
        Snapshot { version, shapes: Arc::clone(&self.latest.lock().unwrap_or_else(PoisonError::into_inner)) }
    }

    /// Adds a shape, in front, and returns the one to be used: that which was there already, if its like was, so that what is noted
    /// in it ([`note_changing`](Self::note_changing)) reaches all.
    pub(crate) fn publish(&self, shape: Arc<Shape>) -> Arc<Shape> {
        if !shape.may_be_shared() {
            return shape;
        }
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = latest.iter().find(|known| known.shape.is_same(&shape)) {
            return Arc::clone(&known.shape);
        }
        // The oldest that was never seen to recur goes; if all were, the oldest.
        let gone = (latest.len() >= MAX_SHARED).then(|| {
            latest.iter().rposition(|known| known.shape.changing() == 0).unwrap_or(latest.len() - 1)
        });
        let kept = latest.iter().enumerate().filter(|(position, _)| Some(*position) != gone);
        let known = Known { shape: Arc::clone(&shape), size: shape.size };
        *latest = iter::once(&known).chain(kept.map(|(_, known)| known)).cloned().collect();
        self.version.fetch_add(1, Ordering::Release);
        shape
    }

    /// Takes note of what changes in a shape. One that had to go before anything was known to change in it comes back.
    pub(crate) fn note_changing(&self, shape: &Arc<Shape>, changing: u128) {
        let before = shape.changing();
        if before | changing != before {
            shape.note_changing(changing);
            if before == 0 {
                self.publish(Arc::clone(shape));
            }
        }
    }
}
