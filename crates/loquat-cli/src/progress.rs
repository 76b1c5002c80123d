//! How far a download is: a bar on a terminal, a line now and then elsewhere.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use loquat::pull::{Progress, PullProgress};

use crate::{
    console::{Console, write_err},
    size::megabytes,
};

/// Without a terminal, how often a line is written.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows a download.
#[derive(Clone)]
pub(crate) struct PullDisplay(Arc<Mutex<State>>);

struct State {
    /// What is fetched, for a person.
    what: String,
    is_terminal: bool,
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
    is_done: bool,
}

impl PullDisplay {
    /// Shows nothing until there is a download.
    pub(crate) fn new(console: &Console, what: impl Into<String>) -> Self {
        Self(Arc::new(Mutex::new(State {
            what: what.into(),
            is_terminal: console.err_is_terminal,
            bar: None,
            last_line: None,
            is_done: false,
        })))
    }

    /// What the download reports to.
    pub(crate) fn progress(&self) -> Progress {
        let state = self.0.clone();
        Arc::new(move |progress| state.lock().unwrap_or_else(PoisonError::into_inner).report(progress))
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl fmt::Debug for PullDisplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullDisplay").finish_non_exhaustive()
    }
}

impl State {
    fn report(&mut self, PullProgress { bytes, total_bytes, .. }: PullProgress) {
        if self.is_done {
            return;
        }
        if self.last_line.is_none() {
            self.begin(bytes, total_bytes);
        }
        self.is_done = total_bytes.is_some_and(|total| bytes >= total);
        match &self.bar {
            Some(bar) => {
                bar.set_position(bytes);
                if self.is_done {
                    bar.finish_and_clear();
                }
            }
            None if self.is_done || self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) => {
                self.last_line = Some(Instant::now());
                write_err(&format!("pulled {}\n", amount(bytes, total_bytes)));
            }
            None => {}
        }
    }

    /// Says what comes and how large it is, before it comes.
    fn begin(&mut self, bytes: u64, total_bytes: Option<u64>) {
        let size = total_bytes.map_or_else(|| "of unknown size".to_owned(), megabytes);
        let resumed =
            if bytes > 0 { format!(", {} at hand already", megabytes(bytes)) } else { String::new() };
        write_err(&format!("pulling {}: {size}{resumed}\n", self.what));
        self.last_line = Some(Instant::now());
        if self.is_terminal {
            let bar = total_bytes.map_or_else(ProgressBar::no_length, ProgressBar::new);
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            // The rate is that of this run.
            self.bar = Some(bar.with_position(bytes));
        }
    }
}

fn amount(bytes: u64, total_bytes: Option<u64>) -> String {
    match total_bytes {
        Some(total) if total > 0 => {
            format!("{} of {} ({} %)", megabytes(bytes), megabytes(total), bytes.saturating_mul(100) / total)
        }
        _ => megabytes(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_readable() {
        assert_eq!(amount(50_000_000, Some(100_000_000)), "50 MB of 100 MB (50 %)");
        assert_eq!(amount(50_000_000, None), "50 MB");
    }
}
