//! What came of a simulation: shares, times to first token, failures; and the same over time, for a plot.

use std::time::Duration;

use super::Script;

/// What came of a run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// Each server's, in the script's order.
    pub servers: Vec<Line>,
    /// Times to first token as callers saw them, failed attempts included; sorted.
    pub first_tokens: Vec<Duration>,
    /// Requests that no server answered.
    pub lost: u32,
    /// Attempts after the first of a request.
    pub retries: u32,
    /// For every second: each server's attempts, and the callers' times to first token by the second of arrival.
    pub seconds: Vec<Second>,
}

/// One server's part.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Attempts that it was given.
    pub asked: u32,
    /// Of these: failed.
    pub failed: u32,
    /// Times to first token of its own; sorted.
    pub first_tokens: Vec<Duration>,
}

/// One second of a run.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Second {
    /// Attempts that each server was given.
    pub asked: Vec<u32>,
    /// Callers' times to first token.
    pub first_tokens: Vec<Duration>,
}

/// Most seconds kept for a plot: a day.
const MAX_SECONDS: usize = 86_400;

impl Report {
    pub(super) fn new(script: &Script) -> Self {
        let line = |server: &super::Server| Line { name: server.name.clone(), ..Line::default() };
        Self {
            servers: script.servers.iter().map(line).collect(),
            first_tokens: Vec::new(),
            lost: 0,
            retries: 0,
            seconds: Vec::new(),
        }
    }

    fn second(&mut self, at: Duration) -> &mut Second {
        let at = usize::try_from(at.as_secs()).unwrap_or(usize::MAX).min(MAX_SECONDS);
        let servers = self.servers.len();
        if self.seconds.len() <= at {
            self.seconds.resize_with(at + 1, || Second { asked: vec![0; servers], first_tokens: Vec::new() });
        }
        &mut self.seconds[at]
    }

    pub(super) fn asked(&mut self, server: usize, at: Duration, again: bool) {
        self.servers[server].asked += 1;
        self.retries += u32::from(again);
        self.second(at).asked[server] += 1;
    }

    pub(super) fn answered(&mut self, server: usize, arrived: Duration, took: Duration, own: Duration) {
        self.servers[server].first_tokens.push(own);
        self.first_tokens.push(took);
        self.second(arrived).first_tokens.push(took);
    }

    pub(super) fn failed(&mut self, server: usize) {
        self.servers[server].failed += 1;
    }

    pub(super) fn lost(&mut self, _: Duration) {
        self.lost += 1;
    }

    pub(super) fn finish(&mut self) {
        self.first_tokens.sort_unstable();
        self.servers.iter_mut().for_each(|line| line.first_tokens.sort_unstable());
        self.seconds.iter_mut().for_each(|second| second.first_tokens.sort_unstable());
    }

    /// The seconds in columns of so many each, at least one: what was asked added up, and all waits of a column sorted.
    pub fn columns(&self, seconds_each: usize) -> Vec<Second> {
        let merged = |seconds: &[Second]| {
            let mut column = Second { asked: vec![0; self.servers.len()], first_tokens: Vec::new() };
            for second in seconds {
                column.asked.iter_mut().zip(&second.asked).for_each(|(sum, asked)| *sum += asked);
                column.first_tokens.extend_from_slice(&second.first_tokens);
            }
            column.first_tokens.sort_unstable();
            column
        };
        self.seconds.chunks(seconds_each.max(1)).map(merged).collect()
    }

    /// What that share of the callers waited at most for their first token, 0 to 100 percent.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        percentile(&self.first_tokens, percent)
    }
}

impl Line {
    /// What that share of its requests waited at most.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        percentile(&self.first_tokens, percent)
    }
}

impl Second {
    /// What that share of those who came in this second waited at most.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        percentile(&self.first_tokens, percent)
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
fn percentile(sorted: &[Duration], percent: f64) -> Option<Duration> {
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}
