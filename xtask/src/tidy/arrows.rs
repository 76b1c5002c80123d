//! Which crate may import which: the table in ARCHITECTURE.md against `cargo metadata`.
//!
//! A table counts if its first column is headed `crate` and one column is headed `→`; below a heading that contains
//! "planned" it names crates that do not exist yet. Dev-dependencies are free: they make no arrow for a user.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use crate::workspace::Package;

/// One row of the tables.
#[derive(Debug, PartialEq, Eq)]
struct Crate {
    may_import: BTreeSet<String>,
    is_planned: bool,
}

/// What is wrong with the arrows.
pub(crate) fn check(map: &str, packages: &[Package]) -> Result<Vec<String>> {
    let table = table(map)?;
    let members: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in packages {
        let name = &package.name;
        let allowed = match table.get(name) {
            Some(row) if row.is_planned => {
                findings.push(format!("{name} exists: move its row out of ARCHITECTURE.md's planned crates"));
                continue;
            }
            Some(row) => &row.may_import,
            None => {
                findings.push(format!("{name} has no row in ARCHITECTURE.md"));
                continue;
            }
        };
        let imports =
            package.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"));
        for import in imports.map(|dependency| dependency.name.as_str()).collect::<BTreeSet<_>>() {
            if members.contains(import) && !allowed.contains(import) {
                findings.push(format!("{name} → {import} is not an arrow of ARCHITECTURE.md"));
            }
        }
    }
    for (name, row) in &table {
        if !row.is_planned && !members.contains(name.as_str()) {
            findings.push(format!("ARCHITECTURE.md names {name}, which does not exist: planned?"));
        }
        for import in row.may_import.iter().filter(|import| !table.contains_key(*import)) {
            findings.push(format!("ARCHITECTURE.md lets {name} import {import}, which has no row"));
        }
    }
    findings.extend(cycles(&table));
    Ok(findings)
}

/// Every crate that the map names, planned ones too.
pub(crate) fn names(map: &str) -> Result<BTreeSet<String>> {
    Ok(table(map)?.into_keys().collect())
}

fn table(map: &str) -> Result<BTreeMap<String, Crate>> {
    let mut crates = BTreeMap::new();
    let (mut is_planned, mut arrow_column) = (false, None);
    for line in map.lines() {
        if line.starts_with('#') {
            is_planned = line.to_lowercase().contains("planned");
        }
        let Some(cells) = cells(line) else {
            arrow_column = None;
            continue;
        };
        if cells.first() == Some(&"crate") {
            arrow_column = cells.iter().position(|cell| *cell == "→");
            continue;
        }
        let (Some(column), Some(name)) = (arrow_column, cells.first().and_then(|cell| quoted(cell).next()))
        else {
            continue;
        };
        let may_import = quoted(cells.get(column).copied().unwrap_or_default()).map(str::to_owned).collect();
        if crates.insert(name.to_owned(), Crate { may_import, is_planned }).is_some() {
            bail!("ARCHITECTURE.md has two rows for {name}");
        }
    }
    if crates.is_empty() {
        bail!("ARCHITECTURE.md has no table with the columns `crate` and `→`");
    }
    Ok(crates)
}

/// The cells of a Markdown table's line.
pub(crate) fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

/// The words between backticks.
pub(crate) fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A crate that reaches itself along the arrows.
fn cycles(table: &BTreeMap<String, Crate>) -> Vec<String> {
    let reaches_itself = |start: &String| {
        let mut seen = BTreeSet::new();
        let mut queue: Vec<&String> = table[start].may_import.iter().collect();
        while let Some(name) = queue.pop() {
            if name == start {
                return true;
            }
            if seen.insert(name) {
                queue.extend(table.get(name).into_iter().flat_map(|row| &row.may_import));
            }
        }
        false
    };
    table
        .keys()
        .filter(|name| reaches_itself(name))
        .map(|name| format!("the arrows of {name} lead back to it"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
## Crates
| crate | job | → |
|---|---|---|
| `a` | base | – |
| `b` | above | `a` |

## Planned crates
| crate | job | → |
|---|---|---|
| `c` | later | `a`, `b` |

| other | table |
|---|---|
| `z` | not a crate |
";

    fn package(name: &str, imports: &[(&str, Option<&str>)]) -> Package {
        let dependencies: Vec<serde_json::Value> =
            imports.iter().map(|(name, kind)| serde_json::json!({"name": name, "kind": kind})).collect();
        let value = serde_json::json!({"name": name, "manifest_path": "", "description": null, "features": {},
            "dependencies": dependencies, "targets": []});
        serde_json::from_value(value).unwrap()
    }

    fn check(map: &str, packages: &[Package]) -> Vec<String> {
        super::check(map, packages).unwrap()
    }

    #[test]
    fn arrows_of_the_table_pass_and_dev_dependencies_are_free() {
        let packages = [
            package("a", &[("b", Some("dev")), ("serde", None)]),
            package("b", &[("a", None), ("a", Some("build"))]),
        ];
        assert_eq!(check(MAP, &packages), Vec::<String>::new());
    }

    #[test]
    fn any_other_arrow_is_named() {
        let packages = [package("a", &[("b", None)]), package("b", &[])];
        assert_eq!(check(MAP, &packages), ["a → b is not an arrow of ARCHITECTURE.md"]);
        let packages = [package("a", &[("b", Some("build"))]), package("b", &[])];
        assert_eq!(check(MAP, &packages).len(), 1);
    }

    #[test]
    fn crates_and_rows_belong_together() {
        let packages = [package("a", &[]), package("c", &[]), package("d", &[])];
        let findings = check(MAP, &packages).join("\n");
        assert!(findings.contains("c exists: move"), "{findings}");
        assert!(findings.contains("d has no row"), "{findings}");
        assert!(findings.contains("names b, which does not exist"), "{findings}");
    }

    #[test]
    fn the_table_itself_is_checked() {
        assert!(super::check("no table", &[]).is_err());
        assert!(super::check("|crate|→|\n|-|-|\n|`a`||\n|`a`||\n", &[]).is_err());
        let circle = "|crate|→|\n|-|-|\n|`a`|`b`|\n|`b`|`a`, `x`|\n";
        let findings = check(circle, &[package("a", &[]), package("b", &[])]);
        assert!(findings.contains(&"the arrows of a lead back to it".to_owned()), "{findings:?}");
        assert!(
            findings.contains(&"ARCHITECTURE.md lets b import x, which has no row".to_owned()),
            "{findings:?}"
        );
    }

    #[test]
    fn planned_crates_are_known_names() {
        assert_eq!(names(MAP).unwrap().into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
