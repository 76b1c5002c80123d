//! A hedged listing: one in twenty servers is slow, and nobody waits for it.
//!
//! ```sh
//! cargo run -p loquat-schedule --example hedge
//! ```
#![allow(clippy::print_stdout, reason = "this is a program")]

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use loquat_core::Result;
use loquat_schedule::{
    Random,
    hedge::{Hedge, HedgePolicy},
    retry::{Budget, BudgetPolicy},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let random = Random::seeded(2);
    let asked = Cell::new(0);
    let listing = || async {
        asked.set(asked.get() + 1);
        let slow = random.below(20) == 0;
        tokio::time::sleep(Duration::from_millis(if slow { 500 } else { 5 })).await;
        Ok(["a", "b"])
    };
    let budget = Arc::new(Budget::new(BudgetPolicy::default(), Instant::now()));
    let hedge = Hedge::new(HedgePolicy::default().with_percentile(90, 20), budget);
    let mut slowest = Duration::ZERO;
    for n in 0..100 {
        let started = Instant::now();
        hedge.run(listing).await?;
        if n >= 50 {
            slowest = slowest.max(started.elapsed());
        }
    }
    println!("the slowest of the last fifty took {slowest:?}; hedged after {:?}", hedge.delay());
    println!("asked {} times for a hundred answers", asked.get());
    Ok(())
}
