//! Answers kept for a while: fresh ones as they are, older ones at once while a new one is fetched behind the caller's back.
//!
//! | what is there | what the caller gets | what is asked |
//! |---|---|---|
//! | fresh | it | nothing |
//! | older than the time to live | it | again, in the background, once |
//! | older than the stale time | as nothing | |
//! | a failure, a moment ago | the failure | nothing |
//! | nothing | what comes | now; who asks for the same meanwhile waits for it |

use std::{
    fmt,
    future::Future,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use loquat_core::{Error, Result};
use lru::LruCache;

/// How long and how many answers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheLimits {
    /// How long an answer is fresh. Default 30 s.
    pub time_to_live: Duration,
    /// How long an answer that could not be fetched again is still served. Default 1 h: endpoints move within hours.
    pub max_stale: Duration,
    /// How long a failure is remembered where there is no answer. Default 1 s: enough to keep a crowd of callers from a registry
    /// that is down, and short enough that nobody notices when it is back.
    pub negative: Duration,
    /// Most answers; the one longest unused goes first. Default 100.
    pub max_entries: usize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            time_to_live: Duration::from_secs(30),
            max_stale: Duration::from_secs(3600),
            negative: Duration::from_secs(1),
            max_entries: 100,
        }
    }
}

impl CacheLimits {
    /// Keeps answers fresh for so long.
    #[must_use]
    pub fn with_time_to_live(mut self, time: Duration) -> Self {
        self.time_to_live = time;
        self
    }

    /// Serves old answers for so long.
    #[must_use]
    pub fn with_max_stale(mut self, time: Duration) -> Self {
        self.max_stale = time;
        self
    }

    /// Remembers failures for so long.
    #[must_use]
    pub fn with_negative(mut self, time: Duration) -> Self {
        self.negative = time;
        self
    }

    /// Keeps at most so many answers, at least one.
    #[must_use]
    pub fn with_max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }
}

/// Answers by question. Cheap to clone; clones are the same cache.
pub(crate) struct Cache<V> {
    entries: Arc<Mutex<LruCache<String, Entry<V>>>>,
    limits: CacheLimits,
}

struct Entry<V> {
    value: Option<(V, Instant)>,
    failure: Option<(Error, Instant)>,
    /// Held by whoever asks.
    asking: Arc<tokio::sync::Mutex<()>>,
}

/// What the cache makes of a question.
enum Found<V> {
    Fresh(V),
    Stale(V, Arc<tokio::sync::Mutex<()>>),
    Failed(Error),
    Nothing(Arc<tokio::sync::Mutex<()>>),
}

impl<V: Clone + Send + 'static> Cache<V> {
    pub(crate) fn new(limits: CacheLimits) -> Self {
        let most = NonZeroUsize::new(limits.max_entries).unwrap_or(NonZeroUsize::MIN);
        Self { entries: Arc::new(Mutex::new(LruCache::new(most))), limits }
    }

    /// The answer to that question. `ask` gets the answer that is already known, if any.
    pub(crate) async fn get<F, R>(&self, question: &str, ask: F) -> Result<V>
    where
        F: FnOnce(Option<V>) -> R,
        R: Future<Output = Result<V>> + Send + 'static,
    {
        let asking = match self.look(question) {
            Found::Fresh(value) => return Ok(value),
            Found::Failed(error) => return Err(error),
            Found::Stale(value, asking) => {
                // Whoever else asks already will do.
                if let Ok(held) = asking.try_lock_owned() {
                    let (cache, question, asked) =
                        (self.clone(), question.to_owned(), ask(Some(value.clone())));
                    tokio::spawn(async move {
                        cache.learn(&question, &asked.await);
                        drop(held);
                    });
                }
                return Ok(value);
            }
            Found::Nothing(asking) => asking,
        };
        let held = asking.lock_owned().await;
        match self.look(question) {
            Found::Fresh(value) | Found::Stale(value, _) => return Ok(value),
            Found::Failed(error) => return Err(error),
            Found::Nothing(_) => {}
        }
        let answer = ask(None).await;
        self.learn(question, &answer);
        drop(held);
        answer
    }

    fn look(&self, question: &str) -> Found<V> {
        let mut entries = self.entries();
        if entries.get(question).is_none() {
            let asking = Arc::default();
            entries.put(question.to_owned(), Entry { value: None, failure: None, asking });
        }
        let Some(entry) = entries.get(question) else { return Found::Nothing(Arc::default()) };
        let failed = entry.failure.as_ref().filter(|(_, at)| at.elapsed() < self.limits.negative);
        match (&entry.value, failed) {
            (Some((value, at)), _) if at.elapsed() < self.limits.time_to_live => Found::Fresh(value.clone()),
            (Some((value, at)), failed) if at.elapsed() < self.limits.max_stale => match failed {
                Some(_) => Found::Fresh(value.clone()),
                None => Found::Stale(value.clone(), entry.asking.clone()),
            },
            (_, Some((error, _))) => Found::Failed(error.clone()),
            (_, None) => Found::Nothing(entry.asking.clone()),
        }
    }

    fn learn(&self, question: &str, answer: &Result<V>) {
        let mut entries = self.entries();
        // One that was pushed out meanwhile is not wanted any more.
        let Some(entry) = entries.get_mut(question) else { return };
        match answer {
            Ok(value) => (entry.value, entry.failure) = (Some((value.clone(), Instant::now())), None),
            Err(error) => entry.failure = Some((error.clone(), Instant::now())),
        }
    }

    fn entries(&self) -> MutexGuard<'_, LruCache<String, Entry<V>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), limits: self.limits }
    }
}

