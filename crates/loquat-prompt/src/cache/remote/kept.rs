//! Answers that this process keeps, each tenant's apart from another's.
//!
//! A tenant's share is fair by construction, as it is for tokens ([`TokenCache`](crate::cache::TokenCache)): room is always made by the
//! tenant that holds the most, so nobody who holds less than an equal share ever loses an answer to another.

use std::{collections::HashMap, sync::Arc, time::Instant};

use lru::LruCache;

use super::answers::AnswerLimits;

/// All tenants'. Whoever makes room looks at each tenant, of whom there are no more than answers: answers come as fast as models make
/// them.
#[derive(Default)]
pub(super) struct KeptAnswers {
    tenants: HashMap<Box<str>, Tenant>,
    answers: usize,
    bytes: usize,
}

/// One tenant's, the one used last in front.
struct Tenant {
    answers: LruCache<[u8; 32], Kept>,
    bytes: usize,
}

struct Kept {
    answer: Arc<[u8]>,
    since: Instant,
}

impl KeptAnswers {
    /// How many there are, and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.answers, self.bytes)
    }

    /// The answer under that key; one that has been kept for too long is taken out.
    pub(super) fn find(&mut self, tenant: &str, key: &[u8; 32], limits: &AnswerLimits) -> Option<Arc<[u8]>> {
        let mine = self.tenants.get_mut(tenant)?;
        let kept = mine.answers.get(key)?;
        if kept.since.elapsed() < limits.keep_for {
            return Some(Arc::clone(&kept.answer));
        }
        let old = mine.answers.pop(key);
        self.took_out(tenant, old);
        None
    }

    /// Keeps an answer, and makes room where it is too much. How many had to go for it.
    pub(super) fn keep(
        &mut self,
        tenant: &str,
        key: [u8; 32],
        answer: Arc<[u8]>,
        limits: &AnswerLimits,
    ) -> usize {
        let bytes = answer.len();
        let mine = match self.tenants.get_mut(tenant) {
            Some(mine) => mine,
            None => self
                .tenants
                .entry(tenant.into())
                .or_insert_with(|| Tenant { answers: LruCache::unbounded(), bytes: 0 }),
        };
        let old = mine.answers.put(key, Kept { answer, since: Instant::now() });
        mine.bytes += bytes;
        self.bytes += bytes;
        self.answers += 1;
        self.took_out(tenant, old);
        let mut gone = 0;
        loop {
            let most: fn(&Tenant) -> usize = match () {
                () if self.bytes > limits.max_bytes => |tenant| tenant.bytes,
                () if self.answers > limits.max_answers.max(1) => |tenant| tenant.answers.len(),
                () => return gone,
            };
            // Of several who hold as much it is the one for whom room is needed.
            let greatest =
                self.tenants.iter_mut().max_by_key(|(name, each)| (most(each), ***name == *tenant));
            let Some((name, greatest)) = greatest else { return gone };
            let (name, old) = (name.clone(), greatest.answers.pop_lru());
            self.took_out(&name, old.map(|(_, kept)| kept));
            gone += 1;
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// An answer of that tenant is there no more.
    fn took_out(&mut self, tenant: &str, old: Option<Kept>) {
        let (Some(old), Some(of)) = (old, self.tenants.get_mut(tenant)) else { return };
        of.bytes -= old.answer.len();
        self.bytes -= old.answer.len();
        self.answers -= 1;
        if of.answers.is_empty() {
            self.tenants.remove(tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the others do, who holds no more than an equal share loses nothing, and nobody sees another's.
        #[test]
        fn nobody_loses_an_equal_share(
            steps in proptest::collection::vec((0..4_usize, 0..40_u8, 1..60_usize), 1..400),
            max_answers in 4..40_usize,
        ) {
            let limits = AnswerLimits { max_answers, max_bytes: 800, ..AnswerLimits::default() };
            let mut kept = KeptAnswers::default();
            let names = ["a", "b", "c", "quiet"];
            // The quiet one has one answer, of a quarter of all bytes at most.
            let mine: Arc<[u8]> = vec![7; 200].into();
            kept.keep("quiet", [0; 32], Arc::clone(&mine), &limits);
            for (tenant, key, length) in steps {
                let tenant = names[tenant % 3];
                kept.keep(tenant, [key; 32], vec![tenant.as_bytes()[0]; length].into(), &limits);
                let (answers, bytes) = kept.size();
                prop_assert!(answers <= max_answers && bytes <= 800, "{answers} of {bytes} B");
                prop_assert_eq!(kept.find("quiet", &[0; 32], &limits), Some(Arc::clone(&mine)));
                for (tenant, key) in names.iter().flat_map(|tenant| (0..40).map(move |key| (tenant, key))) {
                    let found = kept.find(tenant, &[key; 32], &limits);
                    let own = if *tenant == "quiet" { 7 } else { tenant.as_bytes()[0] };
                    prop_assert!(found.is_none_or(|answer| answer.iter().all(|byte| *byte == own)));
                }
                let sums: (usize, usize) = kept.tenants.values().fold((0, 0), |(answers, bytes), tenant| {
                    (answers + tenant.answers.len(), bytes + tenant.bytes)
                });
                prop_assert_eq!(sums, kept.size());
                prop_assert!(kept.tenants.values().all(|tenant| !tenant.answers.is_empty()));
            }
        }
    }

    #[test]
    fn what_is_too_large_for_all_is_not_kept_and_neither_is_what_is_old() {
        let limits = AnswerLimits { max_bytes: 10, ..AnswerLimits::default() };
        let mut kept = KeptAnswers::default();
        assert_eq!(kept.keep("a", [1; 32], vec![0; 11].into(), &limits), 1);
        assert_eq!((kept.size(), kept.tenants.len()), ((0, 0), 0));
        assert_eq!(kept.keep("a", [1; 32], vec![0; 5].into(), &limits), 0);
        assert_eq!(kept.keep("a", [1; 32], vec![0; 6].into(), &limits), 0);
        assert_eq!(kept.size(), (1, 6));
        let short = AnswerLimits { keep_for: std::time::Duration::ZERO, ..limits };
        assert_eq!(kept.find("a", &[1; 32], &short), None);
        assert_eq!((kept.size(), kept.tenants.len()), ((0, 0), 0));
    }
}
