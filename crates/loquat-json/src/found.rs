//! What one pass over a document found: places, turned into values when asked for.

use std::fmt;
use std::hint::black_box;
use std::num::NonZeroU64;

use crate::pattern::Shift;
use crate::pointer::MAX_WILDCARDS;
use crate::serial::Serials;
use crate::text::Str;
use crate::value::Value;

/// The values found in one document, in document order. Borrows from the document and the extractor; copied freely.
#[derive(Clone, Copy)]
pub struct Found<'e> {
    json: &'e str,
    hits: &'e Hits,
    /// What to add to a place, by the number of holes before it; empty for nothing.
    shifts: &'e [Shift],
}

/// Where the values are: straight from the full pass, or in a pattern that the document matched.
#[derive(Default)]
// What one field of an event like the last is found with comes first.
#[repr(C)]
pub(crate) struct Hits {
    /// Of the template that these are in.
    likeness: Option<Likeness>,
    pub(crate) all: Vec<Hit>,
    /// The last of them that a hole is in: most often the one that an event is asked for, and known without asking `last`.
    changing: usize,
    /// By field: one more than the index of its last hit, or 0.
    last: Box<[u32]>,
    summary: Summary,
    /// A bit for each field that a hole is in.
    varies: u128,
}

/// What events have in common that differ only in what is known to change: see [`Found::likeness`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Likeness(NonZeroU64);

/// What [`Found::is_only`] looks at.
#[derive(Default, Clone, Copy)]
struct Summary {
    /// A bit for each field that has a value other than `null`: in two halves, as one more is quickly noted.
    values: [u64; 2],
    /// A field has two values, or one that has no bit has any.
    is_mixed: bool,
}

impl Summary {
    #[inline(always)]
    fn note_value(&mut self, field: u32) {
        if let Some(half) = self.values.get_mut(field as usize / 64) {
            *half |= 1 << (field % 64);
        }
    }

    #[inline(always)]
    fn values(&self) -> u128 {
        let [low, high] = self.values;
        u128::from(high) << 64 | u128::from(low)
    }
}

/// Hits kept for reuse: a list of embeddings is asked for more, an event of a stream for a few.
const MAX_KEPT: usize = 1024;

/// Hits, and fields, whose memory another extractor may have: 99 of 100 recorded text events are asked for less, and the largest format
/// has 75 fields.
const MAX_SMALL: usize = 64;
const MAX_SMALL_FIELDS: usize = 128;

impl Hits {
    /// See [`Extractor::warm`](crate::Extractor::warm).
    #[inline]
    pub(crate) fn warm(&self, field: usize) {
        black_box(self.all.get(self.changing).map(|hit| hit.start));
        black_box(self.last.get(field).copied());
    }

    pub(crate) fn clear(&mut self) {
        if self.all.capacity() > MAX_KEPT {
            self.all = Vec::new();
        }
        self.all.clear();
        self.summary = Summary::default();
        (self.varies, self.likeness) = (0, None);
    }

    /// [`clear`](Self::clear) for who adds every hit by [`add`](Self::add), so that nothing is left to be indexed.
    pub(crate) fn begin(&mut self, fields: usize) {
        self.clear();
        self.forget_last(fields);
    }

    /// Adds a hit that nothing will supersede.
    #[inline(always)]
    pub(crate) fn add(&mut self, hit: Hit) {
        let Self { all, last, summary, .. } = self;
        all.push(hit);
        #[expect(clippy::cast_possible_truncation, reason = "a text has no more values than a `u32` says")]
        if let Some(last) = last.get_mut(hit.field as usize) {
            summary.is_mixed |= *last > 0 || hit.field >= u128::BITS;
            if hit.kind != Kind::Null {
                summary.note_value(hit.field);
            }
            *last = all.len() as u32;
        }
    }

    fn forget_last(&mut self, fields: usize) {
        if self.last.len() == fields {
            self.last.fill(0);
        } else {
            self.last = vec![0; fields].into();
        }
    }

    /// Notes which hit is the last of each field: to be called when all are there.
    pub(crate) fn index(&mut self, fields: usize) {
        self.forget_last(fields);
        let Self { all, last, .. } = self;
        let mut summary = Summary::default();
        for (position, hit) in (1..).zip(all) {
            if let (Some(last), true) = (last.get_mut(hit.field as usize), hit.kind != Kind::Superseded) {
                summary.is_mixed |= *last > 0 || hit.field >= u128::BITS;
                if hit.kind != Kind::Null {
                    summary.note_value(hit.field);
                }
                *last = position;
            }
        }
        self.summary = summary;
    }

