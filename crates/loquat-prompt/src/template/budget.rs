//! What one rendering has left: bytes, turns of loops, time.
//!
//! handlebars hands neither helpers nor writers a place for this, and a rendering never leaves its thread; so it is kept in
//! a thread-local for as long as the rendering lasts.

use std::{
    cell::RefCell,
    io,
    time::{Duration, Instant},
};

use super::{TemplateErrorKind, TemplateLimits, words::Words};

/// The clock is looked at once in so many steps, and more often while steps take long.
const STEPS_PER_LOOK: u64 = 64;
/// Where so much time passes between two looks, steps take long: a thousandth of the default limit.
const LONG: Duration = Duration::from_millis(1);

/// Helpers make texts that other helpers are given: so many times the prompt at most, since all arguments of one are held at once.
const MADE_PER_OUTPUT: usize = 16;

/// What a helper says whose result is over it.
pub(crate) const TOO_LONG: &str = "its result is longer than the limit allows (max_output_bytes)";
/// What is said where more of the data is held than may be.
pub(crate) const TOO_MUCH: &str =
    "more of the data is copied at one time than the limit allows (max_held_bytes)";

#[derive(Debug)]
struct Budget {
    steps: u64,
    max_steps: u64,
    bytes_left: usize,
    max_bytes: usize,
    /// What helpers may still make, all together.
    made_left: usize,
    /// What the partials under way hold, and how much of it each of them, the outermost first.
    held: usize,
    max_held: usize,
    holding: Vec<usize>,
    /// When the clock is looked at next, in steps, how many lie between two looks, and when the last one was.
    next_look: u64,
    between_looks: u64,
    looked: Instant,
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
        let now = Instant::now();
        let budget = Budget {
            steps: 0,
            max_steps: limits.max_steps,
            bytes_left: limits.max_output_bytes,
            max_bytes: limits.max_output_bytes,
            made_left: limits.max_output_bytes.saturating_mul(MADE_PER_OUTPUT),
            held: 0,
            max_held: limits.max_held_bytes,
            holding: Vec::new(),
            next_look: 1,
            between_looks: 1,
            looked: now,
            until: now.checked_add(limits.max_time),
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

impl Budget {
    fn step(&mut self) -> Result<(), TemplateErrorKind> {
        self.steps += 1;
        if self.steps > self.max_steps {
            return Err(TemplateErrorKind::TooLong);
        }
        if self.steps < self.next_look {
            return Ok(());
        }
        let now = Instant::now();
        // A step may be a copy of large data: then so many of them would take far longer than is allowed.
        let is_long = now.duration_since(self.looked) >= LONG;
        self.between_looks = if is_long {
            (self.between_looks / 4).max(1)
        } else {
            (self.between_looks * 4).min(STEPS_PER_LOOK)
        };
        (self.looked, self.next_look) = (now, self.steps + self.between_looks);
        match self.until {
            Some(until) if now >= until => Err(TemplateErrorKind::TooLong),
            _ => Ok(()),
        }
    }
}

/// One turn of a loop, one helper called, one piece written.
pub(crate) fn step() -> io::Result<()> {
    spend(Budget::step)
}

/// A partial is included: what is held from here on is its own.
pub(crate) fn begin_holding() -> io::Result<()> {
    spend(|budget| {
        budget.holding.push(0);
        Ok(())
    })
}

/// Before so many bytes are copied that are kept while the innermost partial lasts.
pub(crate) fn hold(bytes: usize) -> io::Result<()> {
    spend(|budget| {
        budget.held = budget.held.saturating_add(bytes);
        if let Some(own) = budget.holding.last_mut() {
            *own = own.saturating_add(bytes);
        }
        if budget.held > budget.max_held { Err(TemplateErrorKind::TooLarge) } else { Ok(()) }
    })
}

/// The innermost partial has been written.
pub(crate) fn let_go() {
    BUDGETS.with_borrow_mut(|budgets| {
        if let Some(budget) = budgets.last_mut() {
            budget.held = budget.held.saturating_sub(budget.holding.pop().unwrap_or(0));
        }
    });
}

/// How much may still be held, and a little more: where counting need not go on.
pub(crate) fn room() -> usize {
    BUDGETS.with_borrow(|budgets| {
        budgets
            .last()
            .map_or(usize::MAX, |budget| budget.max_held.saturating_sub(budget.held).saturating_add(1))
    })
}

/// Before so many bytes are copied for one call of a helper.
pub(crate) fn copy(bytes: usize) -> io::Result<()> {
    spend(|budget| {
        if budget.held.saturating_add(bytes) > budget.max_held {
            return Err(TemplateErrorKind::TooLarge);
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
pub(crate) struct Bounded<'a> {
    pub(crate) to: &'a mut Vec<u8>,
    /// Where it is wanted who writes what.
    pub(crate) marks: Option<Marks<'a>>,
}

/// Who wrote what.
pub(crate) struct Marks<'a> {
    pub(crate) words: &'a Words,
    /// Where each piece ends, and whether it is the template's.
    pub(crate) pieces: &'a mut Vec<(usize, bool)>,
}

impl io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        spend(|budget| {
            budget.step()?;
            budget.bytes_left =
                budget.bytes_left.checked_sub(bytes.len()).ok_or(TemplateErrorKind::TooLarge)?;
            Ok(())
        })?;
        self.to.extend_from_slice(bytes);
        if let Some(Marks { words, pieces }) = &mut self.marks {
            let is_words = words.hold(bytes);
            match pieces.last_mut() {
                Some((end, was_words)) if *was_words == is_words => *end = self.to.len(),
                _ => pieces.push((self.to.len(), is_words)),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
