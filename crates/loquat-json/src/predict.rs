//! What the next event of a stream will look like: like one of the last few, but for the parts that change.
//!
//! A template is an earlier event in which the strings and numbers that were seen to change are holes ([`Pattern`]). An event
//! that no template fits is tried with shapes, in which every string and number is a hole; that teaches which of them change.
//! First comes the shape that came next the last time a stream was here: streams resemble each other in that too, and one comparison is
//! cheaper than to look where the event's tokens are. By how many of those there are most of the others are told apart at once: those of
//! the templates, and the shared ones. Only what fits no shape either needs the full pass, and only what recurs is made a shape of. A
//! stream whose events never repeat one soon stops being studied, so that it costs no more than the full pass and a failed comparison.
//! Where streams are so short or so varied that what they learn is not repaid, those that follow begin without any of it ([`account`]).

mod account;
mod memory;

use std::hint::black_box;
use std::mem;
use std::sync::Arc;

use account::{Account, cost};
use arrayvec::ArrayVec;
pub(crate) use memory::Memory;

use crate::found::{Hits, Likeness};
use crate::outline::Outline;
use crate::pattern::{Pattern, Shift};
use crate::serial::Serials;
use crate::shape::{Drawn, Known, MAX_TEXT_BYTES, Shape, Shapes, Snapshot};
use crate::template::{Frame, Framed, Framing, Template};

/// Templates of one stream: text, tool call, reasoning and ping alternate in the richest streams recorded.
const MAX_TEMPLATES: usize = 4;

/// Beside the bits of the templates: nor does the event fit the shape that was likely to come.
const ANTICIPATED: u32 = 1 << MAX_TEMPLATES;

/// Events studied in a row without any of them recurring, before studying becomes rare.
const PATIENCE: u32 = 8;

/// How rare: one event in this many.
const RARELY: u32 = 32;

/// What the current event was read by.
#[derive(Default, Clone, Copy)]
enum Source {
    /// The template in front.
    #[default]
    Front,
    /// A shared shape that no template was made of.
    Shared(usize),
    /// The full pass.
    Pass,
}

/// A shape, and the document that it was learned from.
struct Learned {
    shape: Arc<Shape>,
    document: String,
}

/// A shape whose successor will be noted in it. What the snapshot holds is not held once more.
#[derive(Default)]
enum Last {
    /// None so far.
    #[default]
    Nothing,
    /// The one at that place of the snapshot.
    Shared(usize),
    Own(Arc<Shape>),
}

/// The templates of one stream, and the match of its current event.
#[derive(Default)]
// What an event needs that fits the template in front comes first.
#[repr(C)]
pub(crate) struct Predictor {
    /// Which of the templates fitted last.
    front: usize,
    shifts: Vec<Shift>,
    /// Who knows what is found in the current event.
    source: Source,
    /// Events studied since a template or a shape last fitted.
    in_vain: u32,
    /// An event was seen that the template in front fitted, frame and all.
    front_is_seen: bool,
    /// Whether all this pays.
    account: Account,
    /// In here and not behind a pointer: one step less from here to the text that an event is compared with.
    templates: ArrayVec<Template, MAX_TEMPLATES>,
    /// Templates that the event does not fit which is looked at, a bit for each; and [`ANTICIPATED`].
    ruled_out: u32,
    /// The memory of templates that there were in another stream.
    vacant: Vec<Pattern>,
    /// Those of a template's own text, while it is looked at.
    own_shifts: Vec<Shift>,
    shared: Snapshot,
    /// That of the last document that no template fitted.
    last: Last,
    /// For likenesses.
    pub(crate) serials: Serials,
    /// Addresses of the shared shapes met last, by which the second event of a shape is told from its first.
    met: [usize; MAX_TEMPLATES],
    /// The documents that the last new shapes were learned from, each until a second one of its shape comes: many never come, and then
    /// no template is made.
    learned: Vec<Learned>,
    /// Who framed the last event that was no template's.
    framing: Option<Framing>,
    /// Counts changes of the template in front, to tell which has been idle the longest.
    clock: u64,
}

