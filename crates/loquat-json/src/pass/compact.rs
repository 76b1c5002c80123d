//! The way of a pass through a text without white space: from landmark to landmark, over all strings that nobody asks for.
//!
//! What of the grammar is a matter of neighbours has been checked when the landmarks were found ([`Compact`]), but for what stands
//! around brackets. It gives up at whatever is wrong or unusual, a second member of the same name included: then
//! [`walk`](super::walk) has to look.

use super::{Bounds, Pass, indices_of};
use crate::compact::Compact;
use crate::found::{Hit, Hits, Indices, Kind};
use crate::scan;
use crate::state::{self, NOTHING, ROOT, State};
use crate::vector::{Colon, Cursor, Opening, Place};

/// How deep a text may nest. Of 20,000 recorded events of thirty providers the deepest nests 12 levels.
const MAX_LEVELS: usize = 16;

/// An array or object that is open.
#[derive(Default, Clone)]
pub(super) struct Level {
    /// What it is.
    state: u32,
    /// Position of the current element of an array.
    index: u32,
    /// What names of its members end with that are asked for.
    endings: u64,
    /// A bit for each member that is asked for and was there.
    seen: u64,
    /// Which hits it is itself: they wait for its end.
    hits: (u32, u32),
}

/// What a walk needs in its hands.
struct Walk<'w, 'f> {
    json: &'w [u8],
    compact: &'w Compact,
    bounds: &'w Bounds<'f>,
    hits: &'w mut Hits,
    /// What is open, the first one outside of all.
    levels: &'w mut [Level; MAX_LEVELS],
}

/// Walks the whole text. `None` when somebody else has to; what was noted is of no use then.
pub(super) fn walk(pass: &mut Pass, json: &[u8], bounds: &Bounds<'_>) -> Option<()> {
    let Pass { hits, levels, compact, .. } = pass;
    let (mut opening, mut places) = Cursor::new(json, compact)?;
    if levels.len() < MAX_LEVELS {
        levels.resize(MAX_LEVELS, Level::default());
    }
    let levels = levels.first_chunk_mut()?;
    let mut walk = Walk { json, compact, bounds, hits, levels };
    let max_depth = bounds.max_depth.min(MAX_LEVELS - 1);
    // A bit for each array or object that is open, one if it is an object, the innermost one lowest.
    let mut open: u32 = 0;
    let mut depth = 0;
    // What the opening bracket opens.
    let mut wanted = ROOT;
    'brackets: loop {
        if depth >= max_depth {
            return None;
        }
        depth += 1;
        open = open << 1 | u32::from(opening.is_object());
        let mut endings = walk.enter(depth, opening, wanted)?;
        loop {
            let place = places.next()?;
            if let Some(colon) = place.colon() {
                // Before it there is a name.
                if open & 1 == 0 {
                    return None;
                }
                wanted = NOTHING;
                if endings >> state::ending(colon.ending()) & 1 != 0 {
                    wanted = walk.member(depth, colon)?;
                }
                match colon.after() {
                    b'"' => {}
                    b'{' | b'[' => {
                        opening = places.next()?.opening()?;
                        continue 'brackets;
                    }
                    // One that is asked for has been seen.
                    _ if wanted == NOTHING => {
                        scalar(json, colon.place().index(json) + 1)?;
                    }
                    _ => {}
                }
                continue;
            }
            let byte = place.byte();
            if let b'}' | b']' = byte {
                if (open & 1 != 0) != (byte == b'}') || place.before() == b',' {
                    return None;
                }
                walk.leave(depth, place);
                open >>= 1;
                depth -= 1;
                let after = place.index(json) + 1;
                if depth == 0 {
                    return (after == json.len()).then_some(());
                }
                if !is_value_end(*json.get(after)?) {
                    return None;
                }
                endings = walk.level(depth).endings;
                continue;
            }
            // An element of an array, or what is in the place of one.
            if open & 1 != 0 {
                return None;
            }
            match place.opening() {
                Some(element) => {
                    (opening, wanted) = (element, walk.element(depth, place)?);
                    continue 'brackets;
                }
                None => walk.plain_element(depth, place)?,
            }
        }
    }
}

