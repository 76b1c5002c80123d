//! Ways from bytes to deltas: ours and the peers'. Each is given a reply's reads for its own, as a transport hands them over, and a
//! decoder of its own, and returns how many bytes of text and arguments it found; an error where it does not take the reply.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use async_openai::types::{chat::CreateChatCompletionStreamResponse, responses::ResponseStreamEvent};
use bytes::Bytes;
use eventsource_stream::Eventsource;
use futures_util::{Stream, stream};
use http::HeaderMap;
use loquat_core::Delta;
use loquat_provider::{
    ANTHROPIC_MESSAGES, Advance, COHERE_CHAT, DecodeLimits, Format, GEMINI, Head, OLLAMA_CHAT, OPENAI_CHAT,
    OPENAI_RESPONSES,
};
use rig_core::{
    completion::CompletionRequest,
    driver::Model,
    http_client::{self, HttpClientExt, LazyBody, MultipartForm, Request, Response, StreamingResponse},
    operation::Completion,
    providers::{anthropic, cohere, gemini, ollama, openai},
    streaming::{Item, StreamEvent},
    wire::{Encoded, Wire, WireFrame},
};

use crate::{Seen, streams::Dialect};

pub type Run = fn(Dialect, Vec<Bytes>) -> Seen;

pub struct Contender {
    pub name: &'static str,
    pub run: Run,
}

/// Who can decode a dialect.
pub fn of(dialect: Dialect) -> Vec<Contender> {
    let mut all = vec![
        Contender { name: "ours", run: ours },
        Contender { name: "floor", run: line_ends },
        Contender { name: "rig", run: rig },
    ];
    if matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses) {
        all.push(Contender { name: "async-openai", run: async_openai });
    }
    all
}

fn format(dialect: Dialect) -> &'static dyn Format {
    match dialect {
        Dialect::OpenAiChat => &OPENAI_CHAT,
        Dialect::OpenAiResponses => &OPENAI_RESPONSES,
        Dialect::Anthropic => &ANTHROPIC_MESSAGES,
        Dialect::Gemini => &GEMINI,
        Dialect::Ollama => &OLLAMA_CHAT,
        Dialect::Cohere => &COHERE_CHAT,
    }
}

fn ours(dialect: Dialect, reads: Vec<Bytes>) -> Seen {
    let headers = HeaderMap::new();
    let head = Head { status: 200, headers: &headers };
    let mut decoder = format(dialect).decoder(&head, DecodeLimits::default());
    let (mut reads, mut bytes) = (reads.into_iter(), 0);
    loop {
        match decoder.advance() {
            Advance::Delta => match decoder.current() {
                Delta::Text { text, .. } | Delta::ToolArguments { fragment: text, .. } => bytes += text.len(),
                delta => drop(std::hint::black_box(delta)),
            },
            Advance::NeedBytes => match reads.next() {
                Some(read) => decoder.push(read),
                None => decoder.end(None),
            },
            Advance::End(ending) if ending.is_finished() => return Ok(Some(bytes)),
            Advance::End(ending) => return Err(format!("{ending:?}")),
        }
    }
}

fn line_ends(_: Dialect, reads: Vec<Bytes>) -> Seen {
    std::hint::black_box(reads.iter().map(|read| memchr::memchr_iter(b'\n', read).count()).sum::<usize>());
    Ok(None)
}

/// Every item of a stream that never waits for anyone: one that says it is pending has woken its reader, and is asked again.
fn drain<S: Stream>(stream: S, mut each: impl FnMut(S::Item) -> Result<usize, String>) -> Seen {
    let mut context = Context::from_waker(Waker::noop());
    let (mut stream, mut bytes) = (pin!(stream), 0);
    loop {
        match stream.as_mut().poll_next(&mut context) {
            Poll::Ready(Some(item)) => bytes += each(item)?,
            Poll::Ready(None) => return Ok(Some(bytes)),
            Poll::Pending => {}
        }
    }
}

/// What holds no text is made all the same.
fn no_text<T>(event: T) -> usize {
    drop(std::hint::black_box(event));
    0
}

