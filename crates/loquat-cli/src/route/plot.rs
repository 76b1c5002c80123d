//! A simulation as a picture: below, who was asked in each second; above, what the callers waited.

use std::fmt::Write;

use loquat::router::simulate::Report;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 70.0;
/// Told apart by most eyes, also without colour vision (Okabe and Ito, 2008); after eight they come again.
const COLOURS: [&str; 8] =
    ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000"];

/// The plot. Names are written as text and never as markup.
pub(super) fn svg(report: &Report, route: &str) -> String {
    let seconds = report.seconds.len().max(1) as f64;
    let x = |second: usize| LEFT + second as f64 / seconds * WIDTH;
    let legend = report.servers.len().min(40) as f64 * 16.0;
    let total = 2.0 * HEIGHT + 110.0 + legend;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" height=\"{total:.0}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        LEFT + WIDTH + 20.0
    );
    let mut put = |text: String| svg.push_str(&text);
    let waits: Vec<_> =
        report.seconds.iter().map(|second| second.percentile(95.0).map(|p95| p95.as_secs_f64())).collect();
    let most_wait = waits.iter().flatten().copied().fold(0.001, f64::max);
    put(label(
        LEFT,
        18.0,
        &format!("route {route}: P95 of the time to first token, up to {:.0} ms", most_wait * 1e3),
    ));
    let line: String = waits.iter().enumerate().fold(String::new(), |mut line, (second, wait)| {
        if let Some(wait) = wait {
            let _ = write!(line, "{:.1},{:.1} ", x(second), 30.0 + HEIGHT * (1.0 - wait / most_wait));
        }
        line
    });
    put(format!(
        "<polyline fill=\"none\" stroke=\"#d55e00\" stroke-width=\"1.5\" points=\"{}\"/>\n",
        line.trim_end()
    ));
    let base = 2.0 * HEIGHT + 60.0;
    let most = report.seconds.iter().map(|second| second.asked.iter().sum::<u32>()).max().unwrap_or(1).max(1);
    put(label(LEFT, base - HEIGHT - 10.0, &format!("attempts in each second, by endpoint, up to {most}")));
    let bar = (WIDTH / seconds).max(0.2);
    for (second, known) in report.seconds.iter().enumerate() {
        let mut height = 0.0;
        for (server, &asked) in known.asked.iter().enumerate().filter(|(_, asked)| **asked > 0) {
            let part = f64::from(asked) / f64::from(most) * HEIGHT;
            height += part;
            put(format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{bar:.1}\" height=\"{part:.1}\" fill=\"{}\"/>\n",
                x(second),
                base - height,
                COLOURS[server % COLOURS.len()]
            ));
        }
    }
    put(label(LEFT, base + 16.0, &format!("{seconds:.0} seconds")));
    for (at, server) in report.servers.iter().take(40).enumerate() {
        let y = base + 40.0 + at as f64 * 16.0;
        let colour = COLOURS[at % COLOURS.len()];
        put(format!(
            "<rect x=\"{LEFT:.0}\" y=\"{:.0}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\n",
            y - 9.0
        ));
        put(label(LEFT + 16.0, y, &server.name));
    }
    svg + "</svg>\n"
}

fn label(x: f64, y: f64, text: &str) -> String {
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
    format!("<text x=\"{x:.0}\" y=\"{y:.0}\">{escaped}</text>\n")
}
