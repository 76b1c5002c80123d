//! Times in UTC as text, for the helper `date` and Jinja's `strftime_now`: a dozen directives of strftime(3), and no zones, no
//! locale.
//!
//! Days are counted as in Howard Hinnant's `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>).

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
/// The years 0 to 9999, in Unix seconds: what four digits hold.
const RANGE: std::ops::Range<i64> = -62_167_219_200..253_402_300_800;

/// Unix seconds by that format: `%Y %y %m %d %e %H %M %S %B %b %A %a %j %%`, `%F` and `%T`.
///
/// # Errors
/// An unknown directive, or a time outside the years 0 to 9999.
pub fn format(unix_seconds: i64, format: &str) -> Result<String, String> {
    if !RANGE.contains(&unix_seconds) {
        return Err("a time outside the years 0 to 9999".to_owned());
    }
    let (days, seconds) = (unix_seconds.div_euclid(86_400), unix_seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let name = |names: &[&'static str], index: i64| {
        usize::try_from(index).ok().and_then(|index| names.get(index).copied()).unwrap_or_default()
    };
    let (month_name, day_name) = (name(&MONTHS, month - 1), name(&DAYS, days.rem_euclid(7)));
    let mut text = String::with_capacity(format.len() + 16);
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('Y') => text.push_str(&format!("{year:04}")),
            Some('y') => text.push_str(&format!("{:02}", year % 100)),
            Some('m') => text.push_str(&format!("{month:02}")),
            Some('d') => text.push_str(&format!("{day:02}")),
            Some('e') => text.push_str(&format!("{day:2}")),
            Some('H') => text.push_str(&format!("{hour:02}")),
            Some('M') => text.push_str(&format!("{minute:02}")),
            Some('S') => text.push_str(&format!("{second:02}")),
            Some('B') => text.push_str(month_name),
            Some('b') => text.push_str(month_name.get(..3).unwrap_or_default()),
            Some('A') => text.push_str(day_name),
            Some('a') => text.push_str(day_name.get(..3).unwrap_or_default()),
            Some('j') => text.push_str(&format!("{:03}", days - from_civil(year, 1, 1) + 1)),
            Some('F') => text.push_str(&format!("{year:04}-{month:02}-{day:02}")),
            Some('T') => text.push_str(&format!("{hour:02}:{minute:02}:{second:02}")),
            Some('%') => text.push('%'),
            other => return Err(format!("the format has no directive `%{}`", other.unwrap_or(' '))),
        }
    }
    Ok(text)
}

/// An RFC 3339 time (`2026-11-24T01:02:03Z`, with any offset and fraction), or a day alone, as Unix seconds.
pub fn parse(text: &str) -> Option<i64> {
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    if text.get(4..5) != Some("-")
        || text.get(7..8) != Some("-")
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
    {
        return None;
    }
    let days = from_civil(year, month, day);
    if civil(days) != (year, month, day) {
        return None;
    }
    let Some(rest) = text.get(10..).filter(|rest| !rest.is_empty()) else { return Some(days * 86_400) };
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    let separated = matches!(rest.as_bytes().first(), Some(b'T' | b't' | b' '))
        && text.get(13..14) == Some(":")
        && text.get(16..17) == Some(":");
    if !separated || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut zone = text.get(19..)?;
    if let Some(fraction) = zone.strip_prefix('.') {
        zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
        if zone.len() == fraction.len() {
            return None;
        }
    }
    let offset = match zone.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2]
            if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) =>
        {
            let number = |tens: &u8, ones: &u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
            let minutes = number(h1, h2) * 60 + number(m1, m2);
            if *sign == b'+' { minutes * 60 } else { -minutes * 60 }
        }
        _ => return None,
    };
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

fn from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        for (seconds, pattern, expected) in [
            (0, "%Y-%m-%d %H:%M:%S %A %j", "1970-01-01 00:00:00 Thursday 001"),
            (951_782_400, "%F %a %b %e", "2000-02-29 Tue Feb 29"),
            (1_795_482_123, "%d %B %Y, %T %%", "24 November 2026, 01:02:03 %"),
            (-1, "%F %T", "1969-12-31 23:59:59"),
        ] {
            assert_eq!(format(seconds, pattern).as_deref(), Ok(expected), "{seconds}");
        }
        assert!(format(0, "%Q").is_err() && format(0, "%").is_err() && format(i64::MAX, "%Y").is_err());
        for (text, expected) in [
            ("2026-11-24T01:02:03Z", Some(1_795_482_123)),
            ("2026-11-24t03:02:03.25+02:00", Some(1_795_482_123)),
            ("2000-02-29", Some(951_782_400)),
            ("2001-02-29", None),
            ("2000-13-01", None),
            ("2000-01-01T00:00:00", None),
            ("2000-01-01T00:00:00.Z", None),
            ("yesterday", None),
            ("é000-01-01", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn every_day_of_ten_thousand_years_comes_back() {
        let mut day = RANGE.start / 86_400;
        while day < RANGE.end / 86_400 {
            let (y, m, d) = civil(day);
            assert_eq!(from_civil(y, m, d), day);
            day += 17;
        }
    }
}