    /// Takes over the hits of a document of the same shape, each changed by `place`.
    pub(crate) fn copy_from(&mut self, other: &Self, place: impl Fn(&Hit) -> Hit) {
        self.clear();
        let Self { all, varies, changing, .. } = self;
        all.extend((0..).zip(&other.all).map(|(position, hit)| {
            let hit = place(hit);
            if hit.holes_before != hit.holes_until {
                *changing = position;
                *varies |= 1_u128.checked_shl(hit.field).unwrap_or(u128::MAX);
            }
            hit
        }));
        // Where it has the same length, as with the same fields it has, in the memory that is there.
        self.last.clone_from(&other.last);
        self.summary = other.summary;
    }

    /// Whether its memory is no more than events of a stream take.
    pub(crate) fn is_small(&self) -> bool {
        self.all.capacity() <= MAX_SMALL && self.last.len() <= MAX_SMALL_FIELDS
    }

    /// Which hit is the last of each field, which fields have a value other than `null`, and whether one has two.
    #[cfg(test)]
    pub(crate) fn known(&self) -> (&[u32], (u128, bool)) {
        (&self.last, (self.summary.values(), self.summary.is_mixed))
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.all.capacity() * size_of::<Hit>() + self.last.len() * size_of::<u32>()
    }

    /// What is found in these is like nothing before.
    pub(crate) fn renew_likeness(&mut self, serials: &mut Serials) {
        self.likeness = serials.next().map(Likeness);
    }

    /// What is found in these is like nothing else, neither before nor after.
    pub(crate) fn forget_likeness(&mut self) {
        self.likeness = None;
    }

    #[inline]
    pub(crate) fn likeness(&self) -> Option<Likeness> {
        self.likeness
    }
}

/// One value that a field's pointer leads to.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Match<'e> {
    /// Which pointer: the index into the list given to [`Fields::compile`](crate::Fields::compile).
    pub field: usize,
    /// Which elements the pointer's wildcards stood for.
    pub indices: Indices,
    /// The value.
    pub value: Value<'e>,
}

/// The array indices that the wildcards of a pointer stood for, outermost first. An index beyond `u32` counts as
/// `u32::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Indices {
    pub(crate) values: [u32; MAX_WILDCARDS],
    pub(crate) len: u8,
}

/// Where a value is. Kept by the extractor from one document to the next, hence without a lifetime.
#[derive(Clone, Copy)]
pub(crate) struct Hit {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) field: u32,
    pub(crate) indices: Indices,
    pub(crate) kind: Kind,
    /// In a pattern, the holes that end before the value starts, and before it ends.
    pub(crate) holes_before: u16,
    pub(crate) holes_until: u16,
}

impl Hit {
    #[inline]
    pub(crate) fn start_among(&self, shifts: &[Shift]) -> usize {
        self.start.wrapping_add(shifts.get(usize::from(self.holes_before)).map_or(0, |shift| shift.by))
    }

    #[inline]
    pub(crate) fn end_among(&self, shifts: &[Shift]) -> usize {
        self.end.wrapping_add(shifts.get(usize::from(self.holes_until)).map_or(0, |shift| shift.by))
    }

    /// The kind of a string: if it is a hole, that of what is in it now.
    #[inline]
    pub(crate) fn kind_among(&self, shifts: &[Shift]) -> Kind {
        if self.holes_before == self.holes_until {
            return self.kind;
        }
        match shifts.get(usize::from(self.holes_until)) {
            Some(shift) if shift.escaped => Kind::EscapedStr,
            _ => Kind::PlainStr,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    True,
    False,
    Number,
    PlainStr,
    EscapedStr,
    Array,
    Object,
    /// A later member of the same name has taken its place.
    Superseded,
}

impl<'e> Found<'e> {
    pub(crate) fn new(json: &'e str, hits: &'e Hits, shifts: &'e [Shift]) -> Self {
        Self { json, hits, shifts }
    }

    /// The value of a field, the last one in document order if its wildcards matched several. `None` when there is none,
    /// and for an index that names no field. A `null` is a value.
    ///
    /// One look into a table, however much was found.
    #[inline]
    pub fn get(&self, field: usize) -> Option<Value<'e>> {
        // Most fields that are asked for are not there: that way is short enough to stand in the caller.
        let hit = self.last(field)?;
        // As are `null` values.
        if hit.kind == Kind::Null { Some(Value::Null) } else { Some(value(self.json, self.shifts, hit)) }
    }

    /// The value of a field if it is a string: [`get`](Self::get) and [`Value::as_str`] in half the time, for the one field that nearly
    /// every event is looked at for.
    #[inline(always)] // on the way of every event
    pub fn str(&self, field: usize) -> Option<Str<'e>> {
        let hit = self.last(field)?;
        if !matches!(hit.kind, Kind::PlainStr | Kind::EscapedStr) {
            return None;
        }
        let is_escaped = hit.kind_among(self.shifts) == Kind::EscapedStr;
        let (start, end) = (hit.start_among(self.shifts), hit.end_among(self.shifts));
        Some(Str::new(self.json, start, end, is_escaped))
    }