impl<V> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use loquat_core::ErrorKind;

    use super::*;

    const SHORT: Duration = Duration::from_millis(40);

    fn cache(entries: usize) -> Cache<u32> {
        let limits = CacheLimits::default().with_time_to_live(SHORT).with_negative(SHORT);
        Cache::new(limits.with_max_entries(entries))
    }

    fn failure() -> Error {
        Error::new(ErrorKind::Connect, "down")
    }

    #[tokio::test]
    async fn old_answers_come_at_once_and_are_fetched_again_behind() {
        let cache = cache(10);
        assert_eq!(cache.get("q", |_| async { Ok(1) }).await, Ok(1));
        assert_eq!(cache.get("q", |_| async { Ok(2) }).await, Ok(1), "fresh");
        tokio::time::sleep(SHORT).await;
        assert_eq!(cache.get("q", |_| async { Ok(3) }).await, Ok(1), "old, and at once");
        tokio::time::sleep(SHORT / 4).await;
        assert_eq!(cache.get("q", |_| async { Ok(4) }).await, Ok(3), "fetched meanwhile");
        tokio::time::sleep(SHORT).await;
        for _ in 0..3 {
            assert_eq!(cache.get("q", |_| async { Err(failure()) }).await, Ok(3), "served on error");
            tokio::time::sleep(SHORT).await;
        }
    }

    #[tokio::test]
    async fn failures_are_remembered_briefly() {
        let cache = cache(10);
        assert!(cache.get("q", |_| async { Err(failure()) }).await.is_err());
        assert!(cache.get("q", |_| async { Ok(1) }).await.is_err(), "not asked again yet");
        tokio::time::sleep(SHORT).await;
        assert_eq!(cache.get("q", |_| async { Ok(1) }).await, Ok(1));
    }

    #[tokio::test]
    async fn a_crowd_asks_once_and_the_oldest_goes() {
        let cache = cache(2);
        let asked = Arc::new(AtomicU32::new(0));
        let crowd: Vec<_> = (0..20)
            .map(|_| {
                let (cache, asked) = (cache.clone(), asked.clone());
                tokio::spawn(async move {
                    let ask = |_| async move {
                        tokio::time::sleep(SHORT / 4).await;
                        Ok(asked.fetch_add(1, SeqCst))
                    };
                    cache.get("q", ask).await
                })
            })
            .collect();
        for one in crowd {
            assert_eq!(one.await.expect("no panic"), Ok(0));
        }
        assert_eq!(asked.load(SeqCst), 1);
        for question in ["r", "s"] {
            assert_eq!(cache.get(question, |_| async { Ok(7) }).await, Ok(7));
        }
        assert_eq!(cache.entries().len(), 2);
        assert_eq!(cache.get("q", |_| async { Ok(8) }).await, Ok(8), "pushed out");
    }
}
