//! The way of a pass through a text of one line: from the end of a string to that of the next, and what is between them.
//!
//! Where its strings end is known ([`StringEnds`]), and that they are sound. It gives up at whatever is wrong or unusual, a second member of
//! the same name included: then [`walk`](super::walk) has to look.

use std::hint::cold_path;
use std::ops::Range;

use arrayvec::ArrayVec;

use super::{Bounds, Pass, indices_of};
use crate::found::{Hit, Hits, Indices, Kind};
use crate::scan;
use crate::state::{self, NOTHING, ROOT, State, States};
use crate::string_ends::StringEnds;
use crate::vector::{Closing, Ends, Place};

/// How deep a text may nest. Of 20,000 recorded events of thirty providers the deepest nests 12 levels.
const MAX_LEVELS: usize = 15;

/// An array or object that is open.
struct Level<'f> {
    /// What it is.
    state: &'f State,
    /// A bit for each member that is asked for and was there.
    seen: u64,
    /// Position of the current element of an array.
    index: u32,
    /// Which hits it is itself: they wait for its end.
    hits: (u32, u32),
}

/// What there is in a text beside its strings: tells most shapes of texts apart before anybody looks at their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) names: usize,
    /// Numbers and literals.
    pub(crate) scalars: usize,
    /// Arrays and objects.
    pub(crate) containers: usize,
}

/// What a walk needs in its hands.
struct Walk<'w, 'f> {
    json: &'w [u8],
    string_ends: &'w StringEnds,
    bounds: &'w Bounds<'f>,
    states: &'f States,
    hits: &'w mut Hits,
    /// What is open, the innermost one last.
    levels: ArrayVec<Level<'f>, MAX_LEVELS>,
}

/// Walks the whole text. `None` when somebody else has to; what was noted is of no use then. With `COUNTS`, says what there is in it.
pub(super) fn walk<const COUNTS: bool>(pass: &mut Pass, json: &[u8], bounds: &Bounds<'_>) -> Option<()> {
    let Pass { hits, string_ends, counts: counted, .. } = pass;
    let (mut at, mut ends) = Ends::new(json, string_ends)?;
    let states = bounds.fields.states();
    let mut walk = Walk { json, string_ends, bounds, states, hits, levels: ArrayVec::new() };
    let has_escapes = string_ends.has_escapes();
    let mut counts = Counts::default();
    // A bit for each array or object that is open, one if it is an object, the innermost one lowest.
    let mut open: u32 = 0;
    // What the array or object at hand is, or the one that begins next.
    let mut state = states.get(ROOT);
    'containers: loop {
        let (is_object, inside) = match at.after::<b'{'>() {
            Some(inside) => (true, inside),
            None => (false, at.after::<b'['>()?),
        };
        walk.enter(state, at, is_object)?;
        open = open << 1 | u32::from(is_object);
        counts.containers += usize::from(COUNTS);
        at = inside.past_spaces();
        let mut is_empty = matches!(at.byte(), b'}' | b']');
        loop {
            if !is_empty && open & 1 != 0 {
                let endings = state.endings();
                loop {
                    if at.byte() != b'"' {
                        cold_path();
                        at = at.past_spaces();
                        if at.byte() != b'"' {
                            return None;
                        }
                    }
                    let end = ends.next()?;
                    // Names with escapes are somebody else's matter.
                    if has_escapes {
                        cold_path();
                        if walk.is_escaped(at, end) {
                            return None;
                        }
                    }
                    counts.names += usize::from(COUNTS);
                    let mut value = match end.behind().after::<b':'>() {
                        Some(value) => value,
                        None => {
                            cold_path();
                            end.behind().past_spaces().after::<b':'>()?
                        }
                    };
                    let mut wanted = None;
                    if endings >> state::ending(end.before()) & 1 != 0 {
                        wanted = walk.member(state, end)?;
                    }
                    loop {
                        let first = value.byte();
                        if first == b'"' {
                            let end = ends.next()?;
                            at = end.behind();
                            if let Some(wanted) = wanted {
                                walk.string(wanted, value, end)?;
                            }
                        } else if is_opening(first) {
                            (state, at) = (wanted.unwrap_or(states.get(NOTHING)), value);
                            continue 'containers;
                        } else if first == b' ' {
                            cold_path();
                            value = value.past_spaces();
                            continue;
                        } else {
                            at = walk.scalar(wanted, value)?;
                            counts.scalars += usize::from(COUNTS);
                        }
                        break;
                    }
                    match after_comma(at) {
                        Some(next) => at = next,
                        None => break,
                    }
                }
            } else if !is_empty {
                loop {
                    at = at.past_spaces();
                    let wanted = walk.element(state);
                    let first = at.byte();
                    if first == b'"' {
                        let (start, end) = (at, ends.next()?);
                        at = end.behind();
                        if let Some(wanted) = wanted {
                            walk.string(wanted, start, end)?;
                        }
                    } else if is_opening(first) {
                        state = wanted.unwrap_or(states.get(NOTHING));
                        continue 'containers;
                    } else {
                        at = walk.scalar(wanted, at)?;
                        counts.scalars += usize::from(COUNTS);
                    }
                    match after_comma(at) {
                        Some(next) => at = next,
                        None => break,
                    }
                    walk.count();
                }
            }
            // A bracket ends the innermost array or object, and perhaps those around it.
            loop {
                let bracket = if open & 1 != 0 { b'}' } else { b']' };
                if at.byte() != bracket {
                    cold_path();
                    at = at.past_spaces();
                    if at.byte() != bracket {
                        return None;
                    }
                }
                walk.leave(at)?;
                open >>= 1;
                let Some(outer) = walk.levels.last() else {
                    if COUNTS {
                        *counted = counts;
                    }
                    return ends.behind(at).is_none().then_some(());
                };
                state = outer.state;
                at = ends.behind(at)?;
                if let Some(next) = after_comma(at) {
                    at = next;
                    break;
                }
            }
            is_empty = false;
            if open & 1 == 0 {
                walk.count();
            }
        }
    }
}

