//! Operations as lines of JSON in a file, for those who have no collector: one object per operation, its attempts and events
//! inside.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

use serde_json::{Map, Value, json};

use super::{private, spans::unix};
use crate::{AttemptTrace, CallTrace, Outcome};

/// A file that is begun anew when it is full; the one before stays, with `.1` at its end.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    max_bytes: u64,
    file: File,
    bytes: u64,
}

impl Lines {
    pub(super) fn open(path: PathBuf, max_bytes: u64) -> io::Result<Self> {
        let file = private::open(&path)?;
        let about = file.metadata()?;
        // A pipe or a terminal does not fill up, and is not ours to rename; nor is what a link leads to (`/dev/stderr`).
        let is_ours = std::fs::symlink_metadata(&path)?.is_file();
        let max_bytes = if about.is_file() && is_ours { max_bytes } else { u64::MAX };
        let bytes = about.len();
        Ok(Self { path, max_bytes, file, bytes })
    }

    pub(super) fn write<'a>(&mut self, calls: impl Iterator<Item = &'a CallTrace>) -> io::Result<()> {
        let mut text = String::new();
        for call in calls {
            text += &line(call).to_string();
            text.push('\n');
        }
        let more = text.len() as u64;
        if self.bytes > 0 && self.bytes.saturating_add(more) > self.max_bytes {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            match std::fs::rename(&self.path, old) {
                // It was renamed before, and no new one could be opened.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
            // Where that fails, this one goes on to know its path, and the next to write tries again.
            self.file = private::reopen(&self.path, &self.file)?;
            self.bytes = self.file.metadata()?.len();
        }
        self.file.write_all(text.as_bytes())?;
        self.bytes = self.bytes.saturating_add(more);
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn line(call: &CallTrace) -> Value {
    let usage = &call.usage;
    let events: Vec<Value> = call
        .notes
        .iter()
        .map(|(at, note)| json!({"at_s": at.as_secs_f64(), "event": note.words()}))
        .collect();
    let mut line = json!({
        "trace_id": hex(&call.trace.trace_id()),
        "span_id": hex(&call.trace.span_id()),
        "parent_span_id": call.parent.map(|id| hex(&id)),
        "started_unix_ns": unix(call.started),
        "took_s": call.took.as_secs_f64(),
        "time_to_first_chunk_s": call.first_chunk.map(|first| first.as_secs_f64()),
        "provider": &*call.place.provider,
        "model": &*call.place.model,
        "response_id": &*call.response.0,
        "response_model": &*call.response.1,
        "finish_reason": call.finish_reason.as_deref(),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "chunks": call.chunks,
        "attempts": call.attempts.iter().map(attempt).collect::<Vec<_>>(),
        "events": events,
    });
    if let Some(line) = line.as_object_mut() {
        outcome(line, call.outcome);
        #[cfg(feature = "capture")]
        if let Some(content) = &call.content {
            for (name, json) in [
                ("system_instructions", content.system_instructions()),
                ("input_messages", content.input_messages()),
                ("output_messages", content.output_messages()),
            ] {
                line.insert(name.into(), serde_json::from_str(json).unwrap_or_default());
            }
            line.insert("content_cut".into(), content.is_cut().into());
        }
    }
    line
}

fn attempt(attempt: &AttemptTrace) -> Value {
    let mut value = json!({
        "span_id": hex(&attempt.span_id),
        "provider": &*attempt.place.provider,
        "model": &*attempt.place.model,
        "server": attempt.place.server.as_ref().map(|(host, port)| format!("{host}:{port}")),
        "started_s": attempt.started.as_secs_f64(),
        "ended_s": attempt.ended.as_secs_f64(),
        "head_s": attempt.head.map(|head| head.at.as_secs_f64()),
        "status": attempt.head.map(|head| head.status),
        "protocol": attempt.head.map(|head| head.protocol),
        "reused": attempt.head.map(|head| head.reused),
    });
    if let Some(value) = value.as_object_mut() {
        outcome(value, attempt.outcome);
    }
    value
}

fn outcome(object: &mut Map<String, Value>, outcome: Outcome) {
    object.insert("error".into(), outcome.error_type().into());
}
