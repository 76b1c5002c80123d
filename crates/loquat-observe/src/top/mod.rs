//! What a program does right now, from two looks at its metrics: rates, percentiles, who is busy. For `loquat top`.
//!
//! It reads what any scraper reads, so it works on whatever serves these metrics, here or elsewhere.

mod fetch;
mod parse;

use std::{collections::BTreeMap, fmt::Write, time::Duration};

pub use fetch::{Address, fetch};
use parse::samples;

/// One look.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    endpoints: BTreeMap<(String, String), Endpoint>,
    cache: BTreeMap<String, [f64; 2]>,
    /// Endpoints whose circuit is not closed.
    open: Vec<String>,
    connections: f64,
    opened: f64,
    reused: f64,
    dropped: f64,
    cost: BTreeMap<String, f64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Endpoint {
    finished: f64,
    failed: f64,
    in_flight: f64,
    tokens: f64,
    chunks: f64,
    retries: f64,
    /// Upper edge and count, as they come: summed up.
    first_chunk: Vec<(f64, f64)>,
}

impl Look {
    /// Reads a page of metrics in Prometheus' text.
    pub fn parse(page: &str) -> Self {
        let mut look = Self::default();
        for sample in samples(page) {
            let provider = [sample.label("gen_ai_provider_name"), sample.label("gen_ai_system")].concat();
            let key = (provider, sample.label("gen_ai_request_model").to_owned());
            let endpoints = &mut look.endpoints;
            let of = move || endpoints.entry(key).or_default();
            let value = sample.value;
            match sample.name {
                "gen_ai_client_operation_duration_seconds_count" => match sample.label("error_type") {
                    "" => of().finished += value,
                    _ => of().failed += value,
                },
                "loquat_operations_in_flight" => of().in_flight += value,
                "gen_ai_client_token_usage_sum" if sample.label("gen_ai_token_type") == "output" => {
                    of().tokens += value;
                }
                "loquat_chunks_total" => of().chunks += value,
                "loquat_retries_total" => of().retries += value,
                "gen_ai_client_operation_time_to_first_chunk_seconds_bucket" => {
                    if let Ok(edge) = sample.label("le").parse() {
                        of().first_chunk.push((edge, value));
                    }
                }
                "loquat_cache_requests_total" => {
                    let both = look.cache.entry(sample.label("tier").to_owned()).or_default();
                    both[usize::from(sample.label("result") != "hit")] += value;
                }
                "loquat_breaker_state" if value > 0.0 => look.open.push(sample.label("endpoint").to_owned()),
                "loquat_pool_connections" => look.connections += value,
                "loquat_pool_opened_total" => look.opened += value,
                "loquat_pool_reused_total" => look.reused += value,
                "loquat_observe_dropped_total" => look.dropped += value,
                "loquat_cost_total" => {
                    *look.cost.entry(sample.label("currency").to_owned()).or_default() += value;
                }
                _ => {}
            }
        }
        look
    }

    /// What has happened since an earlier look, as a table for a screen of so many columns.
    pub fn since(&self, earlier: &Self, elapsed: Duration, columns: usize) -> String {
        let seconds = elapsed.as_secs_f64().max(1e-3);
        let nothing = Endpoint::default();
        let mut rows: Vec<Row> = self
            .endpoints
            .iter()
            .filter(|(_, now)| now.finished + now.failed + now.in_flight > 0.0)
            .map(|(key, now)| {
                let name = format!("{}/{}", key.0, key.1);
                Row::new(name, now, earlier.endpoints.get(key).unwrap_or(&nothing), seconds)
            })
            .collect();
        rows.sort_by(|a, b| b.requests.total_cmp(&a.requests).then_with(|| a.name.cmp(&b.name)));
        let mut all = Row { name: "all".into(), ..Row::default() };
        rows.iter().for_each(|row| all.add(row));

        let name_width = columns.saturating_sub(WIDTH_OF_NUMBERS).clamp(12, 48);
        let mut out = format!(
            "{:<name_width$} {:>8} {:>7} {:>6} {:>9} {:>9} {:>9} {:>8} {:>8}\n",
            "ENDPOINT", "REQ/S", "ERR %", "LIVE", "TTFT P50", "TTFT P95", "TOKENS/S", "CHUNKS/S", "RETRY/S"
        );
        for row in rows.iter().chain([&all]) {
            row.write(&mut out, name_width);
        }
        out.push('\n');
        self.footer(earlier, &mut out);
        out
    }

