//! An example as a program, as `cargo run --example` would start it.

use std::{fs, path::Path, process::Command};

/// The built example of that name. Cargo builds examples for `cargo test`, but not where single tests are named.
///
/// # Panics
/// It is not there, or one of its sources is newer: then a test of it says nothing.
pub(crate) fn program(name: &str) -> Command {
    let test = std::env::current_exe().expect("a test is a file");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let built = profile.join("examples").join(name);
    let program = built.with_extension(std::env::consts::EXE_EXTENSION);
    // As for make, with the sources of all crates of the workspace that are in it.
    let rule = fs::read_to_string(built.with_extension("d")).unwrap_or_default().replace("\\ ", "\0");
    let mut sources = rule.split_whitespace().skip(1).map(|source| source.replace('\0', " ")).peekable();
    let changed = |file: &Path| file.metadata().and_then(|about| about.modified()).ok();
    assert!(
        sources.peek().is_some() && sources.all(|source| changed(&program) > changed(Path::new(&source))),
        "{} is not built from its sources as they are: `cargo test` without `--test`, or `cargo build --examples`, builds it",
        program.display()
    );
    Command::new(program)
}
