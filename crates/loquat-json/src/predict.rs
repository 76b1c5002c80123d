//! What the next event of a stream will look like: like one of the last few, but for the parts that change.
//!
//! A template is an earlier event in which the strings and numbers that were seen to change are holes ([`Pattern`]). An event
//! that no template fits is tried with the shapes of the templates and then with the shared ones, in which every string and
//! number is a hole; that teaches which of them change. Only what fits no shape either needs the full pass. A stream whose
//! events never repeat a shape soon stops being studied, so that it costs no more than the full pass and a failed comparison.

use std::sync::Arc;

use crate::found::Hits;
use crate::outline::Outline;
use crate::pattern::Shift;
use crate::shape::{MAX_TEXT_BYTES, Shape, Shapes, Snapshot};
use crate::template::{Frame, Framed, Framing, Template};

/// Templates of one stream: text, tool call, reasoning and ping alternate in the richest streams recorded.
const MAX_TEMPLATES: usize = 4;

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

/// The templates of one stream, and the match of its current event.
#[derive(Default)]
pub(crate) struct Predictor {
    templates: Vec<Template>,
    /// Which of them fitted last.
    front: usize,
    /// Who knows what is found in the current event.
    source: Source,
    shifts: Vec<Shift>,
    shared: Snapshot,
    /// Addresses of the shared shapes met last, by which the second event of a shape is told from its first.
    met: [usize; MAX_TEMPLATES],
    /// Who framed the last event that was no template's.
    framing: Option<Framing>,
    /// Counts changes of the template in front, to tell which has been idle the longest.
    clock: u64,
    /// Events studied since a template or a shape last fitted.
    in_vain: u32,
}

