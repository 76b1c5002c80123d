//! More of the same: what an event need not be asked again.
//!
//! Nearly all events of a stream differ from the one before in one text. Once a format has decided about one that it is more of a
//! certain text or tool call and nothing else, those that look like it need no second decision: their fields are there, equal
//! but for that text ([`Likeness`]), and nothing has happened in between. Which fields a decision did not look at, each format
//! says for itself.

use loquat_core::Delta;
use loquat_json::{Found, Likeness, Str};

use super::{Kind, Outbox};

/// What the last event was, and how to tell others like it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct More {
    pub(crate) likeness: Likeness,
    /// Where its text is.
    field: usize,
    /// What has to be in one other field, which varies too: the index of a call, where there are several.
    same: Option<Same>,
    pub(crate) of: Of,
}

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
    #[inline]
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
        let free = free | 1_u128.checked_shl(u32::try_from(field).unwrap_or(u32::MAX)).unwrap_or(0);
        let Some(likeness) = found.likeness().filter(|_| !self.is_half_waiting(of)) else { return };
        let fixed = found.varies() & !free;
        let same = match fixed.count_ones() {
            0 => None,
            1 => Same::of(found, fixed.trailing_zeros() as usize),
            _ => return,
        };
        if fixed == 0 || same.is_some() {
            self.more = Some(More { likeness, field, same, of });
        }
    }

    /// Whether half a character waits for its other half, which makes of the next text something else than it says.
    #[inline]
    fn is_half_waiting(&self, of: Of) -> bool {
        let Of::Running { kind, choice } = of else { return false };
        self.choices.get(choice as usize).is_none_or(|known| known.pairs[kind as usize].is_waiting())
    }

    /// What the next event may be more of; `None` while deltas wait to be pulled.
    #[inline]
    pub(crate) fn more(&self) -> Option<More> {
        self.more.filter(|_| self.next >= self.queue.len())
    }

    /// The next event is another one.
    #[inline]
    pub(crate) fn expect_nothing(&mut self) {
        self.more = None;
    }

    /// Whether the answer may have so many bytes more.
    #[inline]
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.answer_bytes.checked_add(bytes).is_some_and(|bytes| bytes <= self.limits.max_answer_bytes)
    }

    /// Takes the text of an event that is like the one before. Whether that gives a delta: half a character gives none. To be
    /// [asked first](Self::has_room_for).
    #[inline]
    pub(crate) fn take_more(&mut self, of: Of, text: Str<'_>) -> bool {
        self.clear_scratch();
        match (of, text.borrowed()) {
            (_, Some(text)) => self.scratch.push_str(text),
            (Of::Running { kind, choice }, None) => {
                if let Some(known) = self.choices.get_mut(choice as usize) {
                    text.append_joined_to(&mut self.scratch, &mut known.pairs[kind as usize]);
                }
                if self.is_half_waiting(of) {
                    self.more = None;
                }
            }
            (Of::Arguments { .. }, None) => text.append_lossy_to(&mut self.scratch),
        }
        self.answer_bytes += self.scratch.len();
        self.direct = (!self.scratch.is_empty()).then_some(of);
        self.direct.is_some()
    }

    /// That delta has been looked at.
    #[inline]
    pub(crate) fn leave_direct(&mut self) {
        self.direct = None;
    }

    /// The delta that was taken directly, without the queue.
    #[inline]
    pub(super) fn direct(&self) -> Option<Delta<'_>> {
        let text = self.scratch.as_str();
        Some(match self.direct? {
            Of::Running { kind, choice } => kind.delta(choice, text),
            Of::Arguments { choice, call } => Delta::ToolArguments { choice, call, fragment: text },
        })
    }
}
