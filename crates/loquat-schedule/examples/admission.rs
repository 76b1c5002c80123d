//! One place, two tenants: a flood of one delays the other by one request.
//!
//! ```sh
//! cargo run -p loquat-schedule --example admission
//! ```
#![allow(clippy::print_stdout, reason = "this is a program")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use loquat_core::{Context, Result};
use loquat_schedule::admission::{Admission, AdmissionPolicy, Concurrency};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let policy = AdmissionPolicy::default().with_concurrency(Concurrency::Fixed(1));
    let admission = Arc::new(Admission::new(policy, Instant::now()));
    let names = ["flood 1", "flood 2", "flood 3", "flood 4", "small 1", "small 2"];
    let running: Vec<_> = names
        .into_iter()
        .map(|name| {
            let admission = admission.clone();
            tokio::spawn(async move {
                let tenant = name.split(' ').next().unwrap_or_default();
                let context = Context::new().with_tenant(tenant).with_timeout(Duration::from_secs(2));
                let permit = admission.acquire(&context, 0).await?;
                println!("{name}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                drop(permit); // here, or wherever the answer ends
                Ok::<_, loquat_core::Error>(())
            })
        })
        .collect();
    for operation in running {
        operation.await.expect("no panic")?;
    }
    println!("{admission:?}");
    Ok(())
}
