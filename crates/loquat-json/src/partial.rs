//! A JSON text that arrives in pieces, as the arguments of a tool call do: each byte is looked at once, what is there can be
//! read at any time, and nothing is whole until the protocol says so.
//!
//! Clients that parse the gathered text again at each piece need quadratic time, and take text that happens to parse for
//! text that is complete. Here the scan is resumed where it stopped, and only [`Partial::finish`] vouches for the end. Grammar,
//! limits and errors are those of the [`Extractor`](crate::Extractor).

mod number;

use std::ops::Range;
use std::{fmt, mem};

use crate::error::{Error, ErrorKind};
use crate::extract::DEFAULT_MAX_DEPTH;
use crate::found::Kind;
use crate::pointer::Fields;
use crate::state::{NOTHING, ROOT};
use crate::text::{SplitPair, Str};
use crate::value::Value;
use crate::{scan, vector};

/// Length allowed by default, in bytes: that of an event, of which arguments are a part.
const DEFAULT_MAX_BYTES: usize = 8 * 1024 * 1024;

/// A JSON text that grows.
///
/// Takes time linear in the text, however small the pieces, and holds the text once.
///
/// ```
/// use loquat_json::{Fields, Partial, Progress};
///
/// let mut arguments = Partial::new(Fields::compile(&["/path", "/content"])?);
/// let (mut shown, mut progress) = (String::new(), Progress::default());
/// for piece in ["{\"path\": \"a.t", "xt\", \"content\":", " \"line 1\\", "nline"] {
///     arguments.push(piece)?;
///     arguments.append_str_to(1, &mut progress, &mut shown);
/// }
/// assert_eq!(arguments.get(0).and_then(|path| path.as_str()?.borrowed()), Some("a.txt"));
/// assert_eq!(shown, "line 1\nline");
/// assert!(arguments.get(1).is_none() && arguments.finish().is_err());
/// arguments.push(" 2\"}")?;
/// arguments.append_str_to(1, &mut progress, &mut shown);
/// assert_eq!(shown, "line 1\nline 2");
/// assert!(arguments.finish().is_ok());
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
    stack: Vec<Frame>,
    /// What the value to come is to the pointers, or the scalar that `at` is in.
    wanted: u32,
    /// Per such state, the object that had the member last.
    latest: Vec<u64>,
    frames_opened: u64,
    /// By field.
    values: Vec<Option<Span>>,
    failed: Option<Error>,
}