impl<'f> Walk<'_, 'f> {
    #[inline(always)]
    fn level(&mut self, depth: usize) -> &mut Level {
        &mut self.levels[depth % MAX_LEVELS]
    }

    #[inline(always)]
    fn state(&self, number: u32) -> &'f State {
        self.bounds.fields.states().get(number)
    }

    /// An array or object begins. What names of its members end with that are asked for.
    #[inline(always)]
    fn enter(&mut self, depth: usize, opening: Opening<'_>, wanted: u32) -> Option<u64> {
        let (is_object, next) = (opening.is_object(), opening.after());
        let mut level = Level { state: wanted, ..Level::default() };
        if wanted != NOTHING {
            let state = self.state(wanted);
            level.endings = state.endings();
            if !state.fields.is_empty() {
                level.hits = self.container(state, opening)?;
            }
        }
        let endings = level.endings;
        *self.level(depth) = level;
        match next {
            b'"' => {}
            b'}' if is_object => {}
            b']' | b'{' | b'[' if !is_object => {}
            _ if is_object => return None,
            _ => self.first_element(depth, opening.index(self.json) + 1)?,
        }
        Some(endings)
    }

    /// Notes an array or object that is asked for.
    #[inline(never)]
    fn container(&mut self, state: &State, opening: Opening<'_>) -> Option<(u32, u32)> {
        let (at, first) = (opening.index(self.json), self.hits.all.len());
        self.note(state, at, at, if opening.is_object() { Kind::Object } else { Kind::Array })?;
        Some((u32::try_from(first).ok()?, u32::try_from(self.hits.all.len()).ok()?))
    }

    /// The innermost array or object ends.
    #[inline(always)]
    fn leave(&mut self, depth: usize, place: Place<'_>) {
        let (first, behind) = self.level(depth).hits;
        if first != behind {
            let end = place.index(self.json) + 1;
            for hit in self.hits.all.get_mut(first as usize..behind as usize).unwrap_or_default() {
                hit.end = end;
            }
        }
    }

    /// A member that may be asked for, and its value if that is no array or object. What it is.
    #[inline(never)]
    fn member(&mut self, depth: usize, colon: Colon<'_>) -> Option<u32> {
        let at = colon.place().index(self.json);
        let object = self.level(depth).state;
        let Some((number, member)) = self.state(object).member_before(self.json, at - 1, colon.ending())
        else {
            return Some(NOTHING);
        };
        let seen = &mut self.level(depth).seen;
        let bit = 1_u64.checked_shl(u32::try_from(number).ok()?)?;
        // There was one of that name.
        if *seen & bit != 0 {
            return None;
        }
        *seen |= bit;
        let (state, start) = (self.state(member), at + 1);
        match colon.after() {
            b'{' | b'[' => {}
            b'"' => {
                if !state.fields.is_empty() {
                    let end = self.compact.closing(start)? + 1;
                    let is_escaped = self.compact.may_have_escapes(&(start..end))
                        && scan::has_backslash(self.json.get(start..end)?);
                    self.note(state, start, end, if is_escaped { Kind::EscapedStr } else { Kind::PlainStr })?;
                }
            }
            _ => {
                let (end, kind) = scalar(self.json, start)?;
                if !state.fields.is_empty() {
                    self.note(state, start, end, kind)?;
                }
            }
        }
        Some(member)
    }

    /// What the array or object at a place is that is an element of the innermost array.
    #[inline(never)]
    fn element(&mut self, depth: usize, place: Place<'_>) -> Option<u32> {
        match place.before() {
            b',' => self.count(depth),
            b'[' => {}
            _ => return None,
        }
        Some(self.next_element(depth))
    }

    /// An element of the innermost array that follows a comma, and is no array or object.
    #[inline(never)]
    fn plain_element(&mut self, depth: usize, place: Place<'_>) -> Option<()> {
        if place.byte() == b'"' {
            // A string's closing quote. How many there are is not counted.
            let array = self.level(depth).state;
            return (!self.state(array).has_elements()).then_some(());
        }
        self.count(depth);
        self.first_element(depth, place.index(self.json))
    }

    /// A number or literal that is an element of the innermost array.
    #[inline(never)]
    fn first_element(&mut self, depth: usize, at: usize) -> Option<()> {
        let (end, kind) = scalar(self.json, at)?;
        let element = self.next_element(depth);
        let state = self.state(element);
        if !state.fields.is_empty() {
            self.note(state, at, end, kind)?;
        }
        Some(())
    }

    /// The innermost array has one element more.
    #[inline(always)]
    fn count(&mut self, depth: usize) {
        let index = &mut self.level(depth).index;
        *index = index.saturating_add(1);
    }

    /// What the innermost array's current element is.
    #[inline(always)]
    fn next_element(&mut self, depth: usize) -> u32 {
        let (state, index) = (self.level(depth).state, self.level(depth).index);
        if state == NOTHING { NOTHING } else { self.state(state).element(index) }
    }

    /// Notes a value for every field that it is.
    #[inline(always)]
    fn note(&mut self, state: &State, start: usize, end: usize, kind: Kind) -> Option<()> {
        let Some(field) = state.plain else { return self.note_all(state, start, end, kind) };
        if self.hits.all.len() >= self.bounds.max_matches {
            return None;
        }
        let indices = Indices::default();
        self.hits.add(Hit { start, end, field, indices, kind, holes_before: 0, holes_until: 0 });
        Some(())
    }

    #[inline(never)]
    fn note_all(&mut self, state: &State, start: usize, end: usize, kind: Kind) -> Option<()> {
        for &field in &state.fields {
            if self.hits.all.len() >= self.bounds.max_matches {
                return None;
            }
            // The document is at no level, and what is at the first one is in it.
            let index = |depth: usize| self.levels.get(depth + 1).map(|array| array.index);
            let indices = indices_of(&self.bounds.fields.field(field).wildcard_depths, index);
            self.hits.add(Hit { start, end, field, indices, kind, holes_before: 0, holes_until: 0 });
        }
        Some(())
    }
}

