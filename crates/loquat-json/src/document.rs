//! Whole documents: parsed once, then read in any order, by pointer or by serde. For answers that are not streamed.
//!
//! Parsing is [simd-json](https://docs.rs/simd-json)'s, which rewrites its input: hence the buffer is owned. Before it sees a
//! byte, this crate's own full pass has checked all of them, so that depth is bounded, every error says what and where as
//! everywhere in this crate, and what reaches the parser is valid JSON, whatever was sent. A check of depth has to tell strings from
//! brackets and costs about as much as that pass, so it is all of it.
//!
//! What the parser lends from the buffer cannot be kept beside the buffer without unsafe code. It is kept as places in it
//! instead: sixteen bytes for each value, two thirds of what the parser's own list takes, with room for where the value was in the text.
//!
//! The other half, [`Extractor`], needs no memory and reads one document after the other; a document is for whoever needs
//! all of it, or does not know beforehand what.

mod deserialize;
mod value;

pub use deserialize::DeserializeError;
pub use value::{Elements, Members, Value};

use std::fmt;

use memchr::memchr;
use simd_json::{Buffers, ErrorType, INPUT_PADDING, StaticNode, Tape};

use crate::error::{Error, ErrorKind};
use crate::escape::{self, UNICODE_ESCAPE_BYTES};
use crate::extract::{DEFAULT_MAX_DEPTH, Extractor};
use crate::pointer::Fields;

/// A JSON text, parsed: numbers converted, strings unescaped, all of it valid.
///
/// Holds the buffer and 16 bytes for each value and member name in it. The smallest values cost most: a text of nothing but
/// `1,1,1` takes 9 times its length, and 25 times while it is parsed, for which 42 times its length is asked of the allocator. A name that occurs more than once in an object
/// stands for its last member, as everywhere in this crate, except that a derived struct refuses two members for one of its fields, as
/// serde has it.
///
/// `Debug` shows sizes, not content.
///
/// ```
/// use loquat_json::document::Document;
///
/// let answer = Document::parse(br#"{"choices":[{"message":{"content":"ri\u0070e"}}],"usage":{"total_tokens":7}}"#.to_vec())?;
/// assert_eq!(answer.pointer("/choices/0/message/content").and_then(|text| text.as_str()), Some("ripe"));
///
/// #[derive(serde::Deserialize)]
/// struct Usage {
///     total_tokens: u64,
/// }
/// let usage: Usage = answer.root().get("usage").expect("sent above").deserialize()?;
/// assert_eq!(usage.total_tokens, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Document {
    /// The text, with strings unescaped where they stood; what is left over behind them means nothing.
    text: Vec<u8>,
    /// Never empty; the first is the root. A container is followed by what is in it.
    nodes: Vec<Node>,
}

/// What a document may be, and what becomes of half characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How deep arrays and objects may be nested; a scalar alone has depth 0. Default 64. Of 20,000 recorded events of thirty providers
    /// the deepest nests 12 levels. Reading a document needs no stack, but deserializing it recurses in the program's own
    /// types: above a few hundred, see that the stack suffices.
    pub max_depth: usize,
    /// Whether an escaped half of a surrogate pair without the other, which is valid JSON and no text, becomes U+FFFD
    /// instead of refusing the document. Default `false`. A server that cuts text by UTF-16 units when the output limit
    /// is reached sends such halves.
    pub replace_lone_surrogates: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_depth: DEFAULT_MAX_DEPTH, replace_lone_surrogates: false }
    }
}

impl Options {
    /// Replaces [`max_depth`](Self::max_depth).
    #[must_use]
    pub fn with_max_depth(mut self, max_depth: usize) -> Self {
        self.max_depth = max_depth;
        self
    }

    /// Replaces [`replace_lone_surrogates`](Self::replace_lone_surrogates).
    #[must_use]
    pub fn with_replaced_lone_surrogates(mut self, replace: bool) -> Self {
        self.replace_lone_surrogates = replace;
        self
    }
}

impl Document {
    /// Parses a text with the default [`Options`], in its own buffer; linear in its length. 64 bytes of spare capacity
    /// save moving it.
    ///
    /// # Errors
    ///
    /// Not UTF-8, not JSON, cut off, followed by more than white space, nested too deep; half a surrogate pair in a string;
    /// a number beyond the range of a double; 4 GiB or more. Integers beyond 64 bits are no error: they are the nearest double,
    /// and still there [as written](Value::as_number).
    pub fn parse(text: Vec<u8>) -> Result<Self, Error> {
        Self::parse_with(text, Options::default())
    }

    /// [`parse`](Self::parse) with other options.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn parse_with(mut text: Vec<u8>, options: Options) -> Result<Self, Error> {
        if u32::try_from(text.len()).is_err() {
            return Err(Error::in_stream(ErrorKind::TooLong, u64::from(u32::MAX)));
        }
        let mut validator =
            Extractor::new(Fields::none()).with_prediction(false).with_max_depth(options.max_depth);
        validator.extract(&text)?;
        settle_surrogates(&mut text, options.replace_lone_surrogates)?;

