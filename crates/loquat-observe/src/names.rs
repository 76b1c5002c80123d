//! Every name that goes out, in one place and by version: OpenTelemetry's words for generative AI are still in motion.
//!
//! All of `gen_ai.*` is in development there; `error.type` and `server.*` are stable. What changes upstream changes here, as
//! one more [`Conventions`], and nowhere else.
//! <https://github.com/open-telemetry/semantic-conventions-genai>

#![cfg_attr(
    not(all(feature = "capture", feature = "otlp")),
    expect(dead_code, reason = "half of the names are of spans, content and export")
)]

use loquat_core::ErrorKind;

use crate::metric::About;

/// Which edition of the conventions spans and metrics speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Conventions {
    /// As of November 2026, from the repository of their own.
    #[default]
    V2026,
    /// As in the core conventions 1.36, the last before `gen_ai.system` became `gen_ai.provider.name`: for dashboards
    /// that know those. It has no attributes for content, so none is exported as spans.
    V1_36,
}

/// The names that differ between editions; `None` where the edition has none.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) provider: &'static str,
    pub(crate) cache_read: Option<&'static str>,
    pub(crate) cache_write: Option<&'static str>,
    pub(crate) reasoning: Option<&'static str>,
    pub(crate) first_chunk: Option<&'static str>,
    pub(crate) stream: Option<&'static str>,
    /// Instructions, input, output. The older edition had them as log events, which are not sent.
    pub(crate) content: Option<[&'static str; 3]>,
    pub(crate) provider_name: fn(&str) -> &str,
}

impl Conventions {
    pub(crate) fn names(self) -> &'static Names {
        match self {
            Self::V2026 => &Names {
                provider: "gen_ai.provider.name",
                cache_read: Some("gen_ai.usage.cache_read.input_tokens"),
                cache_write: Some("gen_ai.usage.cache_creation.input_tokens"),
                reasoning: Some("gen_ai.usage.reasoning.output_tokens"),
                first_chunk: Some("gen_ai.response.time_to_first_chunk"),
                stream: Some("gen_ai.request.stream"),
                content: Some([
                    "gen_ai.system_instructions",
                    "gen_ai.input.messages",
                    "gen_ai.output.messages",
                ]),
                provider_name: |ours| match ours {
                    "azure" => "azure.ai.openai",
                    "gemini" => "gcp.gemini",
                    "vertex" => "gcp.vertex_ai",
                    "bedrock" => "aws.bedrock",
                    "mistral" => "mistral_ai",
                    "xai" => "x_ai",
                    other => other,
                },
            },
            Self::V1_36 => &Names {
                provider: "gen_ai.system",
                cache_read: None,
                cache_write: None,
                reasoning: None,
                first_chunk: None,
                stream: None,
                content: None,
                provider_name: |ours| match ours {
                    "azure" => "az.ai.openai",
                    "gemini" => "gcp.gemini",
                    "vertex" => "gcp.vertex_ai",
                    "bedrock" => "aws.bedrock",
                    "mistral" => "mistral_ai",
                    other => other,
                },
            },
        }
    }
}

/// The one operation there is so far.
pub(crate) const CHAT: &str = "chat";

pub(crate) const OPERATION: &str = "gen_ai.operation.name";
pub(crate) const REQUEST_MODEL: &str = "gen_ai.request.model";
pub(crate) const TOKEN_TYPE: &str = "gen_ai.token.type";
pub(crate) const ERROR_TYPE: &str = "error.type";
pub(crate) const STATUS_CODE: &str = "http.response.status_code";

pub(crate) mod span {
    pub(crate) const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
    pub(crate) const REQUEST_TEMPERATURE: &str = "gen_ai.request.temperature";
    pub(crate) const REQUEST_TOP_P: &str = "gen_ai.request.top_p";
    pub(crate) const REQUEST_SEED: &str = "gen_ai.request.seed";
    pub(crate) const REQUEST_CHOICES: &str = "gen_ai.request.choice.count";
    pub(crate) const RESPONSE_ID: &str = "gen_ai.response.id";
    pub(crate) const RESPONSE_MODEL: &str = "gen_ai.response.model";
    pub(crate) const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
    pub(crate) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    pub(crate) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
    pub(crate) const SERVER_ADDRESS: &str = "server.address";
    pub(crate) const SERVER_PORT: &str = "server.port";
    pub(crate) const PROTOCOL: &str = "network.protocol.version";
    pub(crate) const REUSED: &str = "loquat.connection.reused";
    pub(crate) const RESEND_COUNT: &str = "http.request.resend_count";
    pub(crate) const CHUNKS: &str = "loquat.response.chunks";
    pub(crate) const CONTENT_CUT: &str = "loquat.content.cut";
}

