//! Rate limits in a response's headers, in whatever dialect they come.
//!
//! | who | names | values |
//! |---|---|---|
//! | OpenAI, Groq, xAI, Fireworks, Cerebras | `x-ratelimit-{limit,remaining,reset}-{requests,tokens,…}` | counts; `1m2.5s`, `26ms`, or seconds |
//! | Azure OpenAI | the same, and `x-ratelimit-renewalperiod-…` in seconds | a reset without a unit is in milliseconds |
//! | Mistral | `x-ratelimit-…-{req,tokens}-[10-]{second,minute,month}` | the window is in the name |
//! | Anthropic | `anthropic-ratelimit-{requests,input-tokens,…}-{limit,remaining,reset}` | a reset is a date (RFC 3339) |
//! | OpenRouter, Together | `x-ratelimit-{limit,remaining,reset}` | Unix milliseconds; seconds |
//!
//! What cannot be read is left out: a header is advice, and no reason to lose an answer.
//!
//! <https://platform.openai.com/docs/guides/rate-limits>, <https://docs.anthropic.com/en/api/rate-limits>,
//! <https://console.groq.com/docs/rate-limits>. That Azure means milliseconds is read off recordings: 14 of 120,000 tokens
//! per minute spent, reset `7`.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use loquat_core::{Metered, RateLimits, Reset};

/// Longest word kept for what a limit counts, in bytes; real ones are under 30.
const MAX_WORD_BYTES: usize = 64;

/// The limits that these headers tell.
pub(crate) fn limits(headers: &HeaderMap) -> RateLimits {
    let mut limits = RateLimits::default();
    let is_azure = ["x-ratelimit-renewalperiod-requests", "x-ratelimit-renewalperiod-tokens"]
        .iter()
        .any(|name| headers.contains_key(*name));
    for (name, value) in headers {
        let Some((field, what)) = field_of(name.as_str()) else { continue };
        let Ok(value) = value.to_str() else { continue };
        if what.len() > MAX_WORD_BYTES {
            continue;
        }
        let (metered, window) = metered(what);
        let number = count(value);
        match field {
            Field::Limit | Field::Remaining if number.is_none() => {}
            Field::Limit => set(&mut limits, &metered, window, |limit| limit.limit = number),
            Field::Remaining => set(&mut limits, &metered, window, |limit| limit.remaining = number),
            Field::Reset => {
                if let Some(reset) = reset(value, is_azure) {
                    set(&mut limits, &metered, window, |limit| limit.reset = Some(reset));
                }
            }
        }
    }
    if is_azure { with_periods(&limits, headers) } else { limits }
}

enum Field {
    Limit,
    Remaining,
    Reset,
}

/// Which number a header gives, and of what (empty: of requests).
fn field_of(name: &str) -> Option<(Field, &str)> {
    let field = |word| match word {
        "limit" => Some(Field::Limit),
        "remaining" => Some(Field::Remaining),
        "reset" => Some(Field::Reset),
        _ => None,
    };
    if let Some(rest) = name.strip_prefix("anthropic-ratelimit-") {
        let (what, word) = rest.rsplit_once('-')?;
        return Some((field(word)?, what));
    }
    let rest = name.strip_prefix("x-ratelimit-")?;
    let (word, what) = rest.split_once('-').unwrap_or((rest, ""));
    Some((field(word)?, what))
}

fn set(
    limits: &mut RateLimits,
    metered: &Metered,
    window: Option<Duration>,
    change: impl FnOnce(&mut loquat_core::RateLimit),
) {
    if let Some(limit) = limits.entry(metered, window) {
        change(limit);
    }
}

/// Azure's windows, which come in headers of their own.
fn with_periods(limits: &RateLimits, headers: &HeaderMap) -> RateLimits {
    let period = |name: &str| Some(Duration::from_secs(count(headers.get(name)?.to_str().ok()?)?));
    let mut with = RateLimits::default();
    for limit in limits {
        let window = limit.window.or_else(|| match limit.metered {
            Metered::Requests => period("x-ratelimit-renewalperiod-requests"),
            Metered::Tokens => period("x-ratelimit-renewalperiod-tokens"),
            _ => None,
        });
        set(&mut with, &limit.metered, window, |new| {
            (new.limit, new.remaining, new.reset) = (limit.limit, limit.remaining, limit.reset);
        });
    }
    with
}

