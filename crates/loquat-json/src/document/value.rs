//! Reading a document: values as places in it, members and elements in turn, pointers.
//!
//! Nothing is built and nothing allocates: a step over a value is one addition, so that looking for a member takes time in
//! the number of members before its end, not in their size.

use std::fmt;

use super::{Data, DeserializeError, Document, Node, deserialize};
use crate::pointer;
use crate::value::Number;

/// A value of a document, lent by it. `Debug` shows kind and size, not content.
///
/// ```
/// use loquat_json::document::Document;
///
/// let embeddings = Document::parse(br#"{"data":[{"index":0,"embedding":[0.5,1e-3]}]}"#.to_vec())?;
/// let numbers = embeddings.pointer("/data/0/embedding").and_then(|list| list.as_array()).into_iter().flatten();
/// assert_eq!(numbers.filter_map(|number| number.as_f64()).collect::<Vec<_>>(), [0.5, 1e-3]);
/// # Ok::<(), loquat_json::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Value<'d> {
    document: &'d Document,
    at: usize,
    node: Node,
}

impl<'d> Value<'d> {
    pub(super) fn root(document: &'d Document) -> Self {
        Self::at(document, 0).unwrap_or(Self { document, at: 0, node: Node { start: 0, data: Data::Null } })
    }

    fn at(document: &'d Document, at: usize) -> Option<Self> {
        document.nodes.get(at).map(|node| Self { document, at, node: *node })
    }

    pub(super) fn data(&self) -> Data {
        self.node.data
    }

    /// Where the value starts in the text that was parsed, in bytes from 0.
    pub fn offset(&self) -> u64 {
        u64::from(self.node.start)
    }

