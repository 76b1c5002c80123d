//! Checks on single files: headers, unfinished code, unsafe, manifests, absences, names of crates.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::{arrows, code};
use crate::workspace::{Package, root};

/// A source file that does not open with `//!`. A library opens with its README instead: [`front_page`] says so.
pub(crate) fn header(file: &str, text: &str) -> Option<String> {
    (!text.starts_with("//! ") && !opens_with_readme(text))
        .then(|| format!("{file}: does not open with `//! ` and what the file is"))
}

/// What a published crate lacks of its own page: `README.md`, which its library opens with so that it is one text on all sites, and
/// the licences. `read` gives a file of the crate's folder.
pub(crate) fn front_page(name: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let files = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];
    let missing = files.into_iter().filter(|file| read(file).is_none_or(|text| text.trim().is_empty()));
    let mut findings: Vec<String> = missing.map(|file| format!("{name} has no {file}")).collect();
    if read("src/lib.rs").is_some_and(|text| !opens_with_readme(&text)) {
        findings
            .push(format!("{name}: src/lib.rs does not open with `doc = include_str!(\"../README.md\")`"));
    }
    findings
}

/// The attribute stands before everything but a comment.
fn opens_with_readme(text: &str) -> bool {
    let first = text.lines().find(|line| !line.starts_with("// "));
    first.is_some_and(|line| line.starts_with("#![") && line.contains("doc = include_str!(\"../README.md\")"))
}

/// The text of the `//!` header.
pub(crate) fn header_text(text: &str) -> String {
    text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n")
}

/// Unfinished code and tests that are switched off.
pub(crate) fn unfinished(file: &str, text: &str) -> Vec<String> {
    let code = code::only(text);
    let found = ["todo!", "unimplemented!", "#[ignore"].into_iter().flat_map(|what| {
        code::lines_with(&code, what).into_iter().map(move |line| format!("{file}:{line}: `{what}`"))
    });
    found.collect()
}

/// A crate's manifest: it follows the workspace's lints and says what the crate is.
pub(crate) fn manifest(name: &str, description: Option<&str>, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut section = "";
    let mut has_lints = false;
    for line in lines {
        if line.starts_with('[') {
            section = line;
        }
        let compact: String = line.split_whitespace().collect();
        has_lints |= section == "[lints]" && compact == "workspace=true" || compact == "lints.workspace=true";
    }
    if !has_lints {
        findings.push(format!("{name}: Cargo.toml lacks `[lints] workspace = true`"));
    }
    if description.is_none_or(|text| text.trim().is_empty()) {
        findings.push(format!("{name}: Cargo.toml has no description"));
    }
    findings
}

/// Unsafe code outside the files of ARCHITECTURE.md's section "Unsafe code".
pub(crate) fn unsafe_code(map: &str, rust: &[(String, String)]) -> Result<Vec<String>> {
    let Some(section) = section(map, "Unsafe code") else {
        bail!("ARCHITECTURE.md has no section \"Unsafe code\"");
    };
    let listed: Vec<&str> = rows(section).map(|cells| cells[0]).flat_map(arrows::quoted).collect();
    let mut findings = Vec::new();
    for (file, text) in rust.iter().filter(|(file, _)| !listed.iter().any(|place| covers(place, file))) {
        let lines = code::lines_with(&code::only(text), "unsafe");
        findings
            .extend(lines.iter().map(|line| format!("{file}:{line}: unsafe outside ARCHITECTURE.md's list")));
    }
    Ok(findings)
}

/// What ARCHITECTURE.md's section "Absences" says a crate has nothing of: a name with `::` or `(` is searched in the crate's
/// sources (tests apart), any other one among its dependencies (dev-dependencies apart).
pub(crate) fn absences(map: &str, packages: &[Package], rust: &[(String, String)]) -> Result<Vec<String>> {
    let Some(section) = section(map, "Absences") else {
        bail!("ARCHITECTURE.md has no section \"Absences\"");
    };
    let mut findings = Vec::new();
    for cells in rows(section) {
        let Some(name) = arrows::quoted(cells[0]).next() else { continue };
        let Some(package) = packages.iter().find(|package| package.name == name) else {
            findings.push(format!("ARCHITECTURE.md states absences of {name}, which does not exist"));
            continue;
        };
        let folder = package.folder();
        let folder = folder.strip_prefix(root()).unwrap_or(folder).join("src");
        for absent in cells.last().copied().into_iter().flat_map(arrows::quoted) {
            if absent.contains("::") || absent.contains('(') {
                for (file, text) in
                    rust.iter().filter(|(file, _)| std::path::Path::new(file).starts_with(&folder))
                {
                    let lines = code::lines_with(&code::without_tests(text), absent);
                    findings.extend(
                        lines.iter().map(|line| format!("{file}:{line}: {name} has nothing of `{absent}`")),
                    );
                }
            } else if package
                .dependencies
                .iter()
                .any(|d| d.name == absent && d.kind.as_deref() != Some("dev"))
            {
                findings
                    .push(format!("{name} depends on {absent}, which ARCHITECTURE.md says it never does"));
            }
        }
    }
    Ok(findings)
}

/// Names in backticks that look like a crate of ours and are none.
pub(crate) fn unknown_names(file: &str, text: &str, known: &BTreeSet<String>) -> Vec<String> {
    let is_name = |word: &&str| {
        word.strip_prefix("loquat-")
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
    };
    let mentioned: BTreeSet<&str> = text.lines().flat_map(arrows::quoted).filter(is_name).collect();
    // The benches' package is a workspace of its own and so not in the map's table.
    let unknown = mentioned
        .into_iter()
        .filter(|name| !known.contains(*name) && !["loquat-benches", "loquat-fuzz"].contains(name));
    unknown.map(|name| format!("{file}: no crate is named `{name}`")).collect()
}

