//! An example as a program, as `cargo run --example` would start it.

use std::{path::PathBuf, process::Command};

/// The built example of that name. Cargo builds examples for `cargo test`, but not where single tests are named.
///
/// # Panics
/// It is not there, or its source is newer: then a test of it says nothing.
pub(crate) fn program(name: &str, package: &str) -> Command {
    let test = std::env::current_exe().expect("a test is a file");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let program = profile.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    let source: PathBuf = [package, "examples", &format!("{name}.rs")].iter().collect();
    let changed = |file: &PathBuf| file.metadata().and_then(|about| about.modified());
    let written = changed(&source).expect("the example's source");
    assert!(
        changed(&program).is_ok_and(|built| built > written),
        "{} is not built from the source as it is: `cargo test` without `--test`, or `cargo build --examples`, builds it",
        program.display()
    );
    Command::new(program)
}
