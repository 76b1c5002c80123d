//! The landmarks of a text without white space, one after the other, and the bytes around them.
//!
//! A walk looks at a handful of bytes at each of them, and would look at the bounds of a slice for each of these. Here the bounds are
//! looked at once for each text. The oracle of the tests is what slices say.
#![allow(unsafe_code, reason = "bytes at places that were found in the text")]

use std::marker::PhantomData;

use super::BLOCK;
use crate::compact::{Compact, Row};

/// What is left of a text's landmarks.
pub(crate) struct Cursor<'t> {
    /// Those of the current block that are left.
    left: u64,
    /// Where in the text the current block begins.
    block: *const u8,
    rows: std::slice::Iter<'t, Row>,
}

/// Where a landmark is that is not the first of a text.
#[derive(Clone, Copy)]
pub(crate) struct Place<'t> {
    at: *const u8,
    lifetime: PhantomData<&'t [u8]>,
}

/// Where a colon is. Three bytes are before it, and one behind it.
#[derive(Clone, Copy)]
pub(crate) struct Colon<'t>(Place<'t>);

/// Where a bracket is that opens something. A byte is behind it.
#[derive(Clone, Copy)]
pub(crate) struct Opening<'t>(Place<'t>);

impl<'t> Cursor<'t> {
    /// The bracket that a text begins with that was drawn last, and the landmarks behind it; `None` for one that cannot be that.
    #[inline(always)]
    pub(crate) fn new(text: &'t [u8], compact: &'t Compact) -> Option<(Opening<'t>, Self)> {
        let rows = compact.rows(text)?;
        // The last landmark is the text's last byte, a bracket, and no colon is among the first three bytes: see `Place`.
        let last = text.len().checked_sub(1)?;
        let is_last = rows.get(last / BLOCK)?.landmarks >> (last % BLOCK) & 1 != 0;
        let starts = text.first_chunk::<3>().is_none_or(|first| first.contains(&b':'));
        if !is_last || !matches!(text.last(), Some(b'}' | b']')) || starts {
            return None;
        }
        let mut rows = rows.iter();
        let left = rows.next()?.landmarks;
        let first = Place { at: text.as_ptr(), lifetime: PhantomData }.opening()?;
        (left & 1 != 0).then_some((first, Self { left: left & !1, block: text.as_ptr(), rows }))
    }

    /// The next one, if there is one.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<Place<'t>> {
        while self.left == 0 {
            self.left = self.rows.next()?.landmarks;
            // It is not dereferenced unless the block has a landmark, which is in the text then.
            self.block = self.block.wrapping_add(BLOCK);
        }
        let at = self.block.wrapping_add(self.left.trailing_zeros() as usize);
        self.left &= self.left - 1;
        Some(Place { at, lifetime: PhantomData })
    }
}

impl<'t> Place<'t> {
    /// Where in the text it is.
    #[inline(always)]
    pub(crate) fn index(self, text: &[u8]) -> usize {
        self.at.addr().wrapping_sub(text.as_ptr().addr())
    }

    /// Which byte is there.
    #[inline(always)]
    pub(crate) fn byte(self) -> u8 {
        // SAFETY: no landmark is behind the text ([`Compact`]'s invariant), which is borrowed.
        unsafe { *self.at }
    }

    /// The byte before it.
    #[inline(always)]
    pub(crate) fn before(self) -> u8 {
        // SAFETY: the text's first landmark, its first byte, is nobody's place.
        unsafe { *self.at.sub(1) }
    }

    /// The same place, if a colon is there.
    #[inline(always)]
    pub(crate) fn colon(self) -> Option<Colon<'t>> {
        (self.byte() == b':').then_some(Colon(self))
    }

    /// The same place, if a bracket is there that opens something.
    #[inline(always)]
    pub(crate) fn opening(self) -> Option<Opening<'t>> {
        matches!(self.byte(), b'{' | b'[').then_some(Opening(self))
    }
}

