//! One operation as a waterfall of text: a line for each attempt and for each thing that happened, over one axis of time.

use std::{fmt::Write, time::Duration};

use crate::{AttemptTrace, CallTrace, Outcome};

/// Columns of the bars.
const MIN_BAR: usize = 10;
const MAX_BAR: usize = 120;

impl CallTrace {
    /// A waterfall for a screen of so many columns; without colours. In a bar, `·` waits for the response's head, `▒` for
    /// the first token, `█` is the stream.
    pub fn waterfall(&self, columns: usize) -> String {
        let labels: Vec<String> =
            self.attempts.iter().enumerate().map(|(index, attempt)| label(index, attempt)).collect();
        let notes: Vec<String> = self.notes.iter().map(|(_, note)| line(&note.words())).collect();
        let longest = labels.iter().chain(&notes).map(|label| label.chars().count()).max().unwrap_or(0);
        let width = columns.saturating_sub(longest + 13).clamp(MIN_BAR, MAX_BAR);

        let mut rows: Vec<(Duration, String)> = Vec::new();
        for (label, attempt) in labels.into_iter().zip(&self.attempts) {
            let bar = self.bar(attempt, width);
            rows.push((attempt.started, row(&label, longest, &bar, width, attempt.ended)));
        }
        for (words, (at, _)) in notes.into_iter().zip(&self.notes) {
            let bar = format!("{}▼", " ".repeat(self.column(*at, width).min(width - 1)));
            rows.push((*at, row(&words, longest, &bar, width, *at)));
        }
        rows.sort_by_key(|(at, _)| *at);

        let mut out = self.headline();
        for (_, row) in rows {
            out.push('\n');
            out.push_str(row.trim_end());
        }
        out
    }

    fn headline(&self) -> String {
        let outcome = self.outcome.error_type().unwrap_or("finished");
        let mut out = "chat ".to_owned();
        // A model may have no name but its provider's, as the embedded engine's default.
        if !self.place.model.is_empty() {
            out = out + &line(&self.place.model) + " ";
        }
        // A String takes whatever is written.
        let _ = write!(out, "({}): {outcome} after {}", line(&self.place.provider), time(self.took));
        if let Some(first) = self.first_chunk {
            let _ = write!(out, ", first token after {}", time(first));
        }
        let _ = write!(out, ", {} chunks", self.chunks);
        if !self.usage.is_unknown() {
            let _ = write!(out, ", {} tokens in, {} out", self.usage.input_tokens, self.usage.output_tokens);
        }
        let _ = write!(out, "; trace {:032x}", u128::from_be_bytes(self.trace.trace_id()));
        out
    }

    /// The column of that moment, 0 to `width`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a column of a screen"
    )]
    fn column(&self, at: Duration, width: usize) -> usize {
        let whole = self.took.as_secs_f64().max(1e-9);
        ((at.as_secs_f64() / whole * width as f64) as usize).min(width)
    }

    fn bar(&self, attempt: &AttemptTrace, width: usize) -> String {
        let from = self.column(attempt.started, width).min(width - 1);
        let to = self.column(attempt.ended, width).max(from + 1);
        let head = attempt.head.map_or(to, |head| self.column(head.at, width));
        let answered = attempt.outcome == Outcome::Finished;
        let first = self.first_chunk.filter(|_| answered).map_or(to, |first| self.column(first, width));
        let part = |column| match column {
            column if column < head => '·',
            column if column < first => '▒',
            _ => '█',
        };
        " ".repeat(from).chars().chain((from..to).map(part)).collect()
    }
}

fn label(index: usize, attempt: &AttemptTrace) -> String {
    let mut label = format!("attempt {}", index + 1);
    if let Some(head) = &attempt.head {
        let reused = if head.reused { "reused" } else { "fresh" };
        let _ = write!(label, "  {} {} {reused}", head.status, head.protocol);
    }
    if let Some(error) = attempt.outcome.error_type() {
        let _ = write!(label, "  {error}");
    }
    label
}

fn row(label: &str, longest: usize, bar: &str, width: usize, at: Duration) -> String {
    let pad = longest - label.chars().count().min(longest);
    let after = width.saturating_sub(bar.chars().count());
    format!("{label}{} │{bar}{}│ {:>8}", " ".repeat(pad), " ".repeat(after), time(at))
}

/// In one line, and nothing that moves a cursor.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn time(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use loquat_core::{ErrorKind, TraceContext, Usage};

    use super::*;
    use crate::{Asked, HeadTrace, Note, Place};

    fn call() -> CallTrace {
        let millis = Duration::from_millis;
        let place = Arc::new(Place::new("openai", "gpt\u{1b}-5"));
        let attempt = |from, to, status, reused, outcome| AttemptTrace {
            span_id: [1; 8],
            place: place.clone(),
            started: millis(from),
            ended: millis(to),
            head: Some(HeadTrace { at: millis(to.min(from + 100)), status, protocol: "HTTP/2", reused }),
            outcome,
        };
        let mut usage = Usage::default();
        (usage.input_tokens, usage.output_tokens) = (7, 40);
        let trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        CallTrace {
            #[cfg(feature = "capture")]
            content: None,
            trace: trace.expect("valid"),
            parent: None,
            place: place.clone(),
            asked: Asked::default(),
            started: SystemTime::UNIX_EPOCH,
            took: millis(1000),
            first_chunk: Some(millis(600)),
            chunks: 12,
            response: Default::default(),
            finish_reason: None,
            usage,
            attempts: vec![
                attempt(0, 100, 503, false, Outcome::Failed(ErrorKind::Overloaded, Some(503))),
                attempt(350, 1000, 200, true, Outcome::Finished),
            ],
            notes: vec![
                (millis(100), Note::Retry(1, millis(250), ErrorKind::Overloaded)),
                (millis(600), Note::FirstChunk),
            ],
            outcome: Outcome::Finished,
        }
    }

    #[test]
    fn a_retried_call() {
        let expected = "\
chat gpt -5 (openai): finished after 1.00 s, first token after 600 ms, 12 chunks, 7 tokens in, 40 out; trace 0af7651916cd43dd8448eb211c80319c
attempt 1  503 HTTP/2 fresh  overloaded │··                  │   100 ms
retry 1 in 0.25 s after overloaded      │  ▼                 │   100 ms
attempt 2  200 HTTP/2 reused            │       ··▒▒▒████████│   1.00 s
first token                             │            ▼       │   600 ms";
        assert_eq!(call().waterfall(72), expected, "\n{}", call().waterfall(72));
    }

    #[test]
    fn a_model_without_a_name_leaves_no_gap() {
        let call = CallTrace { place: Arc::new(Place::new("engine", "")), ..call() };
        assert!(call.waterfall(72).starts_with("chat (engine): finished"), "{}", call.waterfall(72));
    }

    #[test]
    fn any_width_and_no_time_at_all() {
        let mut call = call();
        for took in [Duration::ZERO, Duration::MAX] {
            call.took = took;
            for columns in [0, 1, 40, 1_000_000] {
                assert!(call.waterfall(columns).lines().count() == 5);
            }
        }
    }
}
