//! JSONTestSuite: every `y_` file accepted, every `n_` file refused, what becomes of the `i_` files listed.
//!
//! The suite is not part of this repository; `LOQUAT_DATA` says where it is.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail and report as tests do")]

use loquat_json::{Error, Extractor, Fields};
use std::path::Path;

#[test]
fn json_suite() {
    let mut extractor = Extractor::new(Fields::compile(&["", "/0", "/a", "/*"]).unwrap());
    check("json", |json| extractor.extract(json).map(|_| ()));
}

#[cfg(feature = "document")]
#[test]
fn json_suite_as_documents() {
    check("json-documents", |json| loquat_json::document::Document::parse(json.to_vec()).map(|_| ()));
}

/// How many files of each kind the suite has: one that is torn would pass otherwise.
const FILES: [(&str, usize); 3] = [("y_", 95), ("n_", 188), ("i_", 35)];

fn check(suite: &str, mut read: impl FnMut(&[u8]) -> Result<(), Error>) {
    let Some(data) = std::env::var_os("LOQUAT_DATA") else {
        println!("skipped: LOQUAT_DATA is not set");
        return;
    };
    let folder = Path::new(&data).join("suites/JSONTestSuite/test_parsing");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for (kind, least) in FILES {
        let found = files.iter().filter(|file| file.file_name().unwrap().to_string_lossy().starts_with(kind));
        assert!(found.count() >= least, "fewer than {least} files {kind}* in {}", folder.display());
    }

    let (mut passed, mut failed) = (0, 0);
    for file in &files {
        let name = file.file_name().unwrap().to_string_lossy();
        let json = std::fs::read(file).unwrap();
        let result = read(&json);
        let as_demanded = match &name[..2] {
            "y_" => result.is_ok(),
            "n_" => result.is_err(),
            "i_" => {
                let outcome = result.map_or_else(|error| format!("refused: {error}"), |()| "accepted".into());
                println!("{suite} {name}: {outcome}");
                true
            }
            _ => panic!("{name} is neither y_, n_ nor i_"),
        };
        if as_demanded {
            passed += 1;
        } else {
            failed += 1;
            println!("FAILED {suite} {name}: {result:?}");
        }
    }
    println!("conformance: {suite} passed={passed} failed={failed} skipped=0");
    assert_eq!(failed, 0);
}
