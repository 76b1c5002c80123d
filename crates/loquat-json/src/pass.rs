//! The full pass over a JSON text: validates all of it and notes where the wanted values are.
//!
//! An iterative state machine with its own stack, so that nesting is a limit and not a stack overflow. It goes from token to token
//! of the text's [`Outline`], and in step with that from state to state of the pointers.
//!
//! It accepts a text or does not. What is wrong with one that it does not accept is found by [`explain`].
//!
//! Everything is linear in the document, hostile ones included: a repeated member name makes it look again only at what was
//! found since the previous member of that name.

use std::mem;
use std::ops::Range;

use memchr::memchr;

use crate::error::{Error, ErrorKind};
use crate::explain::explain;
use crate::found::{Hit, Hits, Indices, Kind};
use crate::outline::{END, Outline};
use crate::pattern::Content;
use crate::pointer::Fields;
use crate::scan;
use crate::shape::{MAX_SLOTS, Token};
use crate::state::{NOTHING, ROOT, State};

/// What may be found, and how much of it.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<'f> {
    pub(crate) fields: &'f Fields,
    pub(crate) max_depth: usize,
    pub(crate) max_matches: usize,
    /// Strings and numbers are noted too.
    pub(crate) has_tokens: bool,
}

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
        let outline = mem::take(&mut self.outline);
        let end = self.walk(json, &outline, bounds);
        self.outline = outline;
        match end {
            Ok(()) => {}
            Err(Stop::NoJson) => return Err(explain(json, bounds.max_depth)),
            Err(Stop::TooMany { at }) => return Err(Error::new(ErrorKind::TooMany, at)),
        }
        self.hits.index(bounds.fields.len());
        Ok(())
    }

    fn walk(&mut self, json: &[u8], outline: &Outline, bounds: Bounds<'_>) -> Result<(), Stop> {
        let states = bounds.fields.states();
        let has_escapes = outline.has_escapes;
        let byte_at = |place: u32| json.get(place as usize).copied();
        let mut places = outline.places();
        // Of the innermost array or object: its bracket, 0 outside of all, and what it is.
        let (mut closing, mut container) = (0, states.get(NOTHING));
        // Of the value to come: what it is, and its first token.
        let (mut wanted, mut at) = (states.get(ROOT), take_one(&mut places));
        'values: loop {
            let start = at as usize;
            let byte = byte_at(at);
            let (kind, end, mut next) = if byte == Some(b'"') {
                // Quotes come in pairs.
                let quote = take_one(&mut places);
                if bounds.has_tokens {
                    self.token(start + 1, quote as usize, Content::Text);
                }
                (Kind::PlainStr, quote as usize + 1, take_one(&mut places))
            } else {
                match byte {
                    Some(bracket @ (b'{' | b'[')) => {
                        container = wanted;
                        // The brackets' codes differ by two.
                        closing = bracket + 2;
                        self.open(container, start, closing, bounds)?;
                        let first = take_one(&mut places);
                        if byte_at(first) != Some(closing) {
                            at = first;
                            if bracket == b'{' {
                                let [end, colon, value] = take(&mut places);
                                let Some(member) =
                                    self.member(json, container, [first, end, colon], has_escapes, bounds)
                                else {
                                    return Err(Stop::NoJson);
                                };
                                (wanted, at) = (member, value);
                            } else {
                                wanted = states.get(container.element(0));
                            }
                            continue;
                        }
                        (Kind::Object, start, first)
                    }
                    Some(b'-' | b'0'..=b'9') => {
                        let Some(end) = scan::number_end(json, start) else { return Err(Stop::NoJson) };
                        if bounds.has_tokens {
                            self.token(start, end, Content::Number);
                        }
                        (Kind::Number, end, take_one(&mut places))
                    }
                    Some(b'n') if scan::is_word(json, start, b"null") => {
                        (Kind::Null, start + 4, take_one(&mut places))
                    }
                    Some(b't') if scan::is_word(json, start, b"true") => {
                        (Kind::True, start + 4, take_one(&mut places))
                    }
                    Some(b'f') if scan::is_word(json, start, b"false") => {
                        (Kind::False, start + 5, take_one(&mut places))
                    }
                    _ => return Err(Stop::NoJson),
                }
            };
            // It ends here, unless it is an array or object: those end with their bracket.
            if kind != Kind::Object {
                // The rest of what is no token may not follow: only white space may, or the next token.
                if end != next as usize && !scan::is_space_or_end(json, end) {
                    return Err(Stop::NoJson);
                }
                if !wanted.fields.is_empty() {
                    self.note_scalar(wanted, json, start..end, kind, has_escapes, bounds)?;
                }
            }
            loop {
                let byte = byte_at(next);
                if byte == Some(b',') {
                    if closing == b'}' {
                        let [quote, end, colon, value] = take(&mut places);
                        let Some(member) =
                            self.member(json, container, [quote, end, colon], has_escapes, bounds)
                        else {
                            return Err(Stop::NoJson);
                        };
                        (wanted, at) = (member, value);
                        continue 'values;
                    }
                    let Some(array) = self.stack.last_mut() else { return Err(Stop::NoJson) };
                    array.index = array.index.saturating_add(1);
                    wanted = states.get(container.element(array.index));
                    at = take_one(&mut places);
                    continue 'values;
                }
                if byte != Some(closing) {
                    let is_end = byte.is_none() && self.stack.is_empty();
                    return if is_end { Ok(()) } else { Err(Stop::NoJson) };
                }
                self.close(json, next as usize, bounds);
                let outer = self.stack.last();
                closing = outer.map_or(0, |outer| outer.closing);
                container = states.get(outer.map_or(NOTHING, |outer| outer.state));
                next = take_one(&mut places);
            }
        }
    }

    /// An array or object begins at `at`.
    fn open(&mut self, state: &State, at: usize, closing: u8, bounds: Bounds<'_>) -> Result<(), Stop> {
        if self.stack.len() >= bounds.max_depth {
            return Err(Stop::NoJson);
        }
        let hit_start = self.hits.all.len();
        if !state.fields.is_empty() {
            let kind = if closing == b'}' { Kind::Object } else { Kind::Array };
            self.note(state, at..at, kind, bounds)?;
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
    fn close(&mut self, json: &[u8], at: usize, bounds: Bounds<'_>) {
        if bounds.has_tokens && self.stack.len() == 1 {
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

    /// What the member of `object` is whose name has these quotes, if a colon follows.
    #[inline(always)]
    fn member<'f>(
        &mut self,
        json: &[u8],
        object: &State,
        [quote, end, colon]: [u32; 3],
        has_escapes: bool,
        bounds: Bounds<'f>,
    ) -> Option<&'f State> {
        let (quote, end) = (quote as usize, end as usize);
        if json.get(quote) != Some(&b'"') || json.get(colon as usize) != Some(&b':') {
            return None;
        }
        let member = match has_escapes {
            false => object.member(json, quote + 1..end),
            true => object.any_member(json, quote + 1..end),
        };
        if member != NOTHING {
            self.supersede(member, bounds.fields);
        }
        Some(bounds.fields.states().get(member))
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

    /// Notes a string, number or literal for every field that it is.
    #[inline(never)]
    fn note_scalar(
        &mut self,
        state: &State,
        json: &[u8],
        place: Range<usize>,
        kind: Kind,
        has_escapes: bool,
        bounds: Bounds<'_>,
    ) -> Result<(), Stop> {
        let is_escaped = has_escapes
            && kind == Kind::PlainStr
            && json.get(place.clone()).is_some_and(|string| memchr(b'\\', string).is_some());
        self.note(state, place, if is_escaped { Kind::EscapedStr } else { kind }, bounds)
    }

    /// Notes a value for every field that it is.
    fn note(
        &mut self,
        state: &State,
        place: Range<usize>,
        kind: Kind,
        bounds: Bounds<'_>,
    ) -> Result<(), Stop> {
        let Range { start, end } = place;
        for &field in &state.fields {
            if self.hits.all.len() >= bounds.max_matches {
                return Err(Stop::TooMany { at: start });
            }
            let mut indices = Indices::default();
            for (slot, &depth) in indices.values.iter_mut().zip(&bounds.fields.field(field).wildcard_depths) {
                *slot = self.stack.get(depth).map_or(0, |array| array.index);
                indices.len += 1;
            }
            self.hits.all.push(Hit { start, end, field, indices, kind, holes_before: 0, holes_until: 0 });
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

/// The next tokens; [`END`] for those that there are not, and then all of them.
#[inline(always)]
fn take<const N: usize>(places: &mut &[u32]) -> [u32; N] {
    match places.split_first_chunk() {
        Some((taken, rest)) => {
            *places = rest;
            *taken
        }
        None => [END; N],
    }
}

/// The next token, or [`END`].
#[inline(always)]
fn take_one(places: &mut &[u32]) -> u32 {
    let [place] = take(places);
    place
}