    fn footer(&self, earlier: &Self, out: &mut String) {
        // A String takes whatever is written.
        let requests = self.opened + self.reused;
        let reused = if requests > 0.0 { self.reused / requests * 100.0 } else { 0.0 };
        let _ = writeln!(out, "connections {:.0}   reused {reused:.1} %", self.connections);
        for (tier, [hits, misses]) in &self.cache {
            let [before_hits, before_misses] = earlier.cache.get(tier).copied().unwrap_or_default();
            let (hits, asked) = (hits - before_hits, hits - before_hits + misses - before_misses);
            let part = if asked > 0.0 { format!("{:.1} %", hits / asked * 100.0) } else { "-".into() };
            let _ = writeln!(out, "cache {} hits {part}", clean(tier));
        }
        for (currency, spent) in &self.cost {
            let _ = writeln!(out, "cost {spent:.4} {}", clean(currency));
        }
        if !self.open.is_empty() {
            let open: Vec<String> = self.open.iter().map(|name| clean(name)).collect();
            let _ = writeln!(out, "circuit not closed: {}", open.join(", "));
        }
        if self.dropped > 0.0 {
            let _ = writeln!(out, "spans dropped: {:.0}", self.dropped);
        }
    }
}

/// All columns but the first, and what stands between.
const WIDTH_OF_NUMBERS: usize = 73;

/// One line of the table.
#[derive(Debug, Default)]
struct Row {
    name: String,
    requests: f64,
    failed: f64,
    live: f64,
    tokens: f64,
    chunks: f64,
    retries: f64,
    /// Edge and count since, summed up.
    first_chunk: Vec<(f64, f64)>,
}

