//! Content: what was asked and answered, shown with spans to those who have said that they want it.
//!
//! Off by default, and then a chunk passes nothing of this: an answer is wrapped once more only where its operation was chosen. What is
//! chosen shares the request with its caller and copies the answer's text as it passes, up to a limit. Redacted and written
//! as JSON it is by whoever exports it, on a thread of its own, and before it is cut, since half a secret looks like none.
//!
//! It knows no header, no address with its user and query, no seal of a provider, no tool's definition and no bytes of pictures:
//! those are not captured at all. Attributes follow OpenTelemetry's conventions for generative AI: JSON by their schemas of
//! messages, as text.
//! <https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-spans.md>

mod content;
mod gather;
mod redact;
mod render;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use loquat_core::{ChatRequest, Error, ErrorKind, Result, Secret};

pub use content::Content;
pub(crate) use gather::Gather;
use redact::Rules;

use crate::sampling::drawn;

/// Whose content is shown, how much of it, and what is struck out: for
/// [`ObserverBuilder::capture`](crate::ObserverBuilder::capture).
///
/// | setting | default | reason |
/// |---|---|---|
/// | `ratio` | 1, of what is kept | [`Sampling`](crate::Sampling) has chosen already |
/// | `max_bytes` | 16 KiB | of one attribute: some collectors refuse longer ones |
/// | `max_held_bytes` | 64 MiB | prompts and answers that run or wait to be sent; what finds no room goes out without content |
/// | `max_secret_bytes` | 512 | longer than any provider's key: as much is left out where an answer was cut |
///
/// Struck out at any rate: what looks like a credential (keys of the well-known providers, tokens after `Bearer`, JSON web tokens,
/// private keys, `password=…`), and members of JSON whose name says so (`password`, `api_key`, `authorization`, …). That is a net and no wall:
/// whoever captures content shows what people wrote to whoever reads the spans.
///
/// ```
/// use loquat_core::Secret;
/// use loquat_observe::{Capture, Observer};
///
/// let capture = Capture::new()
///     .with_ratio(0.1)
///     .with_pattern(r"\b\d{3}-\d{2}-\d{4}\b")?
///     .with_field("email")
///     .with_pointer("/customer/*/address")?
///     .with_secret(Secret::new("the password of the house"));
/// let observer = Observer::builder().capture(capture).build();
/// # Ok::<_, loquat_core::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "it captures nothing until an observer is built with it"]
pub struct Capture {
    ratio: f64,
    max_bytes: usize,
    max_held_bytes: usize,
    max_secret_bytes: usize,
    rules: Rules,
}

impl Default for Capture {
    fn default() -> Self {
        Self::new()
    }
}

impl Capture {
    /// Of all that is kept, with no rules but those that always hold.
    pub fn new() -> Self {
        Self {
            ratio: 1.0,
            max_bytes: 16 * 1024,
            max_held_bytes: 64 * 1024 * 1024,
            max_secret_bytes: 512,
            rules: Rules::default(),
        }
    }

    /// Only for that part of traces, 0 to 1, chosen by their id: up to the ratio of [`Sampling`](crate::Sampling), a part of
    /// those that it chose. Beyond, there is also content with what is kept for how it went.
    pub fn with_ratio(mut self, ratio: f64) -> Self {
        self.ratio = ratio;
        self
    }

    /// At most so much of one attribute, of which there are three: instructions, input, output. Of a long conversation the
    /// last messages are shown.
    pub fn with_max_bytes(mut self, max: usize) -> Self {
        self.max_bytes = max;
        self
    }

    /// At most so much held at a time, all operations together, pictures of prompts included.
    pub fn with_max_held_bytes(mut self, max: usize) -> Self {
        self.max_held_bytes = max;
        self
    }

    /// How long a secret may be that is found by a pattern. An answer that was cut (given up, broken, longer than is
    /// kept, at its limit of tokens) may end with half of one, which no pattern knows: so much of its end is left out.
    pub fn with_max_secret_bytes(mut self, max: usize) -> Self {
        self.max_secret_bytes = max;
        self
    }

    /// Strikes out what matches, by the syntax of the crate `regex`: in texts, and in each string, number and name within JSON, after
    /// its escapes were resolved.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`] for what is no regular expression, or one too large.
    pub fn with_pattern(mut self, pattern: &str) -> Result<Self> {
        self.rules.pattern(pattern).map_err(|error| {
            Error::new(ErrorKind::NotConfigured, "not a pattern for redaction").with_source(error)
        })?;
        Ok(self)
    }

    /// Strikes out the values of members of that name, in any case and at any depth, in tool arguments, tool results and whatever
    /// else is JSON as a whole. JSON that cannot be read is struck out as a whole where it is a tool's arguments.
    pub fn with_field(mut self, name: &str) -> Self {
        self.rules.field(name);
        self
    }

    /// Strikes out the value there, in the same JSON: a pointer by RFC 6901, in which `*` stands for any one member or element.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`] for what is no pointer.
    pub fn with_pointer(mut self, pointer: &str) -> Result<Self> {
        let known = self.rules.pointer(pointer);
        known.ok_or_else(|| Error::new(ErrorKind::NotConfigured, "not a JSON pointer by RFC 6901"))?;
        Ok(self)
    }

    /// Strikes out these very words wherever they stand.
    pub fn with_secret(mut self, secret: impl Into<Secret>) -> Self {
        self.rules.secret(&secret.into());
        self
    }
}

/// What an observer captures by.
pub(crate) struct Capturer {
    capture: Arc<Capture>,
    held: Arc<AtomicUsize>,
    /// Operations that were chosen, and for which there was no room.
    pub(crate) without_room: AtomicU64,
}

impl Capturer {
    pub(crate) fn new(capture: Capture) -> Self {
        Self { capture: Arc::new(capture), held: Arc::default(), without_room: AtomicU64::new(0) }
    }

    /// Takes part in an operation of that trace, if it was chosen and there is room.
    pub(crate) fn begin(&self, trace_id: [u8; 16], request: &Arc<ChatRequest>) -> Option<Box<Gather>> {
        if !drawn(trace_id, self.capture.ratio) {
            return None;
        }
        let room = self.capture.max_bytes.saturating_add(self.capture.max_secret_bytes);
        let bytes = gather::weight(request).saturating_add(room);
        let Some(hold) = Hold::take(&self.held, bytes, self.capture.max_held_bytes) else {
            self.without_room.fetch_add(1, Relaxed);
            return None;
        };
        Some(Box::new(Gather::new(self.capture.clone(), request.clone(), hold)))
    }
}

impl fmt::Debug for Capturer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.capture.fmt(f)
    }
}

/// Bytes taken of what may be held; given back when dropped.
struct Hold {
    held: Arc<AtomicUsize>,
    bytes: usize,
}

impl Hold {
    fn take(held: &Arc<AtomicUsize>, bytes: usize, max: usize) -> Option<Self> {
        let more = |now: usize| now.checked_add(bytes).filter(|sum| *sum <= max);
        held.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Self { held: held.clone(), bytes })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Relaxed);
    }
}
