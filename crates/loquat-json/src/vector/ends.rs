//! Where the strings of a text of one line end, one after the other, and the bytes from there on.
//!
//! A walk looks at a handful of bytes for each member, and would look at the bounds of a slice for each of these. Here they are looked at
//! once for each text: one that ends with a closing bracket goes on behind every byte that is none. The oracle of the tests is what
//! slices say.
#![allow(unsafe_code, reason = "bytes at places that were found in the text")]

use std::marker::PhantomData;
use std::ptr::NonNull;

use super::BLOCK;
use crate::string_ends::StringEnds;

/// What is left of a text's closing quotes.
pub(crate) struct Ends<'t> {
    /// Those of the current block that are left.
    left: u64,
    /// The text's first byte, and how far from it the last one is.
    first: Place<'t>,
    last: usize,
    /// Where in the text the current block begins.
    block: *const u8,
    blocks: std::slice::Iter<'t, u64>,
}

/// Where a byte of a text is whose last byte is a bracket that ends something.
#[derive(Clone, Copy)]
pub(crate) struct Place<'t> {
    at: NonNull<u8>,
    lifetime: PhantomData<&'t [u8]>,
}

/// A closing quote, or what was one in a text as long: it is neither among the first two bytes nor the last one.
#[derive(Clone, Copy)]
pub(crate) struct Closing<'t>(Place<'t>);

impl<'t> Ends<'t> {
    /// The bracket that a text begins with that was drawn last, and where its strings end; `None` for one that cannot be that.
    #[inline(always)]
    pub(crate) fn new(text: &'t [u8], string_ends: &'t StringEnds) -> Option<(Place<'t>, Self)> {
        let blocks = string_ends.blocks(text)?;
        let last = text.len().checked_sub(1)?;
        let is_last = blocks.get(last / BLOCK)? >> (last % BLOCK) & 1 != 0;
        let is_first = blocks.first()? & 0b11 != 0;
        if is_last || is_first || !matches!(text.last(), Some(b'}' | b']')) {
            return None;
        }
        let mut blocks = blocks.iter();
        let left = *blocks.next()?;
        // Of all of the text, since its neighbours are reached from it.
        let first = Place { at: NonNull::from(text).cast(), lifetime: PhantomData };
        Some((first, Self { left, first, last, block: text.as_ptr(), blocks }))
    }

    /// The next one, if there is one.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<Closing<'t>> {
        while self.left == 0 {
            self.left = *self.blocks.next()?;
            // It is not dereferenced unless the block has a closing quote, which is in the text then.
            self.block = self.block.wrapping_add(BLOCK);
        }
        let at = self.block.wrapping_add(self.left.trailing_zeros() as usize);
        self.left &= self.left - 1;
        // SAFETY: it points to a byte of the text.
        let at = unsafe { NonNull::new_unchecked(at.cast_mut()) };
        Some(Closing(Place { at, lifetime: PhantomData }))
    }

    /// The place behind one of this text, if it is not the last one.
    #[inline(always)]
    pub(crate) fn behind(&self, place: Place<'t>) -> Option<Place<'t>> {
        let at = place.at.addr().get().wrapping_sub(self.first.at.addr().get());
        // SAFETY: no further from the first byte than the last one is.
        (at < self.last).then(|| Place { at: unsafe { self.first.at.add(at + 1) }, ..self.first })
    }
}

impl<'t> Place<'t> {
    /// The place of that index in the text that another one is in.
    #[inline(always)]
    pub(crate) fn new(text: &'t [u8], index: usize) -> Option<Self> {
        let at =
            NonNull::new(text.get(index..)?.first().map(|_| text.as_ptr().wrapping_add(index))?.cast_mut())?;
        matches!(text.last(), Some(b'}' | b']')).then_some(Self { at, lifetime: PhantomData })
    }

    /// Where in the text it is.
    #[inline(always)]
    pub(crate) fn index(self, text: &[u8]) -> usize {
        self.at.addr().get().wrapping_sub(text.as_ptr().addr())
    }

    /// Which byte is there.
    #[inline(always)]
    pub(crate) fn byte(self) -> u8 {
        // SAFETY: it is in the text, which is borrowed.
        unsafe { self.at.read() }
    }

    /// The place behind it, if this byte is there.
    #[inline(always)]
    pub(crate) fn after<const BYTE: u8>(self) -> Option<Self> {
        const { assert!(!matches!(BYTE, b'}' | b']')) };
        // SAFETY: the text's last byte is one of those, so that this is not the last.
        (self.byte() == BYTE).then(|| unsafe { self.next() })
    }

    /// The first place from here on where no space is.
    #[inline(always)]
    pub(crate) fn past_spaces(self) -> Self {
        if self.byte() == b' ' { self.past_more_spaces() } else { self }
    }

    #[cold]
    #[inline(never)]
    fn past_more_spaces(mut self) -> Self {
        while let Some(next) = self.after::<b' '>() {
            self = next;
        }
        self
    }

    /// The place behind it, if a digit is there.
    #[inline(always)]
    pub(crate) fn after_digit(self) -> Option<Self> {
        // SAFETY: as above.
        self.byte().is_ascii_digit().then(|| unsafe { self.next() })
    }

