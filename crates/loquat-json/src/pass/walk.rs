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
    /// With `TOKENS`, strings and numbers are noted too.
    pub(super) fn walk<const TOKENS: bool>(
        &mut self,
        json: &[u8],
        outline: &Outline,
        bounds: Bounds<'_>,
    ) -> Result<(), Stop> {
        let states = bounds.fields.states();
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
                if TOKENS {
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
                                let first = match byte_at(first) {
                                    Some(b'"') => {
                                        self.skip::<TOKENS>(json, container, first, &mut places, outline)
                                    }
                                    _ => first,
                                };
                                let [end, colon, value] = take(&mut places);
                                let Some(member) =
                                    self.member(json, container, [first, end, colon], outline, bounds)
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
                        if TOKENS {
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
                    let is_escaped = kind == Kind::PlainStr
                        && outline.may_have_escapes(&(start..end))
                        && has_backslash(json, start..end);
                    self.note(wanted, start, end, if is_escaped { Kind::EscapedStr } else { kind }, &bounds)?;
                }
            }
            loop {
                let byte = byte_at(next);
                if byte == Some(b',') {
                    if closing == b'}' {
                        let quote = take_one(&mut places);
                        let quote = match byte_at(quote) {
                            Some(b'"') => self.skip::<TOKENS>(json, container, quote, &mut places, outline),
                            _ => quote,
                        };
                        let [end, colon, value] = take(&mut places);
                        let Some(member) = self.member(json, container, [quote, end, colon], outline, bounds)
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
                self.close::<TOKENS>(json, next as usize);
                let outer = self.stack.last();
                closing = outer.map_or(0, |outer| outer.closing);
                container = states.get(outer.map_or(NOTHING, |outer| outer.state));
                next = take_one(&mut places);
            }
        }
    }

    /// Passes over members of `object` that nobody asks for, as long as they are strings, numbers or `null` with no white space around
    /// and another member behind: what is between their strings is compared as one word. The first quote of the first member that is
    /// none of these; its other tokens come next.
    #[inline(always)]
    fn skip<const TOKENS: bool>(
        &mut self,
        json: &[u8],
        object: &State,
        mut quote: u32,
        places: &mut &[u32],
        outline: &Outline,
    ) -> u32 {
        // For a string these are its quotes, a comma, the next quote; for all else the last is one token further.
        while let Some(&[end, _, value, after, second, third]) = places.first_chunk()
            && let Some(before_value) = word(json, end)
        {
            let name = quote as usize + 1..end as usize;
            if outline.may_have_escapes(&name) || object.may_have(json, name) {
                break;
            }
            let after_value = word(json, after).unwrap_or_default();
            let taken = if is_front(before_value, *b"\":\"") {
                if !is_front(after_value, *b"\",\"") {
                    break;
                }
                if TOKENS {
                    self.token(value as usize + 1, after as usize, Content::Text);
                }
                quote = third;
                6
            } else {
                if !is_front(before_value, *b"\":") || !is_front(after_value, *b",\"") {
                    break;
                }
                let (start, end) = (value as usize, after as usize);
                let is_number = matches!(json.get(start), Some(b'-' | b'0'..=b'9'))
                    && scan::number_end(json, start) == Some(end);
                let is_null = scan::is_word(json, start, b"null") && end == start + 4;
                if !(is_number || is_null) {
                    break;
                }
                if TOKENS && is_number {
                    self.token(start, end, Content::Number);
                }
                quote = second;
                5
            };
            *places = places.get(taken..).unwrap_or_default();
        }
        quote
    }

    /// What the member of `object` is whose name has these quotes, if a colon follows.
    #[inline(always)]
    fn member<'f>(
        &mut self,
        json: &[u8],
        object: &State,
        [quote, end, colon]: [u32; 3],
        outline: &Outline,
        bounds: Bounds<'f>,
    ) -> Option<&'f State> {
        let (quote, end) = (quote as usize, end as usize);
        if json.get(quote) != Some(&b'"') || json.get(colon as usize) != Some(&b':') {
            return None;
        }
        let name = quote + 1..end;
        let member = match outline.may_have_escapes(&name) {
            false => object.member(json, name),
            true => object.any_member(json, name),
        };
        if member != NOTHING {
            self.supersede(member, bounds.fields);
        }
        Some(bounds.fields.states().get(member))
    }
}

/// Four bytes.
#[inline(always)]
fn word(json: &[u8], at: u32) -> Option<u32> {
    json.get(at as usize..).and_then(<[u8]>::first_chunk).map(|word| u32::from_le_bytes(*word))
}

/// Whether a word begins with these bytes.
#[inline(always)]
fn is_front<const N: usize>(word: u32, bytes: [u8; N]) -> bool {
    let (mut front, mut mask) = ([0; 4], [0; 4]);
    for ((front, mask), byte) in front.iter_mut().zip(&mut mask).zip(bytes) {
        (*front, *mask) = (byte, u8::MAX);
    }
    word & u32::from_le_bytes(mask) == u32::from_le_bytes(front)
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
