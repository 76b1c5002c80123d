//! The tokens of a text, one after the other: where they are, and which bytes are there.
//!
//! A walk looks at each of them, and would look at the bounds of two slices for each: that is a third of its instructions. Here it
//! looks once for each [`Group`]. The oracle of the tests is what slices say.
#![allow(unsafe_code, reason = "bytes at places that the outline has found in the text")]

use std::marker::PhantomData;

use crate::outline::Outline;

/// Tokens looked at together: a member of an object, the comma and the quote that follow it, and one more.
const GROUP: usize = 8;

/// Places that stand behind the last token's, of the text too: what a group that begins with that one reaches beyond it.
pub(crate) const AHEAD: usize = GROUP - 1;

/// What is left of a text's tokens.
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'t> {
    text: *const u8,
    /// No more than [`AHEAD`] behind `end`.
    next: *const u32,
    /// Behind the last token. Another [`AHEAD`] places follow.
    end: *const u32,
    lifetime: PhantomData<(&'t [u8], &'t [u32])>,
}

/// Eight tokens, of which the first is there. What there is of the others nobody knows: where they are not, the last one there is stands for
/// them.
#[derive(Clone, Copy)]
pub(crate) struct Group<'t>(Tokens<'t>);

/// Eight tokens that are all there.
#[derive(Clone, Copy)]
pub(crate) struct Whole<'t>(Group<'t>);

impl<'t> Tokens<'t> {
    /// Those of a text that was drawn last; `None` for one that cannot be that.
    #[inline]
    pub(crate) fn new(text: &'t [u8], outline: &'t Outline) -> Option<Self> {
        let places = outline.places_and_more();
        let (tokens, more) = places.split_at_checked(places.len().checked_sub(AHEAD)?)?;
        // The highest: they are in order, and it is repeated behind them ([`Outline`]'s invariant).
        let last = tokens.last()?;
        debug_assert!(tokens.is_sorted_by(|one, next| one < next), "tokens are in order");
        debug_assert!(more.iter().all(|more| more == last), "what follows is the last one");
        if *last as usize >= text.len() {
            return None;
        }
        // Both point into all of the slice.
        let (next, end) = (places.as_ptr(), more.as_ptr());
        Some(Self { text: text.as_ptr(), next, end, lifetime: PhantomData })
    }

    /// The next ones, if there is one.
    #[inline(always)]
    pub(crate) fn group(self) -> Option<Group<'t>> {
        (self.next < self.end).then_some(Group(self))
    }

    /// The next ones, if they are all there.
    #[inline(always)]
    pub(crate) fn whole(self) -> Option<Whole<'t>> {
        // As numbers they may be compared wherever they point to.
        let is_whole = self.end.addr().saturating_sub(self.next.addr()) >= GROUP * size_of::<u32>();
        is_whole.then_some(Whole(Group(self)))
    }
}

impl<'t> Group<'t> {
    /// Where one of them is.
    #[inline(always)]
    pub(crate) fn place<const TOKEN: usize>(self) -> usize {
        const { assert!(TOKEN < GROUP) };
        // SAFETY: the first is before `end`, which [`AHEAD`] more places follow: all of the group is in the outline's slice, which
        // is borrowed.
        unsafe { *self.0.next.add(TOKEN) as usize }
    }

    /// Which byte is there.
    #[inline(always)]
    pub(crate) fn byte<const TOKEN: usize>(self) -> u8 {
        // SAFETY: all places of the slice are in the text: [`Tokens::new`] has looked at the highest. It is borrowed.
        unsafe { *self.0.text.add(self.place::<TOKEN>()) }
    }

    /// What is left behind so many of them.
    #[inline(always)]
    pub(crate) fn after<const TOKENS: usize>(self) -> Tokens<'t> {
        const { assert!(TOKENS <= GROUP) };
        // SAFETY: as for `place`: that is no more than the end of the slice.
        Tokens { next: unsafe { self.0.next.add(TOKENS) }, ..self.0 }
    }
}

