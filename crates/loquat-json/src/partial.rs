//! A JSON text that arrives in pieces, as the arguments of a tool call do: each byte is looked at once, what is there is shown
//! as it comes, and nothing is whole until the protocol says so.
//!
//! Clients that parse the gathered text again at each piece need quadratic time, and take text that happens to parse for
//! text that is complete. Here the scan is resumed where it stopped, and only [`Partial::finish`] vouches for the end. Grammar,
//! limits and errors are those of the [`Extractor`](crate::Extractor).

mod number;

use std::ops::Range;
use std::{fmt, mem};

use crate::carry;
use crate::error::{Error, ErrorKind};
use crate::extract::DEFAULT_MAX_DEPTH;
use crate::found::{Indices, Kind};
use crate::pointer::Fields;
use crate::state::{NOTHING, ROOT};
use crate::text::Str;
use crate::value::Value;
use crate::{escape, scan, vector};

/// Length allowed by default, in bytes: that of an event, of which arguments are a part.
const DEFAULT_MAX_BYTES: usize = 8 * 1024 * 1024;

/// What is searched byte by byte, in bytes: less than a vector.
const TINY_PIECE_BYTES: usize = 16;

/// A JSON text that grows.
///
/// Takes time linear in the text, however small the pieces, holds the text once, and allocates for nothing else but how deep it nests.
///
/// ```
/// use loquat_json::{Fields, Partial};
///
/// let mut arguments = Partial::new(Fields::compile(&["/path", "/edits/*/text"])?);
/// let mut shown = String::new();
/// for piece in ["{\"path\": \"a.t", "xt\", \"edits\": [{\"text\": \"line 1\\", "n\"}, {\"text\": \"li", "ne"] {
///     arguments.push_with(piece, |part| {
///         if let (1, Some(text)) = (part.field, part.text) {
///             text.append_lossy_to(&mut shown);
///         }
///     })?;
/// }
/// assert_eq!(arguments.get(0).and_then(|path| path.as_str()?.borrowed()), Some("a.txt"));
/// assert_eq!(shown, "line 1\nline");
/// assert!(arguments.get(1).is_none() && arguments.finish().is_err());
/// arguments.push(" 2\"}]}")?;
/// assert!(arguments.get(1).is_some() && arguments.finish().is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Partial {
    fields: Fields,
    max_bytes: usize,
    max_depth: usize,
    text: String,
    /// All before it has been looked at.
    at: usize,
    state: State,
    /// Where the string, number or literal starts that `at` is in.
    token_start: usize,
    /// The string that `at` is in has escapes before it.
    escaped: bool,
    /// What was shown of that string ends here, ...
    shown: usize,
    /// ... and there are escapes behind it.
    unshown_escapes: bool,
    /// Where an escape ends that is the first half of a surrogate pair, the last that there was.
    half_end: usize,
    stack: Vec<Frame>,
    /// What the value to come is to the pointers, or the scalar that `at` is in.
    wanted: u32,
    /// Per such state, the object that had the member last.
    latest: Vec<u64>,
    frames_opened: u64,
    /// By field.
    values: Vec<Option<Span>>,
    /// By node of the tree of pointers: values that begin before this are those of a member whose name has come again.
    replaced: Vec<usize>,
    failed: Option<Error>,
}

/// What a piece has brought of one value, as [`Partial::push_with`] shows it. `Debug` shows kinds and lengths, not content.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Part<'t> {
    /// Which pointer: the index into the list given to [`Fields::compile`].
    pub field: usize,
    /// Which elements the pointer's wildcards stand for.
    pub indices: Indices,
    /// Nothing of this value was shown before. Where the same field at the same indices has been, its name has come again, and what was
    /// shown is replaced. (A name that comes again replaces all that was shown within its value; where the new value has nothing in its
    /// place, no part says so, and [`Partial::get`] is `None`.)
    pub is_first: bool,
    /// What is new of a string, which may be nothing when it ends: in no part is an escape cut, nor a surrogate pair.
    pub text: Option<Str<'t>>,
    /// The value, if it has ended.
    pub value: Option<Value<'t>>,
}

#[derive(Clone, Copy)]
struct Frame {
    is_object: bool,
    start: usize,
    /// What it is to the pointers.
    state: u32,
    index: u32,
    serial: u64,
}

#[derive(Clone, Copy)]
struct Span {
    start: usize,
    /// `None` while the value is open.
    end: Option<usize>,
    kind: Kind,
}

/// What must come next, or what `at` is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    /// A value or the end of the array that has just begun.
    FirstElement,
    /// A member or the end of the object that has just begun.
    FirstMember,
    Member,
    Colon,
    Name,
    Str,
    Number(number::Part),
    Literal(&'static [u8], Kind),
    /// A comma or the end of the innermost array or object.
    Next,
}

