//! A template: an earlier event of a stream in which the strings and numbers that were seen to change are holes.
//!
//! Beside the document itself it holds the bytes that framed it, `data: ` and the blank line, so that an event that looks the
//! same is framed and validated by one comparison. Those bytes are only a prediction too: where they differ, the document is
//! still compared, by whoever took the frame off.

use std::iter;
use std::ops::Range;
use std::sync::Arc;

use crate::found::{Hit, Kind};
use crate::pattern::{Hole, Pattern, Shift};
use crate::serial::Serials;
use crate::shape::Shape;

/// Longest frame kept, in bytes on each side: the name of an event and both field names.
const MAX_FRAME_BYTES: usize = 128;

// One among many finds all of this cold at each event: what is compared comes first, in two lines of memory.
#[repr(C)]
pub(crate) struct Template {
    /// Whose frame the document has. `None`: nobody's, or it may stand in none.
    framing: Option<Framing>,
    /// An event was seen in this frame: it is no guess.
    is_seen: bool,
    pub(crate) pattern: Pattern,
    /// Where in the frame's front the event's name is; empty without one.
    name: Range<usize>,
    pub(crate) shape: Arc<Shape>,
    /// Which of the shape's strings and numbers are holes.
    pub(crate) changing: u128,
    /// White space between its values has line ends: the document came in several `data:` lines, or from no stream.
    has_line_ends: bool,
    /// When it ceased to be in front.
    pub(crate) used: u64,
}

/// Who framed a document: what is an event to one is something else to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events.
    Events,
    /// Lines.
    Lines,
}

impl Framing {
    /// What usually stands around a document: before and after it.
    fn usual_frame(self) -> (&'static str, &'static str) {
        match self {
            Self::Events => ("data: ", "\n\n"),
            Self::Lines => ("", "\n"),
        }
    }
}

/// What stood around a document.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'f> {
    pub(crate) framing: Framing,
    pub(crate) before: &'f str,
    pub(crate) after: &'f str,
    /// Where in `before` the event's name is; empty without one.
    pub(crate) name: (usize, usize),
}

/// A whole event that was as predicted.
pub(crate) struct Framed<'i> {
    /// In bytes, its end included.
    pub(crate) length: usize,
    pub(crate) name: &'i str,
    pub(crate) data: &'i str,
}

impl Template {
    /// One to be written, in the frame that its event is likely to have, and in this memory.
    pub(crate) fn new(json: &str, shape: Arc<Shape>, framing: Option<Framing>, mut pattern: Pattern) -> Self {
        let (before, after) = framing.map_or(("", ""), Framing::usual_frame);
        pattern.frame(before, json, after);
        Self {
            pattern,
            name: 0..0,
            framing,
            is_seen: false,
            shape,
            changing: 0,
            has_line_ends: false,
            used: 0,
        }
    }