    /// The place behind it.
    ///
    /// # Safety
    ///
    /// It is not the text's last byte.
    #[inline(always)]
    unsafe fn next(self) -> Self {
        // SAFETY: the caller says that another byte follows.
        Self { at: unsafe { self.at.add(1) }, ..self }
    }
}

impl<'t> Closing<'t> {
    #[inline(always)]
    pub(crate) fn place(self) -> Place<'t> {
        self.0
    }

    /// What follows.
    #[inline(always)]
    pub(crate) fn behind(self) -> Place<'t> {
        // SAFETY: it is not the last byte.
        unsafe { self.0.next() }
    }

    /// The two bytes before it.
    #[inline(always)]
    pub(crate) fn before(self) -> [u8; 2] {
        // SAFETY: it is not among the first two bytes.
        unsafe { self.0.at.sub(2).cast::<[u8; 2]>().read() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is seen from each place on is what the slices say.
    #[track_caller]
    fn check(text: &str) {
        let bytes = text.as_bytes();
        let mut string_ends = StringEnds::default();
        assert!(string_ends.draw(bytes), "{text}");
        let blocks = string_ends.blocks(bytes).unwrap();
        let set = |at: &usize| blocks[at / BLOCK] >> (at % BLOCK) & 1 != 0;
        let expected: Vec<usize> = (0..blocks.len() * BLOCK).filter(set).collect();
        let (first, mut ends) = Ends::new(bytes, &string_ends).unwrap();
        assert_eq!((first.index(bytes), first.byte()), (0, bytes[0]));
        for &at in &expected {
            let end = ends.next().unwrap();
            assert_eq!((end.place().index(bytes), end.place().byte()), (at, b'"'), "{text}");
            assert_eq!((end.behind().index(bytes), end.behind().byte()), (at + 1, bytes[at + 1]), "{text}");
            assert_eq!(end.before(), bytes[at - 2..at], "{text}");
        }
        assert!(ends.next().is_none(), "{text}");
        for at in 0..bytes.len() {
            let place = Place::new(bytes, at).unwrap();
            assert_eq!((place.index(bytes), place.byte()), (at, bytes[at]));
            let index = |place: Option<Place<'_>>| place.map(|place| place.index(bytes));
            let behind = (at + 1 < bytes.len()).then_some(at + 1);
            assert_eq!(index(ends.behind(place)), behind, "{text} at {at}");
            assert_eq!(index(place.after::<b','>()), behind.filter(|_| bytes[at] == b','), "{text} at {at}");
            assert_eq!(index(place.after_digit()), behind.filter(|_| bytes[at].is_ascii_digit()));
            let spaces = bytes[at..].iter().take_while(|byte| **byte == b' ').count();
            assert_eq!(place.past_spaces().index(bytes), at + spaces, "{text} at {at}");
        }
        assert!(Place::new(bytes, bytes.len()).is_none());
        let is_ended = matches!(bytes[bytes.len() - 2], b'}' | b']');
        assert_eq!(Place::new(&bytes[..bytes.len() - 1], 0).is_some(), is_ended, "{text}");
        assert!(Ends::new(&bytes[1..], &string_ends).is_none(), "another text");
    }

    #[test]
    fn what_is_seen_is_what_the_text_has() {
        for length in (0..150).step_by(if cfg!(miri) { 37 } else { 1 }) {
            let long = "x".repeat(length);
            check(&format!(r#"{{"{long}":"[:]", "a":[1 ,{{}},"s" ]}}"#));
            check(&format!("[{}0]", "0,".repeat(length)));
            check(&format!(r#"[{{"":"{long}"}},[   [ ]]]"#));
            check(&format!(r#"{{"":{}"{long}":""}}"#, r#""":"","#.repeat(length)));
        }
    }

    #[test]
    fn what_was_not_drawn_has_none() {
        let mut string_ends = StringEnds::default();
        assert!(Ends::new(b"[1]", &string_ends).is_none());
        for unsound in ["", "[1]:", "[1],", "[\"a\"", "\"\"", "\"\"]", "x", "\"a]\""] {
            let is_drawn = string_ends.draw(unsound.as_bytes());
            assert!(!is_drawn || Ends::new(unsound.as_bytes(), &string_ends).is_none(), "{unsound}");
        }
        // As long as another one that was drawn, whose strings end elsewhere: nothing is read that is not there.
        assert!(string_ends.draw(b"[[[[\"\"]]]]"));
        let (_, mut ends) = Ends::new(b"[1,2,3,45]", &string_ends).unwrap();
        assert_eq!(ends.next().map(|end| end.place().byte()), Some(b'3'));
        // Nor is anything behind the last place of another text.
        let two = [*b"[1]", *b"[2]"];
        assert!(string_ends.draw(&two[1]));
        let (_, ends) = Ends::new(&two[1], &string_ends).unwrap();
        assert!(ends.behind(Place::new(&two[0], 2).unwrap()).is_none());
        assert!(string_ends.draw(b"[1,\"\"") && Ends::new(b"[1,23]", &string_ends).is_none());
    }
}
