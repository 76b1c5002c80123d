//! The way of a pass through a text: from token to token, and in step with that from state to state.
//!
//! What it notes on the way, and how, is the pass's own matter.

use std::ops::Range;

use memchr::memchr;

use super::{Bounds, Pass, Stop};
use crate::found::Kind;
use crate::outline::Outline;
use crate::pattern::Content;
use crate::scan;
use crate::state::{NOTHING, ROOT, State};
use crate::vector::Tokens;

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
        let Some(mut tokens) = Tokens::new(json, outline) else { return Err(Stop::NoJson) };
        // Of the innermost array or object: its bracket, 0 outside of all, and what it is.
        let (mut closing, mut container) = (0, states.get(NOTHING));
        // What the value to come is.
        let mut wanted = states.get(ROOT);
        'values: loop {
            let Some(group) = tokens.group() else { return Err(Stop::NoJson) };
            let start = group.place::<0>();
            let byte = group.byte::<0>();
            if byte == b'"' {
                // Quotes come in pairs. Whatever follows is a token.
                let quote = group.place::<1>();
                if TOKENS {
                    self.token(start + 1, quote, Content::Text);
                }
                if !wanted.fields.is_empty() {
                    let string = start..quote + 1;
                    let is_escaped = outline.may_have_escapes(&string) && has_backslash(json, string);
                    let kind = if is_escaped { Kind::EscapedStr } else { Kind::PlainStr };
                    self.note(wanted, start, quote + 1, kind, &bounds)?;
                }
                tokens = group.after::<2>();
            } else if let b'{' | b'[' = byte {
                // It ends with its bracket below, unless it is empty.
                container = wanted;
                // The brackets' codes differ by two.
                closing = byte + 2;
                self.open(container, start, closing, bounds)?;
                tokens = group.after::<1>();
                if group.byte::<1>() != closing {
                    if byte == b'{' {
                        let member = self.member::<TOKENS>(json, container, tokens, outline, bounds);
                        let Some(member) = member else { return Err(Stop::NoJson) };
                        (wanted, tokens) = member;
                    } else {
                        wanted = states.get(container.element(0));
                    }
                    continue;
                }
            } else {
                let word = |word, end, kind| (word, (end, kind));
                let (is_one, (end, kind)) = match byte {
                    b'n' => word(scan::is_word(json, start, b"null"), start + 4, Kind::Null),
                    b't' => word(scan::is_word(json, start, b"true"), start + 4, Kind::True),
                    b'f' => word(scan::is_word(json, start, b"false"), start + 5, Kind::False),
                    b'-' | b'0'..=b'9' => match scan::number_end(json, start) {
                        Some(end) => word(true, end, Kind::Number),
                        None => return Err(Stop::NoJson),
                    },
                    _ => return Err(Stop::NoJson),
                };
                // The rest of what is no token may not follow: only white space may, or the next token.
                if !is_one || end != group.place::<1>() && !scan::is_space_or_end(json, end) {
                    return Err(Stop::NoJson);
                }
                if TOKENS && kind == Kind::Number {
                    self.token(start, end, Content::Number);
                }
                if !wanted.fields.is_empty() {
                    self.note(wanted, start, end, kind, &bounds)?;
                }
                tokens = group.after::<1>();
            }
            loop {
                let Some(group) = tokens.group() else {
                    return if self.stack.is_empty() { Ok(()) } else { Err(Stop::NoJson) };
                };
                let byte = group.byte::<0>();
                tokens = group.after::<1>();
                if byte == b',' {
                    if closing == b'}' {
                        let member = self.member::<TOKENS>(json, container, tokens, outline, bounds);
                        let Some(member) = member else { return Err(Stop::NoJson) };
                        (wanted, tokens) = member;
                        continue 'values;
                    }
                    let Some(array) = self.stack.last_mut() else { return Err(Stop::NoJson) };
                    array.index = array.index.saturating_add(1);
                    wanted = states.get(container.element(array.index));
                    continue 'values;
                }
                if byte != closing {
                    return Err(Stop::NoJson);
                }
                self.close::<TOKENS>(json, group.place::<0>());
                let outer = self.stack.last();
                closing = outer.map_or(0, |outer| outer.closing);
                container = states.get(outer.map_or(NOTHING, |outer| outer.state));
            }
        }
    }

    /// The next member of `object` that has to be looked at: what its value is, which comes next. `None` if there is none.
    ///
    /// Passes over members that nobody asks for, as long as they are strings, numbers or `null` with no white space around and another
    /// member behind: what is between their strings is compared as one word.
    #[inline(always)]
    fn member<'f, 't, const TOKENS: bool>(
        &mut self,
        json: &[u8],
        object: &State,
        mut tokens: Tokens<'t>,
        outline: &Outline,
        bounds: Bounds<'f>,
    ) -> Option<(&'f State, Tokens<'t>)> {
        if tokens.group()?.byte::<0>() != b'"' {
            return None;
        }
        // A string's are the quotes of its name, a colon, its own quotes, a comma, the next quote; all else is one token less.
        while let Some(member) = tokens.whole() {
            let (group, before_value) = (member.group(), member.word::<1>());
            let name = group.place::<0>() + 1..group.place::<1>();
            if outline.may_have_escapes(&name) {
                break;
            }
            if object.may_have(name.end - name.start, member.second_byte()) {
                if !is_front(before_value, *b"\":") {
                    break;
                }
                let state = self.begin_member(object.likely_member(json, name), bounds);
                return Some((state, group.after::<3>()));
            }
            let after_value = member.word::<4>();
            if is_front(before_value, *b"\":\"") {
                if !is_front(after_value, *b"\",\"") {
                    break;
                }
                if TOKENS {
                    self.token(group.place::<3>() + 1, group.place::<4>(), Content::Text);
                }
                tokens = group.after::<6>();
            } else {
                if !is_front(before_value, *b"\":") || !is_front(after_value, *b",\"") {
                    break;
                }
                let (start, end) = (group.place::<3>(), group.place::<4>());
                let is_number = matches!(group.byte::<3>(), b'-' | b'0'..=b'9')
                    && scan::number_end(json, start) == Some(end);
                let is_null = scan::is_word(json, start, b"null") && end == start + 4;
                if !(is_number || is_null) {
                    break;
                }
                if TOKENS && is_number {
                    self.token(start, end, Content::Number);
                }
                tokens = group.after::<5>();
            }
        }
        let group = tokens.group()?;
        if group.byte::<2>() != b':' {
            return None;
        }
        let name = group.place::<0>() + 1..group.place::<1>();
        let member = match outline.may_have_escapes(&name) {
            false => object.member(json, name),
            true => object.any_member(json, name),
        };
        Some((self.begin_member(member, bounds), group.after::<3>()))
    }

    /// What the value of a member is that is asked for, or [`NOTHING`].
    #[inline(always)]
    fn begin_member<'f>(&mut self, member: u32, bounds: Bounds<'f>) -> &'f State {
        if member != NOTHING {
            self.supersede(member, bounds.fields);
        }
        bounds.fields.states().get(member)
    }
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