/// How far a string has been read by [`Partial::append_str_to`]. One for each string that is followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    start: usize,
    read: usize,
    pair: SplitPair,
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
            fields,
            max_bytes: DEFAULT_MAX_BYTES,
            max_depth: DEFAULT_MAX_DEPTH,
            text: String::new(),
            at: 0,
            state: State::Value,
            token_start: 0,
            escaped: false,
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
        if let Some(error) = self.failed {
            return Err(error);
        }
        if piece.len() > self.max_bytes.saturating_sub(self.text.len()) {
            return Err(self.fail(Error::new(ErrorKind::TooLong, self.max_bytes)));
        }
        self.text.push_str(piece);
        self.resume().map_err(|error| self.fail(error))
    }

    /// The text so far, as it came: that of a piece that was refused too, unless for its length.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value of a field whose end has arrived; the latest if its wildcards matched several. That a value has ended does
    /// not make the text whole.
    pub fn get(&self, field: usize) -> Option<Value<'_>> {
        let span = (*self.values.get(field)?)?;
        Some(Value::new(span.kind, &self.text, span.start, span.end?))
    }

    /// Appends what has arrived of a string since the last call with this `progress`, unescaped; half an escape or character
    /// waits for the other half, a lone surrogate becomes U+FFFD. True when the string has ended and all of it was appended.
    ///
    /// When the field gets another value (a name repeated, the next element of a wildcard), reading starts anew.
    pub fn append_str_to(&self, field: usize, progress: &mut Progress, out: &mut String) -> bool {
        let Some(&Some(span)) = self.values.get(field) else { return false };
        if !matches!(span.kind, Kind::PlainStr | Kind::EscapedStr) {
            return false;
        }
        let first = span.start + 1;
        if progress.start != first {
            *progress = Progress { start: first, read: first, pair: SplitPair::default() };
        }
        // The scan stops before an unfinished escape.
        let end = span.end.map_or(self.at, |end| end - 1);
        if let Some(text) = self.text.get(progress.read..end) {
            Str::append_raw_joined_to(text, out, &mut progress.pair);
            progress.read = end;
        }
        if span.end.is_some() {
            progress.pair.finish(out);
        }
        span.end.is_some()
    }

    /// The protocol says that nothing more will come: the whole text, if it is whole.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEnd`](ErrorKind::UnexpectedEnd) if it is not; what [`push`](Self::push) has refused.
    pub fn finish(&mut self) -> Result<&str, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if let State::Number(part) = self.state
            && part.is_whole()
            && self.stack.is_empty()
        {
            // What nothing encloses, only the end of the text ends.
            self.end_scalar(Kind::Number);
        }
        if self.state == State::Next && self.stack.is_empty() {
            return Ok(&self.text);
        }
        Err(Error::new(ErrorKind::UnexpectedEnd, self.text.len()))
    }

    fn fail(&mut self, error: Error) -> Error {
        self.failed = Some(error);
        error
    }

    fn resume(&mut self) -> Result<(), Error> {
        // Taken for the time of the scan, because the steps change the rest of `self`.
        let text = mem::take(&mut self.text);
        let result = self.scan(text.as_bytes());
        self.text = text;
        result
    }

    fn scan(&mut self, json: &[u8]) -> Result<(), Error> {
        loop {
            match self.state {
                State::Name | State::Str => {
                    if !self.string(json)? {
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
                        None if part.is_whole() => self.end_scalar(Kind::Number),
                        None => return Err(scan::unexpected(json, self.at)),
                    }
                }
                State::Literal(word, kind) => match scan::literal(json, self.token_start, word) {
                    Ok(end) => {
                        self.at = end;
                        self.end_scalar(kind);
                    }
                    Err(error) if error.kind() == ErrorKind::UnexpectedEnd => return Ok(()),
                    Err(error) => return Err(error),
                },
                _ => {
                    self.at = scan::skip_space(json, self.at);
                    let Some(&byte) = json.get(self.at) else { return Ok(()) };
                    self.step(json, byte)?;
                }
            }
        }
    }

    /// One character outside of strings, numbers and literals.
    fn step(&mut self, json: &[u8], byte: u8) -> Result<(), Error> {
        match (self.state, byte) {
            (State::FirstMember | State::Member, b'"') => {
                self.token_start = self.at;
                self.at += 1;
                self.state = State::Name;
            }
            (State::FirstMember, b'}') | (State::FirstElement, b']') => self.close(),
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
                    (b'}', true) | (b']', false) => self.close(),
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
        self.escaped = false;
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

    /// Goes on with a name or string. `false` when its end has not arrived.
    fn string(&mut self, json: &[u8]) -> Result<bool, Error> {
        loop {
            self.at = vector::plain_run(json, self.at);
            match json.get(self.at) {
                None => return Ok(false),
                Some(b'"') => break,
                Some(b'\\') => match scan::escape(json, self.at + 1) {
                    Ok(end) => {
                        self.escaped = true;
                        self.at = end;
                    }
                    Err(error) if error.kind() == ErrorKind::UnexpectedEnd => return Ok(false),
                    Err(error) => return Err(error),
                },
                Some(_) => return Err(scan::unexpected(json, self.at)),
            }
        }
        self.at += 1;
        if self.state == State::Name {
            self.name(json, self.token_start + 1..self.at - 1);
            self.state = State::Colon;
        } else {
            self.end_scalar(if self.escaped { Kind::EscapedStr } else { Kind::PlainStr });
        }
        Ok(true)
    }

    fn end_scalar(&mut self, kind: Kind) {
        self.mark(self.wanted, Span { start: self.token_start, end: Some(self.at), kind });
        self.state = State::Next;
    }

    fn close(&mut self) {
        self.at += 1;
        self.state = State::Next;
        if let Some(frame) = self.stack.pop() {
            let kind = if frame.is_object { Kind::Object } else { Kind::Array };
            self.mark(frame.state, Span { start: frame.start, end: Some(self.at), kind });
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

    fn name(&mut self, json: &[u8], name: Range<usize>) {
        let Some(&Frame { state, serial, .. }) = self.stack.last() else { return };
        self.wanted = self.fields.states().get(state).any_member(json, name);
        let Some(latest) = self.latest.get_mut(self.wanted as usize) else { return };
        if self.wanted != NOTHING && mem::replace(latest, serial) == serial {
            let member = self.fields.states().get(self.wanted);
            for (field, value) in (0u32..).zip(&mut self.values) {
                if self.fields.is_within(field, member) {
                    *value = None;
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
