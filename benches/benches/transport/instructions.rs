//! Instructions of a request: this very program under callgrind, once with few and once with many requests.

use loquat_benches::{callgrind, is_quick, side};

const ARGUMENT: &str = "--count";

/// The case, whom and how many requests such a process is asked for.
pub fn asked(arguments: &[String]) -> Option<(&str, &str, usize)> {
    let at = arguments.iter().position(|argument| argument == ARGUMENT)?;
    let [case, who, requests] = arguments.get(at + 1..at + 4)? else { return None };
    Some((case, who, requests.parse().expect("a number")))
}

/// Counts, and says.
pub fn figure(case: &str, who: &str, concurrency: usize) {
    let (few, many) = (8 * concurrency, if is_quick() { 16 } else { 40 } * concurrency);
    let count = |requests: usize| callgrind::instructions(&[ARGUMENT, case, who, &requests.to_string()]);
    let each = (count(many) - count(few)) / (many - few) as f64;
    side::figure(&format!("{case}/instructions"), who, each, "instructions/req");
}
