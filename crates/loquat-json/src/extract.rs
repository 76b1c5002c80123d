//! The extractor: a fixed set of fields, found in one text after the other.
//!
//! It puts the parts together: prediction first ([`Predictor`]), the full pass ([`Pass`]) where nothing was predicted. Nothing is
//! handed out before the last byte has been checked, by either.

use std::num::NonZeroU64;
use std::{fmt, ptr};

use crate::error::{Error, ErrorKind};
use crate::event::{Event, Mark};
use crate::found::{Found, Likeness};
use crate::pass::{Bounds, Counts, Pass};
use crate::pointer::Fields;
use crate::predict::Predictor;
use crate::shape::{Drawn, MAX_SLOTS, Shape};
use crate::spare::Spare;
use crate::template::{self, Framed, Framing};
use crate::vector;

/// Nesting allowed by default. Of 20,000 recorded events of thirty providers the deepest nests 12 levels.
pub(crate) const DEFAULT_MAX_DEPTH: usize = 64;

/// Values allowed by default. A wildcard over an embedding of 3,072 numbers passes twenty times; all of them take 3 MiB.
const DEFAULT_MAX_MATCHES: usize = 65_536;

/// Finds a fixed set of fields in JSON texts, one after the other.
///
/// Strict as of RFC 8259, also about what it skips; numbers may have any length, and half surrogate pairs written as escapes
/// are valid until decoded. Takes time linear in the text; reuses its memory, so that it allocates nothing once warm.
///
/// ```
/// use loquat_json::{Extractor, Fields};
///
/// let mut extractor = Extractor::new(Fields::compile(&["/tool_calls/*/function/name", "/model"])?);
/// let found = extractor.extract(
///     br#"{"model": "m", "tool_calls": [{"function": {"name": "search"}}, {"function": {"name": "open"}}]}"#,
/// )?;
/// let names: Vec<_> = found
///     .iter()
///     .filter(|found| found.field == 0)
///     .map(|found| (found.indices.get(0), found.value.as_str().and_then(|name| name.borrowed())))
///     .collect();
/// assert_eq!(names, [(Some(0), Some("search")), (Some(1), Some("open"))]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
// One among many finds all of this cold at each event: what one needs that looks like the last comes first.
#[repr(C)]
pub struct Extractor {
    /// Distinguishes this extractor from all others, and this event from its others.
    mark: Mark,
    predictor: Predictor,
    predicts: bool,
    fields: Fields,
    max_depth: usize,
    max_matches: usize,
    pass: Pass,
}

/// A read shorter than this, in bytes, that does not end with a line is taken for a piece of an event, in which no other shape is looked
/// for: there may be many of them. Whole events are longer, or end their read.
const SHORT_READ_BYTES: usize = 256;

impl Extractor {
    /// An extractor for these fields.
    pub fn new(fields: Fields) -> Self {
        let mut predictor = Predictor::default();
        Self {
            fields,
            max_depth: DEFAULT_MAX_DEPTH,
            max_matches: DEFAULT_MAX_MATCHES,
            pass: Pass::default(),
            predicts: true,
            mark: Mark { extractor: predictor.serials.next().map_or(0, NonZeroU64::get), turn: 0 },
            predictor,
        }
    }

    /// What it looks for.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// How deep arrays and objects may be nested. Default 64; a scalar alone has depth 0. Costs 72 bytes a level that texts
    /// reach, up to twice that as room is made.
    #[must_use]
    pub fn with_max_depth(mut self, max_depth: usize) -> Self {
        self.max_depth = max_depth;
        self.start_anew();
        self
    }

    /// How many values may be found in one text, those that a later member of the same name supersedes included. Default
    /// 65,536; only wildcards and hostile texts ever come near. Costs 48 bytes a value, of which 48 KiB are kept for reuse.
    #[must_use]
    pub fn with_max_matches(mut self, max_matches: usize) -> Self {
        self.max_matches = max_matches;
        self.start_anew();
        self
    }

    /// Whether to predict each text from the last ones. Default `true`; what is found is the same either way. Prediction
    /// makes texts that resemble each other several times faster, and costs a failed comparison where they do not; keeps
    /// the last four shapes of text, at most 16 KiB each and about as much again, and as many texts.
    /// Where the streams that came before with the same [`Fields`] did not repay what they learned, the first 48 texts are not
    /// predicted.
    #[must_use]
    pub fn with_prediction(mut self, predicts: bool) -> Self {
        self.predicts = predicts;
        self.start_anew();
        self
    }

    /// What was predicted under other limits no longer counts, the event framed last included.
    fn start_anew(&mut self) {
        self.predictor.clear();
        self.mark.turn += 1;
    }

