//! Prometheus' text, read: names, labels, numbers. Whatever else is there is passed over.

use std::collections::BTreeMap;

/// Most bytes of a page that are read; more samples than that are no program's own.
pub(super) const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;

/// One line.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    pub(super) labels: BTreeMap<&'a str, String>,
    pub(super) value: f64,
}

impl Sample<'_> {
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// The samples of a page, in its order.
pub(super) fn samples(page: &str) -> impl Iterator<Item = Sample<'_>> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(sample)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let name_end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    let mut rest = rest;
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, quoted) = rest.split_once("=\"")?;
            let (value, after) = unquoted(quoted)?;
            labels.insert(label, value);
            rest = after;
        }
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name, labels, value })
}

/// What stands before the closing quote, and what after.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_good_and_bad() {
        let page = "# HELP a b\na{x=\"1\",y=\"q\\\"\\\\\\n}\"} 2.5 1700\nb 1\nc{} +Inf\nbad{x=\"1\nbad\nbad{x} 1\nbad x\n";
        let read: Vec<_> =
            samples(page).map(|sample| (sample.name, sample.labels.len(), sample.value)).collect();
        assert_eq!(read, [("a", 2, 2.5), ("b", 0, 1.0), ("c", 0, f64::INFINITY)]);
        assert_eq!(samples(page).next().expect("a sample").label("y"), "q\"\\\n}");
    }
}
