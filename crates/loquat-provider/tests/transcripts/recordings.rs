//! The recordings: a manifest, headers, and bodies in several wrappings, which come off here. Nothing here panics over a
//! recording: what is not as it should be is the recording's own affair, and fails it alone.

use std::{collections::BTreeMap, fs, path::Path};

use http::{HeaderMap, HeaderName, HeaderValue};
use loquat_provider::{
    ANTHROPIC_BEDROCK, ANTHROPIC_MESSAGES, BEDROCK_CONVERSE, COHERE_CHAT, DASHSCOPE_CUMULATIVE, DecodeLimits,
    Decoder, Format, GEMINI, GEMINI_INTERACTIONS, Head, OLLAMA_CHAT, OLLAMA_GENERATE, OPENAI_CHAT,
    OPENAI_COMPLETIONS, OPENAI_RESPONSES,
};
use serde_json::Value;

/// A line of the manifest.
pub(crate) struct Recording {
    pub(crate) file: String,
    pub(crate) provider: String,
    pub(crate) api: String,
    pub(crate) kind: String,
    pub(crate) format: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Recording {
    /// What reads it; `None` for an interface that nothing here speaks.
    pub(crate) fn reader(&self) -> Option<&'static dyn Format> {
        Some(match self.api.as_str() {
            "openai-chat" => &OPENAI_CHAT,
            "openai-responses" => &OPENAI_RESPONSES,
            "openai-completions" => &OPENAI_COMPLETIONS,
            "anthropic-messages" => &ANTHROPIC_MESSAGES,
            "gemini-generate" => &GEMINI,
            "gemini-interactions" => &GEMINI_INTERACTIONS,
            "ollama-chat" => &OLLAMA_CHAT,
            "ollama-generate" => &OLLAMA_GENERATE,
            "cohere-chat" => &COHERE_CHAT,
            // The recorded requests left the format's own default.
            "dashscope-native" => &DASHSCOPE_CUMULATIVE,
            // Frames that carry another format's events carry Anthropic's, as far as anything here reads them.
            "bedrock" if self.carries_chunks() => &ANTHROPIC_BEDROCK,
            "bedrock" => &BEDROCK_CONVERSE,
            _ => return None,
        })
    }

    /// Whether its frames are another format's events.
    pub(crate) fn carries_chunks(&self) -> bool {
        const NAME: &[u8] = b":event-type\x07\0\x05chunk";
        self.format == "aws" && self.body.windows(NAME.len()).any(|window| window == NAME)
    }

    /// How it is cut into events: by its format, but for a document in the place of events.
    pub(crate) fn framing(&self) -> &str {
        let begins = self.body.trim_ascii_start().first();
        match self.format.as_str() {
            "ndjson" | "json" | "aws" => &self.format,
            _ if matches!(begins, Some(b'{' | b'[')) => "json",
            format => format,
        }
    }

    pub(crate) fn decoder(&self, format: &dyn Format) -> Decoder {
        format.decoder(&Head { status: self.status, headers: &self.headers }, DecodeLimits::default())
    }

    /// The body cut after each event: pieces that add up to it, and whether each is complete.
    pub(crate) fn pieces(&self) -> Vec<(&[u8], bool)> {
        let body = &self.body[..];
        match self.framing() {
            "json" => vec![(body, true)],
            "aws" => frames(body),
            format => events(body, format == "ndjson"),
        }
    }
}

fn frames(body: &[u8]) -> Vec<(&[u8], bool)> {
    let mut pieces = Vec::new();
    let mut rest = body;
    while let Some(length) = rest.first_chunk::<4>() {
        match rest.split_at_checked(u32::from_be_bytes(*length) as usize) {
            Some((frame, tail)) if frame.len() >= 16 => {
                pieces.push((frame, true));
                rest = tail;
            }
            _ => break,
        }
    }
    if !rest.is_empty() {
        pieces.push((rest, false));
    }
    pieces
}