    /// Validates the whole text and lends what was found, in document order.
    ///
    /// # Errors
    ///
    /// Not UTF-8, not JSON, cut off, followed by more than white space, nested too deep, too many values. Nothing is
    /// lent then; the extractor can be used again.
    pub fn extract<'e>(&'e mut self, json: &'e [u8]) -> Result<Found<'e>, Error> {
        match std::str::from_utf8(json) {
            Ok(json) => self.extract_str(json),
            Err(error) => Err(Error::new(ErrorKind::Utf8, error.valid_up_to())),
        }
    }

    /// [`extract`](Self::extract) for what is already known to be UTF-8, such as an event's data.
    ///
    /// # Errors
    ///
    /// As [`extract`](Self::extract), but for the encoding.
    pub fn extract_str<'e>(&'e mut self, json: &'e str) -> Result<Found<'e>, Error> {
        self.read(json, None)?;
        Ok(self.found(json))
    }

    /// Validates a text, the data of an event of that name if it is one's; [`found`](Self::found) lends what is found in it then.
    #[inline(never)]
    fn read(&mut self, json: &str, name: Option<&str>) -> Result<(), Error> {
        self.mark.turn += 1;
        if !self.predicts() {
            self.predictor.hold_back(self.fields.shapes());
            let passed = self.look_through(json, false);
            self.pass.outline.release();
            return passed.map(drop);
        }
        self.predictor.settle(self.fields.shapes());
        let Self { predictor, fields, max_depth, max_matches, .. } = self;
        let is_allowed = |shape: &Shape| shape.depth <= *max_depth && shape.matches <= *max_matches;
        let fit = |shape: &Shape, shifts: &mut _| {
            let document = shape.match_document(json.as_bytes(), shifts)?;
            (document.len() == json.len()).then_some((document, ()))
        };
        let is_predicted = predictor.predict_document(json)
            || predictor.anticipate(fields.shapes(), is_allowed, fit).is_some();
        predictor.forget_ruled_out();
        if !is_predicted {
            let is_adapted = self.look_through(json, true);
            self.pass.outline.release();
            if !is_adapted? {
                self.predictor.pass_over();
                return Ok(());
            }
        }
        if let Some(name) = name {
            self.predictor.put_apart(name);
        }
        Ok(())
    }

    #[inline]
    fn found<'e>(&'e self, json: &'e str) -> Found<'e> {
        match self.predictor.found() {
            Some((hits, shifts)) => Found::new(json, hits, shifts),
            None => Found::new(json, &self.pass.hits, &[]),
        }
    }

    /// Validates a text that no template fits, without its outline if it is of one line. Whether it has a known shape, and so what
    /// is found in it is known to the predictor; otherwise the pass knows.
    fn look_through(&mut self, json: &str, predicts: bool) -> Result<bool, Error> {
        if self.pass.attempts.is_due() {
            let is_drawn = self.pass.string_ends.draw(json.as_bytes());
            let looked = if is_drawn { self.look_along(json, predicts) } else { None };
            self.pass.attempts.note(looked.is_some());
            if let Some(is_adapted) = looked {
                return Ok(is_adapted);
            }
        }
        let Self { pass, predictor, fields, max_depth, max_matches, .. } = self;
        let bounds =
            Bounds { fields, max_depth: *max_depth, max_matches: *max_matches, has_tokens: predicts };
        pass.draw(json.as_bytes(), bounds)?;
        if predicts {
            let is_allowed = |shape: &Shape| shape.depth <= *max_depth && shape.matches <= *max_matches;
            if predictor.adapt(json, Drawn::Outline(&pass.outline), fields.shapes(), is_allowed) {
                return Ok(true);
            }
        }
        pass.run(json.as_bytes(), bounds)?;
        if predicts && predictor.is_studying() {
            let Pass { tokens, hits, deepest, outline, .. } = pass;
            let sketch = [outline.places().len(), tokens.len(), hits.all.len(), *deepest];
            if fields.shapes().recurs(sketch) {
                self.learn(json);
            }
        }
        Ok(false)
    }