impl Row {
    fn new(name: String, now: &Endpoint, then: &Endpoint, seconds: f64) -> Self {
        // A counter that fell has begun anew: all of it is since.
        let more = |now: f64, then: f64| if now >= then { now - then } else { now };
        let rate = |now, then| more(now, then) / seconds;
        let before =
            |edge: f64| then.first_chunk.iter().find(|(known, _)| *known == edge).map_or(0.0, |b| b.1);
        Self {
            name,
            requests: rate(now.finished + now.failed, then.finished + then.failed),
            failed: rate(now.failed, then.failed),
            live: now.in_flight,
            tokens: rate(now.tokens, then.tokens),
            chunks: rate(now.chunks, then.chunks),
            retries: rate(now.retries, then.retries),
            first_chunk: now
                .first_chunk
                .iter()
                .map(|(edge, count)| (*edge, more(*count, before(*edge))))
                .collect(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.live += other.live;
        self.tokens += other.tokens;
        self.chunks += other.chunks;
        self.retries += other.retries;
        for (edge, count) in &other.first_chunk {
            match self.first_chunk.iter_mut().find(|(known, _)| known == edge) {
                Some((_, sum)) => *sum += count,
                None => self.first_chunk.push((*edge, *count)),
            }
        }
    }

    fn write(&self, out: &mut String, name_width: usize) {
        let errors = if self.requests > 0.0 { self.failed / self.requests * 100.0 } else { 0.0 };
        let name: String = clean(&self.name).chars().take(name_width).collect();
        let time = |part| quantile(&self.first_chunk, part).map_or_else(|| "-".into(), shown);
        let (p50, p95): (String, String) = (time(0.5), time(0.95));
        let _ = writeln!(
            out,
            "{name:<name_width$} {:>8.1} {errors:>7.1} {:>6.0} {p50:>9} {p95:>9} {:>9.0} {:>8.0} {:>8.1}",
            self.requests, self.live, self.tokens, self.chunks, self.retries
        );
    }
}

fn shown(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

/// Nothing that moves a cursor or turns a line round: names come from elsewhere.
fn clean(text: &str) -> String {
    /// All with the property `Bidi_Control` (UAX #9 §2).
    const fn is_bidi_control(c: char) -> bool {
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    }
    text.chars().map(|c| if c.is_control() || is_bidi_control(c) { ' ' } else { c }).collect()
}

/// As Prometheus' `histogram_quantile`: linear within the bucket. `None` where nothing was counted.
fn quantile(buckets: &[(f64, f64)], part: f64) -> Option<f64> {
    let mut buckets = buckets.to_vec();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all = buckets.last().map(|last| last.1).filter(|all| *all > 0.0)?;
    let rank = part * all;
    let index = buckets.iter().position(|(_, count)| *count >= rank)?;
    let (edge, count) = *buckets.get(index)?;
    let (low, before) =
        index.checked_sub(1).and_then(|below| buckets.get(below)).copied().unwrap_or((0.0, 0.0));
    if edge.is_infinite() {
        return Some(low);
    }
    Some(low + (edge - low) * (rank - before) / (count - before).max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: &str = "gen_ai_provider_name=\"openai\",gen_ai_request_model=\"gpt-5\"";

    fn page(finished: u32, failed: u32, slow: u32, tokens: u32) -> String {
        let duration = "gen_ai_client_operation_duration_seconds_count";
        let first = "gen_ai_client_operation_time_to_first_chunk_seconds_bucket";
        let quick = finished - slow;
        format!(
            "{duration}{{{LABELS}}} {finished}\n{duration}{{{LABELS},error_type=\"timeout\"}} {failed}\n\
             {first}{{{LABELS},le=\"0.32\"}} {quick}\n{first}{{{LABELS},le=\"0.64\"}} {finished}\n\
             {first}{{{LABELS},le=\"+Inf\"}} {finished}\nloquat_operations_in_flight{{{LABELS}}} 7\n\
             gen_ai_client_token_usage_sum{{{LABELS},gen_ai_token_type=\"output\"}} {tokens}\n\
             loquat_cache_requests_total{{tier=\"l1\",result=\"hit\"}} {finished}\n\
             loquat_cache_requests_total{{tier=\"l1\",result=\"miss\"}} {failed}\n\
             loquat_breaker_state{{endpoint=\"e\u{1b}\u{202e}\u{200f}x\"}} 1\nloquat_pool_connections 3\n"
        )
    }

    #[test]
    fn rates_and_percentiles_of_what_is_new() {
        let (then, now) = (Look::parse(&page(100, 0, 0, 1000)), Look::parse(&page(190, 10, 18, 6000)));
        let expected = "\
ENDPOINT        REQ/S   ERR %   LIVE  TTFT P50  TTFT P95  TOKENS/S CHUNKS/S  RETRY/S
openai/gpt-5     50.0    10.0      7    200 ms    560 ms      2500        0      0.0
all              50.0    10.0      7    200 ms    560 ms      2500        0      0.0

connections 3   reused 0.0 %
cache l1 hits 90.0 %
circuit not closed: e   x
";
        let shown = now.since(&then, Duration::from_secs(2), 80);
        assert_eq!(shown, expected, "\n{shown}");
    }

    #[test]
    fn a_program_that_began_anew_and_nothing_at_all() {
        let (then, now) = (Look::parse(&page(1000, 0, 0, 0)), Look::parse(&page(10, 0, 0, 0)));
        assert!(now.since(&then, Duration::from_secs(1), 0).contains(" 10.0 "));
        assert!(Look::default().since(&then, Duration::ZERO, 200).contains("all"));
    }
}