/// What is counted, and over what time where the name says so: `tokens-minute`, `req-10-second`.
fn metered(what: &str) -> (Metered, Option<Duration>) {
    const UNITS: [(&str, u64); 5] =
        [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400), ("month", 30 * 86_400)];
    let (mut word, mut window) = (what, None);
    if let Some((rest, unit)) = what.rsplit_once('-')
        && let Some((_, seconds)) = UNITS.iter().find(|(name, _)| *name == unit)
    {
        let (rest, times) = match rest.rsplit_once('-') {
            Some((rest, times)) if times.parse::<u32>().is_ok() => (rest, times.parse().unwrap_or(1)),
            _ => (rest, 1),
        };
        (word, window) = (rest, Some(Duration::from_secs(seconds.saturating_mul(times))));
    }
    let metered = match word {
        "" | "requests" | "req" => Metered::Requests,
        "tokens" => Metered::Tokens,
        "input-tokens" | "tokens-prompt" => Metered::InputTokens,
        "output-tokens" | "tokens-generated" => Metered::OutputTokens,
        other => Metered::Other(other.to_owned()),
    };
    (metered, window)
}

/// A count; some send it with a fraction.
fn count(text: &str) -> Option<u64> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just before")]
        (0.0..1e18).contains(&number).then_some(number as u64)
    })
}

fn reset(text: &str, bare_is_milliseconds: bool) -> Option<Reset> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        // Nobody waits thirty years: numbers that large are times.
        return match number {
            _ if number >= 1e12 => at(number / 1000.0),
            _ if number >= 1e9 => at(number),
            _ if bare_is_milliseconds => Duration::try_from_secs_f64(number / 1000.0).ok().map(Reset::After),
            _ => Duration::try_from_secs_f64(number).ok().map(Reset::After),
        };
    }
    rfc3339(text).map(Reset::At).or_else(|| units(text).map(Reset::After))
}

fn at(seconds: f64) -> Option<Reset> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?).map(Reset::At)
}

