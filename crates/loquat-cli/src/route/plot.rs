//! A simulation as a picture: below, who was asked in each second; above, what the callers waited. Both have axes with round
//! numbers and units, so that the picture can be read without the figures beside it.

use std::{fmt::Write, time::Duration};

use loquat::router::simulate::Report;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 76.0;
/// Where each chart's upper edge is.
const TOPS: [f64; 2] = [48.0, 334.0];
const ROW: f64 = 18.0;
/// Most columns of a chart: three points wide, so that a day is as readable as a minute.
const MOST_COLUMNS: usize = 300;
/// Columns of the legend; more rows make a taller picture.
const COLUMNS: usize = 4;
/// Most endpoints in the legend.
const NAMED: usize = 40;
/// Told apart by most eyes, also without colour vision (Okabe and Ito, 2008); after eight they come again.
const COLOURS: [&str; 8] =
    ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000"];

/// The plot of a script that lasts so long. Names are written as text and never as markup.
pub(super) fn svg(report: &Report, route: &str, lasts: Duration) -> String {
    // Whatever comes last may be long before the end, and an answer may come after it.
    let whole = report.seconds.len().max(usize::try_from(lasts.as_secs()).unwrap_or(0)).max(1);
    let each = whole.div_ceil(MOST_COLUMNS);
    let columns = report.columns(each);
    let (seconds, each) = (whole as f64, each as f64);
    let shown = report.servers.len().min(NAMED);
    let legend = TOPS[1] + HEIGHT + 66.0;
    let total = legend + shown.div_ceil(COLUMNS) as f64 * ROW + 12.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" height=\"{total:.0}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        LEFT + WIDTH + 30.0
    );
    let [waits, asked] = TOPS;

    let p95: Vec<_> =
        columns.iter().map(|column| column.percentile(95.0).map(|p95| p95.as_secs_f64() * 1e3)).collect();
    let most = p95.iter().flatten().copied().fold(1.0, f64::max);
    let scale = Scale::up_to(most);
    svg += &text(LEFT, waits - 26.0, "start", &format!("Route {route}: P95 of the time to first token (ms)"));
    svg += &axes(waits, &scale, seconds);
    // The last column may hold fewer seconds.
    let lasts = |at: usize| each.min(seconds - at as f64 * each);
    let middle = |at: usize| x(at as f64 * each + lasts(at) / 2.0, seconds);
    svg += &lines(&p95, middle, |wait| scale.y(waits, wait));

    let rates = columns
        .iter()
        .enumerate()
        .map(|(at, column)| f64::from(column.asked.iter().sum::<u32>()) / lasts(at));
    let scale = Scale::up_to(rates.fold(1.0, f64::max));
    svg += &text(LEFT, asked - 26.0, "start", "Attempts, by endpoint (per second)");
    svg += &axes(asked, &scale, seconds);
    for (at, column) in columns.iter().enumerate() {
        let from = at as f64 * each;
        let bar = x(from + lasts(at), seconds) - x(from, seconds);
        let mut below = 0.0;
        for (server, &count) in column.asked.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = f64::from(count) / lasts(at);
            let (lower, upper) = (scale.y(asked, below), scale.y(asked, below + count));
            below += count;
            svg += &rectangle(x(from, seconds), upper, bar, lower - upper, server);
        }
    }
    svg += &text(LEFT + WIDTH / 2.0, asked + HEIGHT + 34.0, "middle", "Time (s)");
    for (at, server) in report.servers.iter().take(shown).enumerate() {
        let left = LEFT + (at % COLUMNS) as f64 * (WIDTH / COLUMNS as f64);
        let y = legend + (at / COLUMNS) as f64 * ROW;
        svg += &rectangle(left, y - 10.0, 11.0, 11.0, at);
        svg += &text(left + 17.0, y, "start", &shortened(&server.name));
    }
    svg + "</svg>\n"
}

fn x(second: f64, seconds: f64) -> f64 {
    LEFT + second / seconds * WIDTH
}

/// An axis: from zero to a round number, with round steps.
struct Scale {
    step: f64,
    steps: u32,
}

impl Scale {
    /// Four to eight steps of 1, 2 or 5 times a power of ten.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most eight")]
    fn up_to(most: f64) -> Self {
        let most = if most.is_finite() { most.max(1e-3) } else { 1.0 };
        let power = 10_f64.powf((most / 8.0).log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| most / step <= 8.0);
        let step = step.unwrap_or(power * 10.0);
        Self { step, steps: ((most / step).ceil() as u32).max(1) }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let step = self.step;
        (0..=self.steps).map(move |at| f64::from(at) * step)
    }

    fn y(&self, top: f64, value: f64) -> f64 {
        top + HEIGHT * (1.0 - value / (f64::from(self.steps) * self.step))
    }
}

/// The frame of a chart: lines across with their numbers, seconds below.
fn axes(top: f64, scale: &Scale, seconds: f64) -> String {
    let mut svg = String::new();
    for value in scale.ticks() {
        let y = scale.y(top, value);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>",
            LEFT + WIDTH
        );
        svg += &text(LEFT - 8.0, y + 4.0, "end", &number(value));
    }
    let bottom = top + HEIGHT;
    for second in Scale::up_to(seconds).ticks().filter(|second| *second <= seconds) {
        let x = x(second, seconds);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{bottom:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#444444\"/>",
            bottom + 5.0
        );
        svg += &text(x, bottom + 18.0, "middle", &number(second));
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT:.1} {top:.1}V{bottom:.1}H{:.1}\" fill=\"none\" stroke=\"#444444\"/>",
        LEFT + WIDTH
    );
    svg
}

