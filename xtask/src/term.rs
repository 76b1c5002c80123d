//! What the user sees: lines, steps, tables, wall times. Colour only where standard output is a terminal and `NO_COLOR` is
//! unset. Write errors are ignored: `cargo xtask … | head` is not a failure of the task.

use std::{
    fmt::Display,
    io::{IsTerminal, Write, stderr, stdout},
    time::Duration,
};

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// One line on standard output. Silent under unit tests: what is written past their capture reads like a failure.
pub(crate) fn say(line: impl Display) {
    if !cfg!(test) {
        let _ = writeln!(stdout().lock(), "{line}");
    }
}

/// `==> name`: the start of a step.
pub(crate) fn step(name: &str) {
    say(paint(BOLD, &format!("==> {name}")));
}

/// A detail below a step: the command that is run, a path, a choice made.
pub(crate) fn detail(text: &str) {
    say(paint(DIM, &format!("    {text}")));
}

/// One line on standard error, where errors go.
pub(crate) fn error(text: &str) {
    if cfg!(test) {
        return;
    }
    let line = if stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("{RED}error:{RESET} {text}")
    } else {
        format!("error: {text}")
    };
    let _ = writeln!(stderr().lock(), "{line}");
}

pub(crate) fn ok() -> String {
    paint(GREEN, "ok")
}

pub(crate) fn failed() -> String {
    paint(RED, "FAILED")
}

/// `0.42 s`, `12.3 s`, `3 min 07 s`.
pub(crate) fn seconds(took: Duration) -> String {
    let total = took.as_secs_f64();
    if total >= 99.95 {
        let whole = took.as_secs();
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else if total >= 9.95 {
        format!("{total:.1} s")
    } else {
        format!("{total:.2} s")
    }
}

/// Prints rows under a header, columns padded to their widest cell; the first column left, the others as `right` says.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>], right: bool) {
    say("");
    for line in render(header, rows, right) {
        say(line);
    }
}

fn render(header: &[&str], rows: &[Vec<String>], right: bool) -> Vec<String> {
    let columns = header.len();
    let mut widths: Vec<usize> = header.iter().map(|cell| width(cell)).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate().take(columns) {
            widths[column] = widths[column].max(width(cell));
        }
    }
    let line = |cells: &[String]| {
        let mut out = String::new();
        for (column, cell) in cells.iter().enumerate().take(columns) {
            let pad = " ".repeat(widths[column] - width(cell));
            let left_aligned = column == 0 || !right;
            out.push_str(if column == 0 { "  " } else { "   " });
            out.push_str(if left_aligned { "" } else { &pad });
            out.push_str(cell);
            out.push_str(if left_aligned { &pad } else { "" });
        }
        out.trim_end().to_owned()
    };
    let head: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    std::iter::once(line(&head)).chain(rows.iter().map(|row| line(row))).collect()
}

/// Columns a cell takes on a terminal: characters, colour codes not counted.
fn width(cell: &str) -> usize {
    let mut count = 0;
    let mut in_code = false;
    for c in cell.chars() {
        match c {
            '\x1b' => in_code = true,
            'm' if in_code => in_code = false,
            _ if !in_code => count += 1,
            _ => {}
        }
    }
    count
}

fn paint(colour: &str, text: &str) -> String {
    if stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("{colour}{text}{RESET}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_ignore_colour_codes() {
        let rows = vec![
            vec!["fmt".to_owned(), format!("{GREEN}ok{RESET}"), "1.00 s".to_owned()],
            vec!["clippy".to_owned(), "FAILED".to_owned(), "12.0 s".to_owned()],
        ];
        let lines = render(&["step", "result", "time"], &rows, false);
        assert_eq!(lines[0], "  step     result   time");
        assert_eq!(lines[1], format!("  fmt      {GREEN}ok{RESET}       1.00 s"));
        assert_eq!(lines[2], "  clippy   FAILED   12.0 s");
        assert_eq!(render(&["a", "bbb"], &[vec!["x".into(), "1".into()]], true)[1], "  x     1");
    }

    #[test]
    fn durations_read_well() {
        let shown = |ms| seconds(Duration::from_millis(ms));
        assert_eq!(shown(420), "0.42 s");
        assert_eq!(shown(12_340), "12.3 s");
        assert_eq!(shown(187_000), "3 min 07 s");
    }
}