/// What follows a comma, if there is one.
#[inline(always)]
fn after_comma(at: Place<'_>) -> Option<Place<'_>> {
    match at.after::<b','>() {
        Some(next) => Some(next),
        None if at.byte() == b' ' => {
            cold_path();
            at.past_spaces().after::<b','>()
        }
        None => None,
    }
}

impl<'w, 'f> Walk<'w, 'f> {
    /// An array or object begins.
    #[inline(always)]
    fn enter(&mut self, state: &'f State, at: Place<'_>, is_object: bool) -> Option<()> {
        if self.levels.len() >= self.bounds.max_depth {
            return None;
        }
        let hits = if state.fields.is_empty() { (0, 0) } else { self.container(state, at, is_object)? };
        self.levels.try_push(Level { state, seen: 0, index: 0, hits }).ok()
    }

    /// Notes an array or object that is asked for.
    #[inline(never)]
    fn container(&mut self, state: &State, at: Place<'_>, is_object: bool) -> Option<(u32, u32)> {
        let (at, first) = (at.index(self.json), self.hits.all.len());
        self.note(state, at, at, if is_object { Kind::Object } else { Kind::Array })?;
        Some((u32::try_from(first).ok()?, u32::try_from(self.hits.all.len()).ok()?))
    }

    /// The innermost array or object ends with the bracket at `at`.
    #[inline(always)]
    fn leave(&mut self, at: Place<'_>) -> Option<()> {
        let Level { hits: (first, behind), .. } = self.levels.pop()?;
        if first != behind {
            let end = at.index(self.json) + 1;
            for hit in self.hits.all.get_mut(first as usize..behind as usize).unwrap_or_default() {
                hit.end = end;
            }
        }
        Some(())
    }

    /// What a member of the innermost object is that may be asked for, by the end of its name.
    #[inline(never)]
    fn member(&mut self, object: &'f State, end: Closing<'_>) -> Option<Option<&'f State>> {
        let found = object.member_before(self.json, end.place().index(self.json), end.before());
        let Some(member) = found else { return Some(None) };
        let seen = &mut self.levels.last_mut()?.seen;
        // There was one of that name, or nobody would know.
        if *seen & member.bit != 0 || member.bit == 0 {
            return None;
        }
        *seen |= member.bit;
        Some(Some(self.states.get(member.state)))
    }

    /// Whether there is an escape in the string that begins and ends there.
    #[inline(always)]
    fn is_escaped(&self, start: Place<'w>, end: Closing<'w>) -> bool {
        let string = start.index(self.json)..end.place().index(self.json);
        self.string_ends.may_have_escapes(&string) && self.has_backslash(string)
    }

    #[cold]
    #[inline(never)]
    fn has_backslash(&self, string: Range<usize>) -> bool {
        self.json.get(string).is_none_or(scan::has_backslash)
    }

    /// A string that may be asked for.
    #[inline(never)]
    fn string(&mut self, wanted: &State, start: Place<'w>, end: Closing<'w>) -> Option<()> {
        if wanted.fields.is_empty() {
            return Some(());
        }
        let kind = if self.is_escaped(start, end) { Kind::EscapedStr } else { Kind::PlainStr };
        self.note(wanted, start.index(self.json), end.place().index(self.json) + 1, kind)
    }

    /// A number or literal, which may be asked for. What is behind it.
    #[inline(always)]
    fn scalar(&mut self, wanted: Option<&State>, start: Place<'w>) -> Option<Place<'w>> {
        let (end, kind) = match start.byte() {
            b'n' => (start.after::<b'n'>()?.after::<b'u'>()?.after::<b'l'>()?.after::<b'l'>()?, Kind::Null),
            b't' => (start.after::<b't'>()?.after::<b'r'>()?.after::<b'u'>()?.after::<b'e'>()?, Kind::True),
            b'f' => {
                let end = start.after::<b'f'>()?.after::<b'a'>()?.after::<b'l'>()?;
                (end.after::<b's'>()?.after::<b'e'>()?, Kind::False)
            }
            b'-' | b'0'..=b'9' => (self.number_end(start)?, Kind::Number),
            _ => return None,
        };
        match wanted {
            Some(state) if !state.fields.is_empty() => {
                self.note(state, start.index(self.json), end.index(self.json), kind)?;
            }
            _ => {}
        }
        Some(end)
    }

    #[inline(always)]
    fn number_end(&self, start: Place<'w>) -> Option<Place<'w>> {
        // Most are one digit alone.
        match start.after_digit() {
            Some(end) if matches!(end.byte(), b',' | b'}' | b']') => Some(end),
            _ => self.long_number_end(start),
        }
    }

    #[inline(never)]
    fn long_number_end(&self, start: Place<'w>) -> Option<Place<'w>> {
        Place::new(self.json, scan::number(self.json, start.index(self.json)).ok()?)
    }

    /// The innermost array has one element more.
    #[inline(always)]
    fn count(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.index = level.index.saturating_add(1);
        }
    }

    /// What the current element of the innermost array is.
    #[inline(always)]
    fn element(&self, array: &State) -> Option<&'f State> {
        if array.number == NOTHING {
            return None;
        }
        let element = array.element(self.levels.last()?.index);
        (element != NOTHING).then(|| self.states.get(element))
    }

    /// Notes a value for every field that it is.
    #[inline(never)]
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
            let index = |depth: usize| self.levels.get(depth).map(|array| array.index);
            let indices = indices_of(&self.bounds.fields.field(field).wildcard_depths, index);
            self.hits.add(Hit { start, end, field, indices, kind, holes_before: 0, holes_until: 0 });
        }
        Some(())
    }
}