    /// [`look_through`](Self::look_through) for a text of one line, once that was drawn. `None` when its outline has to be drawn.
    #[inline]
    fn look_along(&mut self, json: &str, predicts: bool) -> Option<bool> {
        let Self { pass, predictor, fields, max_depth, max_matches, .. } = self;
        let bounds = Bounds { fields, max_depth: *max_depth, max_matches: *max_matches, has_tokens: false };
        if !predicts {
            return pass.run_by_ends::<false>(json.as_bytes(), bounds).then_some(false);
        }
        let strings = pass.string_ends.strings();
        let is_allowed = |shape: &Shape| shape.depth <= *max_depth && shape.matches <= *max_matches;
        if predictor.adapt(json, Drawn::Strings(strings), fields.shapes(), is_allowed) {
            return Some(true);
        }
        if !pass.run_by_ends::<true>(json.as_bytes(), bounds) {
            return None;
        }
        let Counts { names, scalars, containers } = pass.counts;
        // What has more strings will never be learned.
        let is_studied = predictor.is_studying() && strings - names <= MAX_SLOTS;
        if !is_studied || !fields.shapes().recurs([strings, names, scalars, containers]) {
            return Some(false);
        }
        // Few are learned. Of those it has to be known where each token is.
        let bounds = Bounds { has_tokens: true, ..bounds };
        pass.draw(json.as_bytes(), bounds).ok()?;
        pass.run(json.as_bytes(), bounds).ok()?;
        self.learn(json);
        Some(false)
    }

    /// Learns the shape of the text that was drawn, and passed with its tokens noted.
    fn learn(&mut self, json: &str) {
        let Self { pass: Pass { tokens, hits, deepest, outline, .. }, predictor, fields, .. } = self;
        if let Some(shape) = Shape::new(json, outline, tokens, &hits.all, fields.len(), *deepest) {
            predictor.learn(json, outline, shape, fields.shapes());
        }
    }

    /// [`extract_str`](Self::extract_str) for the data of an event. Costs next to nothing for one that was framed for this
    /// extractor ([`Framer::next_for`](crate::Framer::next_for)), as long as it has extracted nothing else since.
    ///
    /// # Errors
    ///
    /// As [`extract_str`](Self::extract_str).
    #[inline]
    pub fn extract_event<'e>(&'e mut self, event: &Event<'e>) -> Result<Found<'e>, Error> {
        if event.found_by != self.mark || !ptr::eq(event.found_in, event.data) {
            self.read(event.data, Some(event.name))?;
        }
        Ok(self.found(event.data))
    }

    /// Looks at what the next text will be compared with, and found by, if it is like the last and asked for `field`, so that all of it is
    /// on its way from memory at once. Worth its few dozen instructions where many extractors take turns and this one has not been
    /// used for a while; changes nothing.
    #[inline]
    pub fn warm(&self, field: usize) {
        self.predictor.warm(field);
    }

    /// Whether the next event may be predicted.
    #[inline]
    pub(crate) fn predicts(&mut self) -> bool {
        self.predicts && self.predictor.is_on().unwrap_or_else(|| self.begin())
    }

    /// Before the first event of a stream.
    #[cold]
    fn begin(&mut self) -> bool {
        if let Some(Spare { memory, pass }) = self.fields.spares().take() {
            self.predictor.move_into(memory);
            self.pass = pass;
        }
        self.predictor.begin(self.fields.shapes())
    }

