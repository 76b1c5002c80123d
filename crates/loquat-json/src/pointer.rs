//! The set of fields to look for: JSON Pointers compiled into one tree, so that all are found in the same pass.
//!
//! [RFC 6901](https://www.rfc-editor.org/rfc/rfc6901) with one addition: the token `*` stands for every element of an array.
//! The tree knows paths and nothing of documents. What a pass walks in step with a document are its [`States`]: a value may be
//! several nodes of the tree at once, an element by its index and by a wildcard, but it is always one state.

use std::sync::Arc;
use std::{fmt, iter};

use crate::shape::Shapes;
use crate::spare::Spares;
use crate::state::{self, State, States};

/// Wildcards allowed in one pointer. Four reach an array in an array in an array in an array, which no known format
/// needs; the bound keeps a match a small copyable thing.
pub(crate) const MAX_WILDCARDS: usize = 4;

/// JSON Pointers compiled once, looked for together. Cloning shares them.
///
/// What is shared besides is a small store of the shapes of documents that recurred in streams (at most 32, of at most 4 KiB of text
/// each: member names and brackets, never values; with where its values are, a shape takes 20 KiB at the very most), from which the
/// extractors of all clones predict, and the memory of four that ended, with zeros where the texts of events were, for the next ones
/// (a few KiB each, at most 64). Until one of the four is taken it holds on to the shapes that were in the store when its extractor
/// ended, also to those that have made room for others since. Fields compiled apart, even from the same pointers, know nothing of each
/// other, nor do those made by [`with_own_store`](Self::with_own_store).
///
/// A token `*` matches every element of an array (and, as in the RFC, a member called `*` of an object); at most four of
/// them in a pointer. The empty pointer is the whole document.
///
/// ```
/// use loquat_json::{Extractor, Fields};
///
/// let fields = Fields::compile(&["/usage/total_tokens", "/choices/*/index"])?;
/// let mut extractor = Extractor::new(fields);
/// let found = extractor.extract(br#"{"choices":[{"index":0},{"index":1}],"usage":{"total_tokens":7}}"#)?;
/// assert_eq!(found.get(0).and_then(|value| value.as_u64()), Some(7));
/// assert_eq!(found.iter().filter(|found| found.field == 1).count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Fields {
    shared: Arc<Shared>,
}

/// What clones share.
struct Shared {
    tree: Arc<Tree>,
    shapes: Shapes,
    spares: Spares,
}

struct Tree {
    nodes: Vec<Node>,
    fields: Vec<Field>,
    states: States,
}

#[derive(Default)]
struct Node {
    parent: usize,
    /// The tokens that follow this node's, and their nodes.
    children: Vec<(Box<str>, usize)>,
    /// The fields whose pointer ends here; more than one when a pointer was given twice.
    fields: Vec<u32>,
}

pub(crate) struct Field {
    node: usize,
    /// How deep the arrays are that its wildcards range over; the root is at 0.
    pub(crate) wildcard_depths: Vec<usize>,
}

impl Fields {
    /// Compiles pointers. A field is afterwards known by its index in this list.
    ///
    /// # Errors
    ///
    /// A pointer that is neither empty nor starts with `/`, a `~` that is followed by neither `0` nor `1`, more than
    /// four wildcards; or pointers that together overlap in too many ways.
    pub fn compile(pointers: &[&str]) -> Result<Self, PointerError> {
        let mut tree = Tree::default();
        for (field, pointer) in (0u32..).zip(pointers) {
            tree.add(field, pointer).map_err(|kind| PointerError { kind, field: field as usize })?;
        }
        tree.states = States::of(&tree).ok_or(PointerError {
            kind: PointerErrorKind::TooMuchOverlap,
            field: pointers.len().saturating_sub(1),
        })?;
        Ok(Self::of(Arc::new(tree)))
    }