impl Partial {
    /// An empty text in which these fields are looked for.
    pub fn new(fields: Fields) -> Self {
        Self {
            latest: vec![0; fields.states().len()],
            values: vec![None; fields.len()],
            replaced: vec![0; fields.nodes()],
            fields,
            max_bytes: DEFAULT_MAX_BYTES,
            max_depth: DEFAULT_MAX_DEPTH,
            text: String::new(),
            at: 0,
            state: State::Value,
            token_start: 0,
            escaped: false,
            shown: 0,
            unshown_escapes: false,
            half_end: 0,
            stack: Vec::new(),
            wanted: ROOT,
            frames_opened: 0,
            failed: None,
        }
    }

    /// How long the text may become, in bytes. Default 8 MiB.
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// How deep arrays and objects may be nested. Default 64.
    #[must_use]
    pub fn with_max_depth(mut self, max_depth: usize) -> Self {
        self.max_depth = max_depth;
        self
    }

    /// Adds a piece, cut anywhere between two characters.
    ///
    /// # Errors
    ///
    /// Too long, nested too deep, not the beginning of any JSON text: as soon as the byte is there that makes it so. Errors are
    /// final: every later call returns the same. What had arrived before that byte can still be read.
    pub fn push(&mut self, piece: &str) -> Result<(), Error> {
        self.push_with(piece, |_| ())
    }

    /// [`push`](Self::push) that shows what the piece brings of the values of the fields, in the order of the text: strings as they
    /// come, anything else when it has ended. However the text is cut, the parts of a string together are that string; none is
    /// left out, also when it ends and the next begins in one piece.
    ///
    /// A number that nothing encloses is not shown: only the end of the text ends it, and then it is what [`finish`](Self::finish)
    /// returns.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push); what came before the error has been shown.
    pub fn push_with(&mut self, piece: &str, mut see: impl FnMut(Part<'_>)) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if piece.len() > self.max_bytes.saturating_sub(self.text.len()) {
            return Err(self.fail(Error::new(ErrorKind::TooLong, self.max_bytes)));
        }
        carry::append_text(&mut self.text, piece, self.max_bytes);
        // Taken for the time of the scan, because the steps change the rest of `self`.
        let text = mem::take(&mut self.text);
        // Should `see` panic it is lost, and every later call fails.
        self.failed = Some(Error::new(ErrorKind::UnexpectedEnd, text.len()));
        let result = self.scan(&text, &mut see);
        self.text = text;
        self.failed = result.err();
        result
    }

