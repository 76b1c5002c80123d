//! One pass over a JSON text: validates all of it and notes where the wanted values are.
//!
//! An iterative state machine with its own stack, so that nesting is a limit and not a stack overflow. It walks the tree of
//! pointers in step with the document: beside each open array or object it knows which tree nodes that value is, and most
//! of a document is none. Nothing is handed out before the last byte has been checked.
//!
//! Everything is linear in the document, hostile ones included: a repeated member name makes it look again only at what was
//! found since the previous member of that name.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind};
use crate::escape;
use crate::event::{Event, Mark};
use crate::found::{Found, Hit, Indices, Kind, Places};
use crate::pattern;
use crate::pointer::{Fields, ROOT};
use crate::predict::Predictor;
use crate::scan;
use crate::shape::{MAX_SLOTS, Shape, Token};

/// Nesting allowed by default. Of 20,000 recorded events of thirty providers the deepest nests 12 levels.
pub(crate) const DEFAULT_MAX_DEPTH: usize = 64;

/// Values allowed by default. A wildcard over an embedding of 3,072 numbers passes twenty times; what an extractor keeps
/// for reuse stays at 3 MiB.
const DEFAULT_MAX_MATCHES: usize = 65_536;

/// Finds a fixed set of fields in JSON texts, one after the other.
///
/// Strict as of RFC 8259, also about what it skips; numbers may have any length, and half surrogate pairs written as escapes
/// are valid until decoded. Takes time linear in the text; reuses its memory, so that it allocates nothing once warm.
///
/// ```
/// use loquat_json::{Extractor, Fields};
///
/// let mut extractor = Extractor::new(Fields::compile(&["/tool_calls/*/function/name", "/model"])?);
/// let found = extractor.extract(
///     br#"{"model": "m", "tool_calls": [{"function": {"name": "search"}}, {"function": {"name": "open"}}]}"#,
/// )?;
/// let names: Vec<_> = found
///     .iter()
///     .filter(|found| found.field == 0)
///     .map(|found| (found.indices.get(0), found.value.as_str().and_then(|name| name.borrowed())))
///     .collect();
/// assert_eq!(names, [(Some(0), Some("search")), (Some(1), Some("open"))]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Extractor {
    fields: Fields,
    max_depth: usize,
    max_matches: usize,
    hits: Vec<Hit>,
    stack: Vec<Frame>,
    /// The tree nodes that open values are, a stretch for each level; the last is that of the value to come.
    active: Vec<usize>,
    /// Per tree node, where its latest value was found.
    latest: Vec<Latest>,
    frames_opened: u64,
    /// By field: one more than the index of its last hit, or 0.
    last: Vec<u32>,
    /// The strings and numbers, for as many as a template may have and one more.
    tokens: Vec<Token>,
    deepest: usize,
    predicts: bool,
    predictor: Predictor,
    /// Distinguishes this extractor from all others, and this event from its others.
    mark: Mark,
}

/// What [`Mark`] tells extractors apart by.
static EXTRACTORS: AtomicU64 = AtomicU64::new(0);

/// An open array or object.
#[derive(Clone, Copy)]
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
    /// Distinguishes it from all other frames of this extractor, for ever.
    serial: u64,
}

#[derive(Clone, Copy, Default)]
struct Latest {
    /// The frame of the object that had the member.
    serial: u64,
    /// How many hits there were before it.
    hits_before: usize,
}

impl Extractor {
    /// An extractor for these fields.
    pub fn new(fields: Fields) -> Self {
        let latest = vec![Latest::default(); fields.nodes().len()];
        Self {
            fields,
            max_depth: DEFAULT_MAX_DEPTH,
            max_matches: DEFAULT_MAX_MATCHES,
            hits: Vec::new(),
            stack: Vec::new(),
            active: Vec::new(),
            latest,
            frames_opened: 0,
            last: Vec::new(),
            tokens: Vec::new(),
            deepest: 0,
            predicts: true,
            predictor: Predictor::default(),
            mark: Mark { extractor: EXTRACTORS.fetch_add(1, Ordering::Relaxed), turn: 0 },
        }
    }