/// Where the number or literal ends that begins there and is in an array or object, and what it is.
#[inline(always)]
fn scalar(json: &[u8], at: usize) -> Option<(usize, Kind)> {
    let (end, kind) = match *json.get(at)? {
        b'n' if scan::is_word(json, at, b"null") => (at + 4, Kind::Null),
        b't' if scan::is_word(json, at, b"true") => (at + 4, Kind::True),
        b'f' if scan::is_word(json, at, b"false") => (at + 5, Kind::False),
        b'-' | b'0'..=b'9' => (scan::number_end(json, at)?, Kind::Number),
        _ => return None,
    };
    is_value_end(*json.get(end)?).then_some((end, kind))
}

/// What may follow a value that is in an array or object.
#[inline(always)]
fn is_value_end(byte: u8) -> bool {
    matches!(byte, b',' | b'}' | b']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fields;
    use crate::compact::Counts;
    use crate::outline::Outline;
    use crate::pass::Bounds;
    use crate::vector::BLOCK;

    const FIELDS: &[&str] = &[
        // Written with escapes, they are in no text as they are here.
        "/x\",\"s",
        "/a long name it is\",\"s",
        "/t\":1,\"s",
        "/c/0/d/t",
        "/c/*/d/t",
        "/c/*/f",
        "/c",
        "/c/*/n/*/*",
        "/use",
        "/use/total_tokens",
        "/a name of more than sixteen bytes",
        "/s",
        "/s",
        "/",
        "/u/1",
        "/deep/*/*/*/*",
    ];

    /// What a way of looking finds: every hit, and what is known of all.
    fn found(hits: &Hits) -> (Vec<String>, String) {
        let live = hits.all.iter().filter(|hit| hit.kind != Kind::Superseded);
        let found = live.map(|hit| {
            let (place, kind) = (hit.start..hit.end, hit.kind as u8);
            format!("{} {place:?} {kind} {:?}", hit.field, hit.indices)
        });
        (found.collect(), format!("{:?}", hits.known()))
    }

    /// What there is in a text that was drawn, by its outline.
    fn counted(json: &str, outline: &Outline) -> Counts {
        let bytes = outline.places().iter().map(|place| json.as_bytes()[*place as usize]);
        let count = |wanted: &str| bytes.clone().filter(|byte| wanted.as_bytes().contains(byte)).count();
        let (tokens, quotes, marks) = (outline.places().len(), count("\""), count("{}[]:,"));
        let names = count(":");
        Counts { tokens, strings: quotes / 2 - names, names, scalars: tokens - quotes - marks }
    }

    /// Whether a text is walked through, as a text and as a line. What is walked through has to be what the outline's walk says it is.
    fn is_walked(fields: &Fields, json: &str) -> bool {
        let bounds = Bounds { fields, max_depth: 12, max_matches: 12, has_tokens: false };
        let (mut pass, mut oracle) = (Pass::default(), Pass::default());
        let is_sound =
            oracle.draw(json.as_bytes(), bounds).is_ok() && oracle.run(json.as_bytes(), bounds).is_ok();
        let is_walked =
            pass.compact.draw::<true>(json.as_bytes()) && pass.run_compact(json.as_bytes(), bounds);
        if is_walked {
            assert!(is_sound, "{json}");
            assert_eq!(found(&pass.hits), found(&oracle.hits), "{json}");
            assert_eq!(pass.compact.counts(), counted(json, &oracle.outline), "{json}");
        }
        for behind in ["\n", "\r\n: next"] {
            let line = [json, behind].concat();
            let length = pass.compact.draw_line::<true>(line.as_bytes()).map(|(length, _)| length);
            let is_line = length == Some(json.len()) && pass.run_compact(json.as_bytes(), bounds);
            assert_eq!(is_line, is_walked, "{json}");
            if is_line {
                assert_eq!(found(&pass.hits), found(&oracle.hits), "{json}");
                assert_eq!(pass.compact.counts(), counted(json, &oracle.outline), "{json}");
            }
        }
        assert!(
            pass.compact.draw_line::<false>(json.as_bytes()).is_none_or(|(length, _)| length < json.len())
        );
        is_walked
    }

    const TEXTS: &[&str] = &[
        r#"{"id":"x","c":[{"index":0,"d":{"t":"a\"b\\"},"f":null}],"use":null}"#,
        r#"{"c":[{"d":{"t":""},"n":[[1,-2.5e3],[],[true,false]]},{"f":12,"d":{}}],"s":"\u00e9é枇"}"#,
        r#"{"c":[],"a name of more than sixteen bytes":[1,{"x":["y","z"]},"w"],"use":{"total_tokens":1234567890123456789}}"#,
        r#"[{"a":1},[2,3,"s"],"{[,:]}",{}]"#,
        r#"{"":0,"s":{"a":[[[["x"]]]]},"total_tokens":1,"ab":"c:\"","c":{"d":"\\"}}"#,
        r#"{"u":[1,2],"deep":[[[[1,2],[3]],[]],[[[[4]]]]],"s":[1]}"#,
        r#"{"c":[1,{"f":[0]},{"f":{"c":2}}],"s":"\ud83c\udf4a","t":"t"}"#,
        r#"{"c":"x","s":1,"u":[{"t":1,"s":2}],"x":"a long name it is","t":1}"#,
        r#"{"c":"a long name it is","s":1}"#,
        r#"{"t":1,"s":2}"#,
        "[0]",
    ];

    /// Texts that lie among the blocks in all ways.
    #[test]
    fn what_has_no_white_space_is_walked_through() {
        let fields = Fields::compile(FIELDS).unwrap();
        for text in TEXTS {
            for before in (0..=2 * BLOCK).step_by(if cfg!(miri) { 43 } else { 1 }) {
                assert!(is_walked(&fields, text), "{text}");
                let padded = format!(r#"{{"p":"{}","s":{text}}}"#, "x".repeat(before));
                assert!(is_walked(&fields, &padded), "{padded}");
                let padded = format!(r#"[{}{text}]"#, "12,".repeat(before));
                assert!(is_walked(&fields, &padded), "{padded}");
            }
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_others() {
        let fields = Fields::compile(FIELDS).unwrap();
        for text in [
            "",
            "{}",
            "[]",
            " ",
            "1",
            r#""x""#,
            "null",
            "{",
            "[",
            "}",
            "]",
            ":",
            ",",
            r#"{"a": 1}"#,
            "[1 ]",
            " {}",
            "{} ",
            "{}{}",
            "{},",
            "[],[]",
            r#"{"s":1,"s":2}"#,
            r#"{"c":["x"]}"#,
            r#"{"c":[1,"x"]}"#,
            r#"{"\u0073":1}"#,
            "[[[[[[[[[[[[[]]]]]]]]]]]]]",
            r#"{"c":[{"f":1},{"f":1},{"f":1},{"f":1},{"f":1},{"f":1},{"f":1},{"f":1},{"f":1},{"f":1},{"f":1},{"f":1}]}"#,
        ] {
            assert!(!is_walked(&fields, text), "{text}");
        }
        let long = format!(r#"{{"s":"{}"}}"#, "x".repeat(20_000));
        assert!(!is_walked(&fields, &long));
    }

    /// Every byte of a text replaced by each that matters, left out, and doubled; and two of them, at random.
    #[test]
    fn what_is_changed_is_found_to_be_what_it_is() {
        const BYTES: &str = "\"{}[]:,\\ 0-.enu\ttx\né";
        let fields = Fields::compile(FIELDS).unwrap();
        let mut random = 1_usize;
        let mut below = |limit: usize| {
            random = random.wrapping_mul(0x915f_77f5).wrapping_add(0x3039).rotate_left(7);
            (random >> 8) % limit
        };
        let mut walked = 0;
        for text in TEXTS {
            for before in if cfg!(miri) { vec![0] } else { vec![0, 17, 60] } {
                let text = format!(r#"{{"p":"{}","q":{text}}}"#, "x".repeat(before));
                let characters: Vec<char> = text.chars().collect();
                let changed = |at: usize, with: &[char]| -> String {
                    let (start, end) = characters.split_at(at);
                    start.iter().chain(with).chain(end.iter().skip(1)).collect()
                };
                for at in (0..characters.len()).step_by(if cfg!(miri) { 11 } else { 1 }) {
                    let same = characters[at];
                    for byte in BYTES.chars() {
                        walked += usize::from(is_walked(&fields, &changed(at, &[byte])));
                        walked += usize::from(is_walked(&fields, &changed(at, &[same, byte])));
                    }
                    walked += usize::from(is_walked(&fields, &changed(at, &[])));
                    walked += usize::from(is_walked(&fields, &changed(at, &[same, same])));
                    if cfg!(miri) {
                        continue;
                    }
                    for _ in 0..40 {
                        let mut twice: Vec<char> = characters.clone();
                        for _ in 0..2 {
                            let (from, to) = (below(characters.len()), below(characters.len()));
                            twice[to] = if below(2) == 0 {
                                characters[from]
                            } else {
                                BYTES.chars().nth(below(16)).unwrap()
                            };
                        }
                        walked += usize::from(is_walked(&fields, &twice.into_iter().collect::<String>()));
                    }
                }
            }
        }
        assert!(walked > 500, "{walked} only");
    }
}