impl<'t> Colon<'t> {
    /// Where it is.
    #[inline(always)]
    pub(crate) fn place(self) -> Place<'t> {
        self.0
    }

    /// The byte behind it.
    #[inline(always)]
    pub(crate) fn after(self) -> u8 {
        // SAFETY: the text's last landmark, its last byte, is a bracket.
        unsafe { *self.0.at.add(1) }
    }

    /// The two bytes before the one before it: the last of a name.
    #[inline(always)]
    pub(crate) fn ending(self) -> [u8; 2] {
        // SAFETY: [`Cursor::new`] has seen that no colon is among the first three bytes.
        unsafe { self.0.at.sub(3).cast::<[u8; 2]>().read() }
    }
}

impl Opening<'_> {
    /// Where in the text it is.
    #[inline(always)]
    pub(crate) fn index(self, text: &[u8]) -> usize {
        self.0.index(text)
    }

    /// Whether it is an object's.
    #[inline(always)]
    pub(crate) fn is_object(self) -> bool {
        self.0.byte() == b'{'
    }

    /// The byte behind it.
    #[inline(always)]
    pub(crate) fn after(self) -> u8 {
        // SAFETY: the text's last landmark, its last byte, is a bracket that ends something.
        unsafe { *self.0.at.add(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is seen from each landmark is what the text has at the places whose bits are set.
    #[track_caller]
    fn check(text: &str, expected: usize) {
        let bytes = text.as_bytes();
        let mut compact = Compact::default();
        assert!(compact.draw::<false>(bytes), "{text}");
        let rows = compact.rows(bytes).unwrap();
        let set = |place: &usize| rows[place / BLOCK].landmarks >> (place % BLOCK) & 1 != 0;
        let places: Vec<usize> = (0..rows.len() * BLOCK).filter(set).collect();
        assert_eq!(places.len(), expected, "{text}");
        let (first, mut cursor) = Cursor::new(bytes, &compact).unwrap();
        assert_eq!((first.index(bytes), places[0]), (0, 0));
        assert_eq!((first.is_object(), first.after()), (bytes[0] == b'{', bytes[1]));
        for &at in &places[1..] {
            let place = cursor.next().unwrap();
            assert_eq!((place.index(bytes), place.byte(), place.before()), (at, bytes[at], bytes[at - 1]));
            if let Some(colon) = place.colon() {
                assert_eq!((colon.after(), &colon.ending()[..]), (bytes[at + 1], &bytes[at - 3..at - 1]));
            }
            if let Some(opening) = place.opening() {
                assert_eq!((opening.after(), opening.is_object()), (bytes[at + 1], bytes[at] == b'{'));
            }
        }
        assert!(cursor.next().is_none(), "{text}");
        assert!(Cursor::new(&bytes[1..], &compact).is_none(), "another text");
    }

    #[test]
    fn what_is_seen_is_what_the_text_has() {
        for length in (0..150).step_by(if cfg!(miri) { 37 } else { 1 }) {
            let long = "x".repeat(length);
            check(&format!(r#"{{"{long}":"[:]","a":[1,{{}},"s"]}}"#), 9);
            check(&format!("[{}0]", "0,".repeat(length)), 2 + length);
            check(&format!(r#"[{{"":"{long}"}},[[]]]"#), 9);
        }
    }

    #[test]
    fn what_was_not_drawn_has_none() {
        let mut compact = Compact::default();
        assert!(Cursor::new(b"[1]", &compact).is_none());
        for unsound in ["[1]:", "[1],", "1[]", "[1,", "{}", ":[]", "[:]", "{:1}"] {
            let is_drawn = compact.draw::<false>(unsound.as_bytes());
            assert!(!is_drawn || Cursor::new(unsound.as_bytes(), &compact).is_none(), "{unsound}");
        }
        assert!(!compact.draw::<false>(br#"["a"1]"#));
        assert!(Cursor::new(br#"["a"1]"#, &compact).is_none());
    }
}