/// The values as a line that breaks off where there is none; one alone is a dot.
fn lines(values: &[Option<f64>], x: impl Fn(usize) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut svg = String::new();
    for run in values.iter().enumerate().collect::<Vec<_>>().chunk_by(|a, b| a.1.is_some() == b.1.is_some()) {
        let points: Vec<_> = run
            .iter()
            .filter_map(|(at, value)| Some(format!("{:.1},{:.1}", x(*at), y((**value)?))))
            .collect();
        match points.as_slice() {
            [] => {}
            [point] => {
                let (x, y) = point.split_once(',').unwrap_or_default();
                let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"{y}\" r=\"1.5\" fill=\"#d55e00\"/>");
            }
            points => {
                let points = points.join(" ");
                let _ = writeln!(
                    svg,
                    "<polyline fill=\"none\" stroke=\"#d55e00\" stroke-width=\"1.5\" points=\"{points}\"/>"
                );
            }
        }
    }
    svg
}

fn rectangle(x: f64, y: f64, width: f64, height: f64, server: usize) -> String {
    let colour = COLOURS[server % COLOURS.len()];
    format!(
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>\n"
    )
}

/// Whole numbers as they are, others as short as they go.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// As many letters as a column of the legend holds.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(28) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.to_owned(),
    }
}

fn text(x: f64, y: f64, anchor: &str, text: &str) -> String {
    let escaped: String = text
        .chars()
        .filter(|letter| !letter.is_control())
        .map(|letter| match letter {
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '&' => "&amp;".to_owned(),
            letter => letter.to_string(),
        })
        .collect();
    format!("<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"{anchor}\">{escaped}</text>\n")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use loquat::router::simulate::{Chooser, Script, Second, Server, run};

    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (most, ticks) in [
            (1.0, "0 0.2 0.4 0.6 0.8 1"),
            (42.0, "0 10 20 30 40 50"),
            (120.0, "0 20 40 60 80 100 120"),
            (9_700.0, "0 2000 4000 6000 8000 10000"),
            (0.0, "0 0.001"),
            (f64::INFINITY, "0 0.2 0.4 0.6 0.8 1"),
        ] {
            let found = Scale::up_to(most).ticks().map(number).collect::<Vec<_>>().join(" ");
            assert!(found == ticks || most == 0.0, "{most}: {found}");
            assert!(Scale::up_to(most).y(0.0, most.min(1e9)) <= HEIGHT, "{most}");
        }
    }

    /// What the rectangles' widths and the numbers below the axis say, of a script that lasts so long with an attempt in each second.
    #[test]
    fn a_chart_has_at_most_three_hundred_columns_and_goes_to_the_scripts_end() {
        for (lasts, columns, last) in
            [(3, 1, "3"), (300, 300, "300"), (301, 151, "300"), (86_400, 300, "80000")]
        {
            let mut script = Script::default();
            (script.servers, script.rate, script.duration) =
                (vec![Server::new("s")], 1e-9, Duration::from_secs(lasts));
            let mut report = run(&script, &mut [Box::new(Nobody) as Box<dyn Chooser>], Instant::now());
            let asked = if lasts == 3 { 1 } else { usize::try_from(lasts).expect("small") };
            report.seconds = vec![Second::default(); asked];
            report.seconds.iter_mut().for_each(|second| second.asked = vec![1]);
            let svg = svg(&report, "r", script.duration);
            let bars =
                svg.lines().filter(|line| line.starts_with("<rect x") && !line.contains("width=\"11.0\""));
            assert_eq!(bars.count(), columns, "{lasts} s");
            assert!(svg.contains(&format!("\">{last}</text>")), "{lasts} s: {svg}");
            // One a second, however many seconds a column has.
            let top = format!("y=\"{:.1}\" width", TOPS[1]);
            assert!(
                svg.lines().filter(|line| line.starts_with("<rect x")).any(|line| line.contains(&top)),
                "{svg}"
            );
        }
    }

    struct Nobody;

    impl Chooser for Nobody {
        fn choose(&mut self, _: u64, _: u32, _: &[usize], _: Instant) -> Option<usize> {
            None
        }
        fn first_token(&mut self, _: u64, _: usize, _: Duration, _: Instant) {}
        fn failed(&mut self, _: u64, _: usize, _: Option<Duration>, _: bool, _: Instant) {}
        fn done(&mut self, _: u64, _: usize, _: Instant) {}
        fn appeared(&mut self, _: usize, _: Instant) {}
    }

    #[test]
    fn gaps_are_no_lines() {
        let drawn = lines(&[Some(1.0), Some(2.0), None, Some(3.0), None], |at| at as f64 + 0.5, |y| y);
        assert_eq!((drawn.matches("<polyline").count(), drawn.matches("<circle").count()), (1, 1), "{drawn}");
        assert_eq!(shortened(&"é".repeat(40)).chars().count(), 29);
    }
}