    /// The text so far, as it came: that of a piece that was refused too, unless for its length.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value of a field whose end has arrived; the latest if its wildcards matched several, of which
    /// [`push_with`](Self::push_with) shows each. `None`, too, once a name on the way to it has come again and nothing has come in its place;
    /// also where the wildcards mean another element by then. That a value has ended does not make the text whole.
    pub fn get(&self, field: usize) -> Option<Value<'_>> {
        let span = (*self.values.get(field)?)?;
        // The text is gone where `see` has panicked.
        let end = span.end.filter(|end| *end <= self.text.len())?;
        let is_replaced = |node: usize| self.replaced.get(node).is_some_and(|name| span.start < *name);
        let is_gone = self.fields.path(field).any(is_replaced);
        (!is_gone).then(|| Value::new(span.kind, &self.text, span.start, end))
    }

    /// If nothing more comes, as only the protocol can say: the whole text, if it is whole. A number that nothing encloses is, and may
    /// still go on.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEnd`](ErrorKind::UnexpectedEnd) if it is not; what [`push`](Self::push) has refused.
    pub fn finish(&self) -> Result<&str, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let is_at_end = match self.state {
            State::Next => true,
            State::Number(part) => part.is_whole(),
            _ => false,
        };
        if is_at_end && self.stack.is_empty() {
            return Ok(&self.text);
        }
        Err(Error::new(ErrorKind::UnexpectedEnd, self.text.len()))
    }

    fn fail(&mut self, error: Error) -> Error {
        self.failed = Some(error);
        error
    }

    fn scan(&mut self, text: &str, see: &mut impl FnMut(Part<'_>)) -> Result<(), Error> {
        let json = text.as_bytes();
        loop {
            match self.state {
                State::Name | State::Str => {
                    let result = self.string(json);
                    match (&result, self.state) {
                        (Ok(true), State::Name) => {
                            self.name(json, self.token_start + 1..self.at - 1);
                            self.state = State::Colon;
                        }
                        (Ok(true), _) => {
                            let kind = if self.escaped { Kind::EscapedStr } else { Kind::PlainStr };
                            self.end_scalar(text, kind, see);
                        }
                        (_, State::Name) => {}
                        _ => self.show_string(text, None, see),
                    }
                    if !result? {
                        return Ok(());
                    }
                }
                State::Number(part) => {
                    let Some(&byte) = json.get(self.at) else { return Ok(()) };
                    match part.then(byte) {
                        Some(part) => {
                            self.at += 1;
                            self.state = State::Number(part);
                        }
                        None if part.is_whole() => self.end_scalar(text, Kind::Number, see),
                        None => return Err(scan::unexpected(json, self.at)),
                    }
                }
                State::Literal(word, kind) => match scan::literal(json, self.token_start, word) {
                    Ok(end) => {
                        self.at = end;
                        self.end_scalar(text, kind, see);
                    }
                    Err(error) if error.kind() == ErrorKind::UnexpectedEnd => return Ok(()),
                    Err(error) => return Err(error),
                },
                _ => {
                    self.at = scan::skip_space(json, self.at);
                    let Some(&byte) = json.get(self.at) else { return Ok(()) };
                    self.step(text, byte, see)?;
                }
            }
        }
    }

    /// One character outside of strings, numbers and literals.
    fn step(&mut self, text: &str, byte: u8, see: &mut impl FnMut(Part<'_>)) -> Result<(), Error> {
        let json = text.as_bytes();
        match (self.state, byte) {
            (State::FirstMember | State::Member, b'"') => {
                self.token_start = self.at;
                self.at += 1;
                self.state = State::Name;
            }
            (State::FirstMember, b'}') | (State::FirstElement, b']') => self.close(text, see),
            (State::Colon, b':') => {
                self.at += 1;
                self.state = State::Value;
            }
            (State::Value | State::FirstElement, _) => {
                if self.state == State::FirstElement {
                    self.element(0);
                }
                self.value(json, byte)?;
            }
            (State::Next, _) => {
                let Some(&Frame { is_object, index, .. }) = self.stack.last() else {
                    return Err(Error::new(ErrorKind::TrailingBytes, self.at));
                };
                match (byte, is_object) {
                    (b',', true) => {
                        self.at += 1;
                        self.state = State::Member;
                    }
                    (b',', false) => {
                        self.at += 1;
                        self.element(index.saturating_add(1));
                        self.state = State::Value;
                    }
                    (b'}', true) | (b']', false) => self.close(text, see),
                    _ => return Err(scan::unexpected(json, self.at)),
                }
            }
            _ => return Err(scan::unexpected(json, self.at)),
        }
        Ok(())
    }

    fn value(&mut self, json: &[u8], byte: u8) -> Result<(), Error> {
        self.token_start = self.at;
        let (kind, state) = match byte {
            b'"' => (Kind::PlainStr, State::Str),
            b't' => (Kind::True, State::Literal(b"true", Kind::True)),
            b'f' => (Kind::False, State::Literal(b"false", Kind::False)),
            b'n' => (Kind::Null, State::Literal(b"null", Kind::Null)),
            b'{' => (Kind::Object, State::FirstMember),
            b'[' => (Kind::Array, State::FirstElement),
            _ => match number::Part::first(byte) {
                Some(part) => (Kind::Number, State::Number(part)),
                None => return Err(scan::unexpected(json, self.at)),
            },
        };
        let is_open = matches!(kind, Kind::Object | Kind::Array);
        if is_open && self.stack.len() >= self.max_depth {
            return Err(Error::new(ErrorKind::Depth, self.at));
        }
        self.mark(self.wanted, Span { start: self.at, end: None, kind });
        (self.escaped, self.unshown_escapes, self.shown) = (false, false, self.at + 1);
        // Literals are compared whole.
        self.at += usize::from(!matches!(state, State::Literal(..)));
        self.state = state;
        if is_open {
            self.frames_opened += 1;
            self.stack.push(Frame {
                is_object: byte == b'{',
                start: self.token_start,
                state: self.wanted,
                index: 0,
                serial: self.frames_opened,
            });
        }
        Ok(())
    }

    /// Goes on with a name or string, to behind its end. `false` when that has not arrived.
    fn string(&mut self, json: &[u8]) -> Result<bool, Error> {
        loop {
            self.at = match json.len().saturating_sub(self.at) {
                // Most pieces are shorter than it takes to get to the vector code.
                ..TINY_PIECE_BYTES => scan::plain_run(json, self.at),
                _ => vector::plain_run(json, self.at),
            };
            match json.get(self.at) {
                None => return Ok(false),
                Some(b'"') => break,
                Some(b'\\') => match scan::escape(json, self.at + 1) {
                    Ok(end) => {
                        if escape::is_high_half(json.get(self.at..end).unwrap_or_default()) {
                            self.half_end = end;
                        }
                        (self.escaped, self.unshown_escapes) = (true, true);
                        self.at = end;
                    }
                    Err(error) if error.kind() == ErrorKind::UnexpectedEnd => return Ok(false),
                    Err(error) => return Err(error),
                },
                Some(_) => return Err(scan::unexpected(json, self.at)),
            }
        }
        self.at += 1;
        Ok(true)
    }

    fn end_scalar(&mut self, text: &str, kind: Kind, see: &mut impl FnMut(Part<'_>)) {
        self.state = State::Next;
        let span = Span { start: self.token_start, end: Some(self.at), kind };
        self.mark(self.wanted, span);
        if let Kind::PlainStr | Kind::EscapedStr = kind {
            self.show_string(text, Some(Value::new(kind, text, span.start, self.at)), see);
        } else {
            self.show(text, self.wanted, span, see);
        }
    }

    fn close(&mut self, text: &str, see: &mut impl FnMut(Part<'_>)) {
        self.at += 1;
        self.state = State::Next;
        if let Some(frame) = self.stack.pop() {
            let kind = if frame.is_object { Kind::Object } else { Kind::Array };
            let span = Span { start: frame.start, end: Some(self.at), kind };
            self.mark(frame.state, span);
            self.show(text, frame.state, span, see);
        }
    }

    /// Notes a value for every field that it is.
    fn mark(&mut self, state: u32, span: Span) {
        for &field in &self.fields.states().get(state).fields {
            if let Some(value) = self.values.get_mut(field as usize) {
                *value = Some(span);
            }
        }
    }

    /// Shows what is new of the string that `at` is in or behind, if anything is or it has ended.
    #[inline]
    fn show_string(&mut self, text: &str, value: Option<Value<'_>>, see: &mut impl FnMut(Part<'_>)) {
        let end = match value {
            Some(_) => self.at - 1,
            // The scan stops before an unfinished escape; half a pair waits for what comes after it.
            None if self.half_end == self.at => self.at - escape::UNICODE_ESCAPE_BYTES,
            None => self.at,
        };
        if end <= self.shown && value.is_none() {
            return;
        }
        let new = Str::part(text, self.shown..end, self.unshown_escapes);
        let is_first = self.shown == self.token_start + 1;
        self.unshown_escapes = end < self.at && value.is_none();
        self.shown = end;
        for &field in &self.fields.states().get(self.wanted).fields {
            see(Part {
                field: field as usize,
                indices: self.indices(field),
                is_first,
                text: Some(new),
                value,
            });
        }
    }

    /// Shows a value that is no string and has ended.
    fn show(&self, text: &str, state: u32, span: Span, see: &mut impl FnMut(Part<'_>)) {
        let value = Some(Value::new(span.kind, text, span.start, self.at));
        for &field in &self.fields.states().get(state).fields {
            see(Part {
                field: field as usize,
                indices: self.indices(field),
                is_first: true,
                text: None,
                value,
            });
        }
    }

    /// What a field's wildcards stand for in the value that the stack encloses.
    #[inline]
    fn indices(&self, field: u32) -> Indices {
        let mut indices = Indices::default();
        for (index, &depth) in indices.values.iter_mut().zip(&self.fields.field(field).wildcard_depths) {
            *index = self.stack.get(depth).map_or(0, |frame| frame.index);
            indices.len += 1;
        }
        indices
    }

    fn name(&mut self, json: &[u8], name: Range<usize>) {
        let Some(&Frame { state, serial, .. }) = self.stack.last() else { return };
        let name_end = name.end;
        self.wanted = self.fields.states().get(state).any_member(json, name);
        let Some(latest) = self.latest.get_mut(self.wanted as usize) else { return };
        if self.wanted != NOTHING && mem::replace(latest, serial) == serial {
            // What is in such a value is found gone when it is asked for: there may be many fields, and many such names.
            for &node in &self.fields.states().get(self.wanted).nodes {
                if let Some(replaced) = self.replaced.get_mut(node) {
                    *replaced = name_end;
                }
            }
        }
    }

    fn element(&mut self, index: u32) {
        let Some(frame) = self.stack.last_mut() else { return };
        frame.index = index;
        self.wanted = self.fields.states().get(frame.state).element(index);
    }
}

/// Shows the length of the text, not the text.
impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partial")
            .field("bytes", &self.text.len())
            .field("depth", &self.stack.len())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