impl Predictor {
    /// The event at the front of `input`, frame and all, if the template in front fits it.
    #[inline(always)] // on the way of every event
    pub(crate) fn predict_event<'i>(&mut self, framing: Framing, input: &'i [u8]) -> Option<Framed<'i>> {
        let event = self.templates.get(self.front)?.match_event(framing, input, &mut self.shifts)?;
        self.source = Source::Front;
        self.in_vain = 0;
        Some(event)
    }

    /// [`predict_event`](Self::predict_event) with all templates.
    pub(crate) fn predict_rarer_event<'i>(
        &mut self,
        framing: Framing,
        input: &'i [u8],
        but_the_front: bool,
    ) -> Option<Framed<'i>> {
        self.source = Source::Front;
        let event = match but_the_front {
            true => None,
            false => self.templates.get(self.front)?.match_event(framing, input, &mut self.shifts),
        };
        event.or_else(|| self.try_others(|template, shifts| template.match_event(framing, input, shifts)))
    }

    /// The document at the front of `input`, if a template fits it that was not tried by [`predict_event`](Self::predict_event),
    /// and `accept` takes its length; and what it makes of that.
    pub(crate) fn predict_unframed<'i, A>(
        &mut self,
        framing: Framing,
        input: &'i [u8],
        accept: impl Fn(usize) -> Option<A>,
    ) -> Option<(&'i str, A)> {
        self.source = Source::Front;
        self.try_all(|template, shifts| {
            if !template.is_worth_unframing(framing) {
                return None;
            }
            let document = template.match_document(input, shifts)?;
            Some((document, accept(document.len())?))
        })
    }

    /// Whether a template fits the document.
    pub(crate) fn predict_document(&mut self, json: &str) -> bool {
        self.source = Source::Front;
        let found = self.try_all(|template, shifts| {
            let document = template.match_document(json.as_bytes(), shifts)?;
            (document.len() == json.len()).then_some(())
        });
        found.is_some()
    }

    /// Tries the templates, the one in front first. The one that fits is put there.
    fn try_all<T>(&mut self, mut fit: impl FnMut(&Template, &mut Vec<Shift>) -> Option<T>) -> Option<T> {
        let front = self.templates.get(self.front)?;
        fit(front, &mut self.shifts).or_else(|| self.try_others(fit))
    }

    /// Tries the templates that are not in front. The one that fits is put there.
    fn try_others<T>(&mut self, mut fit: impl FnMut(&Template, &mut Vec<Shift>) -> Option<T>) -> Option<T> {
        for (position, template) in self.templates.iter().enumerate() {
            if position != self.front
                && let Some(fitting) = fit(template, &mut self.shifts)
            {
                self.put_in_front(position);
                self.in_vain = 0;
                return Some(fitting);
            }
        }
        None
    }

    /// Puts another template in front.
    fn put_in_front(&mut self, position: usize) {
        self.clock += 1;
        if let Some(template) = self.templates.get_mut(self.front) {
            template.used = self.clock;
        }
        self.front = position;
    }

    /// Who frames the documents that come next.
    pub(crate) fn expect(&mut self, framing: Framing) {
        self.framing = Some(framing);
    }

    /// Takes note of the frame in which the document came that was predicted last.
    pub(crate) fn put_into(&mut self, frame: Frame<'_>) {
        if let Some(template) = self.templates.get_mut(self.front) {
            template.put_into(frame);
        }
    }

    /// Whether a known shape fits the whole document that was drawn, whose template is then made or mended, and in front.
    pub(crate) fn adapt(
        &mut self,
        json: &str,
        outline: &Outline,
        store: &Shapes,
        is_allowed: impl Fn(&Shape) -> bool,
    ) -> bool {
        // After a studied event comes one that may recur.
        let is_patient = self.in_vain <= PATIENCE || self.in_vain % RARELY < 2;
        if json.len() > MAX_TEXT_BYTES || !is_patient {
            return false;
        }
        let mut own = self.templates.iter();
        if let Some(position) = own.position(|known| known.shape.fits(json, outline, &mut self.shifts)) {
            if let Some(template) = self.templates.get_mut(position) {
                template.note_changes(json, &self.shifts);
                store.publish(&template.shape, template.changing);
                let (shape, changing) = (Arc::clone(&template.shape), template.changing);
                self.put_in_front(position);
                self.write(json, shape, changing);
            }
            return true;
        }
        store.refresh(&mut self.shared);
        for (position, known) in self.shared.shapes.iter().enumerate() {
            let is_tried = self.templates.iter().any(|template| Arc::ptr_eq(&template.shape, &known.shape));
            if is_tried || !is_allowed(&known.shape) {
                continue;
            }
            if known.shape.fits(json, outline, &mut self.shifts) {
                self.in_vain = 0;
                let address = Arc::as_ptr(&known.shape).addr();
                if known.changing == 0 && !self.met.contains(&address) {
                    // Many shapes occur once in a stream: its first event, its last. They are served as they are, until they
                    // are seen to recur, in this stream or in another.
                    self.met.rotate_right(1);
                    self.met[0] = address;
                    self.source = Source::Shared(position);
                    return true;
                }
                let (shape, changing) = (Arc::clone(&known.shape), known.changing);
                self.put_in_front(self.room());
                self.write(json, shape, changing);
                return true;
            }
        }
        false
    }

    /// Whether the document that is being passed in full is worth noting for [`learn`](Self::learn).
    pub(crate) fn is_studying(&mut self) -> bool {
        self.in_vain = self.in_vain.saturating_add(1);
        self.in_vain <= PATIENCE || self.in_vain.is_multiple_of(RARELY)
    }

    /// Makes a template of a document that had to be passed in full.
    pub(crate) fn learn(&mut self, json: &str, outline: &Outline, shape: Shape, store: &Shapes) {
        if shape.fits(json, outline, &mut self.shifts) {
            self.put_in_front(self.room());
            let shape = Arc::new(shape);
            store.publish(&shape, 0);
            self.write(json, shape, 0);
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
        if self.front == self.templates.len() {
            self.templates.reserve_exact(MAX_TEMPLATES - self.front);
            self.templates.push(Template::new(Arc::clone(&shape), self.framing));
        }
        if let Some(template) = self.templates.get_mut(self.front) {
            template.write(json, shape, changing, &mut self.shifts);
        }
    }
}
