//! The full pass over a JSON text: validates all of it and notes where the wanted values are.
//!
//! An iterative state machine with its own stack, so that nesting is a limit and not a stack overflow. It goes from token to token
//! of the text's [`Outline`], and in step with that from state to state of the pointers.
//!
//! It accepts a text or does not. What is wrong with one that it does not accept is found by [`explain`].
//!
//! Everything is linear in the document, hostile ones included: a repeated member name makes it look again only at what was
//! found since the previous member of that name.

mod by_ends;
mod walk;

use std::mem;

use crate::error::{Error, ErrorKind};
use crate::explain::explain;
use crate::found::{Hit, Hits, Indices, Kind};
use crate::outline::{END, Outline};
use crate::pattern::Content;
use crate::pointer::Fields;
use crate::shape::{MAX_SLOTS, Token};
use crate::state::State;
use crate::string_ends::StringEnds;
pub(crate) use by_ends::Counts;

/// What may be found, and how much of it.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<'f> {
    pub(crate) fields: &'f Fields,
    pub(crate) max_depth: usize,
    pub(crate) max_matches: usize,
    /// Strings and numbers are noted too.
    pub(crate) has_tokens: bool,
}

/// Strings and numbers, and levels, that room is made for together: nearly every event has no more.
const USUAL_TOKENS: usize = 40;
const USUAL_DEPTH: usize = 8;

/// Levels, and states, whose memory another extractor may have: as deep as texts may nest by default, and twice as many states as the
/// largest format has.
const MAX_SMALL_DEPTH: usize = 64;
const MAX_SMALL_STATES: usize = 256;

/// What a pass found, and what it needs while it looks; reused from text to text.
#[derive(Default)]
pub(crate) struct Pass {
    pub(crate) hits: Hits,
    /// The strings and numbers, for as many as a template may have and one more.
    pub(crate) tokens: Vec<Token>,
    /// How deep the text nests.
    pub(crate) deepest: usize,
    /// The open arrays and objects, the innermost one last.
    stack: Vec<Frame>,
    /// Per state, where its latest value was found.
    latest: Vec<Latest>,
    frames_opened: u64,
    pub(crate) outline: Outline,
    pub(crate) string_ends: StringEnds,
    /// What there is in the text that was walked along that.
    pub(crate) counts: Counts,
    /// For texts of one line, and whether the next one is looked at as if it were one.
    pub(crate) attempts: Attempts,
}

/// Whether texts are looked at as if they were of one line: after one that was not, some are not, twice as many each time.
#[derive(Default)]
pub(crate) struct Attempts {
    /// How many texts from now on are not.
    wait: u8,
    /// How many they were the last time.
    waited: u8,
}

/// An open array or object.
#[derive(Clone, Copy)]
struct Frame {
    /// The bracket that ends it.
    closing: u8,
    /// What it is.
    state: u32,
    /// Position of the current element of an array.
    index: u32,
    /// Which of `hits` it is itself: they wait for its end.
    hit_start: usize,
    hit_end: usize,
    /// Distinguishes it from all other frames of this pass, for ever.
    serial: u64,
}

#[derive(Clone, Copy, Default)]
struct Latest {
    /// The frame of the object that had the member.
    serial: u64,
    /// How many hits there were before it.
    hits_before: usize,
}

/// Why a walk ends early.
enum Stop {
    /// This is no JSON, or nests too deep.
    NoJson,
    TooMany {
        at: usize,
    },
}

impl Attempts {
    /// So many at most: what a failed attempt costs is little, shared among these.
    const MAX_WAIT: u8 = 63;

    /// Whether to look at the next text like that. Then [`note`](Self::note) wants to know how it went.
    #[inline]
    pub(crate) fn is_due(&mut self) -> bool {
        if self.wait > 0 {
            self.wait -= 1;
            return false;
        }
        true
    }

    #[inline]
    pub(crate) fn note(&mut self, has_succeeded: bool) {
        self.waited = if has_succeeded { 0 } else { (self.waited * 2 + 1).min(Self::MAX_WAIT) };
        self.wait = self.waited;
    }
}

impl Pass {
    /// Draws the text's outline, as comes before everything else.
    pub(crate) fn draw(&mut self, json: &[u8], bounds: Bounds<'_>) -> Result<(), Error> {
        if json.len() >= END as usize {
            return Err(Error::new(ErrorKind::TooLong, END as usize));
        }
        if self.outline.draw(json) { Ok(()) } else { Err(explain(json, bounds.max_depth)) }
    }

    /// Walks the text that was drawn. After an error the hits are of no use.
    pub(crate) fn run(&mut self, json: &[u8], bounds: Bounds<'_>) -> Result<(), Error> {
        self.hits.clear();
        self.tokens.clear();
        self.deepest = 0;
        self.stack.clear();
        self.latest.resize(bounds.fields.states().len(), Latest::default());
        self.stack.reserve(USUAL_DEPTH);
        let outline = mem::take(&mut self.outline);
        let end = if bounds.has_tokens {
            self.tokens.reserve(USUAL_TOKENS);
            self.walk::<true>(json, &outline, bounds)
        } else {
            self.walk::<false>(json, &outline, bounds)
        };
        self.outline = outline;
        match end {
            Ok(()) => {}
            Err(Stop::NoJson) => return Err(explain(json, bounds.max_depth)),
            Err(Stop::TooMany { at }) => return Err(Error::new(ErrorKind::TooMany, at)),
        }
        self.hits.index(bounds.fields.len());
        Ok(())
    }