impl Predictor {
    /// Whether the next event may be predicted; `None` before the first.
    #[inline]
    pub(crate) fn is_on(&self) -> Option<bool> {
        self.account.is_on()
    }

    /// Whether the first may be.
    pub(crate) fn begin(&mut self, store: &Shapes) -> bool {
        self.account.begin(store)
    }

    /// The next event is passed without being predicted.
    pub(crate) fn hold_back(&mut self, store: &Shapes) {
        self.account.hold_back(store);
        self.pass_over();
    }

    /// A text comes that no template has framed.
    pub(crate) fn settle(&mut self, store: &Shapes) {
        self.account.settle(store);
    }

    /// No other text comes.
    pub(crate) fn end(&mut self, store: &Shapes) {
        self.account.end(store);
    }

    /// See [`Extractor::warm`](crate::Extractor::warm).
    #[inline]
    pub(crate) fn warm(&self, field: usize) {
        let Some(template) = self.templates.get(self.front) else { return };
        black_box(self.in_vain);
        black_box(self.shifts.first().copied());
        template.pattern.warm(field);
    }

    /// The event at the front of `input`, frame and all, if the template in front fits it.
    #[inline(always)] // on the way of every event
    pub(crate) fn predict_event<'i>(&mut self, framing: Framing, input: &'i [u8]) -> Option<Framed<'i>> {
        let event = self.templates.get(self.front)?.match_event(framing, input, &mut self.shifts)?;
        self.source = Source::Front;
        self.in_vain = 0;
        self.account.save();
        self.front_is_seen = true;
        Some(event)
    }

    /// [`predict_event`](Self::predict_event), if the template in front has that likeness: how long the event is, its document, and
    /// what is found in that. Its name is that of the others.
    #[inline(always)] // on the way of every event
    pub(crate) fn predict_again<'i>(
        &mut self,
        framing: Framing,
        input: &'i [u8],
        likeness: Likeness,
    ) -> Option<(usize, &'i str, &Hits, &[Shift])> {
        let template = self.templates.get(self.front)?;
        if template.pattern.hits.likeness() != Some(likeness) {
            return None;
        }
        let (whole, data) = template.match_nameless(framing, input, &mut self.shifts)?;
        self.source = Source::Front;
        self.in_vain = 0;
        self.account.save();
        self.front_is_seen = true;
        Some((whole.len(), data, &template.pattern.hits, &self.shifts))
    }

    /// [`predict_event`](Self::predict_event) with all templates.
    pub(crate) fn predict_rarer_event<'i>(
        &mut self,
        framing: Framing,
        input: &'i [u8],
        but_the_front: bool,
    ) -> Option<Framed<'i>> {
        self.source = Source::Front;
        self.ruled_out = 0;
        let event = match but_the_front {
            true => None,
            false => self.templates.get(self.front)?.match_event(framing, input, &mut self.shifts),
        };
        if event.is_some() {
            self.account.save();
        }
        let event = event
            .or_else(|| self.try_others(|_, template, shifts| template.match_event(framing, input, shifts)));
        match event {
            Some(_) => self.front_is_seen = true,
            None => self.rule_out(framing, input),
        }
        event
    }

    /// No template fits the event at the front of `input`: those that stand in the same frame do not fit its document either.
    fn rule_out(&mut self, framing: Framing, input: &[u8]) {
        if self.front_is_seen
            && let Some(front) = self.templates.get_mut(self.front)
        {
            front.see();
        }
        let ruled_out =
            (0..).zip(&self.templates).filter(|(_, template)| !template.is_worth_unframing(framing, input));
        self.ruled_out = ruled_out.fold(0, |bits, (position, _)| bits | 1 << position);
    }

    /// The document at the front of `input`, if a template fits it that is not ruled out, and `accept` takes its length; and what it
    /// makes of that.
    pub(crate) fn predict_unframed<'i, A>(
        &mut self,
        input: &'i [u8],
        accept: impl Fn(usize) -> Option<A>,
    ) -> Option<(&'i str, A)> {
        // Those that do not fit here do not fit the document either when somebody else has framed it.
        let mut ruled_out = self.ruled_out;
        let fitting = self.try_all(|position, template, shifts| {
            let Some(document) = template.match_document(input, shifts) else {
                ruled_out |= 1 << position;
                return None;
            };
            Some((document, accept(document.len())?))
        });
        self.ruled_out = ruled_out;
        fitting
    }

    /// Whether a template fits the document that is not ruled out.
    pub(crate) fn predict_document(&mut self, json: &str) -> bool {
        let found = self.try_all(|_, template, shifts| {
            let document = template.match_document(json.as_bytes(), shifts)?;
            (document.len() == json.len()).then_some(())
        });
        found.is_some()
    }

    /// The event that was looked at last is another one, or was not all there.
    pub(crate) fn forget_ruled_out(&mut self) {
        self.ruled_out = 0;
    }

    /// Tries the templates that are not ruled out, the one in front first. The one that fits is put there.
    fn try_all<T>(
        &mut self,
        mut fit: impl FnMut(usize, &Template, &mut Vec<Shift>) -> Option<T>,
    ) -> Option<T> {
        self.source = Source::Front;
        if let (0, Some(front)) = (self.ruled_out >> self.front & 1, self.templates.get(self.front))
            && let Some(fitting) = fit(self.front, front, &mut self.shifts)
        {
            self.account.save();
            return Some(fitting);
        }
        self.try_others(fit)
    }

    /// Tries the templates that are neither in front nor ruled out. The one that fits is put there.
    fn try_others<T>(
        &mut self,
        mut fit: impl FnMut(usize, &Template, &mut Vec<Shift>) -> Option<T>,
    ) -> Option<T> {
        for (position, template) in self.templates.iter().enumerate() {
            if position != self.front
                && self.ruled_out >> position & 1 == 0
                && let Some(fitting) = fit(position, template, &mut self.shifts)
            {
                self.put_in_front(position);
                self.in_vain = 0;
                self.account.save();
                return Some(fitting);
            }
        }
        None
    }

    /// Puts another template in front.
    fn put_in_front(&mut self, position: usize) {
        self.clock += 1;
        let is_seen = mem::take(&mut self.front_is_seen);
        if let Some(template) = self.templates.get_mut(self.front) {
            template.used = self.clock;
            if is_seen {
                template.see();
            }
        }
        self.front = position;
    }

    /// Who frames the documents that come next.
    pub(crate) fn expect(&mut self, framing: Framing) {
        self.framing = Some(framing);
    }

    /// Takes note of the frame in which the document came that was predicted last.
    pub(crate) fn put_into(&mut self, frame: Frame<'_>) {
        // A shape that is shared stands in no frame.
        if let Source::Front = self.source
            && let Some(template) = self.templates.get_mut(self.front)
        {
            template.put_into(frame, &mut self.serials);
        }
    }

    /// The event whose document was read last came in a frame that no template had to do with, under this name.
    pub(crate) fn put_apart(&mut self, name: &str) {
        if let Source::Front = self.source
            && let Some(template) = self.templates.get_mut(self.front)
        {
            template.put_apart(name);
        }
    }

    /// The document, and what `fit` makes of it, that has the shape which is likely to come after the last one, if `fit` finds it there:
    /// streams resemble each other in that, too. See [`adapt`](Self::adapt). Once for each event.
    pub(crate) fn anticipate<'i, A>(
        &mut self,
        store: &Shapes,
        is_allowed: impl Fn(&Shape) -> bool,
        fit: impl FnOnce(&Shape, &mut Vec<Shift>) -> Option<(&'i str, A)>,
    ) -> Option<(&'i str, A)> {
        if self.ruled_out & ANTICIPATED != 0 || !self.is_patient() {
            return None;
        }
        let after = store.after(self.last_shape())?;
        self.refresh(store);
        let Self { templates, shared, shifts, .. } = self;
        let position = shared.position(after)?;
        let Known { shape, .. } = shared.shapes.get(position)?;
        let own = templates.iter().position(|template| Arc::ptr_eq(&template.shape, shape));
        if !is_allowed(shape) {
            return None;
        }
        self.ruled_out |= ANTICIPATED;
        let (json, made) = fit(shape, shifts)?;
        let cost = match own {
            Some(own) => self.mend(json, own, store),
            None => self.take_over(json, position, store),
        };
        self.account.spend(cost);
        Some((json, made))
    }

    /// Whether a known shape fits the whole document that was drawn, whose template is then made or mended, and in front.
    pub(crate) fn adapt(
        &mut self,
        json: &str,
        drawn: Drawn<'_>,
        store: &Shapes,
        is_allowed: impl Fn(&Shape) -> bool,
    ) -> bool {
        if json.len() > MAX_TEXT_BYTES || !self.is_patient() {
            return false;
        }
        let Self { templates, shifts, .. } = self;
        if let Some(position) = templates.iter().position(|known| known.shape.fits(json, drawn, shifts)) {
            let cost = self.mend(json, position, store);
            self.account.spend(cost::LOOK + cost);
            return true;
        }
        self.refresh(store);
        let Self { templates, shared, shifts, .. } = self;
        let fitting = shared.shapes.iter().position(|Known { shape, size }| {
            size.is_of(drawn)
                && !templates.iter().any(|template| Arc::ptr_eq(&template.shape, shape))
                && is_allowed(shape)
                && shape.fits(json, drawn, shifts)
        });
        if let Some(position) = fitting {
            let cost = self.take_over(json, position, store);
            self.account.spend(cost::LOOK + cost);
        }
        fitting.is_some()
    }

    /// Whether the stream is one whose events recur. After a studied event comes one that may.
    fn is_patient(&self) -> bool {
        self.in_vain <= PATIENCE || self.in_vain % RARELY < 2
    }

    /// The document has just been matched with the shape of one of the stream's own templates, which learns what else may change.
    /// What that costs.
    fn mend(&mut self, json: &str, position: usize, store: &Shapes) -> i32 {
        let Some(template) = self.templates.get_mut(position) else { return 0 };
        template.note_changes(json, &self.shifts, &mut self.own_shifts);
        store.note_changing(&template.shape, template.changing);
        let (shape, changing) = (Arc::clone(&template.shape), template.changing);
        self.follow(&shape, store);
        self.put_in_front(position);
        self.write(json, shape, changing);
        cost::TEMPLATE
    }

    /// The shape comes after that of the last document that no template fitted.
    fn follow(&mut self, shape: &Arc<Shape>, store: &Shapes) {
        store.note_after(self.last_shape(), shape);
        self.last = Last::Own(Arc::clone(shape));
    }

    /// The shape of the last document that no template fitted.
    fn last_shape(&self) -> Option<&Shape> {
        match &self.last {
            Last::Nothing => None,
            Last::Shared(position) => Some(&self.shared.shapes.get(*position)?.shape),
            Last::Own(shape) => Some(shape),
        }
    }

    /// Brings the snapshot up to date.
    #[inline]
    fn refresh(&mut self, store: &Shapes) {
        if store.is_newer(&self.shared) {
            if let Last::Shared(position) = self.last {
                let last = self.shared.shapes.get(position);
                self.last = last.map_or(Last::Nothing, |known| Last::Own(Arc::clone(&known.shape)));
            }
            self.shared = store.snapshot();
        }
    }

    /// The document has just been matched with a shared shape, of which a template is made, mostly. What that costs.
    fn take_over(&mut self, json: &str, position: usize, store: &Shapes) -> i32 {
        let Some(Known { shape, .. }) = self.shared.shapes.get(position) else { return 0 };
        store.note_after(self.last_shape(), shape);
        self.last = Last::Shared(position);
        let mut changing = shape.changing();
        self.in_vain = 0;
        let address = shape.address();
        if let Some(known) = self.learned.iter().position(|known| Arc::ptr_eq(&known.shape, shape)) {
            let Learned { document, .. } = self.learned.swap_remove(known);
            changing |= shape.changes(&document, json, &self.shifts, &mut self.own_shifts);
            store.note_changing(shape, changing);
        } else if changing == 0 && !self.met.contains(&address) {
            // Many shapes occur once in a stream: its first event, its last. They are served as they are, until they
            // are seen to recur, in this stream or in another.
            self.met.rotate_right(1);
            self.met[0] = address;
            self.source = Source::Shared(position);
            return 0;
        }
        let shape = Arc::clone(shape);
        self.put_in_front(self.room());
        self.write(json, shape, changing);
        cost::TEMPLATE
    }

    /// Whether the document that is being passed in full is worth noting for [`learn`](Self::learn).
    pub(crate) fn is_studying(&mut self) -> bool {
        if self.is_patient() {
            self.account.spend(cost::PASS);
        }
        self.in_vain = self.in_vain.saturating_add(1);
        self.in_vain <= PATIENCE || self.in_vain.is_multiple_of(RARELY)
    }

    /// Learns the shape of a document that had to be passed in full. The second one of that shape makes a template.
    pub(crate) fn learn(&mut self, json: &str, outline: &Outline, shape: Shape, store: &Shapes) {
        if shape.fits(json, Drawn::Outline(outline), &mut self.shifts) {
            self.account.spend(cost::SHAPE);
            let shape = store.publish(Arc::new(shape));
            self.follow(&shape, store);
            if shape.may_be_shared() {
                if self.learned.len() >= MAX_TEMPLATES {
                    self.learned.remove(0);
                }
                self.learned.push(Learned { shape, document: json.to_owned() });
            } else {
                self.put_in_front(self.room());
                self.write(json, shape, 0);
            }
        }
    }

    /// What is found in the current event, and where it has moved to; `None` if the pass knows.
    #[inline]
    pub(crate) fn found(&self) -> Option<(&Hits, &[Shift])> {
        let pattern = match self.source {
            Source::Front => &self.templates.get(self.front)?.pattern,
            Source::Shared(position) => &self.shared.shapes.get(position)?.shape.pattern,
            Source::Pass => return None,
        };
        Some((&pattern.hits, &self.shifts))
    }

    /// The current event had to be passed in full.
    pub(crate) fn pass_over(&mut self) {
        self.source = Source::Pass;
    }

    /// Forgets all templates.
    pub(crate) fn clear(&mut self) {
        self.front = 0;
        self.templates.clear();
        self.learned.clear();
    }

    /// The place for a new template: at the end, or that of the one idle the longest.
    fn room(&self) -> usize {
        if self.templates.len() < MAX_TEMPLATES {
            return self.templates.len();
        }
        let others = self.templates.iter().enumerate().filter(|(position, _)| *position != self.front);
        others.min_by_key(|(_, template)| template.used).map_or(0, |(position, _)| position)
    }

    /// Makes the template in front from a document that the shape has just been matched with; the match becomes the template's
    /// own.
    fn write(&mut self, json: &str, shape: Arc<Shape>, changing: u128) {
        self.front_is_seen = false;
        match self.templates.get_mut(self.front) {
            Some(template) => template.put(json, shape),
            None => {
                let memory = self.vacant.pop().unwrap_or_default();
                // There is room: `room` has seen to that.
                let _ = self.templates.try_push(Template::new(json, shape, self.framing, memory));
            }
        }
        if let Some(template) = self.templates.get_mut(self.front) {
            template.write(changing, &mut self.shifts, &mut self.serials);
        }
    }
}

#[cfg(test)]
mod tests;
