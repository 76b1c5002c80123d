//! The flags of `loquat chat`, and what they say of a request.

use std::time::Duration;

use clap::Args;
use loquat::{ChatRequest, Context, Error, ErrorKind, Message, Result, client::GenerationLimits};

use crate::{
    connect::{NetworkArgs, ServerArgs, has_variable, seconds},
    console::Console,
    exit::EXIT_CODES,
};

const EXAMPLES: &str = "\
Examples:
  loquat chat \"Why is the sky blue?\"                     no key; the first run fetches 92 MB
  loquat chat                                            a conversation, with /commands and history
  git diff | loquat chat \"Write a commit message.\"       the prompt, then what is piped in
  loquat chat -m openai:gpt-4o \"…\"                       with the key in OPENAI_API_KEY
  loquat chat -m anthropic:claude-sonnet-4-5 \"…\"         with the key in ANTHROPIC_API_KEY
  loquat chat --base-url http://127.0.0.1:8080/v1 \"…\"    any OpenAI-compatible server
  loquat chat --base-url https://llm.example/v1 --key-env EXAMPLE_KEY -m NAME \"…\"
  loquat chat --json \"…\" | jq -r 'select(.type == \"text\").text'";

/// Ask a model; the answer streams to stdout
///
/// With PROMPT, or with something piped in, one question is asked (with both, what is piped in follows the prompt).
/// With neither, on a terminal, a conversation begins: /help lists its commands.
///
/// The answer goes to stdout, all else to stderr. Ctrl-C ends the request; a second one ends the program. On a
/// terminal, control characters in the answer are shown instead of obeyed; into a file or pipe it goes as it came.
///
/// What is typed in a conversation is kept for the Up key, in loquat/chat-history below XDG_DATA_HOME (or ~/.local/share),
/// which its owner alone can read; a line that begins with a space is not.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct ChatArgs {
    /// What to ask; `-` reads it from stdin
    #[arg(allow_hyphen_values = false)]
    pub(super) prompt: Option<String>,

    /// The model: engine, engine:NAME or a .gguf file, provider:name, or a name that one configured provider lists
    ///
    /// Providers: openai, anthropic, ollama, qwen and others, see `loquat doctor`. With --base-url, the server's own
    /// name for it; a server with a single model needs none. [default: LOQUAT_MODEL, else engine]
    #[arg(short, long, value_name = "NAME")]
    pub(super) model: Option<String>,

    #[command(flatten)]
    pub(super) server: ServerArgs,

    #[command(flatten)]
    pub(super) sampling: SamplingArgs,

    #[command(flatten)]
    pub(super) output: OutputArgs,

    #[command(flatten)]
    pub(super) time: TimeArgs,

    #[command(flatten)]
    pub(super) network: NetworkArgs,
}

/// What is asked for besides the prompt.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sampling")]
pub(super) struct SamplingArgs {
    /// Instructions that stand above the conversation
    #[arg(short, long, value_name = "TEXT")]
    pub(super) system: Option<String>,

    /// Randomness, 0 (always the likeliest token) to 2 [default: the provider's]
    #[arg(long, value_name = "0-2", value_parser = temperature)]
    pub(super) temperature: Option<f32>,

    /// Choose among the likeliest tokens that together have this probability [default: the provider's]
    #[arg(long, value_name = "0-1", value_parser = top_p)]
    pub(super) top_p: Option<f32>,

    /// Most tokens to generate [default: the provider's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_tokens: Option<u32>,

    /// Stop before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub(super) stop: Vec<String>,

    /// Make sampling repeatable, where the provider can
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
}

/// How the answer is shown.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs {
    /// Ask for the answer in one piece
    #[arg(long)]
    pub(super) no_stream: bool,

    /// Print one JSON object per line for each delta; the last one has the type `end`
    ///
    /// Types: start, text, reasoning, reasoning_signature, refusal, tool_call, tool_arguments, choice_end, raw, and
    /// always last, exactly once: {"type":"end","ending":"finished"|"truncated"|"failed",…} with the reason and the
    /// usage, or with the error. Of a command line that cannot be understood nothing is printed.
    #[arg(long)]
    pub(super) json: bool,

    /// Print to stderr: time to the first token, tokens per second, usage, and who answered
    #[arg(long)]
    pub(super) stats: bool,

    /// Print to stderr how the answer came about: attempts, retries, the first token, over time
    #[arg(long)]
    pub(super) trace: bool,

    /// Serve metrics and debug pages at that loopback address while it runs, for `loquat top`; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub(super) diagnostics: Option<std::net::SocketAddr>,

    /// Send spans and metrics, none with content, to the OpenTelemetry collector at this address; `off` for nowhere
    ///
    /// Such as http://127.0.0.1:4318. Where it is not given, OTEL_EXPORTER_OTLP_ENDPOINT is read, and nothing is sent
    /// without either. In both cases these count, too: OTEL_EXPORTER_OTLP_PROTOCOL (`http/protobuf`, the default, or
    /// `grpc`), OTEL_EXPORTER_OTLP_HEADERS, OTEL_EXPORTER_OTLP_TIMEOUT, OTEL_SERVICE_NAME (`loquat`),
    /// OTEL_RESOURCE_ATTRIBUTES, OTEL_SDK_DISABLED; the same per signal do not. --ca-cert and --proxy hold for the
    /// collector as well. Every call is sent. The end of the program waits up to 5 seconds for the collector, and says what
    /// it did not get; an answer never waits for it.
    #[arg(long, value_name = "URL|off")]
    pub(super) otlp: Option<String>,

    /// Print to stderr what the model thinks before it answers [default: only where stdout and stderr are terminals]
    #[arg(long, overrides_with = "no_reasoning")]
    pub(super) reasoning: bool,

    /// Never print what the model thinks
    #[arg(long)]
    pub(super) no_reasoning: bool,
}

