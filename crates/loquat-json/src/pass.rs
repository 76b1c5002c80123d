//! The full pass over a JSON text: validates all of it and notes where the wanted values are.
//!
//! An iterative state machine with its own stack, so that nesting is a limit and not a stack overflow. It walks the tree of
//! pointers in step with the document: beside each open array or object it knows which tree nodes that value is, and most of a
//! document is none. Where a string ends it does not search: [`Stops`] has classified the text 64 bytes at a time, and the
//! next quote is a bit.
//!
//! Everything is linear in the document, hostile ones included: a repeated member name makes it look again only at what was
//! found since the previous member of that name.

use crate::error::{Error, ErrorKind};
use crate::escape;
use crate::found::{Hit, Hits, Indices, Kind};
use crate::pattern::Content;
use crate::pointer::{Child, Fields, Node, ROOT};
use crate::scan;
use crate::shape::{MAX_SLOTS, Token};
use crate::vector::{self, Stops, Task, Vector};

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
    /// The open arrays and objects around the innermost one.
    stack: Vec<Frame>,
    /// The tree nodes that open values are, a stretch for each level; the last is that of the value to come.
    active: Vec<usize>,
    /// Per tree node, where its latest value was found.
    latest: Vec<Latest>,
    frames_opened: u64,
}

/// An open array or object; or, below all of them, nothing.
#[derive(Clone, Copy, Default)]
struct Frame {
    is_object: bool,
    /// Position of the current element of an array.
    index: u32,
    /// Which of `active` this value is.
    active_start: usize,
    active_end: usize,
    /// Which of `hits` this value is: they wait for its end.
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

impl Pass {
    /// Walks the text. After an error the hits are of no use.
    pub(crate) fn run(&mut self, json: &[u8], bounds: Bounds<'_>) -> Result<(), Error> {
        self.hits.clear();
        self.tokens.clear();
        self.deepest = 0;
        self.stack.clear();
        self.active.clear();
        self.active.push(ROOT);
        self.latest.resize(bounds.fields.nodes().len(), Latest::default());
        vector::run(Walk { pass: self, json, bounds })?;
        self.hits.index(bounds.fields.len());
        Ok(())
    }

    /// An array or object begins at `at`, in `outer`.
    fn open(
        &mut self,
        outer: &Frame,
        at: usize,
        is_object: bool,
        bounds: Bounds<'_>,
    ) -> Result<Frame, Error> {
        let depth = self.stack.len();
        if depth >= bounds.max_depth {
            return Err(Error::new(ErrorKind::Depth, at));
        }
        let hit_start = self.hits.all.len();
        if outer.active_end < self.active.len() {
            self.note(outer, at, at, if is_object { Kind::Object } else { Kind::Array }, bounds)?;
        }
        self.stack.push(*outer);
        self.deepest = self.deepest.max(depth + 1);
        self.frames_opened += 1;
        Ok(Frame {
            is_object,
            index: 0,
            active_start: outer.active_end,
            active_end: self.active.len(),
            hit_start,
            hit_end: self.hits.all.len(),
            serial: self.frames_opened,
        })
    }

    /// What the member `name` of the innermost object is goes to `active`.
    #[inline(always)]
    fn name(&mut self, frame: &Frame, name: &[u8], escaped: bool, fields: &Fields) {
        for parent in frame.active_start..frame.active_end {
            let node = &fields.nodes()[self.active[parent]];
            let child = if escaped { escaped_member(node, name) } else { node.member(name) };
            if let Some(child) = child {
                let child = child.node;
                self.supersede(child, frame.serial, fields);
                self.active.push(child);
            }
        }
    }

    /// What the current element of the innermost array is goes to `active`.
    fn element(&mut self, frame: &Frame, fields: &Fields) {
        for parent in frame.active_start..frame.active_end {
            let node = self.active[parent];
            for child in &fields.nodes()[node].children {
                if child.wildcard || child.index == Some(frame.index) {
                    self.active.push(child.node);
                }
            }
        }
    }

    /// A member that is tree node `node` begins in the object `serial`. If it had one before, what was found there no
    /// longer counts.
    fn supersede(&mut self, node: usize, serial: u64, fields: &Fields) {
        let latest = self.latest[node];
        if latest.serial == serial {
            for hit in &mut self.hits.all[latest.hits_before..] {
                if fields.is_below(fields.field(hit.field).node, node) {
                    hit.kind = Kind::Superseded;
                }
            }
        }
        self.latest[node] = Latest { serial, hits_before: self.hits.all.len() };
    }