/// The lines below a `## heading`, up to the next one.
fn section<'a>(map: &'a str, heading: &str) -> Option<&'a str> {
    let start = map.find(&format!("\n## {heading}\n"))?;
    let body = &map[start + 1..];
    let body = &body[body.find('\n')? + 1..];
    Some(body.find("\n## ").map_or(body, |end| &body[..end]))
}

/// The rows of a section's tables, heads and rules apart.
fn rows(section: &str) -> impl Iterator<Item = Vec<&str>> {
    section.lines().filter_map(arrows::cells).filter(|cells| cells[0].contains('`'))
}

/// Whether a listed place is this file, or a folder above it.
fn covers(place: &str, file: &str) -> bool {
    std::path::Path::new(file).starts_with(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_open_with_what_they_are() {
        assert_eq!(header("a.rs", "//! The a.\n"), None);
        assert!(header("a.rs", "// The a.\n").is_some());
        assert!(header("a.rs", "\n//! late").is_some());
        assert!(header("a.rs", "").is_some());
        assert_eq!(header("lib.rs", "#![doc = include_str!(\"../README.md\")]\n"), None);
        assert_eq!(header_text("//! a\n//! b\n\n//! c"), "//! a\n//! b");
    }

    #[test]
    fn a_published_crate_has_a_page_of_its_own() {
        let check = |files: &[(&str, &str)]| {
            front_page("a", |name| {
                files.iter().find(|(file, _)| *file == name).map(|(_, text)| (*text).to_owned())
            })
        };
        let licences = [("LICENSE-MIT", "m"), ("LICENSE-APACHE", "a")];
        let readme = ("README.md", "What a is for.");
        let opens = "// why\n#![cfg_attr(not(doctest), doc = include_str!(\"../README.md\"))]\nmod b;";
        assert!(check(&[readme, licences[0], licences[1], ("src/lib.rs", opens)]).is_empty());
        assert!(check(&[readme, licences[0], licences[1]]).is_empty(), "a program has no library");
        assert_eq!(check(&licences), ["a has no README.md"]);
        assert_eq!(
            check(&[("README.md", " \n"), licences[0]]),
            ["a has no README.md", "a has no LICENSE-APACHE"]
        );
        let says = "a: src/lib.rs does not open with `doc = include_str!(\"../README.md\")`";
        let late = "//! The a.\n#![doc = include_str!(\"../README.md\")]";
        assert_eq!(check(&[readme, licences[0], licences[1], ("src/lib.rs", late)]), [says]);
    }

    #[test]
    fn unfinished_code_is_found_and_talk_about_it_is_not() {
        let text = "fn f() { todo!() }\n// todo!()\nlet s = \"unimplemented!()\";\n#[ignore = \"slow\"]\n";
        assert_eq!(unfinished("a.rs", text), ["a.rs:1: `todo!`", "a.rs:4: `#[ignore`"]);
    }

    #[test]
    fn manifests_follow_the_workspace() {
        assert!(
            manifest("a", Some("what"), "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n").is_empty()
        );
        assert!(manifest("a", Some("what"), "[package]\nlints.workspace = true\n").is_empty());
        assert_eq!(
            manifest("a", Some("what"), "[package]\nworkspace = true\n[lints]\n# workspace = true\n").len(),
            1
        );
        assert_eq!(manifest("a", Some(" "), "[lints]\nworkspace = true").len(), 1);
    }

    #[test]
    fn unsafe_is_allowed_where_listed() {
        let map = "\n## Unsafe code\n\n| where | why |\n|---|---|\n| `x/src/simd` | fast |\n| `y.rs` | needed |\n\n## Next\n| `z.rs` |\n";
        let file = |name: &str| (name.to_owned(), "unsafe { x() }".to_owned());
        let rust =
            [file("x/src/simd/mod.rs"), file("y.rs"), file("z.rs"), ("w.rs".into(), "// unsafe".into())];
        assert_eq!(unsafe_code(map, &rust).unwrap(), ["z.rs:1: unsafe outside ARCHITECTURE.md's list"]);
        assert!(unsafe_code("no such section", &rust).is_err());
    }

    #[test]
    fn absences_hold() {
        let map = "\n## Absences\n| crate | says | never |\n|---|---|---|\n| `a` | no clock | `Instant::now`, `tokio` |\n| `b` | | `x` |\n";
        let package: Package = serde_json::from_value(serde_json::json!({
            "name": "a", "manifest_path": root().join("crates/a/Cargo.toml"), "description": null, "features": {},
            "dependencies": [{"name": "tokio", "kind": null}, {"name": "tokio", "kind": "dev"}], "targets": []
        }))
        .unwrap();
        let rust = [
            (
                "crates/a/src/lib.rs".to_owned(),
                "x();\nlet now = Instant::now();\n#[cfg(test)]\nmod tests { Instant::now() }".to_owned(),
            ),
            ("crates/ab/src/lib.rs".to_owned(), "Instant::now()".to_owned()),
        ];
        let expected = [
            "crates/a/src/lib.rs:2: a has nothing of `Instant::now`",
            "a depends on tokio, which ARCHITECTURE.md says it never does",
            "ARCHITECTURE.md states absences of b, which does not exist",
        ];
        assert_eq!(absences(map, &[package], &rust).unwrap(), expected);
        assert!(absences("", &[], &rust).is_err());
    }

    #[test]
    fn names_of_crates_exist() {
        let known = BTreeSet::from(["loquat-json".to_owned()]);
        let text = "`loquat-json` and `loquat-jsn`, `loquat-xtask/x`";
        assert_eq!(unknown_names("a.md", text, &known), ["a.md: no crate is named `loquat-jsn`"]);
    }
}