    /// Walks the text of one line that was drawn; with `COUNTS`, what there is in it is known then. `false` when it has to be drawn as an
    /// outline, and [`run`](Self::run) through.
    #[inline]
    pub(crate) fn run_by_ends<const COUNTS: bool>(&mut self, json: &[u8], bounds: Bounds<'_>) -> bool {
        self.hits.begin(bounds.fields.len());
        by_ends::walk::<COUNTS>(self, json, &bounds).is_some()
    }

    /// Its memory, for other texts, if it is not much: it is of no more use itself.
    pub(crate) fn leave(&mut self) -> Self {
        self.hits.clear();
        self.tokens.clear();
        let is_small = self.hits.is_small()
            && self.stack.capacity() <= MAX_SMALL_DEPTH
            && self.latest.len() <= MAX_SMALL_STATES
            && self.outline.is_small()
            && self.string_ends.is_small();
        if is_small { mem::take(self) } else { Self::default() }
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let tokens = self.tokens.capacity() * size_of::<Token>();
        let frames = self.stack.capacity() * size_of::<Frame>();
        let latest = self.latest.capacity() * size_of::<Latest>();
        self.hits.bytes() + tokens + frames + latest + self.outline.bytes() + self.string_ends.bytes()
    }

    /// An array or object begins at `at`.
    fn open(&mut self, state: &State, at: usize, closing: u8, bounds: Bounds<'_>) -> Result<(), Stop> {
        if self.stack.len() >= bounds.max_depth {
            return Err(Stop::NoJson);
        }
        let hit_start = self.hits.all.len();
        if !state.fields.is_empty() {
            let kind = if closing == b'}' { Kind::Object } else { Kind::Array };
            self.note(state, at, at, kind, &bounds)?;
        }
        self.frames_opened += 1;
        self.stack.push(Frame {
            closing,
            state: state.number,
            index: 0,
            hit_start,
            hit_end: self.hits.all.len(),
            serial: self.frames_opened,
        });
        self.deepest = self.deepest.max(self.stack.len());
        Ok(())
    }

    /// The innermost array or object ends with the bracket at `at`.
    #[inline(always)]
    fn close<const TOKENS: bool>(&mut self, json: &[u8], at: usize) {
        if TOKENS && self.stack.len() == 1 {
            let before = json.get(..at).unwrap_or_default();
            let spaces = before.iter().rev().take_while(|byte| **byte == b' ').count();
            self.token(at - spaces, at, Content::Spaces);
        }
        if let Some(frame) = self.stack.pop()
            && frame.hit_start != frame.hit_end
        {
            for hit in self.hits.all.get_mut(frame.hit_start..frame.hit_end).unwrap_or_default() {
                hit.end = at + 1;
            }
        }
    }

    /// A member begins in the innermost object. If it had one that was the same, what was found there no longer counts.
    #[inline(always)]
    fn supersede(&mut self, member: u32, fields: &Fields) {
        let serial = self.stack.last().map_or(0, |object| object.serial);
        let now = Latest { serial, hits_before: self.hits.all.len() };
        let Some(latest) = self.latest.get_mut(member as usize) else { return };
        let before = mem::replace(latest, now);
        if before.serial == serial {
            let state = fields.states().get(member);
            for hit in self.hits.all.get_mut(before.hits_before..).unwrap_or_default() {
                if fields.is_within(hit.field, state) {
                    hit.kind = Kind::Superseded;
                }
            }
        }
    }

    /// Notes a value for every field that it is. No more arguments than travel in registers.
    #[inline(never)]
    fn note(
        &mut self,
        state: &State,
        start: usize,
        end: usize,
        kind: Kind,
        bounds: &Bounds<'_>,
    ) -> Result<(), Stop> {
        for &field in &state.fields {
            if self.hits.all.len() >= bounds.max_matches {
                return Err(Stop::TooMany { at: start });
            }
            let indices = Indices::default();
            self.hits.all.push(Hit { start, end, field, indices, kind, holes_before: 0, holes_until: 0 });
            // Few have any. What is written twice is not waited for, as what goes through the stack would be.
            let depths = &bounds.fields.field(field).wildcard_depths[..];
            if !depths.is_empty() {
                let indices = indices_of(depths, |depth| self.stack.get(depth).map(|array| array.index));
                if let Some(hit) = self.hits.all.last_mut() {
                    hit.indices = indices;
                }
            }
        }
        Ok(())
    }

    /// Notes what may become a hole.
    #[inline(always)]
    fn token(&mut self, start: usize, end: usize, content: Content) {
        if self.tokens.len() <= MAX_SLOTS {
            self.tokens.push(Token { start, end, content });
        }
    }
}

/// The positions in the arrays that are so deep.
#[inline(never)]
fn indices_of(depths: &[usize], index: impl Fn(usize) -> Option<u32>) -> Indices {
    let mut indices = Indices::default();
    for (slot, &depth) in indices.values.iter_mut().zip(depths) {
        *slot = index(depth).unwrap_or_default();
        indices.len += 1;
    }
    indices
}