    /// The same pointers, compiled no second time, beside a store and memory of their own: what extractors of these fields learn is not
    /// known to those of the others, nor the other way round. For texts of different origins, one of which may be hostile or whose
    /// member names must not meet. Costs some 700 bytes, and what is learned.
    #[must_use]
    pub fn with_own_store(&self) -> Self {
        Self::of(Arc::clone(&self.shared.tree))
    }

    /// Whether these are the same pointers, compiled once, whatever their stores.
    pub fn shares_pointers_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared.tree, &other.shared.tree)
    }

    fn of(tree: Arc<Tree>) -> Self {
        Self { shared: Arc::new(Shared { tree, shapes: Shapes::default(), spares: Spares::default() }) }
    }

    /// No pointers at all: for an extractor that only validates.
    #[cfg(feature = "document")]
    pub(crate) fn none() -> Self {
        let mut tree = Tree::default();
        tree.states = States::of(&tree).unwrap_or_default();
        Self::of(Arc::new(tree))
    }

    /// How many pointers were compiled.
    pub fn len(&self) -> usize {
        self.shared.tree.fields.len()
    }

    /// True when there are none; an extractor without fields still validates.
    pub fn is_empty(&self) -> bool {
        self.shared.tree.fields.is_empty()
    }

    pub(crate) fn states(&self) -> &States {
        &self.shared.tree.states
    }

    pub(crate) fn field(&self, index: u32) -> &Field {
        &self.shared.tree.fields[index as usize]
    }

    pub(crate) fn shapes(&self) -> &Shapes {
        &self.shared.shapes
    }

    pub(crate) fn spares(&self) -> &Spares {
        &self.shared.spares
    }

    /// Whether a field's values lie within those of a state.
    pub(crate) fn is_within(&self, field: u32, state: &State) -> bool {
        let mut node = self.field(field).node;
        while !state.nodes.contains(&node) {
            if node == 0 {
                return false;
            }
            node = self.shared.tree.nodes[node].parent;
        }
        true
    }

    /// How many nodes the tree has.
    pub(crate) fn nodes(&self) -> usize {
        self.shared.tree.nodes.len()
    }

    /// A field's node, and those above it but the root's.
    pub(crate) fn path(&self, field: usize) -> impl Iterator<Item = usize> {
        let node = self.shared.tree.fields.get(field).map_or(0, |field| field.node);
        let inner = |node: usize| Some(node).filter(|node| *node != 0);
        iter::successors(inner(node), move |node| inner(self.shared.tree.nodes.get(*node)?.parent))
    }
}

impl Default for Tree {
    /// The root alone.
    fn default() -> Self {
        Self { nodes: vec![Node::default()], fields: Vec::new(), states: States::default() }
    }
}

impl state::Tree for Tree {
    fn children(&self, node: usize) -> &[(Box<str>, usize)] {
        self.nodes.get(node).map_or(&[], |node| &node.children)
    }

    fn fields(&self, node: usize) -> &[u32] {
        self.nodes.get(node).map_or(&[], |node| &node.fields)
    }

    fn has_wildcards(&self, field: u32) -> bool {
        self.fields.get(field as usize).is_some_and(|field| !field.wildcard_depths.is_empty())
    }
}

impl Tree {
    fn add(&mut self, field: u32, pointer: &str) -> Result<(), PointerErrorKind> {
        let mut node = 0;
        let mut wildcard_depths = Vec::new();
        if !pointer.is_empty() {
            let tokens = pointer.strip_prefix('/').ok_or(PointerErrorKind::NoLeadingSlash)?;
            for (depth, token) in tokens.split('/').enumerate() {
                if token == "*" {
                    wildcard_depths.push(depth);
                }
                node = self.child(node, unescape(token)?);
            }
        }
        if wildcard_depths.len() > MAX_WILDCARDS {
            return Err(PointerErrorKind::TooManyWildcards);
        }
        self.nodes[node].fields.push(field);
        self.fields.push(Field { node, wildcard_depths });
        Ok(())
    }

