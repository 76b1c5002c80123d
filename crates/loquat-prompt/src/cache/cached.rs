//! A tokenizer with the cache before it: a text is divided into segments, each is looked for, and what is missed is computed once.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use loquat_core::Result;

use super::flight::Turn;
use super::grown::{Late, Prompt, Resume};
use super::partition::Entry;
use super::tokens::{GROWN_PART, Owner, TokenCache};
use crate::tokenizer::{Begin, Cut, Keep, Piece, Tokenizer, encode_from, said};

/// Texts shorter than this are encoded: a look-up costs as much.
const WORTH_BYTES: usize = 24;
/// Texts shorter than this are not waited for: encoding takes four microseconds or less, and to be woken as long.
const FLIGHT_BYTES: usize = 1024;

/// What a look-up finds.
enum Look<R> {
    Found(R),
    /// Nothing, by these hashes.
    Missing((u64, u64)),
    /// A text that was never asked for, where hardly any is asked for twice: it has no place, and gets none.
    New,
}

/// What became of a text's tokens.
enum Encoded {
    /// They were there.
    Answered,
    Computed,
    /// Computed, for the prompt alone to keep.
    Late,
}

/// A text that is not there, and its hashes in this cache.
#[cfg(feature = "redis")]
pub(super) struct Missing<'t> {
    pub(super) text: &'t str,
    hashes: (u64, u64),
}

/// A tokenizer that remembers, for one tenant. It is a [`Tokenizer`] itself, so that counting and fitting stand on it as on any.
#[derive(Clone)]
pub struct CachedTokenizer {
    pub(super) cache: TokenCache,
    pub(super) owner: Arc<Owner>,
    /// Not so where there are as many tenants as may be.
    pub(super) keeps: bool,
}

impl CachedTokenizer {
    /// On whose behalf.
    pub fn tenant(&self) -> &str {
        &self.owner.tenant
    }

    /// What stands behind the cache.
    pub fn inner(&self) -> &Arc<dyn Tokenizer> {
        &self.owner.tokenizer
    }

    pub(super) fn identity(&self) -> u64 {
        self.owner.identity
    }

