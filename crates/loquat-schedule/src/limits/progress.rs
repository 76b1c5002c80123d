//! An answer's progress against its limits, as arithmetic.
//!
//! Time counts against the peer only while somebody waits for it: a caller who takes a minute between two pulls has
//! not been let down by anyone. So the clock is read when a wait begins and when it ends, and not per delta.

use std::time::{Duration, Instant};

use loquat_core::{Delivery, Delta, Error, ErrorKind};

use super::Limits;
use crate::time::after;

/// Which limit is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// [`Limits::first_byte`].
    FirstByte,
    /// [`Limits::first_token`].
    FirstToken,
    /// [`Limits::idle`].
    Idle,
    /// [`Limits::min_bytes_per_second`].
    Throughput,
    /// [`Limits::total`].
    Total,
    /// The caller's deadline.
    Deadline,
}

/// The limit that is reached next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When.
    pub at: Instant,
    /// Which.
    pub bound: Bound,
}

/// The progress of one attempt.
#[derive(Debug)]
pub struct Progress {
    limits: Limits,
    started: Instant,
    deadline: Option<Instant>,
    streamed: bool,
    accepted: bool,
    /// Whether content has come.
    has_content: bool,
    waiting_since: Option<Instant>,
    /// Whether content has come since the wait began.
    fed: bool,
    /// Whether the wait that is open counts for throughput: the one to the first token does not.
    counted: bool,
    /// Of the present throughput window: the waiting before this wait, and the bytes.
    waited: Duration,
    bytes: u64,
}

