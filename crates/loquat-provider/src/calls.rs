//! Whose piece is it: tool calls put in order although servers number them as they please.
//!
//! The rule is id, then index, then the latest call. Numbers and ids from the peer are only ever compared, never used to
//! index or to reserve, so four billion, minus one or a word in place of a number costs nothing. Seen in the wild:
//! ids repeated, empty, `null`, new or missing after the first piece; every call at index 0; no index at all; the name
//! repeated in every piece; a whole call in one piece.

use loquat_core::{Error, ErrorKind, Result};
use loquat_json::{Str, Value};

use crate::outbox::Text;

/// What one event says of one call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CallPiece<'a> {
    pub(crate) id: Option<Str<'a>>,
    /// Whatever stood in the place of the index.
    pub(crate) index: Option<Value<'a>>,
    pub(crate) name: Option<Str<'a>>,
    pub(crate) arguments: Option<Text<'a>>,
}

/// The calls of one alternative, in the order they began.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    known: Vec<Call>,
    /// The call the last piece belonged to.
    latest: usize,
    /// How many have been announced; they are numbered in that order.
    announced: u32,
    separate: bool,
    /// Reused for comparing ids and names.
    id: String,
    name: String,
}

#[derive(Debug)]
struct Call {
    id: String,
    index: Option<Box<str>>,
    name: String,
    /// Our own number, given when it is announced.
    number: Option<u32>,
    has_arguments: bool,
    /// What it began with are all of its arguments: an object from end to end, which no further piece can be more of.
    is_whole: bool,
}

impl Call {
    fn announce(&mut self, announced: &mut u32) -> Announced {
        let call = *announced;
        *announced += 1;
        self.number = Some(call);
        Announced { call, id: self.id.clone(), name: self.name.clone() }
    }
}

/// Where a piece belongs.
#[derive(Debug)]
pub(crate) enum Place {
    /// To a call that has been announced.
    Known(u32),
    /// To one that is to be announced before the piece's arguments.
    New(Announced),
    /// To one that waits for its name; the piece has no arguments.
    Waiting,
}

/// A call as it is announced.
#[derive(Debug)]
pub(crate) struct Announced {
    pub(crate) call: u32,
    pub(crate) id: String,
    pub(crate) name: String,
}

/// Longest id, index or name that is kept and compared, in bytes: some providers hide a signature of a kilobyte in
/// the id, and what is longer than this is nobody's name.
const MAX_NAME_BYTES: usize = 64 * 1024;

impl Calls {
    pub(crate) fn place(&mut self, piece: &CallPiece<'_>, max_calls: usize) -> Result<Place> {
        decode(piece.id, &mut self.id)?;
        decode(piece.name, &mut self.name)?;
        if self.id == "null" {
            self.id.clear();
        }
        let index = piece.index.filter(|index| !index.is_null()).map(|index| index.raw());
        let separate = std::mem::take(&mut self.separate);
        let begins_anew = piece.arguments.is_some_and(|arguments| arguments.begins_object());
        let found = if separate { None } else { self.find(index, begins_anew) };
        let position = match found {
            Some(position) => position,
            None => self.begin(index, max_calls)?,
        };
        self.latest = position;
        let call = &mut self.known[position];
        if call.number.is_none() {
            if call.id.is_empty() {
                call.id.push_str(&self.id);
            }
            if call.name.is_empty() {
                call.name.push_str(&self.name);
            }
        }
        if found.is_none() {
            call.is_whole = piece.arguments.is_some_and(|arguments| arguments.is_object());
        }
        let brings_arguments = piece.arguments.is_some_and(|arguments| !arguments.is_empty());
        call.has_arguments |= brings_arguments;
        Ok(match call.number {
            Some(call) => Place::Known(call),
            // Without a name it waits: a name may still come, but arguments cannot be held back.
            None if call.name.is_empty() && !brings_arguments => Place::Waiting,
            None => Place::New(call.announce(&mut self.announced)),
        })
    }

    /// A call that has not been announced for want of a name.
    pub(crate) fn next_waiting(&mut self) -> Option<Announced> {
        if self.announced as usize == self.known.len() {
            return None;
        }
        let call = self.known.iter_mut().find(|call| call.number.is_none())?;
        Some(call.announce(&mut self.announced))
    }

    /// The number of the call that the last piece belonged to; `None` while it waits for its name.
    pub(crate) fn latest(&self) -> Option<u32> {
        self.known.get(self.latest)?.number
    }

    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        !self.known.is_empty()
    }

    /// The next piece begins a call of its own.
    pub(crate) fn separate(&mut self) {
        self.separate = true;
    }

    fn find(&self, index: Option<&[u8]>, begins_anew: bool) -> Option<usize> {
        let by_index = index.and_then(|index| self.with_index(index));
        if !self.id.is_empty() {
            let same_id = |call: &Call| call.id == self.id;
            if self.known.get(self.latest).is_some_and(same_id) {
                return Some(self.latest);
            }
            // An id that comes late, to a call that began without, is no new call. Nor is a piece without a name at the
            // index of one that has it, whatever its id: older vLLMs make up a new one for each piece.
            return self.known.iter().rposition(same_id).or_else(|| {
                by_index.filter(|&position| {
                    let call = &self.known[position];
                    match self.name.is_empty() {
                        true => call.id.is_empty() || !call.name.is_empty(),
                        false => call.id.is_empty() && call.number.is_none(),
                    }
                })
            });
        }
        match by_index {
            // Whole calls, all at one index and without ids. The name alone may be said again in each piece, and at last.
            Some(position) => {
                let call = &self.known[position];
                let is_again = call.name == self.name && !(call.is_whole && begins_anew);
                let another = !self.name.is_empty() && call.has_arguments && !is_again;
                (!another).then_some(position)
            }
            None if self.name.is_empty() && !self.known.is_empty() => Some(self.latest),
            None => None,
        }
    }

    fn with_index(&self, index: &[u8]) -> Option<usize> {
        let same = |call: &Call| call.index.as_deref().is_some_and(|known| known.as_bytes() == index);
        if self.known.get(self.latest).is_some_and(same) {
            return Some(self.latest);
        }
        self.known.iter().rposition(same)
    }

    fn begin(&mut self, index: Option<&[u8]>, max_calls: usize) -> Result<usize> {
        if self.known.len() >= max_calls {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("the answer asks for more tool calls than max_tool_calls ({max_calls})"),
            ));
        }
        if index.is_some_and(|index| index.len() > MAX_NAME_BYTES) {
            return Err(too_long());
        }
        self.known.push(Call {
            id: String::new(),
            index: index.map(|index| String::from_utf8_lossy(index).into()),
            name: String::new(),
            number: None,
            has_arguments: false,
            is_whole: false,
        });
        Ok(self.known.len() - 1)
    }
}

fn decode(text: Option<Str<'_>>, into: &mut String) -> Result<()> {
    into.clear();
    if let Some(text) = text {
        if text.raw().len() > MAX_NAME_BYTES {
            return Err(too_long());
        }
        text.append_lossy_to(into);
    }
    Ok(())
}

fn too_long() -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("the id, index or name of a tool call is longer than {MAX_NAME_BYTES} bytes"),
    )
}
