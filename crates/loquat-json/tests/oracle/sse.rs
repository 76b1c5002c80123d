//! WHATWG HTML §9.2.5 "Parsing an event stream" and §9.2.6 "Interpreting an event stream", word for word.

use super::{Owned, Transcript, splits, transcribe};
use loquat_json::{ErrorKind, Framer, Limits, sse};
use std::time::Duration;

/// Longest id that is kept.
const MAX_ID_BYTES: usize = 64 * 1024;

/// What a client that follows the standard sees, and what it drops.
pub fn whatwg(stream: &[u8]) -> Transcript {
    // "Streams must be decoded using the UTF-8 decode algorithm", which strips one leading byte order mark.
    let decoded = String::from_utf8_lossy(stream);
    let text = decoded.strip_prefix('\u{feff}').unwrap_or(&decoded);

    let mut state = State::default();
    let mut line = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        // end-of-line = ( cr lf / cr / lf )
        match character {
            '\n' => {}
            '\r' => {
                characters.next_if_eq(&'\n');
            }
            _ => {
                line.push(character);
                continue;
            }
        }
        state.line(&line);
        line.clear();
    }
    // "Once the end of the file is reached, any pending data must be discarded."
    let events = state.events.clone();
    // What `finish` offers beyond the standard: as if the event had been ended, and the line too if it is one of data.
    if line == "data" || line.starts_with("data:") {
        state.line(&line);
    }
    state.line("");
    let unended = state.events.get(events.len()).cloned();
    Transcript { events, unended, ..Transcript::default() }
}

#[derive(Default)]
struct State {
    data: String,
    event_type: String,
    last_event_id: String,
    reconnection_time: Option<Duration>,
    events: Vec<Owned>,
}

impl State {
    fn line(&mut self, line: &str) {
        // "If the line is empty (a blank line): Dispatch the event, as defined below."
        if line.is_empty() {
            return self.dispatch();
        }
        // "If the line starts with a U+003A COLON character (:): Ignore the line."
        if line.starts_with(':') {
            return;
        }
        match line.find(':') {
            // "Collect the characters on the line before the first U+003A COLON character (:), and let field be that
            // string. Collect the characters on the line after the first colon, and let value be that string. If value
            // starts with a U+0020 SPACE character, remove it from value."
            Some(colon) => {
                let value = &line[colon + 1..];
                self.field(&line[..colon], value.strip_prefix(' ').unwrap_or(value));
            }
            // "Otherwise, the string is not empty but does not contain a colon: process the field using the whole line
            // as the field name, and the empty string as the field value."
            None => self.field(line, ""),
        }
    }

    fn field(&mut self, name: &str, value: &str) {
        match name {
            "event" => self.event_type = value.to_owned(),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            // Beyond the standard: one so long is ignored (`Event::id`).
            "id" if !value.contains('\0') && value.len() <= MAX_ID_BYTES => {
                self.last_event_id = value.to_owned();
            }
            "retry" if !value.is_empty() && value.chars().all(|digit| digit.is_ascii_digit()) => {
                self.reconnection_time = Some(Duration::from_millis(value.parse().unwrap_or(u64::MAX)));
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        // "If the data buffer is an empty string, set the data buffer and the event type buffer to the empty string and
        // return."
        if self.data.is_empty() {
            self.event_type.clear();
            return;
        }
        // "If the data buffer's last character is a U+000A LINE FEED (LF) character, then remove the last character."
        self.data.pop();
        self.events.push(Owned {
            name: if self.event_type.is_empty() { "message".into() } else { self.event_type.clone() },
            data: self.data.clone(),
            id: (!self.last_event_id.is_empty()).then(|| self.last_event_id.clone()),
            retry: self.reconnection_time,
        });
        self.data.clear();
        self.event_type.clear();
    }
}

/// Where an event first becomes longer than the limit: the bytes of its lines, without their ends.
fn too_long(stream: &[u8], limit: usize) -> Option<u64> {
    let start = if stream.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
    let (mut event, mut line, mut before) = (0, 0, b'\0');
    for (at, &byte) in stream.iter().enumerate().skip(start) {
        match byte {
            b'\n' if before == b'\r' => {}
            b'\n' | b'\r' => {
                event = if line == 0 { 0 } else { event };
                line = 0;
            }
            _ if event == limit => return Some(at as u64),
            _ => {
                event += 1;
                line += 1;
            }
        }
        before = byte;
    }
    None
}

/// The decoder agrees with the standard for the whole stream, byte by byte and as cut; and under a limit, what it hands out
/// before it refuses does not depend on the reads.
pub fn check(stream: &[u8], lengths: &[u8], max_event_bytes: usize) {
    let expected = whatwg(stream);
    for reads in splits(stream, lengths) {
        let got = transcribe(Framer::Sse(sse::Decoder::new(Limits::default())), reads);
        assert_eq!(got.error, None);
        assert_eq!(got.events, expected.events);
        assert_eq!(got.unended, expected.unended);
    }
    let limits = Limits::default().with_max_event_bytes(max_event_bytes);
    let [whole, bytewise, cut] =
        splits(stream, lengths).map(|reads| transcribe(Framer::Sse(sse::Decoder::new(limits)), reads));
    assert_eq!(whole, bytewise);
    assert_eq!(whole, cut);
    assert_eq!(whole.events, expected.events[..whole.events.len()]);
    // Half of a byte order mark is held back before it is known to be content.
    if max_event_bytes > 1 {
        let error = whole.error.map(|error| (error.kind(), error.offset()));
        assert_eq!(error, too_long(stream, max_event_bytes).map(|at| (ErrorKind::TooLong, at)));
    }
    if whole.error.is_none() {
        assert_eq!(whole.events.len(), expected.events.len());
    }
}