/// As async-openai reads a stream.
fn async_openai(dialect: Dialect, reads: Vec<Bytes>) -> Seen {
    let reads = reads.into_iter().map(Ok::<_, std::convert::Infallible>);
    drain(stream::iter(reads).eventsource(), |event| {
        let data = event.map_err(|error| error.to_string())?.data;
        match dialect {
            _ if data == "[DONE]" => Ok(0),
            Dialect::OpenAiResponses => {
                match serde_json::from_str(&data).map_err(|error| error.to_string())? {
                    ResponseStreamEvent::ResponseOutputTextDelta(event) => Ok(event.delta.len()),
                    ResponseStreamEvent::ResponseFunctionCallArgumentsDelta(event) => Ok(event.delta.len()),
                    event => Ok(no_text(event)),
                }
            }
            _ => {
                let chunk: CreateChatCompletionStreamResponse =
                    serde_json::from_str(&data).map_err(|error| error.to_string())?;
                Ok(chunk.choices.iter().map(chat_bytes).sum())
            }
        }
    })
}

fn chat_bytes(choice: &async_openai::types::chat::ChatChoiceStream) -> usize {
    let calls = choice.delta.tool_calls.iter().flatten();
    let arguments = calls.filter_map(|call| call.function.as_ref()?.arguments.as_ref());
    choice.delta.content.iter().chain(arguments).map(String::len).sum()
}

fn rig(dialect: Dialect, reads: Vec<Bytes>) -> Seen {
    let client = InMemory { reads: Arc::new(Mutex::new(reads)), is_lines: dialect == Dialect::Ollama };
    match dialect {
        Dialect::OpenAiChat => rig_with(openai::wire::OpenAIConfig::new("key").chat("gpt-4o"), client),
        Dialect::OpenAiResponses => {
            let config = openai::wire::OpenAIConfig::new("key");
            rig_with(openai::responses_api::wire::Responses::new(config, "gpt-4o"), client)
        }
        Dialect::Anthropic => {
            let wire = anthropic::wire::Messages {
                provider: anthropic::wire::AnthropicConfig::new("key"),
                model: "claude-haiku-4-5".to_owned(),
                default_max_tokens: Some(64),
                prompt_caching: false,
                static_prefix_cache_ttl: None,
                strict_tools: false,
                tool_input_streaming: anthropic::wire::ToolInputStreaming::default(),
            };
            rig_with(wire, client)
        }
        Dialect::Gemini => {
            let config = gemini::GeminiConfig::new("key");
            rig_with(gemini::completion::GenerateContent::new(config, "gemini-2.5-flash"), client)
        }
        Dialect::Ollama => {
            rig_with(ollama::chat::Chat::new(ollama::wire::OllamaConfig::new(), "llama3.2"), client)
        }
        Dialect::Cohere => rig_with(cohere::wire::CohereConfig::new("key").completion("command-a"), client),
    }
}

fn rig_with<W>(wire: W, client: InMemory) -> Seen
where
    W: Wire<Op = Completion, Payload = Encoded, Frame = WireFrame>,
{
    let model = Model::new(wire, client);
    let stream = model.stream(CompletionRequest::from("hi")).map_err(|error| error.to_string())?;
    drain(stream, |item| match item.map_err(|error| error.to_string())? {
        Item::Event(StreamEvent::Text { text, .. }) => Ok(text.len()),
        Item::Event(StreamEvent::Arguments { json, .. }) => Ok(json.len()),
        item => Ok(no_text(item)),
    })
}

/// An HTTP client whose every answer is a reply that is there already.
#[derive(Clone, Debug)]
struct InMemory {
    /// Taken by the one request.
    reads: Arc<Mutex<Vec<Bytes>>>,
    is_lines: bool,
}

impl HttpClientExt for InMemory {
    async fn send_streaming<T>(&self, _: Request<T>) -> http_client::Result<StreamingResponse>
    where
        T: Into<Bytes> + Send,
    {
        let reads = std::mem::take(&mut *self.reads.lock().unwrap_or_else(PoisonError::into_inner));
        let reads: http_client::BoxedStream = Box::pin(stream::iter(reads.into_iter().map(Ok)));
        let kind = if self.is_lines { "application/x-ndjson" } else { "text/event-stream" };
        Response::builder()
            .header(http::header::CONTENT_TYPE, kind)
            .body(reads)
            .map_err(http_client::Error::Protocol)
    }

    fn send<T, U>(
        &self,
        _: Request<T>,
    ) -> impl Future<Output = http_client::Result<Response<LazyBody<U>>>> + Send + 'static
    where
        T: Into<Bytes> + Send,
        U: From<Bytes> + Send + 'static,
    {
        std::future::pending()
    }

    fn send_multipart<U>(
        &self,
        _: Request<MultipartForm>,
    ) -> impl Future<Output = http_client::Result<Response<LazyBody<U>>>> + Send + 'static
    where
        U: From<Bytes> + Send + 'static,
    {
        std::future::pending()
    }
}