    /// The tokens of a text as one entry, to be shared; 4 KB that were seen before take some 200 ns.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn tokens(&self, text: &str) -> Result<Arc<[u32]>> {
        let found = self.look(text, |entry| entry.tokens.clone())?;
        Ok(found.unwrap_or_default())
    }

    /// Whether a text's tokens are there by themselves, without computing them; counts as no look-up. What a prompt has appended it may
    /// still keep alone, see [`encode_prompt`](Tokenizer::encode_prompt).
    pub fn contains(&self, text: &str) -> bool {
        matches!(self.find(text, |_| true, |entry| entry.tokens.is_some()), Look::Found(true))
    }

    /// The text, if its tokens are not there; counts as no look-up.
    #[cfg(feature = "redis")]
    pub(super) fn misses<'t>(&self, text: &'t str) -> Option<Missing<'t>> {
        match self.find(text, |_| true, |entry| entry.tokens.is_some()) {
            Look::Found(true) => None,
            Look::Missing(hashes) => Some(Missing { text, hashes }),
            Look::Found(false) | Look::New => Some(Missing { text, hashes: self.hashes(text) }),
        }
    }

    /// Whether a text is looked for as a whole, by whoever encodes it.
    #[cfg(feature = "redis")]
    pub(super) fn is_one_segment(&self, text: &str) -> bool {
        self.segment(text).len() == text.len()
    }

    /// Those of its segments that are worth a place and have none.
    #[cfg(feature = "redis")]
    pub(super) fn missing_segments<'t>(&self, text: &'t str) -> Vec<Missing<'t>> {
        let mut missing = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (segment, behind) = rest.split_at(self.segment(rest).len());
            missing.extend(
                Some(segment).filter(|segment| segment.len() >= WORTH_BYTES).and_then(|s| self.misses(s)),
            );
            rest = behind;
        }
        missing
    }

    /// Keeps a text's tokens as one entry, made of its segments'.
    #[cfg(feature = "redis")]
    pub(super) fn put_together(&self, text: &str) -> Result<()> {
        let mut tokens = Vec::with_capacity(text.len() / 3);
        self.encode_all(text, &mut tokens, true, None)?;
        self.insert(text, tokens.into());
        Ok(())
    }

    /// [`CachedTokenizer::tokens`] of a text that is about to be asked for: what is prepared is kept, and found, though the doorkeeper
    /// stands.
    #[cfg(feature = "redis")]
    pub(super) fn prepare(&self, text: &str) -> Result<Arc<[u32]>> {
        self.owner.admission.expect(self.cache.0.hash.sample(text));
        self.tokens(text)
    }

    /// Keeps the tokens of a text that was missed, of which this is a copy, as [`CachedTokenizer::insert`].
    #[cfg(feature = "redis")]
    pub(super) fn insert_missing(&self, missing: &Missing<'_>, text: Box<str>, tokens: Arc<[u32]>) {
        self.owner.admission.expect(missing.hashes.1);
        self.keep(missing.hashes, text, Entry { count: tokens.len(), tokens: Some(tokens) });
    }

    /// Keeps tokens that came from elsewhere: another node, a file. They are believed.
    pub fn insert(&self, text: &str, tokens: Arc<[u32]>) {
        self.owner.admission.give();
        let entry = Entry { count: tokens.len(), tokens: Some(tokens) };
        self.keep(self.hashes(text), text, entry);
    }

    /// Reads the entry of a text, computed with its tokens if it is not there. `read` gives `None` for an entry that does not
    /// hold what is wanted.
    fn look<R>(&self, text: &str, read: impl Fn(&Entry) -> Option<R>) -> Result<Option<R>> {
        let began = self.owner.counters.begin();
        let found = self.look_untimed(text, read);
        self.owner.counters.over(began);
        found
    }

    fn look_untimed<R>(&self, text: &str, read: impl Fn(&Entry) -> Option<R>) -> Result<Option<R>> {
        let hashes = match self.ask(text, &read) {
            Look::Found(Some(found)) => return Ok(Some(found)),
            Look::Found(None) => Some(self.hashes(text)),
            Look::Missing(hashes) => Some(hashes),
            Look::New => None,
        };
        let mut tokens = Vec::with_capacity(text.len() / 3);
        let entry = match hashes {
            Some(hashes) => self.compute(hashes, text, &mut tokens)?,
            None => {
                self.pass(text, &mut tokens)?;
                Entry { count: tokens.len(), tokens: Some(tokens.into()) }
            }
        };
        Ok(read(&entry))
    }

    /// [`find`](Self::find), counted and behind the doorkeeper, for who computes what is not there.
    fn ask<R>(&self, text: &str, read: impl FnMut(&Entry) -> Option<R>) -> Look<Option<R>> {
        let Owner { admission, counters, .. } = &*self.owner;
        if !admission.looks(text, || counters.computed_here()) {
            return Look::New;
        }
        self.ask_chosen(text, read)
    }

    /// [`ask`](Self::ask) for a text that is looked at.
    fn ask_chosen<R>(&self, text: &str, read: impl FnMut(&Entry) -> Option<R>) -> Look<Option<R>> {
        let Owner { admission, counters, .. } = &*self.owner;
        let look = self.find(text, |sample| admission.admits(sample), read);
        let is_hit = matches!(look, Look::Found(Some(_)));
        admission.note(is_hit, text.len());
        if is_hit {
            counters.hit(text.len());
        }
        look
    }

    /// Appends the tokens of a text that was missed, and keeps them by these hashes.
    fn compute(&self, hashes: (u64, u64), text: &str, tokens: &mut Vec<u32>) -> Result<Entry> {
        let mut landing = None;
        if text.len() >= FLIGHT_BYTES && self.keeps {
            match self.owner.flights.turn(hashes.0, text) {
                Turn::Joined(entry) => {
                    self.owner.counters.joined(text.len());
                    tokens.extend_from_slice(entry.tokens.as_deref().unwrap_or_default());
                    return Ok(entry);
                }
                Turn::Alone => {}
                Turn::Compute(mine) => landing = Some(mine),
            }
        }
        let before = tokens.len();
        self.pass(text, tokens)?;
        let own = tokens.get(before..).unwrap_or_default();
        let entry = Entry { count: own.len(), tokens: Some(own.into()) };
        self.keep(hashes, text, entry.clone());
        if let Some(landing) = landing {
            landing.land(entry.clone());
        }
        Ok(entry)
    }

    /// Appends the tokens of a text that was missed.
    fn pass(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        self.owner.counters.miss(text.len());
        self.owner.tokenizer.encode(text, tokens)
    }

    /// Appends the tokens of a text, from where they are; what became of it. With `is_late` it gets no place, unless it is long.
    fn encode_segment(
        &self,
        text: &str,
        tokens: &mut Vec<u32>,
        is_chosen: bool,
        is_late: bool,
    ) -> Result<Encoded> {
        // One copy, from where they lie.
        let append = |entry: &Entry| {
            tokens.extend_from_slice(entry.tokens.as_ref()?);
            Some(())
        };
        // What others wait for is looked for always, and has a place.
        let is_late = is_late && text.len() < FLIGHT_BYTES;
        let Owner { admission, counters, .. } = &*self.owner;
        if is_late && !admission.looks_at_appended(text, || counters.computed_here()) {
            return self.pass(text, tokens).map(|()| Encoded::Late);
        }
        let look = if is_chosen { self.ask_chosen(text, append) } else { self.ask(text, append) };
        if is_late {
            admission.note_appended(matches!(look, Look::Found(Some(()))), text.len());
        }
        match look {
            Look::Found(Some(())) => return Ok(Encoded::Answered),
            Look::Missing(_) if is_late => return self.pass(text, tokens).map(|()| Encoded::Late),
            Look::Found(None) => self.compute(self.hashes(text), text, tokens).map(drop),
            Look::Missing(hashes) => self.compute(hashes, text, tokens).map(drop),
            Look::New => self.pass(text, tokens),
        }
        .map(|()| Encoded::Computed)
    }

    /// [`Tokenizer::encode`], of a prompt that is looked at or of a text; how many bytes of the text were there. With `late`, what has no
    /// place is told it.
    fn encode_all(
        &self,
        text: &str,
        tokens: &mut Vec<u32>,
        is_chosen: bool,
        mut late: Option<&mut dyn FnMut(Late)>,
    ) -> Result<usize> {
        let (mut rest, mut answered) = (text, 0);
        while !rest.is_empty() {
            let segment = self.segment(rest);
            if segment.len() < WORTH_BYTES {
                self.owner.tokenizer.encode(segment, tokens)?;
            } else {
                let (began, begun) = (self.owner.counters.begin(), tokens.len());
                let encoded = self.encode_segment(segment, tokens, is_chosen, late.is_some());
                self.owner.counters.over(began);
                match (encoded?, &mut late) {
                    (Encoded::Answered, _) => answered += segment.len(),
                    (Encoded::Late, Some(late)) => {
                        let at = text.len() - rest.len();
                        late(Late { text: at..at + segment.len(), tokens: begun..tokens.len() });
                    }
                    (Encoded::Computed | Encoded::Late, _) => {}
                }
            }
            rest = rest.get(segment.len()..).unwrap_or_default();
        }
        Ok(answered)
    }

    /// Appends the tokens of a prompt that begins with one that is known, and makes that one it.
    fn go_on(
        &self,
        mut prompt: Box<Prompt>,
        resume: Resume,
        pieces: &[Piece<'_>],
        tokens: &mut Vec<u32>,
    ) -> Result<()> {
        let Owner { tokenizer, admission, counters, said, .. } = &*self.owner;
        admission.note(true, resume.bytes);
        counters.hit(resume.bytes);
        let begun = tokens.len();
        // At once for what is new, too: to grow later is to copy all.
        let bytes = pieces.iter().map(|piece| piece.text().len()).sum::<usize>();
        tokens.reserve(resume.tokens + bytes.saturating_sub(resume.bytes) / 3 + 16);
        tokens.extend_from_slice(prompt.tokens().get(..resume.tokens).unwrap_or_default());
        let kept = tokens.len();
        let rest = pieces.get(resume.piece..).unwrap_or_default();
        let known = said.load();
        let said = known.as_deref().map_or(&[][..], Vec::as_slice);
        let begin = Begin { from: resume.offset, markup: prompt.markup(), said };
        let mut late: Vec<(Option<Cut>, Late)> = Vec::new();
        let cut = encode_from(&**tokenizer, rest, begin, tokens, |text, behind, tokens| {
            self.encode_all(text, tokens, true, Some(&mut |one| late.push((behind, one)))).map(drop)
        })?;
        let cut = cut.map(|cut| Cut { piece: cut.piece + resume.piece, tokens: cut.tokens - begun, ..cut });
        prompt.grow(pieces, resume, tokens.get(kept..).unwrap_or_default(), cut);
        for (behind, Late { text, tokens }) in late {
            // A run of text begins behind a control token, or where the prompt goes on.
            let start = behind.map_or(resume.bytes, |cut| prompt.start(cut.piece + resume.piece) + cut.end);
            let text = start + text.start..start + text.end;
            prompt.keep_late(Late { text, tokens: tokens.start - begun..tokens.end - begun });
        }
        self.keep_prompt(prompt, true);
        Ok(())
    }

    fn keep_prompt(&self, mut prompt: Box<Prompt>, has_grown: bool) {
        let max_bytes = self.cache.0.limits.max_bytes;
        if prompt.size() > max_bytes / 16 {
            return self.settle(&mut prompt);
        }
        // Before others can take it out.
        self.cache.0.bytes.fetch_add(prompt.size(), Relaxed);
        let removed = self.owner.grown.put(prompt, has_grown, max_bytes / GROWN_PART);
        for mut prompt in removed {
            self.cache.0.bytes.fetch_sub(prompt.size(), Relaxed);
            self.settle(&mut prompt);
        }
        self.cache.make_room();
    }

    /// Gives what only this prompt keeps places of its own.
    fn settle(&self, prompt: &mut Prompt) {
        for (text, tokens) in prompt.take_late() {
            let entry = Entry { count: tokens.len(), tokens: Some(tokens.into()) };
            self.keep(self.hashes(text), text, entry);
        }
    }

    /// The entry of a text, read where it lies. One that is not found at a glance is looked for if the hash of its sample is admitted.
    #[inline]
    fn find<R>(
        &self,
        text: &str,
        admits: impl FnOnce(u64) -> bool,
        mut read: impl FnMut(&Entry) -> R,
    ) -> Look<R> {
        let partition = &self.owner.partition;
        let sample = self.cache.0.hash.sample(text);
        if let Some(found) = partition.glance(sample, text, &mut read) {
            return Look::Found(found);
        }
        if !admits(sample) {
            return Look::New;
        }
        let hashes = (self.cache.0.hash.of(text), sample);
        partition.read(hashes, text, read).map_or(Look::Missing(hashes), Look::Found)
    }

    /// Of the whole text, and of a sample of it.
    fn hashes(&self, text: &str) -> (u64, u64) {
        (self.cache.0.hash.of(text), self.cache.0.hash.sample(text))
    }

    fn keep(&self, hashes: (u64, u64), text: impl AsRef<str> + Into<Box<str>>, entry: Entry) {
        // One text may not push out everything else.
        if !self.keeps || text.as_ref().len() > self.cache.0.limits.max_bytes / 16 {
            return;
        }
        let added = self.owner.partition.insert(hashes, text.into(), entry);
        self.owner.counters.inserted();
        self.cache.0.bytes.fetch_add(added, Relaxed);
        self.cache.make_room();
    }

    /// The next segment of a text: all of it where it is short, else up to a place where it can be cut.
    fn segment<'t>(&self, text: &'t str) -> &'t str {
        let mut at = self.cache.0.limits.segment_bytes.max(64);
        // A little longer than a segment is one, so that a tail is not looked up for itself.
        while text.len() > at.saturating_add(at / 2) {
            match self.owner.tokenizer.safe_cut(text, at) {
                0 => at = at.saturating_mul(2),
                cut => return text.get(..cut).unwrap_or(text),
            }
        }
        text
    }
}