    /// How deep arrays and objects may be nested. Default 64; a scalar alone has depth 0. Costs 64 bytes a level.
    #[must_use]
    pub fn with_max_depth(mut self, max_depth: usize) -> Self {
        self.max_depth = max_depth;
        self.predictor.clear();
        self
    }

    /// How many values may be found in one text, those that a later member of the same name supersedes included. Default
    /// 65,536; only wildcards and hostile texts ever come near. Costs 48 bytes a value, kept for reuse.
    #[must_use]
    pub fn with_max_matches(mut self, max_matches: usize) -> Self {
        self.max_matches = max_matches;
        self.predictor.clear();
        self
    }

    /// Whether to predict each text from the last ones. Default `true`; what is found is the same either way. Prediction
    /// makes texts that resemble each other several times faster, and costs a failed comparison where they do not; keeps
    /// the last four shapes of text, at most 16 KiB each and about as much again.
    #[must_use]
    pub fn with_prediction(mut self, predicts: bool) -> Self {
        self.predicts = predicts;
        self
    }

    /// Validates the whole text and lends what was found, in document order.
    ///
    /// # Errors
    ///
    /// Not UTF-8, not JSON, cut off, followed by more than white space, nested too deep, too many values. Nothing is
    /// lent then; the extractor can be used again.
    pub fn extract<'e>(&'e mut self, json: &'e [u8]) -> Result<Found<'e>, Error> {
        match std::str::from_utf8(json) {
            Ok(json) => self.extract_str(json),
            Err(error) => Err(Error::new(ErrorKind::Utf8, error.valid_up_to())),
        }
    }

    /// [`extract`](Self::extract) for what is already known to be UTF-8, such as an event's data.
    ///
    /// # Errors
    ///
    /// As [`extract`](Self::extract), but for the encoding.
    pub fn extract_str<'e>(&'e mut self, json: &'e str) -> Result<Found<'e>, Error> {
        self.mark.turn += 1;
        let bytes = json.as_bytes();
        if self.predicts && self.is_predicted(bytes) {
            return Ok(Found::new(json, self.predictor.places(), &self.fields));
        }
        self.pass(bytes)?;
        if self.predicts {
            self.study(bytes);
        }
        let places = Places { hits: &self.hits, last: &self.last, shifts: &[] };
        Ok(Found::new(json, places, &self.fields))
    }

    /// [`extract_str`](Self::extract_str) for the data of an event. Costs next to nothing for one that was framed for this
    /// extractor ([`Framer::next_for`](crate::Framer::next_for)), as long as it has extracted nothing else since.
    ///
    /// # Errors
    ///
    /// As [`extract_str`](Self::extract_str).
    #[inline]
    pub fn extract_event<'e>(&'e mut self, event: &Event<'e>) -> Result<Found<'e>, Error> {
        if event.found_by == Some(self.mark) {
            return Ok(Found::new(event.data, self.predictor.places(), &self.fields));
        }
        self.extract_str(event.data)
    }

    /// The length of the JSON text at the front of `input`, if it is as predicted, has no line end in it and `accept` takes
    /// that length; what it makes of it; and the mark of the event.
    #[inline]
    pub(crate) fn predict(
        &mut self,
        input: &[u8],
        accept: impl Fn(usize) -> Option<usize>,
    ) -> Option<(usize, usize, Mark)> {
        self.mark.turn += 1;
        if !self.predicts {
            return None;
        }
        let (length, accepted) = self.predictor.predict(input, true, accept)?;
        Some((length, accepted, self.mark))
    }

    fn is_predicted(&mut self, json: &[u8]) -> bool {
        let Self { predictor, fields, max_depth, max_matches, .. } = self;
        if predictor.predict(json, false, |end| (end == json.len()).then_some(end)).is_some() {
            return true;
        }
        let is_allowed = |shape: &Shape| shape.depth <= *max_depth && shape.matches <= *max_matches;
        predictor.adapt(json, fields.shapes(), is_allowed)
    }