    fn child(&mut self, parent: usize, token: String) -> usize {
        let children = &self.nodes[parent].children;
        if let Some((_, known)) = children.iter().find(|(known, _)| **known == *token) {
            return *known;
        }
        let node = self.nodes.len();
        self.nodes.push(Node { parent, ..Node::default() });
        self.nodes[parent].children.push((token.into(), node));
        node
    }
}

/// "either … `0`, or digits without a leading `0`" (RFC 6901 §4).
pub(crate) fn array_index(token: &str) -> Option<u32> {
    let canonical = token == "0" || !token.starts_with(['0', '+']);
    token.parse().ok().filter(|_| canonical)
}

pub(crate) fn unescape(token: &str) -> Result<String, PointerErrorKind> {
    let mut pieces = token.split('~');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (escaped, rest) = match piece.as_bytes().first() {
            Some(b'0') => ('~', &piece[1..]),
            Some(b'1') => ('/', &piece[1..]),
            _ => return Err(PointerErrorKind::BadEscape),
        };
        name.push(escaped);
        name.push_str(rest);
    }
    Ok(name)
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fields").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A pointer that cannot be compiled: a mistake of the program, not of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointerError {
    kind: PointerErrorKind,
    field: usize,
}

/// The kinds of [`PointerError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PointerErrorKind {
    /// Not empty, and does not start with `/`.
    NoLeadingSlash,
    /// A `~` without `0` or `1` after it.
    BadEscape,
    /// More than four `*`.
    TooManyWildcards,
    /// The pointers together, of which the last is named: too many of them have indices where others have a `*`, so that more than
    /// 16,384 combinations of them can meet in one value.
    TooMuchOverlap,
}

impl PointerError {
    /// What is wrong.
    pub fn kind(&self) -> PointerErrorKind {
        self.kind
    }

    /// Which pointer, by its index in the list.
    pub fn field(&self) -> usize {
        self.field
    }
}

impl fmt::Display for PointerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            PointerErrorKind::NoLeadingSlash => "is neither empty nor starts with `/`",
            PointerErrorKind::BadEscape => "has a `~` that is not followed by `0` or `1`",
            PointerErrorKind::TooManyWildcards => "has more than four `*`",
            PointerErrorKind::TooMuchOverlap => "and those before it overlap in too many ways",
        };
        write!(f, "the pointer at index {} {what}", self.field)
    }
}

impl std::error::Error for PointerError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_compile_or_say_why_not() {
        fn check(pointer: &str, expected: Result<&[usize], PointerErrorKind>) {
            match (Fields::compile(&["", pointer]), expected) {
                (Ok(fields), Ok(depths)) => assert_eq!(fields.field(1).wildcard_depths, depths, "{pointer}"),
                (Err(error), Err(kind)) => assert_eq!((error.kind(), error.field()), (kind, 1), "{pointer}"),
                (got, expected) => panic!("{pointer}: {got:?} instead of {expected:?}"),
            }
        }
        check("", Ok(&[]));
        check("/", Ok(&[]));
        check("/a~0b/~1", Ok(&[]));
        check("/*", Ok(&[0]));
        check("/a/*/b/*", Ok(&[1, 3]));
        check("/*/*/*/*", Ok(&[0, 1, 2, 3]));
        check("/*/*/*/*/*", Err(PointerErrorKind::TooManyWildcards));
        check("a", Err(PointerErrorKind::NoLeadingSlash));
        check("/a~", Err(PointerErrorKind::BadEscape));
        check("/~2", Err(PointerErrorKind::BadEscape));
        check("/~é", Err(PointerErrorKind::BadEscape));
    }

    #[test]
    fn array_indices_are_canonical() {
        for (token, index) in [("0", Some(0)), ("10", Some(10)), ("4294967295", Some(u32::MAX))] {
            assert_eq!(array_index(token), index, "{token}");
        }
        for token in ["", "00", "01", "+1", "-", "-1", "1.0", "4294967296", "*"] {
            assert_eq!(array_index(token), None, "{token}");
        }
    }
}
