//! What the next event of a stream will look like: like one of the last few, but for the parts that change.
//!
//! A template is an earlier event in which the strings and numbers that were seen to change are holes ([`Pattern`]). An event
//! that no template fits is tried with the shapes of the templates and then with the shared ones, in which every string and
//! number is a hole; that teaches which of them change. Only what fits no shape either needs the full pass. A stream whose
//! events never repeat a shape soon stops being studied, so that it costs no more than the full pass and a failed comparison.

use std::sync::Arc;

use memchr::memchr2;

use crate::found::{Hit, Kind, Places};
use crate::pattern::{Hole, Pattern, Shift};
use crate::shape::{MAX_TEXT_BYTES, Shape, Shapes, Snapshot};

/// Templates of one stream: text, tool call, reasoning and ping alternate in the richest streams recorded.
const MAX_TEMPLATES: usize = 4;

/// Events studied in a row without any of them recurring, before studying becomes rare.
const PATIENCE: u32 = 8;

/// How rare: one event in this many.
const RARELY: u32 = 32;

/// The templates of one stream, and the match of its current event.
#[derive(Default)]
pub(crate) struct Predictor {
    templates: Vec<Template>,
    /// Which of them fitted last.
    front: usize,
    /// The shared shape that the current event has, when it was no template that fitted.
    direct: Option<usize>,
    shifts: Vec<Shift>,
    shared: Snapshot,
    /// Addresses of the shared shapes met last, by which the second event of a shape is told from its first.
    met: [usize; MAX_TEMPLATES],
    /// Counts events, to tell which template has been idle the longest.
    clock: u64,
    /// Events studied since a template or a shape last fitted.
    in_vain: u32,
}

struct Template {
    pattern: Pattern,
    shape: Arc<Shape>,
    /// Where the shape's strings and numbers are in the pattern's text.
    slots: Vec<(usize, usize)>,
    /// Which of them are holes.
    changing: u128,
    /// White space between its values has line ends: the document came in several `data:` lines, or from no stream.
    has_line_ends: bool,
    used: u64,
}

impl Predictor {
    /// The end of the document at the front of `input`, if a template fits and `accept` takes that end, and what it makes of
    /// it. `in_line`: the document must have no line end in it.
    #[inline]
    pub(crate) fn predict(
        &mut self,
        input: &[u8],
        in_line: bool,
        accept: impl Fn(usize) -> Option<usize>,
    ) -> Option<(usize, usize)> {
        self.clock += 1;
        self.direct = None;
        let front = self.front;
        if let Some(end) = self.try_template(front, input, in_line, &accept) {
            return Some(end);
        }
        for position in 0..self.templates.len() {
            if position != front
                && let Some(end) = self.try_template(position, input, in_line, &accept)
            {
                self.front = position;
                return Some(end);
            }
        }
        None
    }

    #[inline]
    fn try_template(
        &mut self,
        position: usize,
        input: &[u8],
        in_line: bool,
        accept: impl Fn(usize) -> Option<usize>,
    ) -> Option<(usize, usize)> {
        let template = self.templates.get_mut(position)?;
        if in_line && template.has_line_ends {
            return None;
        }
        let end = template.pattern.match_front(input, &mut self.shifts)?;
        let accepted = accept(end)?;
        template.used = self.clock;
        self.in_vain = 0;
        Some((end, accepted))
    }