    /// Notes a value in `frame` for every field that it is.
    fn note(
        &mut self,
        frame: &Frame,
        start: usize,
        end: usize,
        kind: Kind,
        bounds: Bounds<'_>,
    ) -> Result<(), Error> {
        for &node in &self.active[frame.active_end..] {
            for &field in &bounds.fields.nodes()[node].fields {
                if self.hits.all.len() >= bounds.max_matches {
                    return Err(Error::new(ErrorKind::TooMany, start));
                }
                let mut indices = Indices::default();
                for (slot, &depth) in
                    indices.values.iter_mut().zip(&bounds.fields.field(field).wildcard_depths)
                {
                    // The frame at a depth lies on the stack above the one that is none.
                    *slot = self.stack.get(depth + 1).map_or(frame.index, |frame| frame.index);
                    indices.len += 1;
                }
                self.hits.all.push(Hit { start, end, field, indices, kind, holes_before: 0, holes_until: 0 });
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

struct Walk<'p> {
    pass: &'p mut Pass,
    json: &'p [u8],
    bounds: Bounds<'p>,
}

impl Task for Walk<'_> {
    type Output = Result<(), Error>;

    #[inline(always)]
    fn run<V: Vector>(self, vector: V) -> Result<(), Error> {
        let Self { pass, json, bounds } = self;
        let fields = bounds.fields;
        let mut stops = Stops::new(json, vector);
        let mut frame = Frame::default();
        let mut at = scan::skip_space(json, 0);
        loop {
            // A value starts here.
            let start = at;
            let kind = match json.get(at) {
                Some(b'"') => {
                    let (end, escaped) = string(json, at + 1, &mut stops)?;
                    at = end;
                    if bounds.has_tokens {
                        pass.token(start + 1, end - 1, Content::Text);
                    }
                    if escaped { Kind::EscapedStr } else { Kind::PlainStr }
                }
                Some(&bracket @ (b'{' | b'[')) => {
                    let is_object = bracket == b'{';
                    frame = pass.open(&frame, at, is_object, bounds)?;
                    at = scan::skip_space(json, at + 1);
                    // The brackets' codes differ by two.
                    if json.get(at) != Some(&(bracket + 2)) {
                        if is_object {
                            at = member(pass, &frame, json, at, &mut stops, fields)?;
                        } else {
                            pass.element(&frame, fields);
                        }
                        continue;
                    }
                    Kind::Object
                }
                Some(b'-' | b'0'..=b'9') => {
                    at = scan::number(json, at)?;
                    if bounds.has_tokens {
                        pass.token(start, at, Content::Number);
                    }
                    Kind::Number
                }
                Some(b't') => {
                    at = scan::literal(json, at, b"true")?;
                    Kind::True
                }
                Some(b'f') => {
                    at = scan::literal(json, at, b"false")?;
                    Kind::False
                }
                Some(b'n') => {
                    at = scan::literal(json, at, b"null")?;
                    Kind::Null
                }
                _ => return Err(scan::unexpected(json, at)),
            };
            // It ends here, unless it is an array or object: those end with their bracket.
            if kind != Kind::Object {
                if frame.active_end < pass.active.len() {
                    pass.note(&frame, start, at, kind, bounds)?;
                }
                at = scan::skip_space(json, at);
            }
            loop {
                pass.active.truncate(frame.active_end);
                let byte = json.get(at);
                if byte == Some(&b',') && !pass.stack.is_empty() {
                    at = scan::skip_space(json, at + 1);
                    if frame.is_object {
                        at = member(pass, &frame, json, at, &mut stops, fields)?;
                    } else {
                        frame.index = frame.index.saturating_add(1);
                        pass.element(&frame, fields);
                    }
                    break;
                }
                let closing = if frame.is_object { b'}' } else { b']' };
                if pass.stack.is_empty() {
                    return if at == json.len() {
                        Ok(())
                    } else {
                        Err(Error::new(ErrorKind::TrailingBytes, at))
                    };
                }
                if byte != Some(&closing) {
                    return Err(scan::unexpected(json, at));
                }
                if bounds.has_tokens && pass.stack.len() == 1 {
                    let spaces = json[..at].iter().rev().take_while(|byte| **byte == b' ').count();
                    pass.token(at - spaces, at, Content::Spaces);
                }
                at += 1;
                for hit in &mut pass.hits.all[frame.hit_start..frame.hit_end] {
                    hit.end = at;
                }
                frame = pass.stack.pop().unwrap_or_default();
                at = scan::skip_space(json, at);
            }
        }
    }
}

/// A member's name and colon; what it is goes to `active`. Where its value starts.
#[inline(always)]
fn member<V: Vector>(
    pass: &mut Pass,
    frame: &Frame,
    json: &[u8],
    at: usize,
    stops: &mut Stops<'_, V>,
    fields: &Fields,
) -> Result<usize, Error> {
    if json.get(at) != Some(&b'"') {
        return Err(scan::unexpected(json, at));
    }
    let (end, escaped) = string(json, at + 1, stops)?;
    if frame.active_start < frame.active_end {
        pass.name(frame, &json[at + 1..end - 1], escaped, fields);
    }
    let colon = scan::skip_space(json, end);
    if json.get(colon) != Some(&b':') {
        return Err(scan::unexpected(json, colon));
    }
    Ok(scan::skip_space(json, colon + 1))
}

/// The child that a member is, whose name has escapes.
#[cold]
fn escaped_member<'n>(node: &'n Node, name: &[u8]) -> Option<&'n Child> {
    let name = std::str::from_utf8(name).ok()?;
    node.children.iter().find(|child| escape::equals(name, &child.token))
}

/// The end of the string whose opening quote is right before `at`, its closing quote included, and whether it has escapes.
#[inline(always)]
fn string<V: Vector>(json: &[u8], at: usize, stops: &mut Stops<'_, V>) -> Result<(usize, bool), Error> {
    let mut escaped = false;
    let mut end = stops.after(at);
    loop {
        match json.get(end) {
            Some(b'"') => return Ok((end + 1, escaped)),
            Some(b'\\') => {
                escaped = true;
                end = stops.after(scan::escape(json, end + 1)?);
            }
            _ => return Err(scan::unexpected(json, end)),
        }
    }
}