impl Tokenizer for CachedTokenizer {
    fn name(&self) -> &str {
        self.owner.tokenizer.name()
    }

    fn vocabulary_size(&self) -> u32 {
        self.owner.tokenizer.vocabulary_size()
    }

    fn fingerprint(&self) -> Option<[u8; 32]> {
        self.owner.tokenizer.fingerprint()
    }

    fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        self.encode_all(text, tokens, false, None).map(drop)
    }

    fn encode_prompt(&self, pieces: &[Piece<'_>], tokens: &mut Vec<u32>) -> Result<()> {
        let Owner { tokenizer, grown, admission, counters, said: place, .. } = &*self.owner;
        if let Some((prompt, resume, size)) = grown.take(pieces, &**tokenizer) {
            self.cache.0.bytes.fetch_sub(size, Relaxed);
            return self.go_on(prompt, resume, pieces, tokens);
        }
        let known = place.load();
        let begin = Begin { from: 0, markup: None, said: known.as_deref().map_or(&[][..], Vec::as_slice) };
        // What a prompt begins with says it for all: the turns of a chat have that in common.
        let beginning = pieces.iter().map(|piece| piece.text().len()).find(|bytes| *bytes >= WORTH_BYTES);
        if beginning.is_some_and(|bytes| !admission.looks_at_prompt(bytes, || counters.computed_here())) {
            let began = counters.begin();
            counters.miss(pieces.iter().map(|piece| piece.text().len()).sum());
            let passed = encode_from(&**tokenizer, pieces, begin, tokens, |text, _, tokens| {
                tokenizer.encode(text, tokens)
            });
            counters.over(began);
            return passed.map(drop);
        }
        if known.is_none() && self.keeps {
            let said = said(&**tokenizer, pieces);
            if !said.is_empty() {
                place.store(Some(Arc::new(said)));
            }
        }
        let (alike, size) = grown.take_alike(pieces);
        self.cache.0.bytes.fetch_sub(size, Relaxed);
        for mut prompt in alike {
            self.settle(&mut prompt);
            self.keep_prompt(Box::new(prompt), false);
        }
        let (begun, mut answered) = (tokens.len(), 0);
        let cut = encode_from(&**tokenizer, pieces, begin, tokens, |text, _, tokens| {
            answered += self.encode_all(text, tokens, true, None)?;
            Ok(())
        })?;
        if let Some(cut) = cut.filter(|_| self.keeps && answered > 0) {
            let bytes = pieces.iter().map(|piece| piece.text().len()).sum();
            if grown.admits(bytes, answered) {
                let own = tokens.get(begun..).unwrap_or_default();
                let cut = Cut { tokens: cut.tokens - begun, ..cut };
                self.keep_prompt(Box::new(Prompt::new(pieces, own, cut)), false);
            }
        }
        Ok(())
    }

    fn control_token(&self, text: &str) -> Option<u32> {
        self.owner.tokenizer.control_token(text)
    }

    fn find_control(&self, text: &str) -> Option<(Range<usize>, u32)> {
        self.owner.tokenizer.find_control(text)
    }

    fn is_control(&self, token: u32) -> bool {
        self.owner.tokenizer.is_control(token)
    }

    fn longest_control(&self) -> Option<usize> {
        self.owner.tokenizer.longest_control()
    }

    fn token_bytes(&self, token: u32, bytes: &mut Vec<u8>) -> Result<()> {
        self.owner.tokenizer.token_bytes(token, bytes)
    }

    fn safe_cut(&self, text: &str, at: usize) -> usize {
        self.owner.tokenizer.safe_cut(text, at)
    }

    fn count(&self, text: &str) -> Result<usize> {
        let (mut rest, mut count) = (text, 0);
        while !rest.is_empty() {
            let segment = self.segment(rest);
            count += if segment.len() < WORTH_BYTES {
                self.owner.tokenizer.count(segment)?
            } else {
                self.count_segment(segment)?
            };
            rest = rest.get(segment.len()..).unwrap_or_default();
        }
        Ok(count)
    }

    fn fits(&self, text: &str, limit: usize) -> Result<Option<usize>> {
        let (mut rest, mut count) = (text, 0);
        while !rest.is_empty() {
            let segment = self.segment(rest);
            match self.fits_segment(segment, limit - count)? {
                Some(more) => count += more,
                None => return Ok(None),
            }
            rest = rest.get(segment.len()..).unwrap_or_default();
        }
        Ok(Some(count))
    }

    fn truncate<'t>(&self, text: &'t str, limit: usize, keep: Keep) -> Result<&'t str> {
        match self.fits(text, limit)? {
            Some(_) => Ok(text),
            None => self.owner.tokenizer.truncate(text, limit, keep),
        }
    }
}

