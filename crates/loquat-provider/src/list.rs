//! One JSON list that arrives in pieces, cut into its elements as they come: how Gemini streams unless asked for events.
//!
//! Looks at brackets, quotes and backslashes only; whether an element is JSON is for its extractor to say.

use loquat_core::{Error, ErrorKind, Result};

/// The elements of a list.
#[derive(Debug, Default)]
pub(crate) struct ListFramer {
    /// The element that is not complete yet.
    element: Vec<u8>,
    /// Brackets open within the element.
    depth: usize,
    in_string: bool,
    escaped: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Before the list's own bracket.
    #[default]
    Before,
    /// Between two elements.
    Between,
    Within,
    /// After the list's closing bracket.
    After,
}

impl ListFramer {
    /// The next whole element, consuming from the front of `input`; `None` when that is used up. What was lent is to be
    /// given back by [`release`](Self::release).
    pub(crate) fn next(&mut self, input: &mut &[u8], max_bytes: usize) -> Result<Option<Vec<u8>>> {
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            match self.state {
                State::Before => match byte {
                    b'[' => self.state = State::Between,
                    _ => return Err(malformed("does not begin with a bracket")),
                },
                State::Between => match byte {
                    b' ' | b'\t' | b'\r' | b'\n' | b',' => {}
                    b']' => self.state = State::After,
                    b'{' | b'[' => {
                        self.state = State::Within;
                        self.depth = 1;
                        self.element.push(byte);
                    }
                    _ => return Err(malformed("has an element that is no object")),
                },
                State::Within => {
                    if self.element.len() >= max_bytes {
                        return Err(Error::new(
                            ErrorKind::TooLarge,
                            format!("the answer exceeds max_event_bytes ({max_bytes})"),
                        ));
                    }
                    self.element.push(byte);
                    if self.closes(byte) {
                        self.state = State::Between;
                        return Ok(Some(std::mem::take(&mut self.element)));
                    }
                }
                State::After => match byte {
                    b' ' | b'\t' | b'\r' | b'\n' => {}
                    _ => return Err(malformed("goes on after its end")),
                },
            }
        }
        Ok(None)
    }

    /// Gives an element's buffer back, to be used again.
    pub(crate) fn release(&mut self, mut element: Vec<u8>) {
        element.clear();
        self.element = element;
    }

    /// Whether that byte closes the element.
    fn closes(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.depth == 0
    }
}

fn malformed(why: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("the list of events {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(pieces: &[&[u8]]) -> Result<Vec<String>> {
        let mut framer = ListFramer::default();
        let mut all = Vec::new();
        for mut piece in pieces.iter().copied() {
            while let Some(element) = framer.next(&mut piece, 40)? {
                all.push(String::from_utf8_lossy(&element).into_owned());
                framer.release(element);
            }
        }
        Ok(all)
    }

    #[test]
    fn any_split_gives_the_same_elements() {
        let list = br#"[{"a":"]}\"{"},
 {"b":[1,{}]} , [] ]
"#;
        let expected = [r#"{"a":"]}\"{"}"#, r#"{"b":[1,{}]}"#, "[]"];
        for split in 0..=list.len() {
            let (front, back) = list.split_at(split);
            assert_eq!(elements(&[front, back]).expect("a list"), expected, "split at {split}");
        }
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        let kind = |text: &str| elements(&[text.as_bytes()]).map_err(|error| error.kind());
        assert_eq!(kind("[1]"), Err(ErrorKind::Protocol));
        assert_eq!(kind("[{}]x"), Err(ErrorKind::Protocol));
        assert_eq!(kind(&format!("[{{\"a\":\"{}", "x".repeat(50))), Err(ErrorKind::TooLarge));
        assert_eq!(kind("[{\"a\":"), Ok(vec![]));
        assert_eq!(kind("[]"), Ok(vec![]));
    }
}
