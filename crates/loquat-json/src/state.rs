//! What a value may be to a set of pointers, one number for all of it: the tree of pointers made deterministic.
//!
//! A value can be several nodes of the tree at once: the first element of an array is what `/0` and what `/*` lead to. The sets of
//! nodes that occur together are known once the pointers are, so that a pass goes from one state to the next without a set in
//! its hands.

use std::collections::HashMap;
use std::ops::Range;

use crate::escape;
use crate::pointer::array_index;
use crate::scan;

/// A value that no pointer leads to or through, nor to anything in it.
pub(crate) const NOTHING: u32 = 0;

/// The whole document.
pub(crate) const ROOT: u32 = 1;

/// Numbers that names, or what they end with, are told apart by: a bit of a word for each.
const HINTS: usize = 64;

/// States there may be. A set of pointers has about as many as their tokens are; only indices beside wildcards, at many depths and
/// in many pointers, make more.
const MAX_STATES: usize = 16 * 1024;

/// All states of a set of pointers; a state is known by its place.
#[derive(Default)]
pub(crate) struct States {
    all: Vec<State>,
}

/// What a value may be.
pub(crate) struct State {
    /// Its own number.
    pub(crate) number: u32,
    /// The nodes of the tree that it is at once, in order.
    pub(crate) nodes: Vec<usize>,
    /// The fields that it is a value of.
    pub(crate) fields: Vec<u32>,
    /// The one field that it is a value of, if that is among the first 128 and no wildcard leads to it.
    pub(crate) plain: Option<u32>,
    /// A bit for the [`hint`] of each member's name: tells most members of most documents apart from all of them.
    hints: u64,
    /// A bit for the [`ending`] of each member's name.
    endings: u64,
    members: Vec<Member>,
    /// For each of these.
    names: Vec<Ending>,
    /// By the [`ending`] of a name: the first member with that one.
    firsts: [u8; HINTS],
    /// The elements that are asked for by their index.
    elements: Vec<(u32, u32)>,
    /// What every other element is.
    others: u32,
}

struct Member {
    /// See [`head`].
    head: u64,
    /// The last eight bytes of a name that has as many.
    tail: u64,
    length: usize,
    state: u32,
    name: Box<str>,
}

/// A name that is asked for, and what is compared of it where its end is found first.
pub(crate) struct Ending {
    /// The last eight bytes of a quote and the name, the last one highest, and which of these bytes there are.
    last: u64,
    mask: u64,
    /// The name's first eight bytes, if it has as many, and its length.
    head: u64,
    /// A bit of its own, if it is among the first sixty-four of its object, or none.
    pub(crate) bit: u64,
    length: u32,
    /// What the member is.
    pub(crate) state: u32,
}

/// The tree of pointers, as far as states are made of it.
pub(crate) trait Tree {
    /// The tokens that follow a node's, and their nodes. The root is 0.
    fn children(&self, node: usize) -> &[(Box<str>, usize)];
    /// The fields whose pointer ends at a node.
    fn fields(&self, node: usize) -> &[u32];
    /// Whether a field's pointer has any.
    fn has_wildcards(&self, field: u32) -> bool;
}

impl States {
    /// The states of a tree. `None` when there are too many.
    pub(crate) fn of(tree: &impl Tree) -> Option<Self> {
        let mut numbers = Numbers::default();
        numbers.of(Vec::new());
        numbers.of(vec![0]);
        let mut all = Vec::new();
        while let Some(nodes) = numbers.sets.get(all.len()) {
            if all.len() >= MAX_STATES {
                return None;
            }
            let nodes = nodes.clone();
            all.push(State::of(tree, nodes, &mut numbers));
        }
        Some(Self { all })
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// A state by its number.
    #[inline(always)]
    pub(crate) fn get(&self, state: u32) -> &State {
        self.all.get(state as usize).unwrap_or(&NO_STATE)
    }
}

static NO_STATE: State = State::nothing();

/// The sets of nodes met so far, each with its place as the number of its state.
#[derive(Default)]
struct Numbers {
    sets: Vec<Vec<usize>>,
    known: HashMap<Vec<usize>, u32>,
}

impl Numbers {
    fn of(&mut self, nodes: Vec<usize>) -> u32 {
        if let Some(number) = self.known.get(&nodes) {
            return *number;
        }
        let number = u32::try_from(self.sets.len()).unwrap_or(NOTHING);
        self.sets.push(nodes.clone());
        self.known.insert(nodes, number);
        number
    }
}

impl Ending {
    fn of(name: &str, number: usize, state: u32) -> Self {
        let bit = u32::try_from(number).ok().and_then(|number| 1_u64.checked_shl(number)).unwrap_or(0);
        if is_written_with_escapes(name) {
            return Self { last: 1, mask: Self::NEVER, head: 0, bit, length: 0, state };
        }
        let quoted = [b"\"", name.as_bytes()].concat();
        let mut last = [0; 8];
        for (last, byte) in last.iter_mut().rev().zip(quoted.iter().rev()) {
            *last = *byte;
        }
        Self {
            last: u64::from_le_bytes(last),
            mask: u64::MAX << (64 - 8 * quoted.len().min(8)),
            head: name.as_bytes().first_chunk().map_or(0, |head| u64::from_le_bytes(*head)),
            bit,
            length: u32::try_from(name.len()).unwrap_or(u32::MAX),
            state,
        }
    }

