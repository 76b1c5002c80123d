//! Metrics as Prometheus reads them: the text format 0.0.4, and OpenMetrics 1.0.0, which has exemplars.
//!
//! Names follow OpenTelemetry's rules for Prometheus: dots become underscores, a unit becomes a suffix, a counter ends in
//! `_total`. <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>

use std::{
    fmt::{self, Write},
    time::UNIX_EPOCH,
};

use super::{Exemplar, Family, Kind, Labels, Value};

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TextFormat {
    /// `text/plain; version=0.0.4`, which everybody reads.
    #[default]
    Prometheus,
    /// `application/openmetrics-text; version=1.0.0`, with exemplars.
    OpenMetrics,
}

impl TextFormat {
    /// The one that whoever sent this `Accept` field prefers: Prometheus names OpenMetrics if it reads it.
    pub fn negotiated(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All of them.
pub(crate) fn write(families: &[Family], format: TextFormat) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for family in families.iter().filter(|family| !family.points.is_empty()) {
        // A String takes whatever is written.
        let _ = one(&mut out, family, format);
    }
    if format == TextFormat::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn one(out: &mut String, family: &Family, format: TextFormat) -> fmt::Result {
    let name = name(family);
    let counter = family.kind == Kind::Counter;
    let sample = if counter { format!("{name}_total") } else { name.clone() };
    // The older format's TYPE line bears a counter's whole name, OpenMetrics' the family's.
    let declared = if format == TextFormat::Prometheus { &sample } else { &name };
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    writeln!(out, "# HELP {declared} {}", family.help)?;
    writeln!(out, "# TYPE {declared} {kind}")?;
    if format == TextFormat::OpenMetrics
        && let Some(unit) = suffix(family.unit)
    {
        writeln!(out, "# UNIT {declared} {unit}")?;
    }
    for point in &family.points {
        match &point.value {
            Value::Number(number) => {
                out.push_str(&sample);
                labels(out, &point.labels, None)?;
                writeln!(out, " {number}")?;
            }
            Value::Histogram { bounds, counts, sum, exemplars } => {
                let mut so_far = 0_u64;
                for (index, count) in counts.iter().enumerate() {
                    so_far += count;
                    let edge = bounds.get(index).map_or_else(|| "+Inf".to_owned(), f64::to_string);
                    write!(out, "{name}_bucket")?;
                    labels(out, &point.labels, Some(&edge))?;
                    write!(out, " {so_far}")?;
                    if format == TextFormat::OpenMetrics
                        && let Some(Some((value, exemplar))) = exemplars.get(index)
                    {
                        example(out, *value, exemplar)?;
                    }
                    out.push('\n');
                }
                write!(out, "{name}_sum")?;
                labels(out, &point.labels, None)?;
                writeln!(out, " {sum}")?;
                write!(out, "{name}_count")?;
                labels(out, &point.labels, None)?;
                writeln!(out, " {so_far}")?;
            }
        }
    }
    Ok(())
}

/// The family's name for Prometheus, without a counter's ending.
fn name(family: &Family) -> String {
    let mut name = flat(family.name);
    if let Some(unit) = suffix(family.unit)
        && !name.ends_with(unit)
    {
        name.push('_');
        name.push_str(unit);
    }
    name
}

fn flat(dotted: &str) -> String {
    dotted.replace(['.', '-'], "_")
}

/// What a unit is called in a name; annotations such as `{token}` are not.
fn suffix(unit: &str) -> Option<&'static str> {
    match unit {
        "s" => Some("seconds"),
        "By" => Some("bytes"),
        _ => None,
    }
}

fn labels(out: &mut String, labels: &Labels, edge: Option<&str>) -> fmt::Result {
    if labels.is_empty() && edge.is_none() {
        return Ok(());
    }
    out.push('{');
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write!(out, "{}=\"", flat(name))?;
        for character in value.chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                other => out.push(other),
            }
        }
        out.push('"');
    }
    if let Some(edge) = edge {
        let comma = if labels.is_empty() { "" } else { "," };
        write!(out, "{comma}le=\"{edge}\"")?;
    }
    out.push('}');
    Ok(())
}

fn example(out: &mut String, value: f64, exemplar: &Exemplar) -> fmt::Result {
    let trace = u128::from_be_bytes(exemplar.trace_id);
    let span = u64::from_be_bytes(exemplar.span_id);
    let at = exemplar.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    write!(
        out,
        " # {{trace_id=\"{trace:032x}\",span_id=\"{span:016x}\"}} {value} {}.{:03}",
        at.as_secs(),
        at.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use super::{
        super::{About, RESPONSE, Registry},
        *,
    };

    #[test]
    fn both_formats_as_their_documents_show_them() {
        let registry = Registry::default();
        let about = |name, unit| About { name, unit, help: "Help." };
        let odd: Arc<str> = "a\"b\\c\nd".into();
        registry.counter(about("loquat.retries", ""), vec![("gen_ai.request.model", odd)]).add(3);
        let heads = registry.histogram(about("http.transport.response.duration", "s"), Vec::new(), &RESPONSE);
        let exemplar = Exemplar { trace_id: [1; 16], span_id: [2; 8], at: SystemTime::UNIX_EPOCH };
        heads.record_with(std::time::Duration::from_millis(3), Some(&exemplar));

        let old = write(&registry.read(), TextFormat::Prometheus);
        for line in [
            "# TYPE loquat_retries_total counter",
            "loquat_retries_total{gen_ai_request_model=\"a\\\"b\\\\c\\nd\"} 3",
            "# TYPE http_transport_response_duration_seconds histogram",
            "http_transport_response_duration_seconds_bucket{le=\"0.005\"} 1",
            "http_transport_response_duration_seconds_bucket{le=\"0.85\"} 1",
            "http_transport_response_duration_seconds_bucket{le=\"+Inf\"} 1",
            "http_transport_response_duration_seconds_sum 0.003",
            "http_transport_response_duration_seconds_count 1",
        ] {
            assert!(old.lines().any(|l| l == line), "{line} in\n{old}");
        }
        assert!(!old.contains("# EOF") && !old.contains("trace_id"));

        let new = write(&registry.read(), TextFormat::OpenMetrics);
        let ids = "trace_id=\"01010101010101010101010101010101\",span_id=\"0202020202020202\"";
        for line in [
            "# TYPE loquat_retries counter",
            "# UNIT http_transport_response_duration_seconds seconds",
            &format!(
                "http_transport_response_duration_seconds_bucket{{le=\"0.005\"}} 1 # {{{ids}}} 0.003 0.000"
            ),
            "# EOF",
        ] {
            assert!(new.lines().any(|l| l == line), "{line} in\n{new}");
        }
    }
}
