//! Exemplars: for each bucket of a histogram, a trace where one can see such a case (OpenMetrics, §Exemplars).

use std::{sync::Mutex, time::SystemTime};

/// A trace that is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exemplar {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) at: SystemTime,
}

/// A value, and where it was seen.
type Seen = Option<(u64, Exemplar)>;

/// One per bucket: the last.
#[derive(Debug)]
pub(crate) struct Exemplars(Mutex<Box<[Seen]>>);

impl Exemplars {
    pub(crate) fn new(buckets: usize) -> Self {
        Self(Mutex::new(vec![None; buckets].into()))
    }

    pub(crate) fn keep(&self, bucket: usize, value: u64, exemplar: &Exemplar) {
        if let Ok(mut all) = self.0.try_lock()
            && let Some(place) = all.get_mut(bucket)
        {
            *place = Some((value, *exemplar));
        }
    }

    /// By bucket, with the value as it is shown.
    #[expect(clippy::cast_precision_loss, reason = "figures to look at")]
    pub(crate) fn read(&self, scale: f64) -> Vec<Option<(f64, Exemplar)>> {
        let all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.iter().map(|one| one.map(|(value, exemplar)| (value as f64 / scale, exemplar))).collect()
    }
}