impl<'t> Whole<'t> {
    #[inline(always)]
    pub(crate) fn group(self) -> Group<'t> {
        self.0
    }

    /// The byte there and the three behind it, the first one lowest.
    #[inline(always)]
    pub(crate) fn word<const TOKEN: usize>(self) -> u32 {
        const { assert!(TOKEN + 3 < GROUP) };
        // SAFETY: three other tokens follow, each in the text and at a place of its own, so that three bytes do.
        let word = unsafe { self.0.0.text.add(self.0.place::<TOKEN>()).cast::<[u8; 4]>().read() };
        u32::from_le_bytes(word)
    }

    /// The byte behind the first token.
    #[inline(always)]
    pub(crate) fn second_byte(self) -> u8 {
        // SAFETY: another token follows, in the text and at a place of its own.
        unsafe { *self.0.0.text.add(self.0.place::<0>() + 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &[u8]) -> Outline {
        let mut outline = Outline::default();
        // Of another text that had more tokens something is left.
        assert!(outline.draw("[1,2,[3]],".repeat(20).as_bytes()));
        outline.draw(text);
        outline
    }

    /// What is seen from each token on is what the slices say, to the last one.
    #[track_caller]
    fn check(text: &[u8]) {
        let outline = drawn(text);
        let places: Vec<usize> = outline.places().iter().map(|place| *place as usize).collect();
        let Some(last) = places.last() else { return assert!(Tokens::new(text, &outline).is_none()) };
        let seen = |token: usize| *places.get(token).unwrap_or(last);
        let word = |place: usize| u32::from_le_bytes(*text[place..].first_chunk().unwrap());
        let mut tokens = Tokens::new(text, &outline).unwrap();
        for first in 0..places.len() {
            let group = tokens.group().unwrap();
            let all = [group.place::<0>(), group.place::<1>(), group.place::<4>(), group.place::<7>()];
            assert_eq!(all, [0, 1, 4, 7].map(|token| seen(first + token)));
            let all = [group.byte::<0>(), group.byte::<1>(), group.byte::<4>(), group.byte::<7>()];
            assert_eq!(all, [0, 1, 4, 7].map(|token| text[seen(first + token)]));
            assert_eq!(tokens.whole().is_some(), first + GROUP <= places.len());
            if let Some(whole) = tokens.whole() {
                let all = [whole.word::<0>(), whole.word::<1>(), whole.word::<4>()];
                assert_eq!(all, [0, 1, 4].map(|token| word(places[first + token])));
                assert_eq!(whole.second_byte(), text[places[first] + 1]);
            }
            // From the last one on no step leads to another.
            if first + 1 == places.len() {
                assert!(group.after::<1>().group().is_none());
            }
            if first + GROUP >= places.len() {
                assert!(group.after::<8>().group().is_none() && group.after::<8>().whole().is_none());
            }
            tokens = group.after::<1>();
        }
        assert!(tokens.group().is_none() && tokens.whole().is_none());
        assert!(Tokens::new(&text[..*last], &outline).is_none(), "a text that is too short");
        assert!(Tokens::new(&text[..=*last], &outline).is_some());
    }

    /// Texts with any number of tokens up to two blocks', the last one in any of the text's last places.
    #[test]
    fn what_is_seen_is_what_the_slices_say() {
        for tokens in (0..150).step_by(if cfg!(miri) { 37 } else { 1 }) {
            for behind in [0, 1, 3, 70] {
                let behind = " ".repeat(behind);
                check([",".repeat(tokens), behind.clone()].concat().as_bytes());
                check(["1,\"x\" ".repeat(tokens / 4), behind].concat().as_bytes());
            }
        }
    }

    #[test]
    fn what_was_not_drawn_has_none() {
        let text = br#"{"a":1}"#;
        assert!(Tokens::new(text, &Outline::default()).is_none());
        assert!(Tokens::new(text, &drawn(b"")).is_none());
        for unsound in [&br#"{"a":1}""#[..], b"{\"a\":1}\0", br#"{"a\x":1}"#] {
            assert!(Tokens::new(unsound, &drawn(unsound)).is_none());
        }
        let mut outline = drawn(text);
        assert_eq!(outline.draw_line(br#"{"a":1}"#), None);
        assert!(Tokens::new(text, &outline).is_none(), "a line that does not end");
        let mut long = drawn(&b"[],".repeat(10_000));
        long.release();
        assert!(Tokens::new(&b"[],".repeat(10_000), &long).is_none());
    }
}
