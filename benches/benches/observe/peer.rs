//! The peer: a span per operation, entered for each poll, a histogram with three attributes recorded per chunk, the SDK's sampler at
//! 1 %, and an exporter that throws away. `tracing-opentelemetry` in its usual set-up.

use std::time::{Duration, Instant};

use opentelemetry::{
    KeyValue,
    metrics::{Histogram, MeterProvider},
    trace::TracerProvider,
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{SdkMeterProvider, Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter},
};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;

#[derive(Debug)]
struct ThrownAway;

impl SpanExporter for ThrownAway {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        std::hint::black_box(batch);
        Ok(())
    }
}

impl PushMetricExporter for ThrownAway {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        std::hint::black_box(metrics);
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

pub struct Peer {
    histogram: Histogram<f64>,
    _guard: DefaultGuard,
}

impl Peer {
    /// For this thread, until it is dropped.
    pub fn new() -> Self {
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(ThrownAway)
            .with_sampler(Sampler::TraceIdRatioBased(0.01))
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let meters = SdkMeterProvider::builder().with_periodic_exporter(ThrownAway).build();
        let histogram =
            meters.meter("bench").f64_histogram("gen_ai.client.operation.time_per_output_chunk").build();
        // Its instruments live as long as it does.
        std::mem::forget(meters);
        Self { histogram, _guard: guard }
    }

    pub fn chunk(&self, since: &mut Instant) {
        let now = Instant::now();
        let gap = now.duration_since(std::mem::replace(since, now));
        let attributes = [
            KeyValue::new("gen_ai.operation.name", "chat"),
            KeyValue::new("gen_ai.provider.name", "openai"),
            KeyValue::new("gen_ai.request.model", "gpt-5"),
        ];
        self.histogram.record(gap.as_secs_f64(), &attributes);
    }
}
