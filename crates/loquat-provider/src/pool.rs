//! What a decoder has learnt and allocated, kept from one answer for the next of its format and endpoint.
//!
//! Most answers are short: of twenty events the first ones would each be met as something new, and each buffer would grow
//! once more. Kept are the extractors, with the shapes of the events they saw, and the outbox's buffers; nothing of an answer is
//! ever read again, since every answer begins with everything else as new ([`Wire::renew`]). Nobody waits for the lock: who
//! does not get it makes new ones.

use std::{
    fmt,
    sync::{
        Arc, LazyLock, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use loquat_json::{Extractor, Fields};

use crate::{outbox::Outbox, wire::Wire};

/// Most that is kept of one endpoint: more answers than that at once are rare, and each costs some 20 KiB as a rule.
const MAX_KEPT: usize = 16;

/// Most that is kept of all endpoints together: a source may list a thousand, of which few answer at once.
const MAX_KEPT_BY_ALL: usize = 256;

/// How much that is.
struct Kept(AtomicUsize);

static KEPT: Kept = Kept(AtomicUsize::new(0));

/// Answers with longer events than this are not kept, in bytes. A bound on what a hostile one leaves behind: an extractor keeps up to
/// some 100 bytes for each byte of the longest event, and what has been told of a response up to 700 KiB, so that an endpoint keeps 27 MiB at the
/// very most. Text events have 300 bytes.
pub(crate) const MAX_EVENT_BYTES: usize = 8 * 1024;

/// Sets of fields that a format may have: those of its events, and those of what is in them.
const MAX_FIELDS: usize = 2;

/// What the decoders of one endpoint leave for those after them: what its events look like (member names and brackets, in a store of
/// at most 32 shapes, never values), and buffers. See [`Format::decoder_in`](crate::Format::decoder_in).
///
/// One for each format and endpoint, so that none is slowed by what another sends, and no member name gets from one to the other. Empty
/// it takes some 150 bytes; what is learned comes when it is used, some 20 KiB as a rule for each answer at a time, of which sixteen
/// stay, and 27 MiB at the very most where all of them are hostile; of all memories of a process 256 stay. Clones are the same memory.
/// `Debug` shows nothing of it.
#[derive(Clone)]
pub struct DecoderMemory(Arc<Shared>);

impl Default for DecoderMemory {
    fn default() -> Self {
        Self::counted_in(&KEPT)
    }
}

struct Shared {
    /// What it counts in.
    all: &'static Kept,
    kept: Mutex<Vec<(Box<dyn Wire>, Outbox)>>,
    /// The pointers of the format that uses it, with stores of its own.
    fields: [OnceLock<Fields>; MAX_FIELDS],
    /// The format's own memory, by its address: that of another is left alone.
    format: OnceLock<usize>,
}

/// A format's memory, for decoders of no particular endpoint.
pub(crate) type Pool = LazyLock<DecoderMemory>;

impl DecoderMemory {
    /// One that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    fn counted_in(all: &'static Kept) -> Self {
        Self(Arc::new(Shared {
            all,
            kept: Mutex::default(),
            fields: Default::default(),
            format: OnceLock::new(),
        }))
    }

    /// Itself, unless another format uses it.
    pub(crate) fn of_format<'m>(memory: Option<&'m Self>, pool: &'static Pool) -> Option<&'m Self> {
        let address = std::ptr::from_ref(pool).addr();
        memory.filter(|memory| *memory.0.format.get_or_init(|| address) == address)
    }

    /// The parts that were given back last. They are as their answer left them.
    pub(crate) fn take(&self) -> Option<(Box<dyn Wire>, Outbox)> {
        let kept = self.0.kept.try_lock().ok()?.pop()?;
        self.0.all.0.fetch_sub(1, Relaxed);
        Some(kept)
    }

    /// Keeps them, if there is room.
    pub(crate) fn give(&self, wire: Box<dyn Wire>, out: Outbox) {
        let one_more = |all| (all < MAX_KEPT_BY_ALL).then_some(all + 1);
        if let Ok(mut kept) = self.0.kept.try_lock()
            && kept.len() < MAX_KEPT
            && self.0.all.0.fetch_update(Relaxed, Relaxed, one_more).is_ok()
        {
            kept.push((wire, out));
        }
    }

    /// Has an extractor that has read nothing yet learn here. `which`: its place among those of the format.
    pub(crate) fn adopt(&self, which: usize, extractor: &mut Extractor) {
        let Some(fields) = self.0.fields.get(which) else { return };
        let fields = fields.get_or_init(|| extractor.fields().with_own_store());
        // Where it is another format's memory, this one learns for itself.
        let fields = match fields.shares_pointers_with(extractor.fields()) {
            true => fields.clone(),
            false => extractor.fields().with_own_store(),
        };
        *extractor = Extractor::new(fields);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let kept = self.kept.get_mut().unwrap_or_else(PoisonError::into_inner).len();
        self.all.0.fetch_sub(kept, Relaxed);
    }
}

impl fmt::Debug for DecoderMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecoderMemory").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::{Advance, DecodeLimits, Format, Head, OLLAMA_CHAT, OPENAI_CHAT, OPENAI_RESPONSES};

    /// An answer of these events, and how it ended.
    fn answer(format: &dyn Format, memory: &DecoderMemory, events: &[String]) -> Advance {
        let head = Head { status: 200, headers: &HeaderMap::new() };
        let mut decoder = format.decoder_in(&head, DecodeLimits::default(), Some(memory));
        decoder
            .push(Bytes::from(events.iter().map(|event| format!("data: {event}\n\n")).collect::<String>()));
        decoder.end(None);
        loop {
            match decoder.advance() {
                Advance::Delta => {}
                over => return over,
            }
        }
    }

    fn chunks(extra: impl Fn(usize) -> String) -> Vec<String> {
        let chunk = |number| {
            format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{number}"}}}}]{}}}"#, extra(number))
        };
        (0..40).map(chunk).chain(["[DONE]".to_owned()]).collect()
    }

    /// After how many chunks one looks like the last to a new extractor.
    fn until_alike(memory: &DecoderMemory) -> usize {
        let (mut wire, _) = memory.take().expect("an answer has ended");
        let mut json = Extractor::new(wire.extractor().fields().clone());
        let mut texts = chunks(|_| String::new()).into_iter().cycle().filter(|text| text.starts_with('{'));
        texts
            .position(|text| json.extract_str(&text).expect("JSON").likeness().is_some())
            .unwrap_or(usize::MAX)
    }

    #[test]
    fn endpoints_learn_apart() {
        let plain = chunks(|_| String::new());
        let [odd, even, new] = [(); 3].map(|()| DecoderMemory::new());
        answer(&OPENAI_CHAT, &new, &plain[40..]);
        for _ in 0..3 {
            answer(&OPENAI_CHAT, &even, &plain);
        }
        for seed in 0..100 {
            // Each answer by an extractor of its own, of that store.
            let kept = odd.take();
            let events =
                chunks(|number| format!(r#","x{seed}_{}":[{}1]"#, number / 2, "1,".repeat(number / 2)));
            answer(&OPENAI_CHAT, &odd, &events);
            drop(kept);
        }
        let [odd, even, new] = [odd, even, new].map(|memory| until_alike(&memory));
        assert!(odd > 40, "{odd}: what that endpoint sends is not predicted");
        assert!(even < new && new < 10, "{even}, {new}: another's is, and what it has learned is its own");
    }

    /// However many endpoints there are.
    #[test]
    fn what_all_keep_is_bounded() {
        static ALL: Kept = Kept(AtomicUsize::new(0));
        let plain = chunks(|_| String::new());
        let memories: Vec<_> = (0..MAX_KEPT_BY_ALL + 50).map(|_| DecoderMemory::counted_in(&ALL)).collect();
        for memory in &memories {
            answer(&OPENAI_CHAT, memory, &plain[38..]);
        }
        let kept = |memories: &[DecoderMemory]| -> usize {
            memories.iter().map(|memory| memory.0.kept.lock().map_or(0, |kept| kept.len())).sum()
        };
        assert_eq!(kept(&memories), MAX_KEPT_BY_ALL);
        // What goes makes room.
        drop(memories);
        assert_eq!(ALL.0.load(Relaxed), 0);
        let memory = DecoderMemory::counted_in(&ALL);
        answer(&OPENAI_CHAT, &memory, &plain[38..]);
        assert_eq!(kept(&[memory]), 1);
    }

    /// Whatever was kept for one format is none of another's business.
    #[test]
    fn a_memory_serves_one_format() {
        let memory = DecoderMemory::new();
        let plain = chunks(|_| String::new());
        let expected = answer(&OPENAI_CHAT, &memory, &plain);
        assert!(matches!(expected, Advance::End(_)));
        for format in [&OLLAMA_CHAT as &dyn Format, &OPENAI_RESPONSES] {
            let [within, without] =
                [&memory, &DecoderMemory::new()].map(|memory| answer(format, memory, &plain));
            assert_eq!(within, without);
        }
        assert_eq!(memory.0.kept.lock().map(|kept| kept.len()).ok(), Some(1));
        assert_eq!(answer(&OPENAI_CHAT, &memory, &plain), expected);
    }
}
