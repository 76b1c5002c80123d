//! What one pass over a document found: places, turned into values when asked for.

use std::fmt;

use crate::pointer::{Fields, MAX_WILDCARDS};
use crate::text::Str;
use crate::value::{Number, Raw, Value};

/// The values found in one document, in document order. Borrows from the document and the extractor; copied freely.
#[derive(Clone, Copy)]
pub struct Found<'e> {
    json: &'e str,
    hits: &'e [Hit],
    fields: &'e Fields,
}

/// One value that a field's pointer leads to.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Match<'e> {
    /// Which pointer: the index into the list given to [`Fields::compile`].
    pub field: usize,
    /// Which elements the pointer's wildcards stood for.
    pub indices: Indices,
    /// The value.
    pub value: Value<'e>,
}

/// The array indices that the wildcards of a pointer stood for, outermost first. An index beyond `u32` counts as
/// `u32::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Indices {
    pub(crate) values: [u32; MAX_WILDCARDS],
    pub(crate) len: u8,
}

/// Where a value is. Kept by the extractor from one document to the next, hence without a lifetime.
#[derive(Clone, Copy)]
pub(crate) struct Hit {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) field: usize,
    pub(crate) indices: Indices,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    True,
    False,
    Number,
    PlainStr,
    EscapedStr,
    Array,
    Object,
    /// A later member of the same name has taken its place.
    Superseded,
}

impl<'e> Found<'e> {
    pub(crate) fn new(json: &'e str, hits: &'e [Hit], fields: &'e Fields) -> Self {
        Self { json, hits, fields }
    }

    /// The value of a field, the last one in document order if its wildcards matched several. `None` when there is none,
    /// and for an index that names no field. A `null` is a value.
    ///
    /// Looks through what was found from the end: cheap for the handful of values an event has. To go through many,
    /// use [`iter`](Self::iter).
    pub fn get(&self, field: usize) -> Option<Value<'e>> {
        let hit = self.hits.iter().rev().find(|hit| hit.field == field && hit.kind != Kind::Superseded)?;
        Some(self.value(hit))
    }

    /// Everything found, in document order. An array or object that was asked for comes before what was found inside.
    /// Where a name occurs more than once in an object, only its last member counts.
    pub fn iter(&self) -> impl Iterator<Item = Match<'e>> + use<'e> {
        let found = *self;
        let live = self.hits.iter().filter(|hit| hit.kind != Kind::Superseded);
        live.map(move |hit| Match { field: hit.field, indices: hit.indices, value: found.value(hit) })
    }

    /// True when no field has a value.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    fn value(&self, hit: &Hit) -> Value<'e> {
        // Places lie on the ASCII of quotes, brackets and digits, inside the document that they were found in.
        let text = self.json.get(hit.start..hit.end).unwrap_or_default();
        match hit.kind {
            Kind::Null | Kind::Superseded => Value::Null,
            Kind::True => Value::Bool(true),
            Kind::False => Value::Bool(false),
            Kind::Number => Value::Number(Number(text)),
            Kind::PlainStr => Value::Str(Str::new(text, false, hit.start)),
            Kind::EscapedStr => Value::Str(Str::new(text, true, hit.start)),
            Kind::Array => Value::Array(Raw(text)),
            Kind::Object => Value::Object(Raw(text)),
        }
    }
}

impl fmt::Debug for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").field("fields", &self.fields).field("hits", &self.hits.len()).finish()
    }
}

impl Indices {
    /// What the `n`th wildcard stood for, from 0.
    pub fn get(&self, n: usize) -> Option<u32> {
        self.as_slice().get(n).copied()
    }

    /// All of them.
    pub fn as_slice(&self) -> &[u32] {
        &self.values[..usize::from(self.len)]
    }
}
