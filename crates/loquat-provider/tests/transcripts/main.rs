//! Recorded answers of real providers: each decodes to a truthful end, equal to an independent reading, whole, split at
//! random, and cut after every event. Reads `$LOQUAT_DATA/transcripts`; the recordings are not part of the project.

#![allow(clippy::print_stdout, reason = "the summary is what the test is run for")]

mod check;
mod known;
mod reading;
mod recordings;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeMap,
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use recordings::recordings;

#[derive(Default)]
struct Tally {
    recordings: usize,
    finished: usize,
    truncated: usize,
    failed: usize,
    refused: usize,
    skipped: usize,
    cuts: usize,
    unknown: usize,
    /// Of all of these, those that are not as they should be.
    wrong: usize,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        let Self { recordings, finished, truncated, failed, refused, skipped, cuts, unknown, wrong } = other;
        self.recordings += recordings;
        self.finished += finished;
        self.truncated += truncated;
        self.failed += failed;
        self.refused += refused;
        self.skipped += skipped;
        self.cuts += cuts;
        self.unknown += unknown;
        self.wrong += wrong;
    }

    fn passed_and_failed(&self) -> String {
        let Self { recordings, wrong, skipped, .. } = self;
        format!("passed={} failed={wrong} skipped={skipped}", recordings - wrong - skipped)
    }
}

#[test]
fn recorded_answers_end_truthfully() {
    let Some(data) = env::var_os("LOQUAT_DATA") else {
        println!("skipped: LOQUAT_DATA is not set");
        return;
    };
    let folder = Path::new(&data).join("transcripts");
    let recordings = recordings(&folder);
    assert!(!recordings.is_empty(), "no recordings in {}", folder.display());

    let mut tallies: BTreeMap<(String, String), Tally> = BTreeMap::new();
    let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    let (mut new, lists) = (0, env::var_os("LOQUAT_LIST_FILES").is_some());
    for recording in &recordings {
        new += usize::from(!known::is_known(&recording.file));
        if lists {
            println!("{:08x} {}", known::hash(&recording.file), recording.file);
        }
        let tally = tallies.entry((recording.api.clone(), recording.provider.clone())).or_default();
        tally.recordings += 1;
        let Some(format) = recording.reader() else {
            println!("skipped: {}: nothing here speaks {}", recording.file, recording.api);
            tally.skipped += 1;
            continue;
        };
        // One recording that nobody foresaw costs itself and not the rest.
        let checked = catch_unwind(AssertUnwindSafe(|| match recording.kind.as_str() {
            "error" => check::refusal(recording, format),
            _ => check::answer(recording, format, tally, &mut unknown),
        }));
        tally.refused += usize::from(recording.kind == "error");
        if let Err(why) = checked.unwrap_or_else(|_| Err("the test panicked over it".to_owned())) {
            tally.wrong += 1;
            failures.push(format!("{}: {why}", recording.file));
        }
    }
    println!(
        "{:<20} {:<18} {:>5} {:>8} {:>9} {:>6} {:>7} {:>6} {:>7}",
        "format", "provider", "files", "finished", "truncated", "failed", "refused", "cuts", "unknown"
    );
    for ((api, provider), tally) in &tallies {
        println!(
            "{api:<20} {provider:<18} {:>5} {:>8} {:>9} {:>6} {:>7} {:>6} {:>7}",
            tally.recordings,
            tally.finished,
            tally.truncated,
            tally.failed,
            tally.refused,
            tally.cuts,
            tally.unknown
        );
    }
    for (event, count) in &unknown {
        println!("raw: {count:>5} {event}");
    }
    if cfg!(debug_assertions) {
        println!(
            "cuts: a sample of each long stream's events in this debug build; all of them with --release"
        );
    }
    println!("recordings that nobody has looked at yet: {new}");
    for (file, end, why) in known::NOT_FINISHED {
        println!("not finished, rightly: {end:?} {file}: {why}");
    }
    for failure in &failures {
        println!("FAILED {failure}");
    }
    let (mut formats, mut all) = (BTreeMap::<&str, Tally>::new(), Tally::default());
    for ((api, _), tally) in &tallies {
        formats.entry(api).or_default().add(tally);
        all.add(tally);
    }
    for (api, tally) in &formats {
        println!("conformance: transcripts/{api} {} unknown={}", tally.passed_and_failed(), tally.unknown);
    }
    println!(
        "conformance: transcripts {} unknown={} cuts={}",
        all.passed_and_failed(),
        all.unknown,
        all.cuts
    );
    assert!(failures.is_empty(), "{} recordings failed", failures.len());
}