impl Progress {
    /// An attempt that is sent now. `streamed`: its answer comes in pieces.
    pub fn new(limits: Limits, now: Instant, deadline: Option<Instant>, streamed: bool) -> Self {
        Self {
            limits,
            started: now,
            deadline,
            streamed,
            accepted: false,
            has_content: false,
            waiting_since: None,
            fed: false,
            counted: false,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// The peer has accepted the request.
    pub fn accept(&mut self) {
        self.accepted = true;
    }

    /// A delta has come. Reads no clock.
    pub fn delta(&mut self, delta: &Delta<'_>) {
        if let Some(bytes) = delta.content_bytes() {
            self.has_content = true;
            self.fed = true;
            self.bytes = self.bytes.saturating_add(bytes as u64);
        }
    }

    /// Whether content has come.
    pub fn has_content(&self) -> bool {
        self.has_content
    }

    /// Whether a wait is open.
    pub fn is_waiting(&self) -> bool {
        self.waiting_since.is_some()
    }

    /// There is nothing at hand, and somebody waits.
    pub fn wait(&mut self, now: Instant) {
        // Pings end no wait: it goes on from where content last came.
        if self.fed || self.waiting_since.is_none() {
            self.rest(now);
            self.waiting_since = Some(now);
            self.fed = false;
        }
    }

    /// The wait, if content has ended it, is over.
    pub fn rest(&mut self, now: Instant) {
        if let Some(since) = self.waiting_since.take_if(|_| self.fed) {
            if self.counted {
                self.waited = self.waited.saturating_add(now.saturating_duration_since(since));
            }
            self.counted = true;
        }
        if self.waited >= self.limits.throughput_window {
            // Whole windows of plenty carry nothing over into a dry one.
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
    }

    /// The limit that is reached next, given the wait that is open.
    pub fn due(&self) -> Due {
        let Limits { first_byte, first_token, idle, total, throughput_window, .. } = self.limits;
        let since = self.waiting_since.unwrap_or(self.started);
        let from = |from, limit, bound| Due { at: after(from, limit), bound };
        let pace = match (self.streamed, self.accepted, self.has_content) {
            (false, _, false) => None,
            (true, false, _) => Some(from(self.started, first_byte.min(first_token), Bound::FirstByte)),
            (true, true, false) => Some(from(self.started, first_token, Bound::FirstToken)),
            (_, _, true) => Some(from(since, idle, Bound::Idle)),
        };
        let millis = u64::try_from(throughput_window.as_millis()).unwrap_or(u64::MAX);
        let wanted = u64::from(self.limits.min_bytes_per_second).saturating_mul(millis).div_ceil(1000);
        let slow = (self.has_content && self.bytes < wanted)
            .then(|| from(since, throughput_window.saturating_sub(self.waited), Bound::Throughput));
        let deadline = self.deadline.map(|at| Due { at, bound: Bound::Deadline });
        let whole = from(self.started, total, Bound::Total);
        [pace, slow, deadline].into_iter().flatten().fold(whole, |a, b| if b.at < a.at { b } else { a })
    }

    /// The error of a limit that was reached.
    pub fn error(&self, bound: Bound) -> Error {
        let Limits { first_byte, first_token, idle, total, .. } = self.limits;
        let limit = |name: &str, limit: Duration| format!("the {name} limit of {:.1} s", limit.as_secs_f64());
        let message = match bound {
            Bound::FirstByte => {
                format!(
                    "the request was not accepted within {}",
                    limit("first-byte", first_byte.min(first_token))
                )
            }
            Bound::FirstToken => format!("no token came within {}", limit("first-token", first_token)),
            Bound::Idle => format!("no further token came within {}", limit("idle", idle)),
            Bound::Throughput => format!(
                "fewer than {} bytes of content came per second over {:.0} s",
                self.limits.min_bytes_per_second,
                self.limits.throughput_window.as_secs_f64()
            ),
            Bound::Total => format!("the answer was not complete within {}", limit("total", total)),
            Bound::Deadline => "the answer was not complete by the caller's deadline".to_owned(),
        };
        let delivery = if self.accepted { Delivery::Committed } else { Delivery::MaybeSent };
        Error::new(ErrorKind::Timeout, message).with_delivery(delivery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Delta<'_> = Delta::Text { choice: 0, text: "0123456789" };
    const PING: Delta<'_> = Delta::Raw { event: "ping", data: "{}" };

    fn due(progress: &Progress, start: Instant) -> (Bound, u64) {
        let due = progress.due();
        (due.bound, due.at.saturating_duration_since(start).as_secs())
    }

    #[test]
    fn each_stage_has_its_limit() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress::new(Limits::default(), start, None, true);
        assert_eq!(due(&progress, start), (Bound::FirstByte, 60));
        progress.accept();
        progress.wait(at(10));
        progress.delta(&PING);
        progress.wait(at(20));
        assert_eq!(due(&progress, start), (Bound::FirstToken, 60), "a ping is no token");
        progress.delta(&TEXT);
        progress.wait(at(30));
        assert_eq!(due(&progress, start), (Bound::Idle, 60));
        progress.delta(&PING);
        progress.wait(at(50));
        assert_eq!(due(&progress, start), (Bound::Idle, 60), "and keeps nobody alive");
        progress.delta(&TEXT);
        progress.wait(at(590));
        assert_eq!(due(&progress, start), (Bound::Total, 600));
    }

    #[test]
    fn a_drip_is_slower_than_the_least_throughput() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress::new(Limits::default(), start, None, true);
        progress.accept();
        for seconds in [0, 20, 40, 60] {
            progress.wait(at(seconds));
            progress.delta(&Delta::Text { choice: 0, text: "x" });
        }
        progress.wait(at(75));
        // Waited 20 s to 75 s; the first wait was for the first token.
        assert_eq!(due(&progress, start), (Bound::Throughput, 80));
        (0..6).for_each(|_| progress.delta(&TEXT));
        assert_eq!(due(&progress, start), (Bound::Idle, 105), "60 bytes in time");
    }

    #[test]
    fn the_throughput_of_less_than_a_second_counts() {
        let start = Instant::now();
        let limits = Limits::default().with_throughput(100, Duration::from_millis(500));
        let mut progress = Progress::new(limits, start, None, true);
        progress.accept();
        progress.delta(&TEXT);
        progress.wait(start);
        let slow = Due { at: start + Duration::from_millis(500), bound: Bound::Throughput };
        assert_eq!(progress.due(), slow, "10 bytes of 50");
        (0..4).for_each(|_| progress.delta(&TEXT));
        assert_eq!(progress.due().bound, Bound::Idle);
        let endless = Limits::default().with_throughput(u32::MAX, Duration::MAX);
        assert_eq!(Progress::new(endless, start, None, true).due().bound, Bound::FirstByte, "no overflow");
    }

    #[test]
    fn a_slow_caller_costs_the_peer_nothing() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress::new(Limits::default().with_total(Duration::MAX), start, None, true);
        progress.accept();
        progress.wait(at(1));
        progress.delta(&TEXT);
        progress.rest(at(2));
        // An hour passes before the next pull.
        progress.wait(at(3600));
        assert_eq!(due(&progress, start), (Bound::Idle, 3630));
    }

    #[test]
    fn whole_answers_have_the_total_and_the_deadline() {
        let start = Instant::now();
        let deadline = start + Duration::from_secs(70);
        let progress = Progress::new(Limits::default(), start, None, false);
        assert_eq!(due(&progress, start), (Bound::Total, 600));
        let endless = Limits::default().with_total(Duration::MAX);
        assert!(Progress::new(endless, start, None, false).due().at > start + Duration::from_secs(3600));
        let progress = Progress::new(Limits::default(), start, Some(deadline), false);
        assert_eq!(due(&progress, start), (Bound::Deadline, 70));
        assert_eq!(progress.error(Bound::Deadline).delivery(), Delivery::MaybeSent);
    }
}
