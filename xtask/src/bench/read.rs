//! From criterion's files and the side file to one row per case. Pure but for reading files.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One case: ours beside its peers.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    /// `ns/op`, or what the side file says. Of rates (a unit that ends in `/s`), `streams` and `% reused` more is better.
    pub(crate) unit: String,
    pub(crate) ours: f64,
    pub(crate) peers: BTreeMap<String, f64>,
    pub(crate) floor: Option<f64>,
    pub(crate) allocs_per_op: Option<f64>,
}

impl Row {
    /// How many times better than a peer's figure ours is.
    pub(crate) fn ratio(&self, peer: f64) -> f64 {
        let more_is_better = self.unit.ends_with("/s") || self.unit == "streams" || self.unit == "% reused";
        if more_is_better { self.ours / peer } else { peer / self.ours }
    }
}

/// One figure of one contender, or its allocations, or both.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Figure {
    case: String,
    who: String,
    value: Option<f64>,
    unit: Option<String>,
    allocs_per_op: Option<f64>,
}

/// The medians below a criterion folder, per operation.
pub(crate) fn criterion(folder: &Path) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if folder.ends_with("new") && folder.join("estimates.json").exists() {
            let text = |name| fs::read_to_string(folder.join(name));
            let figure = median(&text("benchmark.json")?, &text("estimates.json")?);
            figures.push(figure.with_context(|| format!("criterion's files in {}", folder.display()))?);
            continue;
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(figures)
}

/// The side file's lines.
pub(crate) fn side(text: &str) -> Result<Vec<Figure>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            serde_json::from_str(line).with_context(|| format!("side file, line {}: {line}", at + 1))
        })
        .collect()
}

/// Figures by case, in order of case; and the cases without a figure of ours, which make no row.
pub(crate) fn rows(figures: Vec<Figure>) -> (Vec<Row>, Vec<String>) {
    let mut cases: BTreeMap<String, Vec<Figure>> = BTreeMap::new();
    for figure in figures {
        cases.entry(figure.case.clone()).or_default().push(figure);
    }
    let (mut rows, mut without_ours) = (Vec::new(), Vec::new());
    for (case, figures) in cases {
        match row(&case, figures) {
            Some(row) => rows.push(row),
            None => without_ours.push(case),
        }
    }
    (rows, without_ours)
}

fn row(case: &str, figures: Vec<Figure>) -> Option<Row> {
    let ours = figures.iter().find(|figure| figure.who == "ours" && figure.value.is_some())?;
    let mut row = Row {
        case: case.to_owned(),
        unit: ours.unit.clone().unwrap_or_else(|| "ns/op".to_owned()),
        ours: ours.value?,
        peers: BTreeMap::new(),
        floor: None,
        allocs_per_op: None,
    };
    for figure in figures {
        match (figure.who.as_str(), figure.value) {
            ("ours", _) => row.allocs_per_op = figure.allocs_per_op.or(row.allocs_per_op),
            ("floor", Some(value)) => row.floor = Some(value),
            (_, Some(value)) => drop(row.peers.insert(figure.who, value)),
            (_, None) => {}
        }
    }
    Some(row)
}

fn median(benchmark: &str, estimates: &str) -> Result<Figure> {
    #[derive(Deserialize)]
    struct Benchmark {
        function_id: Option<String>,
        value_str: Option<String>,
        throughput: Option<BTreeMap<String, u64>>,
    }
    #[derive(Deserialize)]
    struct Estimates {
        median: Estimate,
    }
    #[derive(Deserialize)]
    struct Estimate {
        point_estimate: f64,
    }
    let benchmark: Benchmark = serde_json::from_str(benchmark)?;
    let estimates: Estimates = serde_json::from_str(estimates)?;
    let operations = benchmark.throughput.and_then(|by| by.get("Elements").copied()).unwrap_or(1).max(1);
    Ok(Figure {
        case: benchmark.function_id.context("the id has no case: it must be group/case/who")?,
        who: benchmark.value_str.context("the id does not say who: it must be group/case/who")?,
        value: Some(estimates.median.point_estimate / precise(operations)),
        unit: None,
        allocs_per_op: None,
    })
}

/// A count as a float; counts of operations stay far below 2^32.
fn precise(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_per_operation() {
        let benchmark = r#"{"group_id":"decode","function_id":"frames","value_str":"ours","throughput":{"Elements":4},
            "full_id":"decode/frames/ours","directory_name":"decode/frames/ours","title":"decode/frames/ours"}"#;
        let estimates = r#"{"mean":{"point_estimate":9.0},"median":{"point_estimate":8.0}}"#;
        let figure = median(benchmark, estimates).unwrap();
        assert_eq!((figure.case.as_str(), figure.who.as_str(), figure.value), ("frames", "ours", Some(2.0)));
        assert!(median(r#"{"function_id":"frames","value_str":null}"#, estimates).is_err());
    }

    #[test]
    fn side_figures_join_their_case_and_rates_turn_the_ratio_round() {
        let text = r#"{"case":"generate","who":"ours","value":90.0,"unit":"tokens/s"}
            {"case":"generate","who":"llama.cpp","value":120.0,"unit":"tokens/s"}

            {"case":"generate","who":"ours","allocs_per_op":3.5}
            {"case":"orphan","who":"peer","value":1.0}"#;
        let (rows, without_ours) = rows(side(text).unwrap());
        assert_eq!((rows.len(), without_ours), (1, vec!["orphan".to_owned()]));
        assert_eq!(rows[0].unit, "tokens/s");
        assert_eq!(rows[0].allocs_per_op, Some(3.5));
        assert!((rows[0].ratio(rows[0].peers["llama.cpp"]) - 0.75).abs() < 1e-9);
        assert!(side("{\"case\":1}").is_err());
    }

    #[test]
    fn times_favour_the_smaller() {
        let figure = |who: &str, value| Figure {
            case: "frames".to_owned(),
            who: who.to_owned(),
            value: Some(value),
            unit: None,
            allocs_per_op: None,
        };
        let (rows, _) = rows(vec![
            figure("ours", 2.0),
            figure("memchr", 1.0),
            figure("floor", 0.5),
            figure("slow", 20.0),
        ]);
        assert_eq!(rows[0].unit, "ns/op");
        assert_eq!(rows[0].floor, Some(0.5));
        assert!((rows[0].ratio(rows[0].peers["slow"]) - 10.0).abs() < 1e-9);
    }
}