    /// The event at the front of `input`, if this template fits it, frame and all.
    #[inline(always)] // on the way of every event
    pub(crate) fn match_event<'i>(
        &self,
        framing: Framing,
        input: &'i [u8],
        shifts: &mut Vec<Shift>,
    ) -> Option<Framed<'i>> {
        let (whole, data) = self.match_nameless(framing, input, shifts)?;
        let name = if self.name.is_empty() { "message" } else { whole.get(self.name.clone())? };
        Some(Framed { length: whole.len(), name, data })
    }

    /// The whole event at the front of `input`, and what of it is the document, if this template fits it, frame and all: for who
    /// knows the name.
    #[inline(always)] // on the way of every event
    pub(crate) fn match_nameless<'i>(
        &self,
        framing: Framing,
        input: &'i [u8],
        shifts: &mut Vec<Shift>,
    ) -> Option<(&'i str, &'i str)> {
        if self.framing != Some(framing) {
            return None;
        }
        self.pattern.match_event(input, shifts)
    }

    /// Whether the document of an event of `framing` may be this template's although [`match_event`](Self::match_event) says that the
    /// event is not: because something else stands around it.
    pub(crate) fn is_worth_unframing(&self, framing: Framing, input: &[u8]) -> bool {
        if self.has_line_ends {
            return false;
        }
        if !self.is_seen || self.framing != Some(framing) {
            return true;
        }
        let before = self.pattern.before().as_bytes();
        // An event of another name has another document too.
        let is_of_that_name = match self.name.is_empty() {
            true => !input.starts_with(b"event:"),
            false => before.get(..self.name.end).is_some_and(|name| input.starts_with(name)),
        };
        is_of_that_name && !input.starts_with(before)
    }

    /// Somebody else framed the event of this name, whose document the template fits. If those that come in the template's frame have
    /// another name, this one is not like them.
    pub(crate) fn put_apart(&mut self, name: &str) {
        let own =
            if self.name.is_empty() { Some("message") } else { self.pattern.before().get(self.name.clone()) };
        if own != Some(name) {
            self.pattern.hits.forget_likeness();
        }
    }

    /// An event was seen in the template's frame.
    pub(crate) fn see(&mut self) {
        self.is_seen = true;
    }

    /// The document at the front of `input`, if this template fits it.
    #[inline]
    pub(crate) fn match_document<'i>(&self, input: &'i [u8], shifts: &mut Vec<Shift>) -> Option<&'i str> {
        self.pattern.match_document(input, shifts)
    }

    /// Takes note of the strings and numbers that differ between the template and a document of the same shape. Where they are in the
    /// template is found anew, in `own`: few templates are ever asked.
    pub(crate) fn note_changes(&mut self, json: &str, shifts: &[Shift], own: &mut Vec<Shift>) {
        let document = self.pattern.text().get(self.pattern.document()).unwrap_or_default();
        self.changing |= self.shape.changes(document, json, shifts, own);
    }

    /// Puts a document of that shape in the place of its own: to be written.
    pub(crate) fn put(&mut self, json: &str, shape: Arc<Shape>) {
        self.pattern.put(json);
        self.shape = shape;
    }

    /// Becomes the template of its document, which its shape has just been matched with, in the same frame as before. The match, and
    /// hence `shifts`, becomes its own.
    pub(crate) fn write(&mut self, changing: u128, shifts: &mut [Shift], serials: &mut Serials) {
        let Self { pattern, shape, .. } = self;
        let changing_holes = places(changing).filter_map(|slot| {
            let (start, end) = shape.pattern.hole_at(slot, shifts)?;
            Some(Hole { start, end, content: shape.pattern.holes().get(slot)?.content })
        });
        pattern.make_holes(changing_holes);
        pattern.hits.copy_from(&shape.pattern.hits, |hit| hit.placed(shifts, changing));
        pattern.hits.renew_likeness(serials);
        // In its own document no place is shifted.
        for (hole, slot) in places(changing).enumerate() {
            let escaped = shifts.get(slot + 1).is_some_and(|shift| shift.escaped);
            if let Some(shift) = shifts.get_mut(hole + 1) {
                *shift = Shift { by: 0, escaped };
            }
        }
        // Strings have none.
        self.has_line_ends = shape.has_line_ends;
        // A space after `data:` is the frame's, never the document's first byte.
        let document = self.pattern.text().get(self.pattern.document()).unwrap_or_default();
        let loses_a_space = document.starts_with(' ') && self.pattern.before().ends_with(':');
        self.framing = self.framing.filter(|_| !self.has_line_ends && !loses_a_space);
        // Another document may stand in another frame, under another event's name.
        self.is_seen = false;
        self.changing = changing;
    }

    /// Takes over a frame that an event was seen in.
    pub(crate) fn put_into(&mut self, frame: Frame<'_>, serials: &mut Serials) {
        let Frame { framing, before, after, name } = frame;
        // The name is part of what events have in common.
        if self.has_line_ends || before.len().max(after.len()) > MAX_FRAME_BYTES {
            self.pattern.hits.forget_likeness();
            return;
        }
        self.pattern.hits.renew_likeness(serials);
        self.pattern.put_into(before, after);
        self.name = name.0..name.1;
        self.framing = Some(framing);
        self.is_seen = true;
    }
}

/// The places of the bits that are set, from the lowest on.
fn places(mut bits: u128) -> impl Iterator<Item = usize> {
    iter::from_fn(move || {
        let place = bits.trailing_zeros() as usize;
        bits &= bits.checked_sub(1)?;
        Some(place)
    })
}

impl Hit {
    /// Where a shape's hit is in a document of that shape, of whose strings and numbers only some are holes.
    fn placed(&self, shifts: &[Shift], changing: u128) -> Self {
        // Few change, and there is no instruction that counts on every machine.
        let holes = |slots: u16| {
            let before = 1u128.checked_shl(slots.into()).map_or(u128::MAX, |bit| bit - 1);
            places(changing & before).count().try_into().unwrap_or(u16::MAX)
        };
        let kind = match self.kind {
            Kind::PlainStr | Kind::EscapedStr => self.kind_among(shifts),
            kind => kind,
        };
        Self {
            start: self.start_among(shifts),
            end: self.end_among(shifts),
            holes_before: holes(self.holes_before),
            holes_until: holes(self.holes_until),
            kind,
            ..*self
        }
    }
}
