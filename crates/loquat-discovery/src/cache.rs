//! Answers kept for a while: fresh ones as they are, older ones at once while a new one is fetched behind the caller's back.
//!
//! | what is there | what the caller gets | what is asked |
//! |---|---|---|
//! | fresh | it | nothing |
//! | older than the time to live | it | again, in the background, once |
//! | older than the stale time | as nothing | |
//! | an answer that holds nothing, a moment ago | it | nothing |
//! | a failure, a moment ago | the failure | nothing |
//! | nothing | what comes | now; who asks for the same meanwhile waits for it |
//!
//! What is asked belongs to nobody: each asking is a task of its own, and its answer, or that there was none, is learned even
//! where everybody who wanted it had less time than it took. How long it takes is for whoever asks to bound.

use std::{
    fmt,
    future::Future,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use loquat_core::{Error, ErrorKind, Result};
use lru::LruCache;
use tokio::{sync::Semaphore, task::JoinHandle, time::Instant};

/// Most questions without an answer that are asked at once; more of them wait. As many as answers are kept by default.
const AT_ONCE: usize = 100;

/// Of how many that are longest unused one is looked for that holds nothing: as many as there are by default.
const LOOKED_AT: usize = 100;

/// How long and how many answers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheLimits {
    /// How long an answer is fresh. Default 30 s.
    pub time_to_live: Duration,
    /// How long an answer that could not be fetched again is still served. Default 1 h: endpoints move within hours.
    pub max_stale: Duration,
    /// How long a failure is remembered where there is no answer, and an answer that lists nothing. Default 1 s: enough to keep a
    /// crowd of callers from a registry that is down, and short enough that nobody notices when it is back, or a model new.
    pub negative: Duration,
    /// Most answers; the one longest unused goes first, of those that list something only where nearly all do: what callers make up
    /// takes no place from what is known. Default 100.
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

    /// Remembers failures, and that there is nothing, for so long.
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
    /// Turns for questions without an answer. Who asks may give up and leave the asking behind; there are no more than these.
    turns: Arc<Semaphore>,
    /// Whether an answer says that there is nothing.
    is_nothing: fn(&V) -> bool,
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
    pub(crate) fn new(limits: CacheLimits, is_nothing: fn(&V) -> bool) -> Self {
        let most = NonZeroUsize::new(limits.max_entries).unwrap_or(NonZeroUsize::MIN);
        // Its room is made as it is needed: what is allowed may be more than there is memory for.
        let mut entries = LruCache::unbounded();
        entries.resize(most);
        let entries = Arc::new(Mutex::new(entries));
        Self { entries, limits, turns: Arc::new(Semaphore::new(AT_ONCE)), is_nothing }
    }

    /// The answer to that question. `ask` gets the answer that is already known, if any.
    ///
    /// # Cancel safety
    /// Who drops this goes without the answer, and no one else does.
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
                    drop(self.asking(question, held, ask(Some(value.clone()))));
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
        // Turns never end, so there is one.
        let turn = self.turns.clone().acquire_owned().await.ok();
        let asked = self.asking(question, (held, turn), ask(None)).await;
        asked.unwrap_or_else(|cause| {
            Err(Error::new(ErrorKind::Internal, "a question was given up").with_source(cause))
        })
    }

    /// Asks in a task of its own, and learns what comes of it; `held` is kept until then.
    fn asking(
        &self,
        question: &str,
        held: impl Send + 'static,
        asked: impl Future<Output = Result<V>> + Send + 'static,
    ) -> JoinHandle<Result<V>> {
        let (cache, question) = (self.clone(), question.to_owned());
        tokio::spawn(async move {
            let answer = asked.await;
            cache.learn(&question, &answer);
            drop(held);
            answer
        })
    }

    fn look(&self, question: &str) -> Found<V> {
        let mut entries = self.entries();
        if entries.get(question).is_none() {
            self.put(&mut entries, question, None);
        }
        let Some(entry) = entries.get(question) else { return Found::Nothing(Arc::default()) };
        let failed = entry.failure.as_ref().filter(|(_, at)| at.elapsed() < self.limits.negative);
        let CacheLimits { time_to_live, max_stale, negative, .. } = self.limits;
        let (fresh, stale) = match &entry.value {
            Some((value, _)) if (self.is_nothing)(value) => (negative.min(time_to_live), Duration::ZERO),
            _ => (time_to_live, max_stale),
        };
        match (&entry.value, failed) {
            (Some((value, at)), _) if at.elapsed() < fresh => Found::Fresh(value.clone()),
            (Some((value, at)), failed) if at.elapsed() < stale => match failed {
                Some(_) => Found::Fresh(value.clone()),
                None => Found::Stale(value.clone(), entry.asking.clone()),
            },
            (_, Some((error, _))) => Found::Failed(error.clone()),
            (_, None) => Found::Nothing(entry.asking.clone()),
        }
    }

    fn learn(&self, question: &str, answer: &Result<V>) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(question) else {
            // Pushed out meanwhile. Good for whoever asks next, if it is good.
            if let Ok(value) = answer
                && !(self.is_nothing)(value)
            {
                self.put(&mut entries, question, Some((value.clone(), Instant::now())));
            }
            return;
        };
        match answer {
            Ok(value) => (entry.value, entry.failure) = (Some((value.clone(), Instant::now())), None),
            Err(error) => entry.failure = Some((error.clone(), Instant::now())),
        }
    }

    /// A place for one more, by choice of one that holds nothing.
    fn put(&self, entries: &mut LruCache<String, Entry<V>>, question: &str, value: Option<(V, Instant)>) {
        let holds_nothing =
            |entry: &Entry<V>| entry.value.as_ref().is_none_or(|(value, _)| (self.is_nothing)(value));
        if entries.len() >= entries.cap().get() {
            let mut oldest = entries.iter().rev().take(LOOKED_AT);
            let empty = oldest.find(|(_, entry)| holds_nothing(entry)).map(|(question, _)| question.clone());
            if let Some(question) = empty {
                entries.pop(&question);
            }
        }
        entries.put(question.to_owned(), Entry { value, failure: None, asking: Arc::default() });
    }

    fn entries(&self) -> MutexGuard<'_, LruCache<String, Entry<V>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        let (entries, turns) = (self.entries.clone(), self.turns.clone());
        Self { entries, limits: self.limits, turns, is_nothing: self.is_nothing }
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

    use tokio::time::{sleep, timeout};

    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;
    /// More than nothing, less than anything that counts.
    const A_LITTLE: Duration = Duration::from_millis(1);

    /// As anybody has it who says nothing; 0 is an answer that holds nothing.
    fn cache() -> Cache<u32> {
        Cache::new(CacheLimits::default(), |value| *value == 0)
    }

    fn failure() -> Error {
        Error::new(ErrorKind::Connect, "down")
    }

    async fn ask(cache: &Cache<u32>, answer: Result<u32>) -> Result<u32> {
        cache.get("q", |_| async { answer }).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_fresh_for_thirty_seconds_and_then_fetched_behind_the_callers_back() {
        let cache = cache();
        assert_eq!(ask(&cache, Ok(1)).await, Ok(1));
        sleep(S(30) - A_LITTLE).await;
        assert_eq!(ask(&cache, Ok(2)).await, Ok(1), "fresh");
        sleep(A_LITTLE).await;
        let known = Arc::new(AtomicU32::new(0));
        let shown = known.clone();
        let slow = |value: Option<u32>| async move {
            shown.store(value.unwrap_or_default(), SeqCst);
            sleep(S(3)).await;
            Ok(3)
        };
        assert_eq!(cache.get("q", slow).await, Ok(1), "old, and at once");
        sleep(S(1)).await;
        assert_eq!(known.load(SeqCst), 1, "who asks is told what is known: a tag may do");
        assert_eq!(ask(&cache, Ok(4)).await, Ok(1), "one asks already, and will do");
        sleep(S(3)).await;
        assert_eq!(ask(&cache, Ok(5)).await, Ok(3), "fetched meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn more_may_be_allowed_than_there_is_memory_for() {
        let cache = Cache::new(CacheLimits::default().with_max_entries(usize::MAX), |value| *value == 0);
        assert_eq!(ask(&cache, Ok(1)).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_callers_make_up_pushes_out_nothing_that_is_known() {
        let cache = Cache::new(CacheLimits::default().with_max_entries(4), |value| *value == 0);
        let get = async |question: &str, answer| cache.get(question, |_| async { answer }).await;
        for (question, value) in [("a", 1), ("b", 2), ("c", 3)] {
            assert_eq!(get(question, Ok(value)).await, Ok(value));
        }
        for number in 0..200 {
            let answer = if number % 2 == 0 { Ok(0) } else { Err(failure()) };
            assert_eq!(get(&format!("made up {number}"), answer.clone()).await, answer);
        }
        for (question, value) in [("a", 1), ("b", 2), ("c", 3)] {
            assert_eq!(get(question, Ok(9)).await, Ok(value), "{question}");
        }
        // One that is asked for the first time meanwhile is known all the same.
        let slow = cache.get("d", |_| async {
            sleep(S(1)).await;
            Ok(4)
        });
        let others = async {
            sleep(A_LITTLE).await;
            get("made up", Ok(0)).await
        };
        assert_eq!(tokio::join!(slow, others), (Ok(4), Ok(0)));
        assert_eq!(get("d", Ok(9)).await, Ok(4));
        assert_eq!(get("e", Ok(5)).await, Ok(5));
        assert_eq!(get("a", Ok(9)).await, Ok(9), "of those that are known the one longest unused goes");
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_answer_stands_for_an_hour_when_there_is_no_other() {
        let cache = cache();
        assert_eq!(ask(&cache, Ok(1)).await, Ok(1));
        let begun = Instant::now();
        sleep(S(30)).await;
        let asked = Arc::new(AtomicU32::new(0));
        while begun.elapsed() < S(3_600) {
            let asked = asked.clone();
            let ask = |_| async move {
                asked.fetch_add(1, SeqCst);
                Err(failure())
            };
            assert_eq!(cache.get("q", ask).await, Ok(1), "served on error, {:?}", begun.elapsed());
            sleep(Duration::from_millis(250)).await;
        }
        // Of 14,280 questions; each failure is remembered for a second that begins a little after the question.
        assert!((2_800..=3_600).contains(&asked.load(SeqCst)), "{asked:?}");
        assert!(ask(&cache, Err(failure())).await.is_err(), "too old to be told");
        sleep(S(1)).await;
        assert_eq!(ask(&cache, Ok(2)).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_and_nothing_are_remembered_for_a_second() {
        for negative in [Err(failure()), Ok(0)] {
            let cache = cache();
            assert_eq!(ask(&cache, negative.clone()).await, negative);
            sleep(S(1) - A_LITTLE).await;
            assert_eq!(ask(&cache, Ok(1)).await, negative, "not asked again yet");
            sleep(A_LITTLE).await;
            assert_eq!(ask(&cache, Ok(1)).await, Ok(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_asks_once_and_of_a_hundred_and_one_the_oldest_goes() {
        let cache = cache();
        let asked = Arc::new(AtomicU32::new(0));
        let crowd: Vec<_> = (0..20)
            .map(|_| {
                let (cache, asked) = (cache.clone(), asked.clone());
                tokio::spawn(async move {
                    let ask = |_| async move {
                        sleep(S(4)).await;
                        Ok(asked.fetch_add(1, SeqCst) + 1)
                    };
                    cache.get("q", ask).await
                })
            })
            .collect();
        for one in crowd {
            assert_eq!(one.await.expect("no panic"), Ok(1));
        }
        assert_eq!(asked.load(SeqCst), 1);
        for question in 0..99 {
            assert_eq!(cache.get(&question.to_string(), |_| async { Ok(7) }).await, Ok(7));
        }
        assert_eq!(ask(&cache, Ok(8)).await, Ok(1), "a hundred are kept");
        assert_eq!(cache.get("99", |_| async { Ok(7) }).await, Ok(7));
        assert_eq!(cache.entries().len(), 100);
        assert_eq!(ask(&cache, Ok(8)).await, Ok(1), "used a moment ago");
        assert_eq!(cache.get("0", |_| async { Ok(8) }).await, Ok(8), "pushed out");
    }

    /// Less than a second.
    const HURRY: Duration = Duration::from_millis(800);

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_the_answer_to_the_next() {
        for answer in [Ok(1), Err(failure())] {
            let cache = cache();
            let late = answer.clone();
            let slow = |_| async {
                sleep(S(1)).await;
                late
            };
            assert!(timeout(HURRY, cache.get("q", slow)).await.is_err(), "it takes a second");
            let next = timeout(HURRY, ask(&cache, Ok(2))).await;
            assert_eq!(next, Ok(answer.clone()), "asked already, and waited for");
            assert_eq!(ask(&cache, Ok(3)).await, answer, "and remembered");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_behind_is_no_more_than_a_hundred_askings() {
        let cache = cache();
        let asked = Arc::new(AtomicU32::new(0));
        let give_up = async |question: String| {
            let asked = asked.clone();
            let slow = |_| async move {
                asked.fetch_add(1, SeqCst);
                sleep(S(3600)).await;
                Ok(1)
            };
            assert!(timeout(A_LITTLE, cache.get(&question, slow)).await.is_err());
        };
        for question in 0..150 {
            give_up(question.to_string()).await;
        }
        assert_eq!(asked.load(SeqCst), 100);
        assert!(timeout(HURRY, ask(&cache, Ok(7))).await.is_err(), "no turn yet");
        sleep(S(3600)).await;
        assert_eq!(ask(&cache, Ok(7)).await, Ok(7));
    }
}