/// Events that end in a blank line, or lines that are one each. A line ends in LF, CR LF, or CR alone.
fn events(body: &[u8], is_lines: bool) -> Vec<(&[u8], bool)> {
    let mut pieces = Vec::new();
    let (mut start, mut line, mut at) = (0, 0, 0);
    while at < body.len() {
        let end = match (body[at], body.get(at + 1)) {
            (b'\r', Some(b'\n')) => at + 2,
            (b'\r' | b'\n', _) => at + 1,
            _ => {
                at += 1;
                continue;
            }
        };
        if is_lines || line == at {
            pieces.push((&body[start..end], true));
            start = end;
        }
        (line, at) = (end, end);
    }
    if start < body.len() {
        pieces.push((&body[start..], false));
    }
    pieces
}

/// All recordings that the manifest names.
pub(crate) fn recordings(folder: &Path) -> Vec<Recording> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let text = |name: &str| String::from_utf8(read(name)).expect("the lists are UTF-8");
    let mut headers: BTreeMap<String, HeaderMap> = BTreeMap::new();
    for line in text("HEADERS.jsonl").lines() {
        let entry: Value = serde_json::from_str(line).expect("HEADERS.jsonl holds JSON");
        let mut map = HeaderMap::new();
        for (name, value) in entry["headers"].as_object().into_iter().flatten() {
            let name = HeaderName::try_from(name.as_str());
            let value = HeaderValue::try_from(value.as_str().unwrap_or_default());
            if let (Ok(name), Ok(value)) = (name, value) {
                map.insert(name, value);
            }
        }
        headers.insert(entry["file"].as_str().unwrap_or_default().to_owned(), map);
    }
    let manifest = text("MANIFEST.tsv");
    let mut lines = manifest.lines();
    let names: Vec<&str> = lines.next().expect("the manifest has a head").split('\t').collect();
    let column = |name: &str| names.iter().position(|known| *known == name).expect("a known column");
    let [file, provider, api, kind, format, status] =
        ["file", "provider", "api", "kind", "format", "status"].map(column);
    lines
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .map(|cells| {
            let mut headers = headers.get(cells[file]).cloned().unwrap_or_default();
            let body = read(cells[file]);
            let body = match cells[format] {
                "lines" => reframed(&body),
                "http+sse" => unwrapped(&body, &mut headers),
                _ => body,
            };
            Recording {
                file: cells[file].to_owned(),
                provider: cells[provider].to_owned(),
                api: cells[api].to_owned(),
                kind: cells[kind].to_owned(),
                format: cells[format].to_owned(),
                status: cells[status].parse().unwrap_or(200),
                headers,
                body,
            }
        })
        .collect()
}

/// Data lines whose framing was stripped, framed again.
fn reframed(body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(body);
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| format!("data: {line}\n\n"))
        .collect::<String>()
        .into()
}

/// A raw HTTP response in chunked framing, without both; where it is none, as it is.
fn unwrapped(body: &[u8], headers: &mut HeaderMap) -> Vec<u8> {
    let Some(end) = body.windows(4).position(|window| window == b"\r\n\r\n") else { return body.to_vec() };
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    let mut rest = &body[end + 4..];
    let mut out = Vec::new();
    loop {
        let chunk = rest.windows(2).position(|window| window == b"\r\n").and_then(|line| {
            let digits = std::str::from_utf8(&rest[..line]).ok()?.split(';').next()?.trim();
            let end = usize::from_str_radix(digits, 16).ok()?.checked_add(line + 2)?;
            rest.get(line + 2..end).map(|chunk| (chunk, end))
        });
        match chunk {
            Some((chunk, end)) if !chunk.is_empty() => {
                out.extend_from_slice(chunk);
                rest = rest.get(end + 2..).unwrap_or_default();
            }
            _ => return out,
        }
    }
}
