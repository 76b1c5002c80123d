//! Dead relative links in Markdown: `[text](path)`, `[text](path#part)`, `[text](#part)` and `[label]: path`; and paths in
//! backticks below `crates/` or `xtask/` that lead nowhere, since a map's paths age as links do.
//!
//! Addresses with a scheme are not followed: a check must give the same answer without a network.

use std::path::{Component, Path};

use super::arrows::quoted;

/// The links of one file that lead nowhere; `exists` is asked about paths in the repository.
pub(crate) fn dead(file: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let prose = prose(text);
    let anchors: Vec<String> = prose.lines().filter_map(heading).collect();
    let mut findings = Vec::new();
    for target in targets(&prose) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, part) = target.split_once('#').unwrap_or((target, ""));
        let lives = if path.is_empty() {
            part.is_empty() || anchors.iter().any(|anchor| anchor == part)
        } else {
            inside(file, path).is_some_and(|path| exists(&path))
        };
        if !lives {
            findings.push(format!("{file}: dead link `{target}`"));
        }
    }
    findings
}

/// The paths in backticks of one file that lead nowhere. A part in capitals (`crates/X`) stands for any name.
pub(crate) fn dead_paths(file: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let is_path =
        |word: &&str| ["crates/", "xtask/"].iter().any(|top| word.starts_with(top)) && !word.contains(' ');
    let is_placeholder = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase());
    let paths = text.lines().flat_map(quoted).filter(is_path);
    let dead = paths.filter(|path| !path.split('/').any(is_placeholder) && !exists(path));
    dead.map(|path| format!("{file}: dead path `{path}`")).collect()
}

/// The text without code: fenced blocks blanked, inline code removed.
fn prose(text: &str) -> String {
    let mut out = String::new();
    let mut fence: Option<&str> = None;
    for line in text.lines() {
        let mark = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => out.push_str(&without_inline_code(line)),
            _ => {}
        }
        out.push('\n');
    }
    out
}

/// Inline code loses its backticks in headings (they make the anchor) and its content elsewhere.
fn without_inline_code(line: &str) -> String {
    if line.starts_with('#') {
        return line.replace('`', "");
    }
    // An odd number of backticks: the last one opens nothing.
    let pieces: Vec<&str> = line.split('`').collect();
    let last = pieces.len() - 1;
    let is_text = |at: usize| at.is_multiple_of(2) || at == last;
    pieces
        .iter()
        .enumerate()
        .filter(|(at, _)| is_text(*at))
        .map(|(_, piece)| *piece)
        .collect::<Vec<_>>()
        .join("x")
}

fn targets(prose: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in prose.lines() {
        for (at, _) in line.match_indices("](") {
            let rest = &line[at + 2..];
            if let Some(end) = rest.find([')', ' ']) {
                found.push(rest[..end].trim_matches(['<', '>']));
            }
        }
        let definition = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        if let Some(target) = definition.and_then(|(_, rest)| rest.split_whitespace().next()) {
            found.push(target);
        }
    }
    found
}

/// The anchor of a heading: lower case, spaces to dashes, punctuation dropped.
fn heading(line: &str) -> Option<String> {
    let text = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?.trim();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect())
}

/// A path beside `file`, resolved to one in the repository; `None` if it leaves it.
fn inside(file: &str, path: &str) -> Option<String> {
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.components().chain(Path::new(path).components()) {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::ParentDir => drop(parts.pop()?),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let exists = |path: &str| ["README.md", "docs/a.md", "crates"].contains(&path);
        let expected: Vec<String> =
            expected.iter().map(|target| format!("docs/x.md: dead link `{target}`")).collect();
        assert_eq!(dead("docs/x.md", text, exists), expected, "{text}");
    }

    #[test]
    fn living_links_pass() {
        check("[a](a.md) and [r](../README.md#top) and [c](../crates \"title\")", &[]);
        check("[web](https://example.com/x) [post](mailto:a@example.com)", &[]);
        check("[a]: a.md\n\n# The `way` of things\n[down](#the-way-of-things)", &[]);
    }

    #[test]
    fn dead_links_are_found() {
        check("[b](b.md)[a](a.md)", &["b.md"]);
        check("[up](../../README.md) [root](/README.md)", &["../../README.md", "/README.md"]);
        check("# Here\n[there](#there)", &["#there"]);
        check("[label]: gone.md", &["gone.md"]);
        check("![picture](gone.png)", &["gone.png"]);
    }

    #[test]
    fn paths_in_backticks_exist_too() {
        let text = "`crates/a/src` `crates/b` `crates/X` `xtask/gone.rs` `cargo run` `target/x` `crates/a b`";
        let findings = dead_paths("m.md", text, |path| path == "crates/a/src");
        assert_eq!(findings, ["m.md: dead path `crates/b`", "m.md: dead path `xtask/gone.rs`"]);
    }

    #[test]
    fn code_holds_no_links() {
        check("```text\n[b](b.md)\n```\n`[b](b.md)` [c](c.md)", &["c.md"]);
        check("a ` alone [c](c.md)", &["c.md"]);
    }
}