    /// Lets the predictor know a text that was not predicted.
    fn study(&mut self, json: &[u8]) {
        if self.predictor.is_studying() {
            let shape = Shape::new(json, &self.tokens, &self.hits, self.fields.len(), self.deepest);
            if let Some(shape) = shape {
                self.predictor.learn(json, shape, self.fields.shapes());
            }
        }
    }

    /// The full pass.
    fn pass(&mut self, json: &[u8]) -> Result<(), Error> {
        self.hits.clear();
        self.stack.clear();
        self.active.clear();
        self.active.push(ROOT);
        self.tokens.clear();
        self.deepest = 0;
        self.run(json)?;
        self.last.clear();
        self.last.resize(self.fields.len(), 0);
        pattern::index_hits(&self.hits, &mut self.last);
        Ok(())
    }

    fn run(&mut self, json: &[u8]) -> Result<(), Error> {
        let mut at = scan::skip_space(json, 0);
        loop {
            at = match json.get(at) {
                Some(&bracket @ (b'{' | b'[')) => {
                    self.open(at, bracket == b'{')?;
                    at = scan::skip_space(json, at + 1);
                    match (bracket, json.get(at)) {
                        (b'{', Some(b'}')) | (b'[', Some(b']')) => {
                            self.close(at + 1);
                            at + 1
                        }
                        (b'{', _) => {
                            at = self.member(json, at)?;
                            continue;
                        }
                        _ => {
                            self.element(0);
                            continue;
                        }
                    }
                }
                Some(&first) => self.scalar(json, at, first)?,
                None => return Err(scan::unexpected(json, at)),
            };
            loop {
                at = scan::skip_space(json, at);
                let Some(&Frame { is_object, index, active_end, .. }) = self.stack.last() else {
                    return if at == json.len() {
                        Ok(())
                    } else {
                        Err(Error::new(ErrorKind::TrailingBytes, at))
                    };
                };
                self.active.truncate(active_end);
                match (json.get(at), is_object) {
                    (Some(b','), true) => {
                        at = self.member(json, scan::skip_space(json, at + 1))?;
                        break;
                    }
                    (Some(b','), false) => {
                        self.element(index.saturating_add(1));
                        at = scan::skip_space(json, at + 1);
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        at += 1;
                        self.close(at);
                    }
                    _ => return Err(scan::unexpected(json, at)),
                }
            }
        }
    }
    /// The end of the string, number or literal that starts at `at`.
    #[inline]
    fn scalar(&mut self, json: &[u8], at: usize, first: u8) -> Result<usize, Error> {
        let (end, kind) = match first {
            b'"' => match scan::string(json, at + 1)? {
                (end, false) => (end, Kind::PlainStr),
                (end, true) => (end, Kind::EscapedStr),
            },
            b'-' | b'0'..=b'9' => (scan::number(json, at)?, Kind::Number),
            b't' => (scan::literal(json, at, b"true")?, Kind::True),
            b'f' => (scan::literal(json, at, b"false")?, Kind::False),
            b'n' => (scan::literal(json, at, b"null")?, Kind::Null),
            _ => return Err(scan::unexpected(json, at)),
        };
        self.note(at, end, kind)?;
        if self.predicts && self.tokens.len() <= MAX_SLOTS {
            match kind {
                Kind::PlainStr | Kind::EscapedStr => {
                    self.tokens.push(Token { start: at + 1, end: end - 1, number: false });
                }
                Kind::Number => self.tokens.push(Token { start: at, end, number: true }),
                _ => {}
            }
        }
        Ok(end)
    }

    /// An array or object begins at `at`.
    fn open(&mut self, at: usize, is_object: bool) -> Result<(), Error> {
        if self.stack.len() >= self.max_depth {
            return Err(Error::new(ErrorKind::Depth, at));
        }
        let active_start = self.stack.last().map_or(0, |frame| frame.active_end);
        let hit_start = self.hits.len();
        self.note(at, at, if is_object { Kind::Object } else { Kind::Array })?;
        self.frames_opened += 1;
        self.stack.push(Frame {
            is_object,
            index: 0,
            active_start,
            active_end: self.active.len(),
            hit_start,
            hit_end: self.hits.len(),
            serial: self.frames_opened,
        });
        self.deepest = self.deepest.max(self.stack.len());
        Ok(())
    }