        let length = text.len();
        text.reserve_exact(INPUT_PADDING);
        text.resize(length + INPUT_PADDING, b' ');
        let mut buffers = Buffers::with_max_depth(0, options.max_depth);
        let mut tape = Tape::null();
        simd_json::fill_tape_padded(&mut text, length, &mut buffers, &mut tape)
            .map_err(|error| refused(&error))?;
        let mut nodes: Vec<Node> = tape.0.iter().map(Node::new).collect();
        drop(tape);
        text.truncate(length);
        locate(&mut nodes, buffers.structural_indexes(), &text)?;
        Ok(Self { text, nodes })
    }

    /// The whole document as a value.
    pub fn root(&self) -> Value<'_> {
        Value::root(self)
    }

    /// The value that a JSON Pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)) leads to, as
    /// [`Value::pointer`] of the root.
    pub fn pointer(&self, pointer: &str) -> Option<Value<'_>> {
        self.root().pointer(pointer)
    }

    /// The whole document as a value of some type, as [`Value::deserialize`] of the root. Strings may be borrowed from the
    /// document.
    ///
    /// # Errors
    ///
    /// The document is valid but not of that type.
    pub fn deserialize<'d, T: serde_core::Deserialize<'d>>(&'d self) -> Result<T, DeserializeError> {
        self.root().deserialize()
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("bytes", &self.text.len())
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

/// A value or a member name.
#[derive(Clone, Copy)]
struct Node {
    /// Where its first byte is in the text.
    start: u32,
    data: Data,
}

#[derive(Clone, Copy)]
enum Data {
    Null,
    Bool(bool),
    /// An `i64` with a minus sign before it.
    Signed(Halves),
    /// A `u64`.
    Unsigned(Halves),
    /// The bits of an `f64`.
    Float(Halves),
    /// So many bytes from the one after the quote, unescaped.
    Str {
        bytes: u32,
    },
    /// So many nodes in it, all levels together.
    Array {
        nodes: u32,
    },
    /// The same; names and values take turns.
    Object {
        nodes: u32,
    },
}

/// Eight bytes that need no more alignment than four: a node would have 24 bytes otherwise.
#[derive(Clone, Copy)]
struct Halves([u32; 2]);

// What `Document` says it costs.
const _: () = assert!(size_of::<Node>() == 16);

impl Halves {
    #[expect(clippy::cast_possible_truncation, reason = "one half at a time")]
    fn new(bits: u64) -> Self {
        Self([bits as u32, (bits >> 32) as u32])
    }

    fn bits(self) -> u64 {
        u64::from(self.0[1]) << 32 | u64::from(self.0[0])
    }
}

impl Node {
    /// What is known of a node before it has been [located](locate).
    fn new(node: &simd_json::Node<'_>) -> Self {
        // Texts are below 4 GiB, and so are counts of what is in them.
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let data = match *node {
            simd_json::Node::String(text) => Data::Str { bytes: count(text.len()) },
            simd_json::Node::Object { count: nodes, .. } => Data::Object { nodes: count(nodes) },
            simd_json::Node::Array { count: nodes, .. } => Data::Array { nodes: count(nodes) },
            simd_json::Node::Static(StaticNode::Null) => Data::Null,
            simd_json::Node::Static(StaticNode::Bool(value)) => Data::Bool(value),
            simd_json::Node::Static(StaticNode::I64(value)) => {
                Data::Signed(Halves::new(value.cast_unsigned()))
            }
            simd_json::Node::Static(StaticNode::U64(value)) => Data::Unsigned(Halves::new(value)),
            simd_json::Node::Static(StaticNode::F64(value)) => Data::Float(Halves::new(value.to_bits())),
        };
        Self { start: 0, data }
    }

    /// Nodes below this one.
    fn below(self) -> usize {
        match self.data {
            Data::Array { nodes } | Data::Object { nodes } => nodes as usize,
            _ => 0,
        }
    }
}

/// Finds halves of surrogate pairs in a valid text, and refuses them or makes them U+FFFD, which takes as many bytes.
fn settle_surrogates(text: &mut [u8], replace: bool) -> Result<(), Error> {
    let mut at = 0;
    while let Some(distance) = memchr(b'\\', text.get(at..).unwrap_or_default()) {
        let escape = at + distance;
        // Every escape is well-formed, and a backslash is nowhere else.
        at = escape + 2;
        let Some(unit) = escape::unit_at(text, escape) else { continue };
        at = escape + UNICODE_ESCAPE_BYTES;
        if !(0xd800..0xe000).contains(&unit) {
            continue;
        }
        let next = escape::unit_at(text, at);
        if next.and_then(|next| escape::join(unit, next)).is_some() {
            at += UNICODE_ESCAPE_BYTES;
        } else if let Some(lone) = text.get_mut(escape..at).filter(|_| replace) {
            lone.copy_from_slice(b"\\ufffd");
        } else {
            return Err(Error::new(ErrorKind::LoneSurrogate, escape));
        }
    }
    Ok(())
}

/// Why the parser refuses what is valid JSON: it holds numbers as doubles.
#[cold]
fn refused(error: &simd_json::Error) -> Error {
    let kind = match error.error() {
        ErrorType::InvalidNumber => ErrorKind::NumberRange,
        ErrorType::InputTooLarge => ErrorKind::TooLong,
        ErrorType::DepthLimitExceeded => ErrorKind::Depth,
        // Nothing is known that comes here. It is an error and no panic if something does.
        _ => ErrorKind::Syntax,
    };
    Error::new(kind, error.index())
}

/// Writes into each node where it starts. The parser has noted each bracket, comma, colon, and first byte of a string, number
/// or literal; the nodes are the same in the same order, without what only separates and closes.
fn locate(nodes: &mut [Node], structurals: &[u32], text: &[u8]) -> Result<(), Error> {
    let opens = |at: &&u32| !matches!(text.get(**at as usize), None | Some(b',' | b':' | b']' | b'}'));
    let mut starts = structurals.iter().filter(opens);
    for node in &mut *nodes {
        let Some(start) = starts.next() else { return Err(Error::new(ErrorKind::Syntax, text.len())) };
        node.start = *start;
    }
    match (starts.next(), nodes.is_empty()) {
        (None, false) => Ok(()),
        (left_over, _) => Err(Error::new(ErrorKind::Syntax, left_over.map_or(0, |at| *at as usize))),
    }
}