#[inline(always)]
fn is_opening(byte: u8) -> bool {
    // The bit 0x20 makes brackets braces, and nothing else.
    byte | 0x20 == b'{'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fields;
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

    /// What there is in a text that was drawn, by its outline, and how many strings.
    fn counted(json: &str, outline: &Outline) -> (Counts, usize) {
        let bytes = outline.places().iter().map(|place| json.as_bytes()[*place as usize]);
        let count = |wanted: &str| bytes.clone().filter(|byte| wanted.as_bytes().contains(byte)).count();
        let (tokens, quotes, marks) = (outline.places().len(), count("\""), count("{}[]:,"));
        let scalars = tokens - quotes - marks;
        (Counts { names: count(":"), scalars, containers: count("{[") }, quotes / 2)
    }

    /// Whether a text is walked through, as a text and as a line. What is walked through has to be what the outline's walk says it is.
    fn is_walked(fields: &Fields, json: &str) -> bool {
        let bounds = Bounds { fields, max_depth: 12, max_matches: 12, has_tokens: false };
        let (mut pass, mut oracle) = (Pass::default(), Pass::default());
        let is_sound =
            oracle.draw(json.as_bytes(), bounds).is_ok() && oracle.run(json.as_bytes(), bounds).is_ok();
        let counts = |pass: &mut Pass| {
            let is_walked = pass.run_by_ends::<true>(json.as_bytes(), bounds);
            is_walked.then(|| (pass.counts, pass.string_ends.strings()))
        };
        let walked = if pass.string_ends.draw(json.as_bytes()) { counts(&mut pass) } else { None };
        if let Some(counts) = walked {
            assert!(is_sound, "{json}");
            assert_eq!(found(&pass.hits), found(&oracle.hits), "{json}");
            assert_eq!(counts, counted(json, &oracle.outline), "{json}");
        }
        for behind in ["\n", "\r\n: next"] {
            let line = [json, behind].concat();
            let length = pass.string_ends.draw_line(line.as_bytes());
            let as_line = if length == Some(json.len()) { counts(&mut pass) } else { None };
            assert_eq!(as_line, walked, "{json}");
            if as_line.is_some() {
                assert_eq!(found(&pass.hits), found(&oracle.hits), "{json}");
            }
        }
        assert!(pass.string_ends.draw_line(json.as_bytes()).is_none_or(|length| length < json.len()));
        walked.is_some()
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
        r#"{"c":["x"],"u":["y","z"],"deep":["a",["b",[["c"]]]]}"#,
        r#"{"c":[1,"x"]}"#,
        r#"{ "c" : [ {"index": 0, "d": {"t": "a \"b\" ", "f" :null} }  ] , "use": null, "u": [ 1 , "x",2 ,[ ] , { } ] }"#,
        "[0]",
        "{}",
        "[]",
    ];

    /// Texts that lie among the blocks in all ways.
    #[test]
    fn what_is_of_one_line_is_walked_through() {
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
            " {}",
            "[1\t]",
            "{\"a\":\n1}",
            "{} ",
            "{}{}",
            "{},",
            "[],[]",
            r#"{"s":1,"s":2}"#,
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