    /// The string, if it is one. Costs a check that it is UTF-8, as it lies in a buffer of bytes.
    pub fn as_str(&self) -> Option<&'d str> {
        std::str::from_utf8(self.str_bytes()?).ok()
    }

    fn str_bytes(&self) -> Option<&'d [u8]> {
        let Data::Str { bytes } = self.node.data else { return None };
        let first = self.node.start as usize + 1;
        self.document.text.get(first..first + bytes as usize)
    }

    /// The integer, exactly. `None` with a sign, a fraction or an exponent (`1.0` and `1e3` too), or beyond `u64`.
    pub fn as_u64(&self) -> Option<u64> {
        match self.node.data {
            Data::Unsigned(value) => Some(value.bits()),
            _ => None,
        }
    }

    /// The integer, exactly. `None` with a fraction or an exponent, or beyond `i64`.
    pub fn as_i64(&self) -> Option<i64> {
        match self.node.data {
            Data::Signed(value) => Some(value.bits().cast_signed()),
            Data::Unsigned(value) => value.bits().try_into().ok(),
            _ => None,
        }
    }

    /// The nearest double of any number.
    pub fn as_f64(&self) -> Option<f64> {
        match self.node.data {
            Data::Float(value) => Some(f64::from_bits(value.bits())),
            Data::Unsigned(value) => Some(value.bits() as f64),
            Data::Signed(value) => match value.bits().cast_signed() {
                // With a minus sign.
                0 => Some(-0.0),
                value => Some(value as f64),
            },
            _ => None,
        }
    }

    /// The number as it was written, if it is one: whatever its length and precision.
    pub fn as_number(&self) -> Option<Number<'d>> {
        if !matches!(self.node.data, Data::Signed(_) | Data::Unsigned(_) | Data::Float(_)) {
            return None;
        }
        let rest = self.document.text.get(self.node.start as usize..)?;
        let is_part = |byte: &&u8| matches!(**byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(is_part).count();
        std::str::from_utf8(rest.get(..length)?).ok().map(Number)
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self.node.data {
            Data::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// True for `null`.
    pub fn is_null(&self) -> bool {
        matches!(self.node.data, Data::Null)
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<Elements<'d>> {
        matches!(self.node.data, Data::Array { .. }).then(|| Elements(self.nodes_below()))
    }

    /// The members, if it is an object: all of them as they came, names that occur again included.
    pub fn as_object(&self) -> Option<Members<'d>> {
        matches!(self.node.data, Data::Object { .. }).then(|| Members(self.nodes_below()))
    }

    fn nodes_below(&self) -> Nodes<'d> {
        let start = self.at + 1;
        Nodes { document: self.document, at: start, end: start + self.node.below() }
    }

    /// The member of an object; the last of that name. Looks at every name of the object.
    pub fn get(&self, name: &str) -> Option<Self> {
        let Nodes { document, mut at, end } = self.as_object()?.0;
        let mut found = None;
        while at < end {
            let key = Self::at(document, at)?;
            let value = Self::at(document, at + 1)?;
            if key.str_bytes() == Some(name.as_bytes()) {
                found = Some(value);
            }
            at += 2 + value.node.below();
        }
        found
    }

    /// The element of an array, from 0. Steps over those before it.
    pub fn element(&self, index: usize) -> Option<Self> {
        self.as_array()?.nth(index)
    }

    /// The value that a JSON Pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)) leads to from this one. No wildcards:
    /// `*` is a member of that name. `None` also for what is no pointer (neither empty nor with a leading `/`, or with a `~`
    /// that is followed by neither `0` nor `1`), as it leads nowhere.
    pub fn pointer(&self, pointer: &str) -> Option<Self> {
        if pointer.is_empty() {
            return Some(*self);
        }
        let mut value = *self;
        for token in pointer.strip_prefix('/')?.split('/') {
            value = match value.node.data {
                Data::Array { .. } => value.element(pointer::array_index(token)? as usize)?,
                Data::Object { .. } if token.contains('~') => value.get(&pointer::unescape(token).ok()?)?,
                Data::Object { .. } => value.get(token)?,
                _ => return None,
            };
        }
        Some(value)
    }

    /// The value as one of some type. Strings may be borrowed from the document (`&'d str`; a `Cow` with
    /// `#[serde(borrow)]`). Members that the type does not know are skipped at once, however large.
    ///
    /// # Errors
    ///
    /// The value is not of that type.
    pub fn deserialize<T: serde_core::Deserialize<'d>>(&self) -> Result<T, DeserializeError> {
        deserialize::from_value(*self)
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node.data {
            Data::Null => f.write_str("Null"),
            Data::Bool(_) => f.write_str("Bool"),
            Data::Signed(_) | Data::Unsigned(_) | Data::Float(_) => f.write_str("Number"),
            Data::Str { bytes } => write!(f, "Str({bytes} bytes)"),
            Data::Array { nodes } => write!(f, "Array({nodes} nodes)"),
            Data::Object { nodes } => write!(f, "Object({nodes} nodes)"),
        }
    }
}

/// A stretch of nodes, walked value by value.
#[derive(Clone)]
struct Nodes<'d> {
    document: &'d Document,
    at: usize,
    end: usize,
}

impl<'d> Nodes<'d> {
    fn next(&mut self) -> Option<Value<'d>> {
        if self.at >= self.end {
            return None;
        }
        let value = Value::at(self.document, self.at)?;
        self.at += 1 + value.node.below();
        Some(value)
    }
}

/// The elements of an array, in order.
#[derive(Clone)]
pub struct Elements<'d>(Nodes<'d>);

impl<'d> Iterator for Elements<'d> {
    type Item = Value<'d>;

    fn next(&mut self) -> Option<Value<'d>> {
        self.0.next()
    }
}

/// The members of an object, in the order they were written.
#[derive(Clone)]
pub struct Members<'d>(Nodes<'d>);

impl<'d> Members<'d> {
    /// The next name as a value.
    pub(super) fn next_name(&mut self) -> Option<Value<'d>> {
        self.0.next()
    }

    /// The value of the name that was last.
    pub(super) fn next_value(&mut self) -> Option<Value<'d>> {
        self.0.next()
    }
}

impl<'d> Iterator for Members<'d> {
    type Item = (&'d str, Value<'d>);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.next_name()?.as_str()?;
        Some((name, self.next_value()?))
    }
}

impl fmt::Debug for Elements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Elements({} nodes left)", self.0.end.saturating_sub(self.0.at))
    }
}

impl fmt::Debug for Members<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Members({} nodes left)", self.0.end.saturating_sub(self.0.at))
    }
}
