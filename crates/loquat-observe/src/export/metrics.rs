//! Metrics as OTLP sends them: what everything has come to since the beginning.

use super::{
    proto::{self, Data, KeyValue, Metric},
    spans::unix,
};
use crate::metric::{Family, Kind, Labels, Point, Value};

/// The families that have anything to say, between those moments in nanoseconds.
pub(super) fn metrics(families: Vec<Family>, start: u64, now: u64) -> Vec<Metric> {
    let some = families.into_iter().filter(|family| !family.points.is_empty());
    some.map(|family| metric(family, start, now)).collect()
}

fn metric(family: Family, start: u64, now: u64) -> Metric {
    let Family { name, unit, help, kind, points } = family;
    let data = match kind {
        Kind::Gauge => Data::Gauge(proto::Gauge { data_points: numbers(points, start, now) }),
        Kind::Counter => Data::Sum(proto::Sum {
            data_points: numbers(points, start, now),
            aggregation_temporality: proto::CUMULATIVE,
            is_monotonic: true,
        }),
        Kind::Histogram => Data::Histogram(proto::Histogram {
            data_points: points.into_iter().filter_map(|point| histogram(point, start, now)).collect(),
            aggregation_temporality: proto::CUMULATIVE,
        }),
    };
    let unit = if unit.is_empty() { "1" } else { unit };
    Metric { name: name.into(), description: help.into(), unit: unit.into(), data: Some(data) }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| KeyValue::text(*name, &**value)).collect()
}

fn numbers(points: Vec<Point>, start: u64, now: u64) -> Vec<proto::NumberPoint> {
    let number = |point: Point| match point.value {
        Value::Number(number) => Some(proto::NumberPoint {
            start_time_unix_nano: start,
            time_unix_nano: now,
            as_double: Some(number),
            attributes: attributes(&point.labels),
        }),
        Value::Histogram { .. } => None,
    };
    points.into_iter().filter_map(number).collect()
}

fn histogram(point: Point, start: u64, now: u64) -> Option<proto::HistogramPoint> {
    let Value::Histogram { bounds, counts, sum, exemplars } = point.value else { return None };
    let exemplar = |(value, exemplar): (f64, crate::metric::Exemplar)| proto::Exemplar {
        time_unix_nano: unix(exemplar.at),
        as_double: Some(value),
        span_id: exemplar.span_id.into(),
        trace_id: exemplar.trace_id.into(),
    };
    Some(proto::HistogramPoint {
        start_time_unix_nano: start,
        time_unix_nano: now,
        count: counts.iter().sum(),
        sum: Some(sum),
        bucket_counts: counts,
        explicit_bounds: bounds.into(),
        exemplars: exemplars.into_iter().flatten().map(exemplar).collect(),
        attributes: attributes(&point.labels),
    })
}
