//! Whole documents against serde_json: the same texts accepted, the same values by walking, by pointer and through serde.
#![no_main]

#[path = "../../crates/loquat-json/tests/oracle/mod.rs"]
mod oracle;
#[path = "../../crates/loquat-json/tests/oracle/document.rs"]
mod whole;

libfuzzer_sys::fuzz_target!(|json: &[u8]| whole::check(json));