impl CachedTokenizer {
    /// A count alone: kept without tokens, which is about half the room.
    fn count_segment(&self, text: &str) -> Result<usize> {
        let counted = self.count_by(text, || self.owner.tokenizer.count(text).map(Some))?;
        Ok(counted.unwrap_or_default())
    }

    /// A count alone, if it is no more than `limit`.
    fn fits_segment(&self, text: &str, limit: usize) -> Result<Option<usize>> {
        // One that can be cut nowhere may be as long as anything: what of it does not fit is neither counted nor kept.
        let is_long = text.len() > self.cache.0.limits.segment_bytes.saturating_mul(4);
        let tokenizer = &self.owner.tokenizer;
        let counted = self.count_by(text, || {
            if is_long { tokenizer.fits(text, limit) } else { tokenizer.count(text).map(Some) }
        })?;
        Ok(counted.filter(|count| *count <= limit))
    }

    fn count_by(&self, text: &str, count: impl FnOnce() -> Result<Option<usize>>) -> Result<Option<usize>> {
        let look = self.ask(text, |entry| Some(entry.count));
        if let Look::Found(Some(count)) = look {
            return Ok(Some(count));
        }
        self.owner.counters.miss(text.len());
        let counted = count()?;
        if let (Look::Missing(hashes), Some(count)) = (look, counted) {
            self.keep(hashes, text, Entry { count, tokens: None });
        }
        Ok(counted)
    }
}

impl fmt::Debug for CachedTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedTokenizer")
            .field("tenant", &self.owner.tenant)
            .field("tokenizer", &self.owner.tokenizer.name())
            .finish_non_exhaustive()
    }
}