    /// The mask of what is no name's ending: names with escapes are not found like this.
    const NEVER: u64 = 0;

    /// A bit for each [`ending`] of a name.
    fn hints(name: &str) -> u64 {
        if is_written_with_escapes(name) {
            return 0;
        }
        match [b"\"", name.as_bytes()].concat().last_chunk() {
            Some(two) => 1 << ending(*two),
            // Anything may stand before the quote of an empty name.
            None => u64::MAX,
        }
    }
}

/// Whether there is no other way to write that name (RFC 8259 §7). What stands in a text with that name's own bytes is something else
/// then, strings and what is between them.
fn is_written_with_escapes(name: &str) -> bool {
    name.bytes().any(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
}

impl State {
    const fn nothing() -> Self {
        Self {
            number: NOTHING,
            nodes: Vec::new(),
            fields: Vec::new(),
            plain: None,
            hints: 0,
            endings: 0,
            members: Vec::new(),
            names: Vec::new(),
            firsts: [0; HINTS],
            elements: Vec::new(),
            others: NOTHING,
        }
    }

    fn of(tree: &impl Tree, nodes: Vec<usize>, numbers: &mut Numbers) -> Self {
        let mut state = Self { number: numbers.of(nodes.clone()), ..Self::nothing() };
        let children: Vec<_> = nodes.iter().flat_map(|node| tree.children(*node)).collect();
        let all_of = |is_wanted: &dyn Fn(&str) -> bool| -> Vec<usize> {
            let wanted = children.iter().filter(|(token, _)| is_wanted(token));
            let mut nodes: Vec<usize> = wanted.map(|(_, node)| *node).collect();
            nodes.sort_unstable();
            nodes
        };
        for (name, _) in &children {
            if state.members.iter().all(|member| member.name != *name) {
                let number = numbers.of(all_of(&|token| *token == **name));
                let first = name.as_bytes().first().copied().unwrap_or(b'"');
                state.hints |= 1 << hint(name.len(), Some(first));
                let hints = Ending::hints(name);
                for (hint, first) in state.firsts.iter_mut().enumerate() {
                    if hints & !state.endings & 1 << hint != 0 {
                        // The first one is as good as any that has no number so high: all are looked at if it is not that one.
                        *first = u8::try_from(state.names.len()).unwrap_or(0);
                    }
                }
                state.endings |= hints;
                state.names.push(Ending::of(name, state.names.len(), number));
                state.members.push(Member {
                    head: head(name.as_bytes()),
                    tail: name.as_bytes().last_chunk().map_or(0, |tail| u64::from_le_bytes(*tail)),
                    length: name.len(),
                    state: number,
                    name: name.clone(),
                });
            }
            if let Some(index) = array_index(name)
                && state.elements.iter().all(|(known, _)| *known != index)
            {
                let number = numbers.of(all_of(&|token| token == "*" || *token == **name));
                state.elements.push((index, number));
            }
        }
        state.others = numbers.of(all_of(&|token| token == "*"));
        state.fields = nodes.iter().flat_map(|node| tree.fields(*node)).copied().collect();
        state.plain = match state.fields[..] {
            [field] if field < u128::BITS && !tree.has_wildcards(field) => Some(field),
            _ => None,
        };
        state.nodes = nodes;
        state
    }

    /// Whether it may have a member that is asked for, by the length of its name and the byte behind the quote before it; there are no
    /// escapes in the name.
    #[inline(always)]
    pub(crate) fn may_have(&self, length: usize, first: u8) -> bool {
        self.hints >> hint(length, Some(first)) & 1 != 0
    }

    /// What a member is, by the place of its name in a text, quotes around it; there are no escapes in it.
    #[inline(always)]
    pub(crate) fn member(&self, json: &[u8], name: Range<usize>) -> u32 {
        let length = name.end.wrapping_sub(name.start);
        let is_possible = self.hints >> hint(length, json.get(name.start).copied()) & 1 != 0;
        if is_possible { self.likely_member(json, name) } else { NOTHING }
    }

    /// [`member`](Self::member) for a name that [`may_have`](Self::may_have) says it of.
    #[inline(never)]
    pub(crate) fn likely_member(&self, json: &[u8], name: Range<usize>) -> u32 {
        let length = name.len();
        let head = match json.get(name.start..).and_then(<[u8]>::first_chunk) {
            // What comes after a short name is shifted out.
            Some(chunk) if length > 0 => u64::from_le_bytes(*chunk) << (64 - 8 * length.min(8)),
            // Calls stand last in this, or it would have to put away what it holds for each name.
            _ => return self.any_length_member(json, name),
        };
        for member in &self.members {
            if member.head == head && member.length == length {
                if length <= 8 {
                    return member.state;
                }
                let tail = json.get(name.end.wrapping_sub(8)..name.end).and_then(<[u8]>::first_chunk);
                if length <= 16 && tail.is_some_and(|tail| u64::from_le_bytes(*tail) == member.tail) {
                    return member.state;
                }
                if length > 16 {
                    return self.any_length_member(json, name);
                }
            }
        }
        NOTHING
    }

    /// A bit for the [`ending`] of the name of each member that is asked for.
    #[inline(always)]
    pub(crate) fn endings(&self) -> u64 {
        self.endings
    }

    /// The member whose name's closing quote is at `end`, if it is asked for; its [`ending`] is that of one that is. There are no escapes
    /// in the name, and something is before its quotes.
    #[inline(always)]
    pub(crate) fn member_before(&self, json: &[u8], end: usize, two: [u8; 2]) -> Option<&Ending> {
        let number = usize::from(self.firsts[ending(two) as usize % HINTS]);
        let name = self.names.get(number)?;
        let last: &[u8; 8] = match json.get(end.wrapping_sub(8)..end).and_then(<[u8]>::first_chunk) {
            Some(last) => last,
            None => return self.any_member_before(json, end),
        };
        // No quote is in this name, and none in one without escapes, so that the one found is where it begins.
        if u64::from_le_bytes(*last) & name.mask == name.last {
            if name.length < 8 {
                return Some(name);
            }
            let start = end.wrapping_sub(name.length as usize);
            let quoted = json.get(start.wrapping_sub(1)..).and_then(<[u8]>::first_chunk::<9>);
            if let Some([b'"', head @ ..]) = quoted
                && u64::from_le_bytes(*head) == name.head
                && name.length <= 16
            {
                return Some(name);
            }
        }
        // Another name may have that ending, too, or this one is long.
        self.any_member_before(json, end)
    }

    /// [`member_before`](Self::member_before) for any name, wherever in the text.
    #[cold]
    #[inline(never)]
    fn any_member_before(&self, json: &[u8], end: usize) -> Option<&Ending> {
        let mut members = self.members.iter().zip(&self.names);
        let is_it = |member: &Member, name: &Ending| {
            let start = end.wrapping_sub(member.length);
            name.mask != Ending::NEVER
                && json.get(start.wrapping_sub(1)) == Some(&b'"')
                && json.get(start..end) == Some(member.name.as_bytes())
        };
        members.find(|(member, name)| is_it(member, name)).map(|(_, name)| name)
    }

    #[inline(never)]
    fn any_length_member(&self, json: &[u8], name: Range<usize>) -> u32 {
        let Some(written) = json.get(name) else { return NOTHING };
        let mut members = self.members.iter();
        members.find(|member| member.name.as_bytes() == written).map_or(NOTHING, |member| member.state)
    }

    /// [`member`](Self::member) by a name that may have escapes in it.
    #[inline(always)]
    pub(crate) fn any_member(&self, json: &[u8], name: Range<usize>) -> u32 {
        match json.get(name.clone()) {
            Some(written) if scan::has_backslash(written) => self.escaped_member(written),
            _ => self.member(json, name),
        }
    }

    #[cold]
    #[inline(never)]
    fn escaped_member(&self, written: &[u8]) -> u32 {
        let Ok(written) = std::str::from_utf8(written) else { return NOTHING };
        let mut members = self.members.iter();
        members.find(|member| escape::equals(written, &member.name)).map_or(NOTHING, |member| member.state)
    }

    /// What an element is.
    #[inline]
    pub(crate) fn element(&self, index: u32) -> u32 {
        self.elements.iter().find(|(known, _)| *known == index).map_or(self.others, |(_, state)| *state)
    }
}

/// A number below 64 for a name, by its length and its first byte; in a text, an empty name's is the closing quote.
#[inline(always)]
fn hint(length: usize, first: Option<u8>) -> u64 {
    // Letters differ in their five low bits, and names in more than one of them.
    (length as u64 ^ (u64::from(first.unwrap_or_default()) << 1)) % 64
}

/// A number below 64 for a name, by the last two bytes of a quote and the name.
#[inline(always)]
pub(crate) fn ending(two: [u8; 2]) -> u32 {
    // An odd number that makes neighbours differ (2^32 divided by the golden ratio).
    u32::from(u16::from_le_bytes(two)).wrapping_mul(0x9e37_79b9) >> 26
}

/// The first eight bytes of a name, or all of them at the upper end of the word; 0 for an empty one.
fn head(name: &[u8]) -> u64 {
    let mut word = [0; 8];
    let length = name.len().min(8);
    word[..length].copy_from_slice(&name[..length]);
    u64::from_le_bytes(word) << (64 - 8 * length.max(1))
}

#[cfg(test)]
mod tests {
    use crate::pointer::{Fields, PointerErrorKind};

    use super::*;

    /// The fields of the value that a path of names and indices leads to.
    #[track_caller]
    fn check(pointers: &[&str], path: &[&str], expected: &[u32]) {
        let fields = Fields::compile(pointers).unwrap();
        let mut state = fields.states().get(ROOT);
        for step in path {
            let number = match array_index(step) {
                Some(index) => state.element(index),
                None => state.any_member(format!("\"{step}\"").as_bytes(), 1..step.len() + 1),
            };
            state = fields.states().get(number);
        }
        assert_eq!(state.fields, expected, "{path:?}");
    }

    /// Indices beside wildcards at five depths: each choice of them is a state of its own.
    #[test]
    fn states_are_bounded() {
        let pointers = |indices: usize| -> Vec<String> {
            let places = (0..5).flat_map(|depth| (0..indices).map(move |index| (depth, index)));
            places
                .map(|(depth, index)| {
                    let token = |at| if at == depth { format!("/{index}") } else { "/*".to_owned() };
                    (0..5).map(token).collect()
                })
                .collect()
        };
        let compile = |pointers: &[String]| {
            Fields::compile(&pointers.iter().map(String::as_str).collect::<Vec<_>>())
                .map(|fields| fields.len())
        };
        assert_eq!(compile(&pointers(4)), Ok(20));
        let error = compile(&pointers(10)).unwrap_err();
        assert_eq!((error.kind(), error.field()), (PointerErrorKind::TooMuchOverlap, 49));
    }

    #[test]
    fn a_value_is_all_that_leads_to_it() {
        let pointers = ["", "/a/*", "/a/0/b", "/a/*/b", "/", "/a/1", "/longer name", "/a/*/b"];
        check(&pointers, &[], &[0]);
        check(&pointers, &["a"], &[]);
        check(&pointers, &["a", "0"], &[1]);
        check(&pointers, &["a", "1"], &[1, 5]);
        check(&pointers, &["a", "7"], &[1]);
        check(&pointers, &["a", "0", "b"], &[2, 3, 7]);
        check(&pointers, &["a", "1", "b"], &[3, 7]);
        check(&pointers, &["a", "0", "c"], &[]);
        check(&pointers, &[""], &[4]);
        check(&pointers, &["longer name"], &[6]);
        check(&pointers, &["longer nome"], &[]);
        check(&pointers, &["longer\\u0020name"], &[6]);
        // Names that have a beginning and a length in common.
        check(&["/longer name", "/longer nome"], &["longer nome"], &[1]);
        check(&["/longer name", "/longer nome"], &["longer nime"], &[]);
        check(&["/*"], &["*"], &[0]);
    }
}
