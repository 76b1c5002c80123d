//! `cargo xtask tidy`: what no compiler checks. ARCHITECTURE.md is the source: its tables are read, not repeated here, so
//! the map cannot drift away from the code.
//!
//! Every check takes texts and returns findings; only this file reads the disk. Each has tests in which it fails.

mod arrows;
mod code;
mod links;
mod sources;

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::{shell::Steps, term, workspace};

/// Check what no compiler checks: crate arrows, absences, file headers, links, unsafe
///
/// - crates import each other only along the arrows of ARCHITECTURE.md, and keep the absences stated there;
/// - every source file opens with `//!`; unsafe code only in the modules ARCHITECTURE.md lists;
/// - every published crate has its licences and a README, with which its library opens;
/// - no unfinished code, no ignored test, `[lints] workspace = true` and a description in every crate;
/// - no dead link or path in any Markdown file, no unknown crate name there or in a `//!` header.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> Result<()> {
    let mut steps = Steps::new();
    let map = workspace::text("ARCHITECTURE.md")?;
    let metadata = workspace::metadata("")?;
    let rust = read_all("rs")?;
    let markdown = read_all("md")?;

    steps.run("crate arrows", || report(arrows::check(&map, &metadata.packages)?));
    steps.run("absences", || report(sources::absences(&map, &metadata.packages, &rust)?));
    steps.run("manifests", || {
        let mut findings = Vec::new();
        for package in &metadata.packages {
            let text = std::fs::read_to_string(&package.manifest_path)?;
            findings.extend(sources::manifest(&package.name, package.description.as_deref(), &text));
        }
        report(findings)
    });
    steps.run("front pages", || {
        let published = metadata.packages.iter().filter(|package| package.is_published());
        report(published.flat_map(|package| {
            sources::front_page(&package.name, |file| {
                std::fs::read_to_string(package.folder().join(file)).ok()
            })
        }))
    });
    steps.run("file headers", || report(rust.iter().filter_map(|(file, text)| sources::header(file, text))));
    steps.run("unfinished or ignored", || {
        report(rust.iter().flat_map(|(file, text)| sources::unfinished(file, text)))
    });
    steps.run("unsafe", || report(sources::unsafe_code(&map, &rust)?));
    steps.run("links", || {
        let exists = |path: &str| workspace::root().join(path).exists();
        let paths = markdown.iter().flat_map(|(file, text)| links::dead_paths(file, text, exists));
        report(markdown.iter().flat_map(|(file, text)| links::dead(file, text, exists)).chain(paths))
    });
    steps.run("crate names", || {
        let known: BTreeSet<String> = arrows::names(&map)?;
        let headers = rust.iter().map(|(file, text)| (file, sources::header_text(text)));
        let pages = markdown.iter().map(|(file, text)| (file, text.clone()));
        report(headers.chain(pages).flat_map(|(file, text)| sources::unknown_names(file, &text, &known)))
    });
    steps.finish()
}

/// Every file of a kind, with its path in the repository.
fn read_all(extension: &str) -> Result<Vec<(String, String)>> {
    let files = workspace::files(extension)?;
    files.into_iter().map(|file| Ok((file.to_string_lossy().into_owned(), workspace::text(&file)?))).collect()
}

fn report(findings: impl IntoIterator<Item = String>) -> Result<()> {
    let mut count = 0_usize;
    for finding in findings {
        count += 1;
        term::say(format!("    {finding}"));
    }
    match count {
        0 => Ok(()),
        1 => bail!("1 finding"),
        many => bail!("{many} findings"),
    }
}
