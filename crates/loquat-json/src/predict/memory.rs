//! What a stream leaves to another one of the same fields: its memory, without what it held, and the shapes that it knew.

use std::mem;

use super::{MAX_TEMPLATES, Predictor};
use crate::pattern::{Pattern, Shift};
use crate::shape::{Shapes, Snapshot};

/// As much as [`Predictor::leave`] finds worth keeping: with its hits and holes some 10 KiB a template at most.
pub(crate) struct Memory {
    /// Empty and erased, each of them.
    vacant: Vec<Pattern>,
    shifts: Vec<Shift>,
    own_shifts: Vec<Shift>,
    shared: Snapshot,
}

impl Predictor {
    /// Goes on in what another one has left.
    pub(crate) fn move_into(&mut self, memory: Memory) {
        let Memory { vacant, shifts, own_shifts, shared } = memory;
        (self.vacant, self.shared) = (vacant, shared);
        (self.shifts, self.own_shifts) = (shifts, own_shifts);
    }

    /// Its memory: it is of no more use itself.
    pub(crate) fn leave(&mut self, store: &Shapes) -> Memory {
        while let Some(mut template) = self.templates.pop() {
            if template.pattern.empty() && self.vacant.len() < MAX_TEMPLATES {
                self.vacant.push(template.pattern);
            }
        }
        if store.is_newer(&self.shared) {
            self.shared = Snapshot::default();
        }
        Memory {
            vacant: mem::take(&mut self.vacant),
            shifts: mem::take(&mut self.shifts),
            own_shifts: mem::take(&mut self.own_shifts),
            shared: mem::take(&mut self.shared),
        }
    }
}

#[cfg(test)]
impl Memory {
    pub(crate) fn is_erased_and_small(&self) -> bool {
        let mut vacant = self.vacant.iter();
        vacant.len() <= MAX_TEMPLATES && vacant.all(Pattern::is_erased_and_small)
    }

    /// What it takes, without the shapes.
    pub(crate) fn bytes(&self) -> usize {
        let shifts = (self.shifts.capacity() + self.own_shifts.capacity()) * size_of::<Shift>();
        let vacant = self.vacant.capacity() * size_of::<Pattern>();
        vacant + shifts + self.vacant.iter().map(Pattern::bytes).sum::<usize>()
    }

    /// How many templates' memory there is.
    pub(crate) fn vacant(&self) -> usize {
        self.vacant.len()
    }
}