/// `6m0s`, `17.379s`, `26ms`: a duration as Go writes it.
fn units(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "d" => 86_400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// A date as RFC 3339 §5.6 has it, with a second as its finest part that counts here.
fn rfc3339(text: &str) -> Option<SystemTime> {
    let field = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let mark = |at: usize, any: &[u8]| text.as_bytes().get(at).is_some_and(|byte| any.contains(byte));
    if !(mark(4, b"-") && mark(7, b"-") && mark(10, b"Tt ") && mark(13, b":") && mark(16, b":")) {
        return None;
    }
    let (year, month, day) = (field(0..4)?, field(5..7)?, field(8..10)?);
    let (hour, minute, second) = (field(11..13)?, field(14..16)?, field(17..19)?);
    if !((1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60) {
        return None;
    }
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2]
            if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) =>
        {
            let two = |tens: &u8, ones: &u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
            (two(h1, h2) * 3600 + two(m1, m2) * 60) * if *sign == b'+' { 1 } else { -1 }
        }
        _ => return None,
    };
    // Days since 1970 in the Gregorian calendar, with years that begin in March:
    // <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>.
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days =
        year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `what/window s: remaining of limit, reset`, one per line.
    fn check(headers: &[(&'static str, &'static str)], expected: &[&str]) {
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
            .collect();
        let or = |number: Option<u64>| number.map_or("?".to_owned(), |number| number.to_string());
        let limits = limits(&map);
        let mut shown: Vec<_> = limits
            .iter()
            .map(|limit| {
                let window = limit.window.map_or("?".to_owned(), |window| window.as_secs().to_string());
                let reset = match limit.reset {
                    Some(Reset::After(wait)) => format!("in {} ms", wait.as_millis()),
                    Some(Reset::At(time)) => {
                        format!(
                            "at {}",
                            time.duration_since(SystemTime::UNIX_EPOCH).expect("later").as_secs()
                        )
                    }
                    _ => "?".to_owned(),
                };
                let (remaining, most) = (or(limit.remaining), or(limit.limit));
                format!("{}/{window}: {remaining} of {most}, {reset}", limit.metered)
            })
            .collect();
        shown.sort();
        assert_eq!(shown, expected, "{headers:?}");
    }

    #[test]
    fn every_dialect() {
        check(
            &[
                ("x-ratelimit-limit-requests", "14400"),
                ("x-ratelimit-limit-tokens", "30000"),
                ("x-ratelimit-remaining-requests", "14397"),
                ("x-ratelimit-remaining-tokens", "29987"),
                ("x-ratelimit-reset-requests", "17.379s"),
                ("x-ratelimit-reset-tokens", "1h6m0.5s"),
            ],
            &["requests/?: 14397 of 14400, in 17379 ms", "tokens/?: 29987 of 30000, in 3960500 ms"],
        );
        check(
            &[
                ("x-ratelimit-limit-tokens", "120000"),
                ("x-ratelimit-remaining-tokens", "119986"),
                ("x-ratelimit-renewalperiod-tokens", "60"),
                ("x-ratelimit-reset-tokens", "7"),
                ("x-ratelimit-abusepenalty-active", "False"),
                ("x-ratelimit-key", "gpt"),
            ],
            &["tokens/60: 119986 of 120000, in 7 ms"],
        );
        check(
            &[
                ("x-ratelimit-limit-req-10-second", "60"),
                ("x-ratelimit-limit-tokens-minute", "2000000"),
                ("x-ratelimit-remaining-tokens-minute", "1999225"),
                ("x-ratelimit-limit-tokens-month", "10000000000"),
                ("x-ratelimit-tokens-query-cost", "145"),
            ],
            &[
                "requests/10: ? of 60, ?",
                "tokens/2592000: ? of 10000000000, ?",
                "tokens/60: 1999225 of 2000000, ?",
            ],
        );
        check(
            &[
                ("anthropic-ratelimit-input-tokens-limit", "400000"),
                ("anthropic-ratelimit-input-tokens-remaining", "0"),
                ("anthropic-ratelimit-input-tokens-reset", "2025-07-29T15:32:08Z"),
            ],
            &["input tokens/?: 0 of 400000, at 1753803128"],
        );
        check(
            &[
                ("x-ratelimit-limit", "1"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", "1754667660000"),
            ],
            &["requests/?: 0 of 1, at 1754667660"],
        );
        check(
            &[("x-ratelimit-remaining-input-images", "9"), ("x-ratelimit-reset", "1")],
            &["input-images/?: 9 of ?, ?", "requests/?: ? of ?, in 1000 ms"],
        );
    }

    #[test]
    fn nonsense_is_left_out() {
        for value in
            ["", "soon", "-1", "nan", "inf", "1e400", "5x", "1.2.3s", "2025-13-40T99:99:99Z", "٣s", "é"]
        {
            let mut map = HeaderMap::new();
            for name in ["x-ratelimit-reset", "anthropic-ratelimit-tokens-reset", "x-ratelimit-limit-tokens"]
            {
                let value = http::HeaderValue::from_bytes(value.as_bytes()).expect("a header may carry it");
                map.insert(http::HeaderName::from_static(name), value);
            }
            assert!(limits(&map).is_empty(), "{value}");
        }
    }

    #[test]
    fn dates() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00.123Z", 951_825_600),
            ("2024-12-31T23:59:60Z", 1_735_689_600),
            ("2025-07-29T15:32:08+02:00", 1_753_795_928),
            ("2025-07-29t15:32:08-00:30", 1_753_804_928),
        ] {
            let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(rfc3339(text), Some(expected), "{text}");
        }
    }
}
