//! The memory of extractors that ended, for those that come: a reply of twenty events would otherwise make and give back as many
//! allocations as other decoders do.
//!
//! It is handed on without what it held: the texts of events are overwritten with zeros, and what remains of one is where in it values,
//! strings and numbers were. Memory that is too large to be kept goes back to the allocator as it is: for one extractor at most 64 KiB
//! are kept. Not among these are the shapes that it knew, which a spare holds on to as long as it lies here ([`Memory`]): mostly they are
//! those of the store, but the store may have others by then, so that there are five times as many at the very most.

use std::sync::Mutex;

use crate::pass::Pass;
use crate::predict::Memory;

/// How many are kept. Replies that end and replies that begin take turns, however many there are at a time.
const MAX_SPARES: usize = 4;

/// What an extractor works in.
pub(crate) struct Spare {
    pub(crate) memory: Memory,
    pub(crate) pass: Pass,
}

/// Those that are kept, of extractors of the same fields. Nobody waits for it.
#[derive(Default)]
pub(crate) struct Spares {
    kept: Mutex<Vec<Spare>>,
}

impl Spares {
    pub(crate) fn take(&self) -> Option<Spare> {
        self.kept.try_lock().ok()?.pop()
    }

    pub(crate) fn give(&self, spare: Spare) {
        if let Ok(mut kept) = self.kept.try_lock()
            && kept.len() < MAX_SPARES
        {
            kept.push(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Extractor, Fields};

    /// How many an extractor of long and of short texts, and others at the same time, leave behind, and nothing of what they read.
    #[track_caller]
    fn check(fields: &Fields, extractors: usize, expected: usize) {
        let text = |number: usize| format!(r#"{{"text":"{}","n":{number}}}"#, "x".repeat(number % 5 * 1000));
        let mut all: Vec<Extractor> = (0..extractors).map(|_| Extractor::new(fields.clone())).collect();
        for number in 0..40 {
            for json in &mut all {
                json.extract_str(&text(number)).unwrap();
                json.extract_str(&format!("[{number}]")).unwrap();
            }
        }
        drop(all);
        let left: Vec<Spare> = std::iter::from_fn(|| fields.spares().take()).collect();
        assert_eq!(left.len(), expected);
        assert!(left.iter().all(|spare| spare.memory.is_erased_and_small() && spare.memory.vacant() > 0));
    }

    #[test]
    fn memory_is_left_without_what_it_held() {
        let fields = Fields::compile(&["/text", "/n"]).unwrap();
        check(&fields, 1, 1);
        check(&fields, 2, 2);
        check(&fields, 10, MAX_SPARES);
        drop(Extractor::new(fields.clone()));
        assert!(fields.spares().take().is_none(), "it has read nothing");
    }

    fn bytes(spare: &Spare) -> usize {
        size_of::<Spare>() + spare.memory.bytes() + spare.pass.bytes()
    }

    /// What an extractor of these pointers leaves that has read four kinds of text, ten times in turn, the number put in for each `%`.
    fn left(pointers: &[&str], text: &str) -> Spare {
        let fields = Fields::compile(pointers).unwrap();
        let mut json = Extractor::new(fields.clone());
        for (number, kind) in (10..20).flat_map(|number| (0..4).map(move |kind| (number, kind))) {
            let text =
                text.replace('%', &number.to_string()).replacen('{', &format!("{{\"kind{kind}\":1,"), 1);
            json.extract_str(&text).unwrap();
        }
        drop(json);
        fields.spares().take().unwrap()
    }

    /// As large as what is kept may be, and what would be larger by its pointers alone: many levels, many fields.
    #[test]
    fn what_is_left_takes_no_more_than_is_said() {
        let pointers: Vec<String> = (0..126).map(|field| format!("/f{field}/x")).collect();
        let pointers: Vec<&str> = ["/k/*"].into_iter().chain(pointers.iter().map(String::as_str)).collect();
        let numbers = |times: usize, what: &str| vec![what; times].join(",");
        let nested = ["[".repeat(60), "]".repeat(60)].concat();
        let text = format!(
            r#"{{"k":[{}],"more":[{}],"nested":{nested},"true":[{}]}}"#,
            numbers(60, "%"),
            numbers(60, "%"),
            numbers(200, "true"),
        );
        let largest = left(&pointers, &text);
        println!("{} bytes with {} templates", bytes(&largest), largest.memory.vacant());
        assert_eq!(largest.memory.vacant(), 4);
        assert!((40 * 1024..=64 * 1024).contains(&bytes(&largest)), "{}", bytes(&largest));

        let deep = "/a".repeat(5000);
        for pointers in [&vec![&deep[..]], &vec!["/none"; 5000]] {
            let left = left(pointers, r#"{"text":"%"}"#);
            assert!(bytes(&left) <= 16 * 1024, "{} bytes with {} pointers", bytes(&left), pointers.len());
        }
    }
}
