//! A breaker by hand, without a model: what an endpoint's outcomes do to the word that a router reads.
//!
//! ```sh
//! cargo run -p loquat-schedule --example breaker
//! ```
#![allow(clippy::print_stdout, reason = "this is a program")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use loquat_schedule::breaker::{Breaker, BreakerPolicy, Outcome};

fn main() {
    // The arithmetic takes a `now`: no second of this takes a second.
    let start = Instant::now();
    let breaker = Arc::new(Breaker::new(BreakerPolicy::default(), start));
    let word = breaker.availability().clone(); // this is all that a router needs
    for (second, outcome) in [
        (0, Outcome::Success),
        (1, Outcome::Timeout),
        (2, Outcome::Timeout),
        (3, Outcome::Timeout),
        (4, Outcome::Success),
        (8, Outcome::Limited),
        (18, Outcome::Success),
        (19, Outcome::Success),
    ] {
        let now = start + Duration::from_secs(second);
        let what = match breaker.try_pass(now) {
            Ok(permit) => {
                let name = if permit.is_probe() { "probe" } else { "attempt" };
                permit.settle(outcome, now);
                format!("{name}: {outcome:?}")
            }
            Err(rejected) => format!("rejected for {:?}", rejected.until - now),
        };
        let open = if word.standing(now).may_try() { "available" } else { "ejected" };
        println!("{second:>2} s  {what:<20}  {open}");
    }
}
