//! Figures that criterion does not take: allocations, tokens per second. Appended as JSON lines to the file that
//! `LOQUAT_BENCH_SIDE` names; without it (a plain `cargo bench`) they go to standard error.

use std::{fs::OpenOptions, io::Write};

use serde_json::{Value, json};

/// Allocations of one operation, counted over `operations` of them after a first run that warms buffers.
pub fn allocations(case: &str, who: &str, operations: u64, mut body: impl FnMut()) {
    body();
    allocations_once(case, who, operations, body);
}

/// The same for an operation that is not to be repeated: what it finds warm is for the caller to see to.
pub fn allocations_once(case: &str, who: &str, operations: u64, body: impl FnOnce()) {
    let count = crate::alloc::during(body);
    allocations_are(case, who, count as f64 / operations as f64);
}

/// Allocations of one operation, counted by the bench.
pub fn allocations_are(case: &str, who: &str, per_operation: f64) {
    append(&json!({"case": case, "who": who, "allocs_per_op": per_operation}));
}

/// One figure; a unit that ends in `/s` is a rate, where more is better.
pub fn figure(case: &str, who: &str, value: f64, unit: &str) {
    append(&json!({"case": case, "who": who, "value": value, "unit": unit}));
}

fn append(line: &Value) {
    match std::env::var_os("LOQUAT_BENCH_SIDE") {
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(&path);
            file.and_then(|mut file| writeln!(file, "{line}"))
                .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.to_string_lossy()));
        }
        None => eprintln!("{line}"),
    }
}
