//! `cargo xtask features`: each crate by itself in each shape a user can ask for.
//!
//! `cargo test --workspace` cannot see this: there the features of all members are added up, and a crate that forgot to ask
//! for one of tokio's compiles because its neighbour did. The shapes are no default features, the defaults, each feature
//! alone, and all of them; shapes that come to the same set of features are checked once, which is exact, not an estimate:
//! the set is what cargo compiles with. Tests and examples are compiled with no features, the defaults, and all of them: what they forgot
//! to ask for is missing in the first, and nobody runs them with one feature alone. They run where `--test` asks for it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use crate::{
    shell::{self, Steps},
    workspace::{self, Package},
};

/// Check each crate alone: no default features, defaults, each feature, all
///
/// Every shape is type-checked by itself, and those with none of the features, the defaults and all of them then with their tests and
/// examples; shapes with the same set of features are checked once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this package (may be repeated)
    #[arg(long, short, value_name = "NAME")]
    package: Vec<String>,
    /// Also run each crate's tests alone without default features (links every test again: slow)
    #[arg(long)]
    test: bool,
    /// Print the shapes and check nothing
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let metadata = workspace::metadata("")?;
    let names: Vec<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    if let Some(unknown) = args.package.iter().find(|wanted| !names.contains(&wanted.as_str())) {
        bail!("no package `{unknown}` in this workspace; there are {}", names.join(", "));
    }
    let mut steps = Steps::new();
    for package in &metadata.packages {
        if !args.package.is_empty() && !args.package.contains(&package.name) {
            continue;
        }
        for shape in shapes(&package.features) {
            let name = format!("{} [{}]", package.name, shape.name);
            if args.list {
                crate::term::say(format!("{name} {}", shape.flags.join(" ")));
                continue;
            }
            // First without the tests: their dev-dependencies add features that would hide what the crate forgot to ask for.
            steps.run(&name, || {
                cargo(package, &["check"], &shape)?;
                if shape.has_tests { cargo(package, &["check", "--all-targets"], &shape) } else { Ok(()) }
            });
            if args.test && shape.is_bare {
                steps.run(&format!("{name} tests"), || cargo(package, &["test"], &shape));
            }
        }
    }
    if args.list { Ok(()) } else { steps.finish() }
}

fn cargo(package: &Package, verb: &[&str], shape: &Shape) -> Result<()> {
    let mut command = workspace::cargo();
    command.args(verb).args(["--quiet", "--package", &package.name]).args(&shape.flags);
    shell::run(&mut command)
}

/// One way to ask for a crate.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    name: String,
    flags: Vec<String>,
    /// Whether it is the shape without default features.
    is_bare: bool,
    /// Whether its tests and examples are compiled, too.
    has_tests: bool,
}

/// The shapes that differ, plainest first.
fn shapes(features: &BTreeMap<String, Vec<String>>) -> Vec<Shape> {
    let all: Vec<&str> = features.keys().map(String::as_str).collect();
    let mut asked: Vec<(String, Vec<String>, Vec<&str>)> = vec![
        ("no default features".to_owned(), vec!["--no-default-features".to_owned()], Vec::new()),
        ("default".to_owned(), Vec::new(), vec!["default"]),
    ];
    for feature in all.iter().filter(|feature| **feature != "default") {
        let flags = ["--no-default-features", "--features", feature].map(str::to_owned).to_vec();
        asked.push((format!("only {feature}"), flags, vec![feature]));
    }
    asked.push(("all features".to_owned(), vec!["--all-features".to_owned()], all.clone()));

    let tested = [vec![], vec!["default"], all].map(|wanted| enabled(features, &wanted));
    let mut seen = BTreeSet::new();
    let mut shapes = Vec::new();
    for (name, flags, wanted) in asked {
        let enabled = enabled(features, &wanted);
        let has_tests = tested.contains(&enabled);
        if seen.insert(enabled) {
            shapes.push(Shape { is_bare: wanted.is_empty(), has_tests, name, flags });
        }
    }
    shapes
}

/// Everything that `wanted` turns on: the crate's own features and what they ask of dependencies (`dep:x`, `x/y`).
/// `default` by itself changes nothing about what is compiled, so it does not count.
fn enabled(features: &BTreeMap<String, Vec<String>>, wanted: &[&str]) -> BTreeSet<String> {
    let mut on = BTreeSet::new();
    let mut queue: Vec<String> = wanted.iter().map(|feature| (*feature).to_owned()).collect();
    while let Some(feature) = queue.pop() {
        if on.insert(feature.clone()) {
            queue.extend(features.get(&feature).into_iter().flatten().cloned());
        }
    }
    on.remove("default");
    on
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(table: &[(&str, &[&str])]) -> Vec<String> {
        let features = table
            .iter()
            .map(|(name, on)| ((*name).to_owned(), on.iter().map(|f| (*f).to_owned()).collect()))
            .collect();
        shapes(&features).into_iter().map(|shape| shape.name).collect()
    }

    #[test]
    fn equal_sets_are_checked_once_and_different_ones_never_dropped() {
        assert_eq!(names(&[]), ["no default features"]);
        assert_eq!(names(&[("default", &[]), ("test-util", &[])]), ["no default features", "only test-util"]);
        assert_eq!(names(&[("default", &["a"]), ("a", &["dep:x"])]), ["no default features", "default"]);
        assert_eq!(
            names(&[("default", &["a"]), ("full", &["a", "b"]), ("a", &["dep:x"]), ("b", &["dep:y", "a"])]),
            ["no default features", "default", "only b", "only full"]
        );
        assert_eq!(
            names(&[("a", &[]), ("b", &[])]),
            ["no default features", "only a", "only b", "all features"]
        );
    }

    #[test]
    fn tests_are_compiled_with_nothing_the_defaults_and_all() {
        let table = [("default", vec!["a"]), ("a", vec![]), ("b", vec![]), ("c", vec!["a"])];
        let features = table
            .map(|(name, on)| (name.to_owned(), on.into_iter().map(str::to_owned).collect()))
            .into_iter()
            .collect();
        let shapes = shapes(&features);
        let tested: Vec<(&str, bool)> =
            shapes.iter().map(|shape| (shape.name.as_str(), shape.has_tests)).collect();
        let expected = [
            ("no default features", true),
            ("default", true),
            ("only b", false),
            ("only c", false),
            ("all features", true),
        ];
        assert_eq!(tested, expected);
    }

    #[test]
    fn a_feature_cycle_ends() {
        assert_eq!(names(&[("a", &["b"]), ("b", &["a"])]), ["no default features", "only a"]);
    }
}
