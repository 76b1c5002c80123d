//! A piece of a recording out of its wrapping: an event's lines, a line, a frame, a document.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::Reading;
use crate::recordings::Recording;

impl Reading {
    /// One piece; `is_whole` says whether it has come to its end, as what breaks off in its midst may be no JSON.
    pub(crate) fn piece(&mut self, recording: &Recording, piece: &[u8], is_whole: bool) {
        let text = String::from_utf8_lossy(piece);
        let api = recording.api.as_str();
        match recording.framing() {
            "aws" if is_whole => self.frame(recording, piece),
            "aws" => {}
            "json" => self.document(api, &text),
            "ndjson" => {
                if !text.trim().is_empty() && (is_whole || is_json(&text)) {
                    self.take(api, "message", &text, false);
                }
            }
            _ => self.event(api, &text, is_whole),
        }
    }

    /// One document, or, against its name, several in lines.
    fn document(&mut self, api: &str, text: &str) {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        if !is_json(text) && lines.clone().count() > 1 && lines.clone().all(is_json) {
            return lines.for_each(|line| self.take(api, "message", line, false));
        }
        match lines.next() {
            Some(_) => self.take(api, "message", text, true),
            None => self.terminal = true,
        }
    }

    fn event(&mut self, api: &str, text: &str, is_whole: bool) {
        let (mut name, mut data, mut stray) = ("message", Vec::new(), String::new());
        let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
        for line in text.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => data.push(value),
                "event" => name = value.trim(),
                _ => {
                    stray.push_str(line);
                    stray.push('\n');
                }
            }
        }
        self.stray(&stray);
        let data = data.join("\n");
        if !data.is_empty() && (is_whole || data.trim() == "[DONE]" || is_json(&data)) {
            self.take(api, if name.is_empty() { "message" } else { name }, &data, false);
        }
    }

    fn frame(&mut self, recording: &Recording, frame: &[u8]) {
        let headers_end = 12 + u32::from_be_bytes(frame[4..8].try_into().expect("four bytes")) as usize;
        let (Some(headers), Some(payload)) =
            (frame.get(12..headers_end), frame.get(headers_end..frame.len() - 4))
        else {
            self.failed = true;
            return;
        };
        let header = |name: &str| {
            // Its length, its name, the type of a text, the text's length in two bytes, the text.
            let lead = [&[name.len().to_le_bytes()[0]], name.as_bytes(), &[7, 0]].concat();
            let at = headers.windows(lead.len()).position(|window| window == lead)? + lead.len();
            let length = usize::from(*headers.get(at)?);
            Some(String::from_utf8_lossy(headers.get(at + 1..at + 1 + length)?).into_owned())
        };
        if header(":message-type").is_some_and(|kind| kind != "event") {
            self.failed = true;
            return;
        }
        let payload = String::from_utf8_lossy(payload);
        let name = header(":event-type").unwrap_or_default();
        if name != "chunk" {
            return self.take(&recording.api, &name, &payload, false);
        }
        let envelope: Value = serde_json::from_str(&payload).unwrap_or_default();
        let carried = STANDARD.decode(envelope["bytes"].as_str().unwrap_or_default()).unwrap_or_default();
        self.take("anthropic-messages", "message", &String::from_utf8_lossy(&carried), false);
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}