    /// The event at the front of `input`, if it looks like the one before it, and its mark.
    #[inline(always)] // on the way of every event
    pub(crate) fn predict_event<'i>(
        &mut self,
        framing: Framing,
        input: &'i [u8],
    ) -> Option<(Framed<'i>, Mark)> {
        self.mark.turn += 1;
        let event = self.predictor.predict_event(framing, input)?;
        Some((event, self.mark))
    }

    /// The length of the event at the front of `input` and what is found in it, if it looks like those of that likeness, the last one
    /// among them.
    #[inline(always)] // on the way of every event
    pub(crate) fn predict_again<'e, 'i: 'e>(
        &'e mut self,
        framing: Framing,
        input: &'i [u8],
        likeness: Likeness,
    ) -> Option<(usize, Found<'e>)> {
        self.mark.turn += 1;
        let (length, data, hits, shifts) = self.predictor.predict_again(framing, input, likeness)?;
        Some((length, Found::new(data, hits, shifts)))
    }

    /// [`predict_event`](Self::predict_event) for one that looks like an earlier one. `but_the_last`: not like the last, which
    /// has been tried.
    pub(crate) fn predict_rarer_event<'i>(
        &mut self,
        framing: Framing,
        input: &'i [u8],
        but_the_last: bool,
    ) -> Option<(Framed<'i>, Mark)> {
        self.mark.turn += 1;
        let event = self.predictor.predict_rarer_event(framing, input, but_the_last)?;
        Some((event, self.mark))
    }

    /// The JSON text at the front of `input`, if it is as predicted, has no line end in it and `accept` takes its length; what
    /// that makes of it; and the event's mark.
    pub(crate) fn predict_unframed<'i, A>(
        &mut self,
        input: &'i [u8],
        accept: impl Fn(usize) -> Option<A>,
    ) -> Option<(&'i str, A, Mark)> {
        let Self { predictor, fields, max_depth, max_matches, mark, .. } = self;
        let is_allowed = |shape: &Shape| {
            !shape.has_line_ends && shape.depth <= *max_depth && shape.matches <= *max_matches
        };
        let (document, accepted) = predictor.predict_unframed(input, &accept).or_else(|| {
            if input.len() < SHORT_READ_BYTES && input.last() != Some(&b'\n') {
                return None;
            }
            predictor.anticipate(fields.shapes(), is_allowed, |shape, shifts| {
                let document = shape.match_document(input, shifts)?;
                Some((document, accept(document.len())?))
            })
        })?;
        Some((document, accepted, *mark))
    }

    /// The JSON text at the front of `input` up to its line end, passed in full without a prediction, if that finds nothing wrong and
    /// `accept` takes its length; what that makes of it; and the event's mark. Draws all of an input without a line end, so that the
    /// caller bounds it.
    pub(crate) fn pass_line<'i, A>(
        &mut self,
        input: &'i [u8],
        accept: impl Fn(usize) -> Option<A>,
    ) -> Option<(&'i str, A, Mark)> {
        self.mark.turn += 1;
        let Self { pass, predictor, fields, max_depth, max_matches, mark, .. } = self;
        let bounds = Bounds { fields, max_depth: *max_depth, max_matches: *max_matches, has_tokens: false };
        let mut walked = None;
        if pass.attempts.is_due() {
            walked = vector::draw_ends_line(&mut pass.string_ends, input).and_then(|json| {
                let accepted = accept(json.len())?;
                pass.run_by_ends::<false>(json.as_bytes(), bounds).then_some((json, accepted, *mark))
            });
            pass.attempts.note(walked.is_some());
        }
        let found = walked.or_else(|| {
            let json = vector::draw_line(&mut pass.outline, input)?;
            let accepted = accept(json.len())?;
            pass.run(json.as_bytes(), bounds).ok()?;
            Some((json, accepted, *mark))
        });
        pass.outline.release();
        if found.is_some() {
            predictor.hold_back(fields.shapes());
        }
        found
    }

    /// The event that was to be predicted is not all there.
    pub(crate) fn wait(&mut self) {
        self.predictor.forget_ruled_out();
    }

    /// The JSON text at the front of `input` up to its line end that no template fits, if it has nothing wrong, and
    /// `accept` takes its length; what that makes of it; and the event's mark. It is adapted to, passed or learned as it would be
    /// alone, in one go with finding its end.
    pub(crate) fn look_through_line<'i, A>(
        &mut self,
        input: &'i [u8],
        accept: impl Fn(usize) -> Option<A>,
    ) -> Option<(&'i str, A, Mark)> {
        if !self.pass.attempts.is_due() {
            return None;
        }
        let looked = vector::draw_ends_line(&mut self.pass.string_ends, input).and_then(|json| {
            let accepted = accept(json.len())?;
            self.predictor.settle(self.fields.shapes());
            let is_adapted = self.look_along(json, true)?;
            Some((json, accepted, is_adapted))
        });
        self.pass.attempts.note(looked.is_some());
        let (json, accepted, is_adapted) = looked?;
        self.pass.outline.release();
        self.predictor.forget_ruled_out();
        if !is_adapted {
            self.predictor.pass_over();
        }
        Some((json, accepted, self.mark))
    }

    /// Whether what is found in the current text was predicted.
    #[cfg(test)]
    pub(crate) fn is_predicted(&self) -> bool {
        self.predictor.found().is_some()
    }

    /// Who frames the texts that come next.
    pub(crate) fn expect(&mut self, framing: Framing) {
        self.predictor.expect(framing);
    }

    /// Takes note of the frame in which the text came that was just predicted.
    pub(crate) fn put_into(&mut self, frame: template::Frame<'_>) {
        self.predictor.put_into(frame);
    }
}

impl Drop for Extractor {
    fn drop(&mut self) {
        if self.predictor.is_on().is_some() {
            self.predictor.end(self.fields.shapes());
            let memory = self.predictor.leave(self.fields.shapes());
            self.fields.spares().give(Spare { memory, pass: self.pass.leave() });
        }
    }
}

impl fmt::Debug for Extractor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extractor")
            .field("fields", &self.fields)
            .field("max_depth", &self.max_depth)
            .field("max_matches", &self.max_matches)
            .finish_non_exhaustive()
    }
}