    /// [`get`](Self::get), with the elements that the pointer's wildcards stood for.
    #[inline]
    pub fn find(&self, field: usize) -> Option<Match<'e>> {
        let hit = self.last(field)?;
        Some(Match { field, indices: hit.indices, value: value(self.json, self.shifts, hit) })
    }

    /// The value of a field as written, quotes and all.
    #[inline]
    pub fn raw(&self, field: usize) -> Option<&'e str> {
        let hit = self.last(field)?;
        self.json.get(hit.start_among(self.shifts)..hit.end_among(self.shifts))
    }

    /// Which elements the pointer's wildcards stood for, of the value that [`get`](Self::get) gives.
    #[inline]
    pub fn indices(&self, field: usize) -> Option<Indices> {
        Some(self.last(field)?.indices)
    }

    /// Whether no field has two values, and none but those in `fields` (a bit for each, from the first 128) has one other than
    /// `null`. One comparison, however much was found: how a stream's plainest events are told from all others.
    #[inline]
    pub fn is_only(&self, fields: u128) -> bool {
        !self.hits.summary.is_mixed && self.hits.summary.values() & !fields == 0
    }

    /// What this event has in common with others that look the same. Two events of one likeness have the same fields, at the
    /// same [indices](Self::indices) and of the same type; the values are equal, byte for byte, of all fields but those that
    /// [`varies`](Self::varies) tells; and if [`Framer::next_again`](crate::Framer::next_again) gave the
    /// second right after [`Framer::next_for`](crate::Framer::next_for) the first, their [names](crate::Event::name) are equal too. So what was decided about the first need not be decided again for the second.
    ///
    /// A text extracted without a name ([`Extractor::extract_str`](crate::Extractor::extract_str)) has the likeness of its data alone,
    /// whatever event it came with: no name was looked at, and none is promised.
    ///
    /// `None` for an event that looks like none before it. No two extractors ever have a likeness in common.
    #[inline]
    pub fn likeness(&self) -> Option<Likeness> {
        self.hits.likeness
    }

    /// The fields whose values may differ between events of this [`likeness`](Self::likeness), a bit for each; all bits, if one of
    /// those from the 128th on may.
    #[inline]
    pub fn varies(&self) -> u128 {
        self.hits.varies
    }

    #[inline]
    fn last(&self, field: usize) -> Option<&'e Hit> {
        self.hits.all.get((*self.hits.last.get(field)? as usize).checked_sub(1)?)
    }

    /// Everything found, in document order. An array or object that was asked for comes before what was found inside.
    /// Where a name occurs more than once in an object, only its last member counts.
    pub fn iter(&self) -> impl Iterator<Item = Match<'e>> + use<'e> {
        let found = *self;
        let live = self.hits.all.iter().filter(|hit| hit.kind != Kind::Superseded);
        live.map(move |hit| Match {
            field: hit.field as usize,
            indices: hit.indices,
            value: value(found.json, found.shifts, hit),
        })
    }

    /// True when no field has a value.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// The value of a hit. Its arguments travel in registers, which those of a method of [`Found`] would not.
#[inline(never)]
fn value<'e>(json: &'e str, shifts: &[Shift], hit: &Hit) -> Value<'e> {
    let kind = match hit.kind {
        Kind::PlainStr | Kind::EscapedStr => hit.kind_among(shifts),
        kind => kind,
    };
    Value::new(kind, json, hit.start_among(shifts), hit.end_among(shifts))
}

impl fmt::Debug for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").field("bytes", &self.json.len()).field("hits", &self.hits.all.len()).finish()
    }
}

impl Indices {
    /// What the `n`th wildcard stood for, from 0.
    pub fn get(&self, n: usize) -> Option<u32> {
        self.as_slice().get(n).copied()
    }

    /// All of them.
    pub fn as_slice(&self) -> &[u32] {
        &self.values[..usize::from(self.len)]
    }
}