/// How long is waited, in seconds.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Time")]
pub(super) struct TimeArgs {
    /// For the whole answer [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) timeout: Option<Duration>,

    /// For the first token [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) first_token_timeout: Option<Duration>,

    /// While the model thinks and says nothing [default: 300]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) thinking_timeout: Option<Duration>,

    /// Between two tokens [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) idle_timeout: Option<Duration>,
}

impl ChatArgs {
    /// The environment variable that holds a key under an unusual name.
    pub(crate) fn key_variable(&self) -> Option<&str> {
        self.server.key_env.as_deref()
    }

    /// The model's name: from the flag, the environment, or the default.
    pub(super) fn model_name(&self) -> Result<String> {
        if let Some(name) = &self.model {
            return Ok(name.clone());
        }
        // A server named on the command line is asked for its own model: LOQUAT_MODEL belongs elsewhere.
        if self.server.base_url.is_some() {
            return Ok(String::new());
        }
        if let Ok(name) = std::env::var("LOQUAT_MODEL")
            && !name.trim().is_empty()
        {
            return Ok(name);
        }
        if has_variable("LOQUAT_BASE_URL") {
            return Ok(String::new());
        }
        if cfg!(feature = "engine") {
            return Ok("engine".to_owned());
        }
        Err(Error::new(
            ErrorKind::NotConfigured,
            "no model was named, and this build has no embedded engine: give --model provider:name or set LOQUAT_MODEL",
        ))
    }

    /// The request without its messages' end.
    pub(super) fn request(&self, model: &str) -> ChatRequest {
        let SamplingArgs { system, temperature, top_p, max_tokens, stop, seed } = &self.sampling;
        let mut request = ChatRequest::new(model).with_stream(!self.output.no_stream);
        request.messages.extend(system.as_ref().map(Message::system));
        request.temperature = *temperature;
        request.top_p = *top_p;
        request.max_output_tokens = *max_tokens;
        request.stop.clone_from(stop);
        request.seed = *seed;
        request
    }

    /// The limits in time of one answer.
    pub(super) fn limits(&self) -> GenerationLimits {
        let TimeArgs { timeout, first_token_timeout, thinking_timeout, idle_timeout } = self.time;
        let limits = GenerationLimits::default();
        let limits = timeout.map_or(limits, |limit| limits.with_total(limit));
        let limits = first_token_timeout.map_or(limits, |limit| limits.with_first_token(limit));
        let limits = thinking_timeout.map_or(limits, |limit| limits.with_thinking(limit));
        idle_timeout.map_or(limits, |limit| limits.with_idle(limit))
    }

    /// The conditions of one request, cancelled by its token.
    pub(super) fn context(&self) -> Context {
        let context = Context::new();
        self.time.timeout.map_or(context.clone(), |limit| context.with_timeout(limit))
    }

    pub(super) fn shows_reasoning(&self, console: &Console) -> bool {
        self.output.reasoning
            || (console.err_is_terminal && console.out_is_terminal && !self.output.no_reasoning)
    }
}

fn temperature(text: &str) -> std::result::Result<f32, String> {
    within(text, 0.0, 2.0)
}

fn top_p(text: &str) -> std::result::Result<f32, String> {
    within(text, 0.0, 1.0)
}

fn within(text: &str, least: f32, most: f32) -> std::result::Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => Err(format!("must be a number from {least} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_held_to_their_range() {
        assert_eq!(temperature("0.7"), Ok(0.7));
        for bad in ["-0.1", "2.1", "NaN", "inf", "warm"] {
            assert!(temperature(bad).is_err(), "{bad}");
        }
        assert!(top_p("1.5").is_err());
    }
}