    /// The innermost array or object ends here.
    fn close(&mut self, end: usize) {
        if let Some(frame) = self.stack.pop() {
            for hit in &mut self.hits[frame.hit_start..frame.hit_end] {
                hit.end = end;
            }
        }
    }

    /// A member's name and colon; what it is goes to `active`. Where its value starts.
    fn member(&mut self, json: &[u8], at: usize) -> Result<usize, Error> {
        if json.get(at) != Some(&b'"') {
            return Err(scan::unexpected(json, at));
        }
        let (end, escaped) = scan::string(json, at + 1)?;
        self.name(&json[at + 1..end - 1], escaped);
        let colon = scan::skip_space(json, end);
        if json.get(colon) != Some(&b':') {
            return Err(scan::unexpected(json, colon));
        }
        Ok(scan::skip_space(json, colon + 1))
    }

    fn name(&mut self, name: &[u8], escaped: bool) {
        let Some(&Frame { active_start, active_end, serial, .. }) = self.stack.last() else { return };
        for parent in active_start..active_end {
            let node = self.active[parent];
            let is_named = |token: &str| match escaped {
                false => token.as_bytes() == name,
                true => std::str::from_utf8(name).is_ok_and(|name| escape::equals(name, token)),
            };
            let child = self.fields.nodes()[node].children.iter().find(|child| is_named(&child.token));
            if let Some(child) = child.map(|child| child.node) {
                self.supersede(child, serial);
                self.active.push(child);
            }
        }
    }

    /// What the `index`th element of the innermost array is goes to `active`.
    fn element(&mut self, index: u32) {
        let Some(frame) = self.stack.last_mut() else { return };
        frame.index = index;
        for parent in frame.active_start..frame.active_end {
            let node = self.active[parent];
            for child in &self.fields.nodes()[node].children {
                if child.wildcard || child.index == Some(index) {
                    self.active.push(child.node);
                }
            }
        }
    }

    /// A member that is tree node `node` begins in the object `serial`. If it had one before, what was found there no
    /// longer counts.
    fn supersede(&mut self, node: usize, serial: u64) {
        let latest = self.latest[node];
        if latest.serial == serial {
            for hit in &mut self.hits[latest.hits_before..] {
                if self.fields.is_below(self.fields.field(hit.field).node, node) {
                    hit.kind = Kind::Superseded;
                }
            }
        }
        self.latest[node] = Latest { serial, hits_before: self.hits.len() };
    }

    /// Notes a value for every field that it is.
    #[inline(always)] // most of a document is nobody's
    fn note(&mut self, start: usize, end: usize, kind: Kind) -> Result<(), Error> {
        let from = self.stack.last().map_or(0, |frame| frame.active_end);
        if from < self.active.len() { self.note_from(from, start, end, kind) } else { Ok(()) }
    }

    fn note_from(&mut self, from: usize, start: usize, end: usize, kind: Kind) -> Result<(), Error> {
        for &node in &self.active[from..] {
            for &field in &self.fields.nodes()[node].fields {
                if self.hits.len() >= self.max_matches {
                    return Err(Error::new(ErrorKind::TooMany, start));
                }
                let mut indices = Indices::default();
                for (slot, &depth) in indices.values.iter_mut().zip(&self.fields.field(field).wildcard_depths)
                {
                    *slot = self.stack.get(depth).map_or(0, |frame| frame.index);
                    indices.len += 1;
                }
                self.hits.push(Hit { start, end, field, indices, kind, holes_before: 0, holes_until: 0 });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Extractor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extractor")
            .field("fields", &self.fields)
            .field("max_depth", &self.max_depth)
            .field("max_matches", &self.max_matches)
            .finish_non_exhaustive()
    }
}
