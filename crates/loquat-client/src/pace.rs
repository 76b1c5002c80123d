//! The least pace of an answer that streams: one that drips is given up, and one that does not pays nothing for being watched.
//!
//! Waits and the length of deltas are added up only of a stream that has been slow for a whole window by the clock, as far as the
//! number of its events tells; that is looked at when the timer fires, and not for each token. Then exactly: as in the other
//! limits, time counts only while somebody waits.

use std::time::Duration;

use loquat_core::Delta;
use tokio::time::Instant;

/// The time over which pace is taken.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// A delta is at least one token, and one more for every so many bytes beyond the first: what a token is in English.
const BYTES_PER_TOKEN: usize = 4;

/// The pace of one answer, from its first token on.
// What each token looks at comes first.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Pace {
    is_watched: bool,
    /// Fewest tokens within a window; 0 for none.
    wanted: u32,
    /// When the window began, and the events that had come by then.
    began: Option<Instant>,
    events: u64,
    /// Of a window that is watched: the waiting before the wait that is open, and the tokens beyond one an event.
    waited: Duration,
    further: u64,
}

impl Pace {
    pub(crate) fn new(wanted: u32) -> Self {
        Self { is_watched: false, wanted, began: None, events: 0, waited: Duration::ZERO, further: 0 }
    }

    /// Whether waits and deltas count.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// A look at the clock, with the events so far.
    pub(crate) fn look(&mut self, events: u64, now: Instant) {
        match self.began {
            _ if self.wanted == 0 || self.is_watched => {}
            None => self.begin(false, events, now),
            Some(began) if now.saturating_duration_since(began) < WINDOW => {}
            Some(_) => self.begin(events.saturating_sub(self.events) < self.wanted.into(), events, now),
        }
    }

    fn begin(&mut self, is_watched: bool, events: u64, now: Instant) {
        *self = Self { is_watched, began: Some(now), events, ..Self::new(self.wanted) };
    }

    /// There is no pace for now: it begins anew at the next look.
    pub(crate) fn pause(&mut self) {
        *self = Self::new(self.wanted);
    }

    /// When it is to be looked at again. While it is watched, waits end windows, and none ends before that.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.began.map(|began| began + WINDOW)
    }

    /// A delta of a stream that is watched.
    #[cold]
    pub(crate) fn delta(&mut self, delta: &Delta<'_>) {
        let further = delta.content_bytes().unwrap_or(0).div_ceil(BYTES_PER_TOKEN).saturating_sub(1);
        self.further = self.further.saturating_add(further as u64);
    }

    /// A wait of a stream that is watched has ended: it had begun `since`, and what ended it `arrived`.
    #[cold]
    pub(crate) fn rest(&mut self, since: Instant, arrived: Instant, events: u64) {
        self.waited = self.waited.saturating_add(arrived.saturating_duration_since(self.counted_from(since)));
        // A window that was too slow stays: it is overdue when somebody waits again.
        if self.waited >= WINDOW && self.tokens(events) >= self.wanted.into() {
            self.begin(false, events, arrived);
        }
    }

    /// When it has been too slow, given the events so far and since when somebody waits.
    pub(crate) fn due(&self, events: u64, since: Instant) -> Option<Instant> {
        (self.is_watched && self.tokens(events) < self.wanted.into())
            .then(|| self.counted_from(since) + WINDOW.saturating_sub(self.waited))
    }

    /// Of the window.
    fn tokens(&self, events: u64) -> u64 {
        events.saturating_sub(self.events).saturating_add(self.further)
    }

    /// The wait that was open when the window began counts from there.
    fn counted_from(&self, since: Instant) -> Instant {
        self.began.map_or(since, |began| began.max(since))
    }

    /// Fewest tokens within a window.
    pub(crate) fn wanted(&self) -> u32 {
        self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of which an event with so many bytes comes after each of those seconds of waiting, the caller taking so long
    /// before the next wait: after how many seconds it is given up, if it is.
    fn given_up(wanted: u32, gaps: &[u64], bytes: usize, pause: u64) -> Option<u64> {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(wanted);
        let (mut now, mut events) = (0, 1);
        for gap in gaps {
            let (since, arrival) = (now, now + gap);
            // The timer: it fires when it is looked at again, and no later than the limit between tokens.
            for fires in since..arrival {
                if fires == since || fires % 30 == 0 || pace.next_look() == Some(at(fires)) {
                    pace.look(events, at(fires));
                }
                if pace.due(events, at(since)).is_some_and(|due| at(fires) >= due) {
                    return Some(fires);
                }
            }
            events += 1;
            if pace.is_watched() {
                pace.delta(&Delta::Text { choice: 0, text: &"x".repeat(bytes) });
                pace.rest(at(since), at(arrival), events);
            }
            now = arrival + pause;
        }
        None
    }

    #[test]
    fn a_drip_is_given_up_and_slowness_is_not() {
        assert_eq!(given_up(3, &[29; 40], 4, 0), Some(120), "a window to be seen, and one to be sure");
        assert_eq!(given_up(3, &[29; 40], 0, 0), Some(120));
        assert_eq!(given_up(3, &[29; 40], 8, 0), None, "four tokens' worth a minute");
        assert_eq!(given_up(3, &[19; 40], 0, 0), None, "of a gateway that says that it is there");
        assert_eq!(given_up(3, &[10; 60], 1, 0), None, "of a large model on a processor");
        assert_eq!(given_up(0, &[29; 40], 4, 0), None, "switched off");
        assert_eq!(given_up(600, &[1; 400], 4, 0), Some(120), "who wants more gets more");
    }

    #[test]
    fn plenty_before_and_after_is_no_excuse_for_a_drip_and_a_drip_no_verdict() {
        let quick = |seconds| vec![1; seconds];
        let drip = |times| vec![29; times];
        assert_eq!(given_up(3, &[quick(300), drip(40)].concat(), 4, 0), Some(300 + 120));
        assert_eq!(given_up(3, &[drip(3), quick(300)].concat(), 4, 0), None, "it came round in time");
        assert_eq!(
            given_up(3, &[drip(3), quick(300), drip(40)].concat(), 4, 0),
            Some(480 + 60),
            "seen in the window from 420 on"
        );
    }

    #[test]
    fn the_callers_own_pauses_are_not_the_peers() {
        assert_eq!(given_up(3, &[1; 100], 4, 100), None, "a token at once, whenever one is asked for");
        let waited = given_up(3, &[29; 40], 4, 300).expect("still a drip");
        assert!(waited > 900, "{waited}");
    }
}
