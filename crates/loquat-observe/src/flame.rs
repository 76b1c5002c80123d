//! Stacks as a picture: a flame graph in SVG 1.1, which any browser opens and which holds no script.
//!
//! A box is a function, as wide as the part of the samples it was in, above the one that called it
//! (<https://www.brendangregg.com/flamegraphs.html>). Its whole name and its part show when the pointer rests on it. Written here, since
//! the known library for it comes under a licence that this project does not take.

use std::{collections::BTreeMap, fmt::Write};

const WIDTH: f64 = 1200.0;
const ROW: usize = 17;
const MARGIN: usize = 10;
/// What is narrower than a third of a pixel nobody sees: it is left out, and so a picture has at most some thousand boxes a row.
const NARROWEST: f64 = 0.33;
/// How wide a letter is, about.
const LETTER: f64 = 6.6;
/// Most rows.
const MAX_DEPTH: usize = 200;

#[derive(Default)]
struct Node<'a> {
    count: u64,
    below: BTreeMap<&'a str, Node<'a>>,
}

/// The picture of stacks, outermost first, and how much was counted at each, in that unit.
pub(crate) fn svg<'a>(
    stacks: impl Iterator<Item = (&'a [String], u64)>,
    about: &str,
    unit: &'static str,
) -> String {
    let mut root = Node::default();
    for (stack, count) in stacks {
        root.count = root.count.saturating_add(count);
        let mut node = &mut root;
        for frame in stack.iter().take(MAX_DEPTH) {
            node = node.below.entry(frame).or_default();
            node.count = node.count.saturating_add(count);
        }
    }
    let mut picture = Picture { out: String::new(), all: root.count.max(1), rows: 0, unit };
    picture.boxes(&root, "all", 0.0, 0);
    // Rows count from below, and an image's from above: the drawing is turned by its frame.
    let height = (picture.rows + 1) * ROW + 4 * MARGIN;
    let base = height - MARGIN - ROW;
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<svg version=\"1.1\" xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" font-family=\"monospace\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text x=\"{MARGIN}\" y=\"20\">{}</text>\n\
         <g transform=\"translate({MARGIN} {base})\">",
        WIDTH + 2.0 * f64::from(u8::try_from(MARGIN).unwrap_or(0)),
        escaped(about),
    );
    out += &picture.out;
    out += "</g>\n</svg>\n";
    out
}

struct Picture {
    out: String,
    all: u64,
    rows: usize,
    unit: &'static str,
}

impl Picture {
    /// That function and those it called. The depth is bounded, and so is the recursion.
    #[expect(clippy::cast_precision_loss, reason = "places in a picture")]
    fn boxes(&mut self, node: &Node<'_>, name: &str, left: f64, row: usize) {
        let width = node.count as f64 / self.all as f64 * WIDTH;
        if width < NARROWEST {
            return;
        }
        self.rows = self.rows.max(row);
        let (part, room) = (node.count as f64 / self.all as f64 * 100.0, ((width - 6.0) / LETTER).max(0.0));
        let y = -((row * ROW) as f64);
        let _ = write!(
            self.out,
            "<g><title>{} ({} {}, {part:.2} %)</title><rect x=\"{left:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" \
             fill=\"{}\" rx=\"2\"/>",
            escaped(name),
            node.count,
            self.unit,
            ROW - 1,
            colour(name),
        );
        let label: String = name
            .chars()
            .scan(room, |room, letter| {
                *room -= 1.0;
                (*room >= 0.0).then_some(letter)
            })
            .collect();
        if label.chars().count() > 2 {
            let _ = write!(
                self.out,
                "<text x=\"{:.1}\" y=\"{}\">{}</text>",
                left + 3.0,
                y + 12.0,
                escaped(&label)
            );
        }
        self.out += "</g>\n";
        let mut left = left;
        for (name, below) in &node.below {
            self.boxes(below, name, left, row + 1);
            left += below.count as f64 / self.all as f64 * WIDTH;
        }
    }
}

/// Warm, and the same for the same name.
fn colour(name: &str) -> String {
    let hash =
        name.bytes().fold(2_166_136_261_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    format!("#{:02x}{:02x}{:02x}", 205 + hash % 50, 80 + (hash >> 8) % 130, (hash >> 16) % 55)
}

/// As text and attributes of XML 1.0 may hold it: what it does not allow at all becomes a question mark.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            letter if letter < ' ' || matches!(letter, '\u{7f}' | '\u{fffe}' | '\u{ffff}') => out.push('?'),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(stacks: &[(&[&str], u64)]) -> String {
        let stacks: Vec<(Vec<String>, u64)> = stacks
            .iter()
            .map(|(stack, count)| (stack.iter().map(|frame| (*frame).to_owned()).collect(), *count))
            .collect();
        svg(stacks.iter().map(|(stack, count)| (stack.as_slice(), *count)), "3 s at 99 Hz", "samples")
    }

    #[test]
    fn boxes_are_as_wide_as_their_part() {
        let picture = drawn(&[(&["main", "a"], 3), (&["main", "b", "c"], 1)]);
        for (name, part) in [
            ("all", "4 samples, 100.00 %"),
            ("main", "4 samples, 100.00 %"),
            ("a", "3 samples, 75.00 %"),
            ("c", "1 samples, 25.00 %"),
        ] {
            assert!(picture.contains(&format!("<title>{name} ({part})</title>")), "{picture}");
        }
        assert!(
            picture.contains("<rect x=\"900.0\" y=\"-34\" width=\"300.0\""),
            "b stands right of a: {picture}"
        );
        assert!(drawn(&[]).ends_with("</g>\n</svg>\n"), "nothing was running");
    }

    #[test]
    fn names_do_no_harm_and_depth_is_bounded() {
        let picture = drawn(&[(&["<script>alert(\"&\u{0}\")</script>", "é".repeat(500).as_str()], 1)]);
        assert!(
            picture.contains("&lt;script&gt;alert(&quot;&amp;?&quot;)") && !picture.contains("<script"),
            "{picture}"
        );
        let deep: Vec<&str> = std::iter::repeat_n("f", 5000).collect();
        let picture = drawn(&[(deep.as_slice(), u64::MAX), (&["g"], u64::MAX)]);
        assert!(picture.matches("<rect").count() <= MAX_DEPTH + 3, "bounded");
    }
}
