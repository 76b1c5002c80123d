//! The way of a pass through a text: from token to token, and in step with that from state to state.
//!
//! What it notes on the way, and how, is the pass's own matter.

use std::ops::Range;

use memchr::memchr;

use super::{Bounds, Pass, Stop};
use crate::found::Kind;
use crate::outline::{END, Outline};
use crate::pattern::Content;
use crate::scan;
use crate::state::{NOTHING, ROOT, State};

impl Pass {
    /// Walks the whole text. After an error what was noted is of no use.
    pub(super) fn walk(&mut self, json: &[u8], outline: &Outline, bounds: Bounds<'_>) -> Result<(), Stop> {
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
                    let is_escaped = has_escapes && kind == Kind::PlainStr && has_backslash(json, start..end);
                    self.note(wanted, start, end, if is_escaped { Kind::EscapedStr } else { kind }, &bounds)?;
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
}

#[cold]
#[inline(never)]
fn has_backslash(json: &[u8], place: Range<usize>) -> bool {
    json.get(place).is_some_and(|string| memchr(b'\\', string).is_some())
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
