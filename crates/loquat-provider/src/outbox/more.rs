//! More of the same: what an event need not be asked again.
//!
//! Nearly all events of a stream differ from the one before in one text. Once a format has decided about one that it is more of a
//! certain text or tool call and nothing else, those that look like it need no second decision: their fields are there, equal
//! but for that text ([`Likeness`]), and nothing has happened in between. Which fields a decision did not look at, each format
//! says for itself.

use std::hint::black_box;

use loquat_core::{Delta, Usage};
use loquat_json::{Extractor, Found, Framer, Likeness, Str};

use super::{Kind, Outbox};

/// What the last event was, and how to tell others like it.
#[derive(Debug, Clone, Copy)]
// What is rarely there comes last.
#[repr(C)]
pub(crate) struct More {
    likeness: Likeness,
    /// Where its text is.
    field: usize,
    /// How to read what the answer has cost so far, if that differs from event to event.
    usage: Option<ReadUsage>,
    /// What has to be in one other field, which varies too: the index of a call, where there are several.
    same: Option<Same>,
}

/// What a format reads of an event's counts; `None` if there are none.
pub(crate) type ReadUsage = fn(Found<'_>) -> Option<Usage>;

/// A short value of a field, as written.
#[derive(Debug, Clone, Copy)]
struct Same {
    field: usize,
    value: [u8; 8],
    length: usize,
}

impl Same {
    fn of(found: Found<'_>, field: usize) -> Option<Self> {
        let raw = found.raw(field)?.as_bytes();
        let mut value = [0; 8];
        value.get_mut(..raw.len())?.copy_from_slice(raw);
        Some(Self { field, value, length: raw.len() })
    }

    #[inline]
    fn is_in(&self, found: Found<'_>) -> bool {
        found.raw(self.field).is_some_and(|raw| Some(raw.as_bytes()) == self.value.get(..self.length))
    }
}

impl More {
    /// The text of an event of that likeness, if it is more of the same.
    #[inline(always)] // on the way of every event
    pub(crate) fn text<'e>(&self, found: Found<'e>) -> Option<Str<'e>> {
        if self.same.is_some_and(|same| !same.is_in(found)) {
            return None;
        }
        found.str(self.field).filter(|text| !text.is_empty())
    }
}

/// What there is more of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Of {
    Running { kind: Kind, choice: u32 },
    Arguments { choice: u32, call: u32 },
}

impl Of {
    /// The text of the first alternative.
    pub(crate) const TEXT: Self = Self::Running { kind: Kind::Text, choice: 0 };
    /// Its reasoning.
    pub(crate) const REASONING: Self = Self::Running { kind: Kind::Reasoning, choice: 0 };
}

impl Outbox {
    /// The event at hand came to nothing but more of that, by the text in `field`; and it would have, whatever stood in the
    /// fields `free`, of those that are there, as long as the text is not empty.
    #[inline]
    pub(crate) fn expect_more(&mut self, of: Of, field: usize, free: u128, found: Found<'_>) {
        self.expect_more_at_cost(of, field, free, (0, |_| None), found);
    }

    /// [`expect_more`](Self::expect_more) where the event also says what the answer has cost so far, which is read again and again
    /// if anything in the fields it is in differs.
    #[inline]
    pub(crate) fn expect_more_at_cost(
        &mut self,
        of: Of,
        field: usize,
        free: u128,
        (counts, usage): (u128, ReadUsage),
        found: Found<'_>,
    ) {
        if self.limits.keeps_events {
            // Each has to come by where it is kept.
            return;
        }
        let usage = (found.varies() & counts != 0).then_some(usage);
        let free = free | counts;
        let free = free | 1_u128.checked_shl(u32::try_from(field).unwrap_or(u32::MAX)).unwrap_or(0);
        let Some(likeness) = found.likeness().filter(|_| !self.is_half_waiting(of)) else { return };
        let fixed = found.varies() & !free;
        let same = match fixed.count_ones() {
            0 => None,
            1 => Same::of(found, fixed.trailing_zeros() as usize),
            _ => return,
        };
        if fixed == 0 || same.is_some() {
            self.more = Some(More { likeness, field, same, usage });
            self.of = of;
        }
    }

    /// Whether half a character waits for its other half, which makes of the next text something else than it says.
    #[inline]
    fn is_half_waiting(&self, of: Of) -> bool {
        let Of::Running { kind, choice } = of else { return false };
        self.choices.get(choice as usize).is_none_or(|known| known.pairs[kind as usize].is_waiting())
    }

    /// Whether the next event may be more of the same; not while deltas wait to be pulled.
    #[inline]
    pub(crate) fn expects_more(&self) -> bool {
        self.more.is_some() && self.next >= self.queue.len()
    }

    /// Looks at where the next text goes, and at which field it is in: see [`Decoder::warm`](crate::Decoder::warm).
    #[inline]
    pub(crate) fn warm(&self) -> Option<usize> {
        black_box(self.scratch.as_bytes().first().copied());
        black_box(self.limits.keeps_events);
        self.more.as_ref().map(|more| more.field)
    }

    /// The next event is another one.
    #[inline]
    pub(crate) fn expect_nothing(&mut self) {
        self.more = None;
    }

    /// Takes the event at the front of `input`, if it is more of the same. Whether that gives a delta: half a character gives none.
    /// `None`, with nothing taken, for any other event, and for one that would be too much.
    #[inline]
    pub(crate) fn next_more(
        &mut self,
        framer: &mut Framer,
        json: &mut Extractor,
        input: &mut &[u8],
    ) -> Option<bool> {
        self.clear_scratch();
        let Self { more, usage, limits, answer_bytes, .. } = self;
        let more = more.as_ref()?;
        let room = limits.max_answer_bytes.saturating_sub(*answer_bytes);
        let text = framer.next_again(input, json, more.likeness, |found| {
            let text = more.text(found).filter(|text| text.raw().len() <= room)?;
            if let Some(cost) = more.usage.and_then(|read| read(found)) {
                *usage = cost;
            }
            Some(text)
        });
        let Some(text) = text else {
            self.expect_nothing();
            return None;
        };
        match self.of {
            _ if text.append_borrowed_to(&mut self.scratch) => {}
            Of::Running { kind, choice } => {
                if let Some(known) = self.choices.get_mut(choice as usize) {
                    text.append_joined_to(&mut self.scratch, &mut known.pairs[kind as usize]);
                }
                if self.is_half_waiting(self.of) {
                    self.more = None;
                }
            }
            Of::Arguments { .. } => text.append_lossy_to(&mut self.scratch),
        }
        self.answer_bytes += self.scratch.len();
        self.is_direct = !self.scratch.is_empty();
        Some(self.is_direct)
    }

    /// That delta has been looked at.
    #[inline]
    pub(crate) fn leave_direct(&mut self) {
        self.is_direct = false;
    }

    /// The delta that was taken directly, without the queue.
    #[inline]
    pub(super) fn direct(&self) -> Option<Delta<'_>> {
        let text = self.scratch.as_str();
        self.is_direct.then(|| match self.of {
            Of::Running { kind, choice } => kind.delta(choice, text),
            Of::Arguments { choice, call } => Delta::ToolArguments { choice, call, fragment: text },
        })
    }
}