    /// Whether a known shape fits the whole document, whose template is then made or mended, and in front.
    pub(crate) fn adapt(&mut self, json: &[u8], store: &Shapes, is_allowed: impl Fn(&Shape) -> bool) -> bool {
        // After a studied event comes one that may recur.
        let is_patient = self.in_vain <= PATIENCE || self.in_vain % RARELY < 2;
        if json.len() > MAX_TEXT_BYTES || !is_patient {
            return false;
        }
        for (position, template) in self.templates.iter_mut().enumerate() {
            if template.shape.pattern.matches(json, &mut self.shifts) {
                template.note_changes(json, &self.shifts);
                store.publish(&template.shape, template.changing);
                let (shape, changing) = (Arc::clone(&template.shape), template.changing);
                self.front = position;
                return self.write(json, shape, changing);
            }
        }
        store.refresh(&mut self.shared);
        for (position, known) in self.shared.shapes.iter().enumerate() {
            let is_tried = self.templates.iter().any(|template| Arc::ptr_eq(&template.shape, &known.shape));
            if is_tried || !is_allowed(&known.shape) {
                continue;
            }
            if known.shape.pattern.matches(json, &mut self.shifts) {
                self.in_vain = 0;
                let address = Arc::as_ptr(&known.shape).addr();
                if !self.met.contains(&address) {
                    // Many shapes occur once in a stream: its first event, its last. They are served as they are.
                    self.met.rotate_right(1);
                    self.met[0] = address;
                    self.direct = Some(position);
                    return true;
                }
                let (shape, changing) = (Arc::clone(&known.shape), known.changing);
                self.front = self.room();
                return self.write(json, shape, changing);
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
    pub(crate) fn learn(&mut self, json: &[u8], shape: Shape, store: &Shapes) {
        if shape.pattern.matches(json, &mut self.shifts) {
            self.front = self.room();
            let shape = Arc::new(shape);
            store.publish(&shape, 0);
            self.write(json, shape, 0);
        }
    }

    /// What the current event has. Valid after [`predict`](Self::predict) or [`adapt`](Self::adapt) have succeeded.
    pub(crate) fn places(&self) -> Places<'_> {
        let pattern = match self.direct {
            None => self.templates.get(self.front).map(|template| &template.pattern),
            Some(position) => self.shared.shapes.get(position).map(|known| &known.shape.pattern),
        };
        match pattern {
            Some(pattern) => Places { hits: &pattern.hits, last: &pattern.last, shifts: &self.shifts },
            None => Places { hits: &[], last: &[], shifts: &[] },
        }
    }

    /// Forgets all templates.
    pub(crate) fn clear(&mut self) {
        self.templates.clear();
    }

    /// The place for a new template: at the end, or that of the one idle the longest.
    fn room(&self) -> usize {
        if self.templates.len() < MAX_TEMPLATES {
            return self.templates.len();
        }
        let idle = self.templates.iter().enumerate().min_by_key(|(_, template)| template.used);
        idle.map_or(0, |(position, _)| position)
    }

    /// Puts a template in front, from a document that the shape has just been matched with; the match becomes the
    /// template's own.
    fn write(&mut self, json: &[u8], shape: Arc<Shape>, changing: u128) -> bool {
        if self.front == self.templates.len() {
            self.templates.push(Template {
                pattern: Pattern::default(),
                shape: Arc::clone(&shape),
                slots: Vec::new(),
                changing,
                has_line_ends: false,
                used: 0,
            });
        }
        let Some(template) = self.templates.get_mut(self.front) else { return false };
        template.write(json, shape, changing, &self.shifts);
        template.used = self.clock;
        template.pattern.matches(json, &mut self.shifts)
    }
}

impl Template {
    /// Takes note of the strings and numbers that differ between the template and a document of the same shape.
    fn note_changes(&mut self, json: &[u8], shifts: &[Shift]) {
        for (slot, &(start, end)) in self.slots.iter().enumerate() {
            let now = self.shape.pattern.hole_at(slot, shifts).and_then(|(start, end)| json.get(start..end));
            if now != self.pattern.text.get(start..end) {
                self.changing |= 1 << slot;
            }
        }
    }

    fn write(&mut self, json: &[u8], shape: Arc<Shape>, changing: u128, shifts: &[Shift]) {
        let Self { pattern, slots, .. } = self;
        pattern.text.clear();
        pattern.text.extend_from_slice(json);
        pattern.holes.clear();
        pattern.holes.reserve(changing.count_ones() as usize);
        slots.clear();
        slots.reserve(shape.pattern.holes.len());
        for (slot, hole) in shape.pattern.holes.iter().enumerate() {
            let (start, end) = shape.pattern.hole_at(slot, shifts).unwrap_or_default();
            slots.push((start, end));
            if changing & (1 << slot) != 0 {
                pattern.holes.push(Hole { start, end, number: hole.number });
            }
        }
        pattern.hits.clear();
        pattern.hits.extend(shape.pattern.hits.iter().map(|hit| hit.placed(shifts, changing)));
        pattern.last.clone_from(&shape.pattern.last);
        self.has_line_ends = memchr2(b'\n', b'\r', &pattern.text).is_some();
        self.changing = changing;
        self.shape = shape;
    }
}

impl Hit {
    /// Where a shape's hit is in a document of that shape, of whose strings and numbers only some are holes.
    fn placed(&self, shifts: &[Shift], changing: u128) -> Self {
        let holes = |slots: u16| {
            let before = 1u128.checked_shl(slots.into()).map_or(u128::MAX, |bit| bit - 1);
            (changing & before).count_ones().try_into().unwrap_or(u16::MAX)
        };
        let kind = match self.kind {
            Kind::PlainStr | Kind::EscapedStr => self.kind_among(shifts),
            kind => kind,
        };
        Self {
            start: self.start_among(shifts),
            end: self.end_among(shifts),
            holes_before: holes(self.holes_before),
            holes_until: holes(self.holes_until),
            kind,
            ..*self
        }
    }
}