const fn about(name: &'static str, unit: &'static str, help: &'static str) -> About {
    About { name, unit, help }
}

pub(crate) const DURATION: About =
    about("gen_ai.client.operation.duration", "s", "Whole operations, retries and the stream included.");
pub(crate) const FIRST_CHUNK: About = about(
    "gen_ai.client.operation.time_to_first_chunk",
    "s",
    "From the request to the first content of the answer.",
);
pub(crate) const PER_CHUNK: About = about(
    "gen_ai.client.operation.time_per_output_chunk",
    "s",
    "Between one arrival of content and the next.",
);
pub(crate) const TOKEN_USAGE: About =
    about("gen_ai.client.token.usage", "{token}", "Tokens of an operation, as the provider counts them.");
pub(crate) const HEADS: About = about(
    "http.transport.response.duration",
    "s",
    "From an attempt's beginning to the head of its response.",
);
pub(crate) const ATTEMPTS: About = about("loquat.attempts", "", "Attempts by how they came out.");
pub(crate) const RETRIES: About = about("loquat.retries", "", "Attempts made again after a failure.");
pub(crate) const HEDGES: About = about("loquat.hedges", "", "Attempts begun beside a slow one.");
pub(crate) const CIRCUIT_OPEN: About =
    about("loquat.breaker.rejections", "", "Attempts that an open circuit breaker kept back.");
pub(crate) const BREAKER: About = about(
    "loquat.breaker.state",
    "",
    "An endpoint's circuit: 0 closed, 1 open, 2 a probe is due or on its way.",
);
pub(crate) const QUEUE: About =
    about("loquat.queue.duration", "s", "How long attempts waited for their turn at an endpoint.");
pub(crate) const IN_FLIGHT: About = about("loquat.operations.in_flight", "", "Operations under way.");
pub(crate) const CHUNKS: About = about("loquat.chunks", "", "Arrivals of content in answers.");
pub(crate) const COST: About = about("loquat.cost", "", "What operations cost, by the configured prices.");
pub(crate) const ROUTES: About =
    about("loquat.route.decisions", "", "Endpoints chosen by a router, and why.");
pub(crate) const CACHE: About =
    about("loquat.cache.requests", "", "Prompt caches asked, by tier and result.");
pub(crate) const CACHE_TIMED: About =
    about("loquat.cache.timed", "", "Look-ups in prompt caches whose time was taken.");
pub(crate) const CACHE_TIME: About =
    about("loquat.cache.duration", "s", "How long those took whose time was taken, all together.");
pub(crate) const CACHE_BYTES: About = about("loquat.cache.read", "By", "What prompt caches gave.");
pub(crate) const RUNTIME_WORKERS: About = about("loquat.runtime.workers", "", "Threads that run tasks.");
pub(crate) const RUNTIME_TASKS: About =
    about("loquat.runtime.tasks", "", "Tasks that have been spawned and have not ended.");
pub(crate) const RUNTIME_QUEUE: About =
    about("loquat.runtime.queue", "", "Tasks that are ready and wait for any worker.");
pub(crate) const RUNTIME_BUSY: About =
    about("loquat.runtime.busy", "s", "How long workers had work, all together.");
pub(crate) const RUNTIME_PARKS: About =
    about("loquat.runtime.parks", "", "How often workers lay down to wait for work.");
pub(crate) const DROPPED: About =
    about("loquat.observe.dropped", "", "Spans that never reached where they were to go, by the reason.");
pub(crate) const UNCAPTURED: About = about(
    "loquat.observe.uncaptured",
    "",
    "Operations whose content was to be captured, and for which there was no room.",
);
pub(crate) const EXPORTED: About =
    about("loquat.observe.exported", "", "Spans that reached where they were to go.");

/// The `error.type` of a failure: few, and never the provider's words.
pub(crate) fn error_type(kind: ErrorKind) -> &'static str {
    use ErrorKind as K;
    match kind {
        K::InvalidRequest => "invalid_request",
        K::NotConfigured => "not_configured",
        K::Authentication => "authentication",
        K::Permission => "permission",
        K::NotFound => "not_found",
        K::RateLimited => "rate_limited",
        K::QuotaExceeded => "quota_exceeded",
        K::ContextLength => "context_length",
        K::ContentFiltered => "content_filtered",
        K::Overloaded => "overloaded",
        K::Server => "server",
        K::Protocol => "protocol",
        K::TooLarge => "too_large",
        K::Unsupported => "unsupported",
        K::Connect => "connect",
        K::Tls => "tls",
        K::Proxy => "proxy",
        K::Connection => "connection",
        K::Timeout => "timeout",
        K::Cancelled => "cancelled",
        K::Truncated => "truncated",
        K::Local => "local",
        K::Internal => "internal",
        _ => "_OTHER",
    }
}
