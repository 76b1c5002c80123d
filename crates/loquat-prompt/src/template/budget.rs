//! What one rendering has left: bytes, turns of loops, time.
//!
//! handlebars hands neither helpers nor writers a place for this, and a rendering never leaves its thread; so it is kept in
//! a thread-local for as long as the rendering lasts.

use std::{cell::RefCell, io, time::Instant};

use super::{TemplateErrorKind, TemplateLimits};

/// The clock is looked at once in so many steps.
const STEPS_PER_LOOK: u64 = 64;

/// Helpers make texts that other helpers are given: so many times the prompt at most, since all arguments of one are held at once.
const MADE_PER_OUTPUT: usize = 16;

/// What a helper says whose result is over it.
pub(crate) const TOO_LONG: &str = "its result is longer than the limit allows (max_output_bytes)";

#[derive(Debug)]
struct Budget {
    steps: u64,
    max_steps: u64,
    bytes_left: usize,
    max_bytes: usize,
    /// What helpers may still make, all together.
    made_left: usize,
    until: Option<Instant>,
    exceeded: Option<TemplateErrorKind>,
}

thread_local! {
    /// A stack: a helper of the user's may render another template.
    static BUDGETS: RefCell<Vec<Budget>> = const { RefCell::new(Vec::new()) };
}

/// Lasts as long as one rendering.
pub(crate) struct Spending(());

impl Spending {
    pub(crate) fn begin(limits: &TemplateLimits) -> Self {
        let budget = Budget {
            steps: 0,
            max_steps: limits.max_steps,
            bytes_left: limits.max_output_bytes,
            max_bytes: limits.max_output_bytes,
            made_left: limits.max_output_bytes.saturating_mul(MADE_PER_OUTPUT),
            until: Instant::now().checked_add(limits.max_time),
            exceeded: None,
        };
        BUDGETS.with_borrow_mut(|budgets| budgets.push(budget));
        Self(())
    }

    /// What ran out, if anything did.
    pub(crate) fn exceeded(&self) -> Option<TemplateErrorKind> {
        BUDGETS.with_borrow(|budgets| budgets.last().and_then(|budget| budget.exceeded))
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        BUDGETS.with_borrow_mut(Vec::pop);
    }
}

/// One turn of a loop, one helper called, one piece written.
pub(crate) fn step() -> io::Result<()> {
    spend(|budget| {
        budget.steps += 1;
        if budget.steps > budget.max_steps {
            return Err(TemplateErrorKind::TooLong);
        }
        let looks = budget.steps.is_multiple_of(STEPS_PER_LOOK);
        if looks && budget.until.is_some_and(|until| Instant::now() >= until) {
            return Err(TemplateErrorKind::TooLong);
        }
        Ok(())
    })
}

/// The clock alone, looked at now: after something that may have taken long.
pub(crate) fn look() -> io::Result<()> {
    spend(|budget| match budget.until {
        Some(until) if Instant::now() >= until => Err(TemplateErrorKind::TooLong),
        _ => Ok(()),
    })
}

/// Before a helper makes a text of so many bytes.
pub(crate) fn make(bytes: usize) -> io::Result<()> {
    make_more(0, bytes)
}

fn make_more(so_far: usize, bytes: usize) -> io::Result<()> {
    spend(|budget| {
        let is_short = so_far.saturating_add(bytes) <= budget.max_bytes;
        let left = budget.made_left.checked_sub(bytes).filter(|_| is_short);
        budget.made_left = left.ok_or(TemplateErrorKind::TooLarge)?;
        Ok(())
    })
}

/// A text that a helper makes, paid for while it grows.
#[derive(Default)]
pub(crate) struct Making(pub(crate) Vec<u8>);

impl io::Write for Making {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        make_more(self.0.len(), bytes.len())?;
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn spend(on: impl FnOnce(&mut Budget) -> Result<(), TemplateErrorKind>) -> io::Result<()> {
    BUDGETS.with_borrow_mut(|budgets| {
        let Some(budget) = budgets.last_mut() else { return Ok(()) };
        on(budget).map_err(|kind| {
            budget.exceeded = Some(kind);
            io::Error::from(io::ErrorKind::QuotaExceeded)
        })
    })
}

/// Where a prompt is written to: refuses what is over the limit while it arrives.
pub(crate) struct Bounded<'a>(pub(crate) &'a mut Vec<u8>);

impl io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        step()?;
        spend(|budget| {
            budget.bytes_left =
                budget.bytes_left.checked_sub(bytes.len()).ok_or(TemplateErrorKind::TooLarge)?;
            Ok(())
        })?;
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
