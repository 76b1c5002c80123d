//! From tokens' bytes to text that may be shown: whole characters only, and nothing of a stop text.
//!
//! A token may end in the middle of a character and a stop text may begin in one token and end three later. What could still
//! become either is held back; it is released when it cannot any more, or at the end.

use crate::error::Result;

use loquat_core::{Error, ErrorKind};

/// Most stop texts of a request; OpenAI allows 4.
const MAX_STOPS: usize = 16;
/// Longest stop text, bytes: what is held back at most.
const MAX_STOP_BYTES: usize = 1024;

/// Decodes one answer's bytes.
#[derive(Debug, Default)]
pub(crate) struct TextFilter {
    stops: Vec<String>,
    /// Bytes that are not yet a whole character: at most three.
    partial: Vec<u8>,
    /// Text that may be the beginning of a stop text.
    held: String,
}

impl TextFilter {
    /// # Errors
    /// More or longer stop texts than allowed, or an empty one.
    pub(crate) fn new(stops: &[String]) -> Result<Self> {
        let wrong = |what: String| Err(Error::new(ErrorKind::InvalidRequest, what));
        if stops.len() > MAX_STOPS {
            return wrong(format!("{} stop texts; the engine takes at most {MAX_STOPS}", stops.len()));
        }
        if let Some(stop) = stops.iter().find(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES) {
            return wrong(format!("a stop text of {} bytes; allowed are 1 to {MAX_STOP_BYTES}", stop.len()));
        }
        Ok(Self { stops: stops.to_vec(), ..Self::default() })
    }

    /// Takes a token's bytes; appends to `to` what may be shown. `true` when a stop text has been met: that was all.
    pub(crate) fn push(&mut self, bytes: &[u8], to: &mut String) -> bool {
        self.partial.extend_from_slice(bytes);
        let mut rest = self.partial.as_slice();
        let mut kept = 0;
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.held.push_str(text);
                    rest = &[];
                }
                Err(e) => {
                    let (valid, after) = rest.split_at(e.valid_up_to());
                    self.held.push_str(&String::from_utf8_lossy(valid));
                    let Some(bad) = e.error_len() else {
                        kept = after.len();
                        break;
                    };
                    self.held.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[bad..];
                }
            }
        }
        self.partial.drain(..self.partial.len() - kept);
        self.release(to)
    }

    /// At the end of the answer: releases what was held back.
    pub(crate) fn finish(&mut self, to: &mut String) {
        if !self.partial.is_empty() {
            self.partial.clear();
            self.held.push(char::REPLACEMENT_CHARACTER);
        }
        if !self.release(to) {
            to.push_str(&self.held);
        }
        self.held.clear();
    }

    fn release(&mut self, to: &mut String) -> bool {
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            to.push_str(&self.held[..at]);
            self.held.clear();
            return true;
        }
        let held = self.held.as_bytes();
        let could_begin = |at: usize| self.stops.iter().any(|stop| stop.as_bytes().starts_with(&held[at..]));
        let longest = self.stops.iter().map(|stop| stop.len() - 1).max().unwrap_or(0);
        let from = held.len().saturating_sub(longest);
        let keep = (from..held.len()).find(|at| self.held.is_char_boundary(*at) && could_begin(*at));
        let keep = keep.unwrap_or(held.len());
        to.push_str(&self.held[..keep]);
        self.held.drain(..keep);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way to cut `bytes` into three gives `expected`.
    fn check(bytes: &[u8], stops: &[&str], expected: &str, stopped: bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut filter = TextFilter::new(&stops).unwrap();
                let mut text = String::new();
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                let met = pieces.iter().any(|piece| filter.push(piece, &mut text));
                if !met {
                    filter.finish(&mut text);
                }
                assert_eq!((text.as_str(), met), (expected, stopped), "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn any_split_gives_the_same_text() {
        check("naïve 😀 text".as_bytes(), &[], "naïve 😀 text", false);
        check(b"a\xFFb\xE2\x82", &[], "a\u{FFFD}b\u{FFFD}", false);
        check("one STOP two".as_bytes(), &["STOP"], "one ", true);
        check("one STO two".as_bytes(), &["STOP"], "one STO two", false);
        check("ends in STO".as_bytes(), &["STOP"], "ends in STO", false);
        check("aaab".as_bytes(), &["aab"], "a", true);
        check("x\n\ny".as_bytes(), &["\n\n", "y"], "x", true);
        check("😀é".as_bytes(), &["é"], "😀", true);
    }

    #[test]
    fn half_a_character_is_never_shown() {
        let mut filter = TextFilter::default();
        let mut text = String::new();
        for byte in "😀".bytes().take(3) {
            filter.push(&[byte], &mut text);
        }
        assert_eq!(text, "");
        filter.push(&[0x80], &mut text);
        assert_eq!(text, "😀");
    }

    #[test]
    fn limits_are_named() {
        for stops in [vec![String::new()], vec!["x".repeat(1025)], vec!["x".to_owned(); 17]] {
            assert_eq!(TextFilter::new(&stops).unwrap_err().kind(), ErrorKind::InvalidRequest);
        }
    }
}
