//! Batches: many requests handed over at once, answered within a day at half the price.
//!
//! <https://platform.openai.com/docs/api-reference/batch>: the requests are a file of lines that is sent first
//! ([`encode_batch_lines`]), the results are two files. <https://docs.anthropic.com/en/api/creating-message-batches>: the requests
//! are the body, the results lines at an address of their own. Both name each request by an id of the caller's, and give results
//! in any order.

use http::{HeaderMap, HeaderValue, Method, header};
use loquat_core::{Assembler, ChatRequest, Delta, Ending, Error, ErrorKind, Response, Result};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Call, Dialect, dialect, protocol, read, unsupported};
use crate::{Advance, DecodeLimits, Format, Head, encode::escaped};

/// One request of a batch.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BatchItem {
    /// The caller's name for it, by which its result is found: 1 to 64 letters, digits, `-` and `_`, once in a batch.
    pub id: String,
    /// The request; whether it asks for a stream makes no difference.
    pub request: ChatRequest,
}

impl BatchItem {
    /// That request under that id.
    pub fn new(id: impl Into<String>, request: ChatRequest) -> Self {
        Self { id: id.into(), request }
    }
}

/// How far a batch is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchState {
    /// Being checked, worked on, or finished off.
    Running,
    /// Told to stop; what has run already is still to be had.
    Cancelling,
    /// There is nothing to wait for: complete, cancelled or out of time. Each request says what became of it.
    Ended,
    /// Refused as a whole; the message is the provider's own.
    Failed(String),
    /// Another word of the provider's.
    Other(String),
}

/// What a provider says of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// By which it is asked for.
    pub id: String,
    /// How far it is.
    pub state: BatchState,
    /// Requests in all; 0 while the provider has not counted them.
    pub total: u64,
    /// Requests answered.
    pub succeeded: u64,
    /// Requests refused, failed, cancelled or out of time.
    pub failed: u64,
    /// What [`encode_batch_results`] makes calls of.
    results: Vec<String>,
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BatchResult {
    /// The caller's id.
    pub id: String,
    /// The answer, or why there is none.
    pub outcome: Result<Response>,
}

/// OpenAI's file of requests, to be sent with the purpose `batch`; `None` where a batch needs no file.
///
/// # Errors
/// `Unsupported` where the format has no batches; `InvalidRequest` without a request, for an id that is none or used twice; what
/// [`Format::encode`] refuses, with the item's id.
pub fn encode_batch_lines(format: &dyn Format, items: &[BatchItem], model: &str) -> Result<Option<Vec<u8>>> {
    check(items)?;
    let url = match dialect(format) {
        Dialect::OpenAi => "/v1/chat/completions",
        Dialect::Responses => "/v1/responses",
        Dialect::Anthropic => return Ok(None),
        _ => return Err(unsupported(format, "batches")),
    };
    let mut lines = Vec::new();
    for item in items {
        let body = body(format, item, model)?;
        let line = Line { custom_id: &item.id, method: "POST", url, body };
        serde_json::to_writer(&mut lines, &line).map_err(unwritable)?;
        lines.push(b'\n');
    }
    Ok(Some(lines))
}

/// Hands a batch over: with the id of the file of its requests, where it has one.
///
/// # Errors
/// As [`encode_batch_lines`]; `InvalidRequest` without the file that the format wants.
pub fn encode_batch(
    format: &dyn Format,
    items: &[BatchItem],
    model: &str,
    file: Option<&str>,
) -> Result<Call> {
    let body = match (dialect(format), file) {
        (Dialect::Anthropic, _) => {
            check(items)?;
            let requests: Vec<Params<'_>> = items
                .iter()
                .map(|item| Ok(Params { custom_id: &item.id, params: body(format, item, model)? }))
                .collect::<Result<_>>()?;
            serde_json::to_vec(&Requests { requests }).map_err(unwritable)?
        }
        (Dialect::OpenAi | Dialect::Responses, Some(file)) => {
            let endpoint = match dialect(format) {
                Dialect::Responses => "/v1/responses",
                _ => "/v1/chat/completions",
            };
            // The one window there is.
            let body = json!({"input_file_id": file, "endpoint": endpoint, "completion_window": "24h"});
            body.to_string().into_bytes()
        }
        (Dialect::OpenAi | Dialect::Responses, None) => {
            return Err(Error::new(ErrorKind::InvalidRequest, "a batch needs the file of its requests"));
        }
        _ => return Err(unsupported(format, "batches")),
    };
    let mut call = batches(format, Method::POST, "")?;
    call.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    call.body = body.into();
    Ok(call)
}

/// Asks how far a batch is.
///
/// # Errors
/// `Unsupported` where the format has no batches.
pub fn encode_batch_info(format: &dyn Format, id: &str) -> Result<Call> {
    batches(format, Method::GET, &format!("/{}", escaped(id)))
}

/// Tells a batch to stop.
///
/// # Errors
/// `Unsupported` where the format has no batches.
pub fn encode_batch_cancel(format: &dyn Format, id: &str) -> Result<Call> {
    batches(format, Method::POST, &format!("/{}/cancel", escaped(id)))
}

/// Asks for the results of a batch that has ended: the bodies of all these calls are lines for [`decode_batch_results`].
///
/// # Errors
/// `InvalidRequest` for a batch that has none yet; `Unsupported` where the format has no batches.
pub fn encode_batch_results(format: &dyn Format, batch: &Batch) -> Result<Vec<Call>> {
    if batch.results.is_empty() {
        return Err(Error::new(ErrorKind::InvalidRequest, "the batch has no results, or none yet"));
    }
    let result = |name: &String| match dialect(format) {
        Dialect::Anthropic => batches(format, Method::GET, &format!("/{}/results", escaped(name))),
        _ => super::encode_file_content(format, name),
    };
    batch.results.iter().map(result).collect()
}

/// What a provider says of a batch, on handing it over, asking and cancelling.
///
/// # Errors
/// `Protocol` if the response is none.
pub fn decode_batch(body: &[u8]) -> Result<Batch> {
    let found: Found = read(body)?;
    let word = found.processing_status.or(found.status).unwrap_or_default();
    let message = || {
        let errors = found.errors.as_ref().and_then(|errors| errors.data.as_deref()).unwrap_or_default();
        errors.iter().find_map(|error| error.message.clone()).unwrap_or_default()
    };
    let state = match word.as_str() {
        "validating" | "in_progress" | "finalizing" => BatchState::Running,
        "cancelling" | "canceling" => BatchState::Cancelling,
        "completed" | "cancelled" | "expired" | "ended" => BatchState::Ended,
        "failed" => BatchState::Failed(message()),
        other => BatchState::Other(other.to_owned()),
    };
    let counts = found.request_counts.unwrap_or_default();
    let failed = [counts.failed, counts.errored, counts.canceled, counts.expired];
    let failed = failed.into_iter().fold(0_u64, u64::saturating_add);
    let succeeded = counts.completed.saturating_add(counts.succeeded);
    let counted = succeeded.saturating_add(failed).saturating_add(counts.processing);
    let mut results: Vec<String> = found.output_file_id.into_iter().chain(found.error_file_id).collect();
    // The address that it names is not gone to: it would be sent the credential.
    results.extend(found.results_url.map(|_| found.id.clone()));
    Ok(Batch { id: found.id, state, total: counts.total.unwrap_or(counted), succeeded, failed, results })
}

/// The results in a file of them, in its order.
///
/// # Errors
/// `Protocol` for a line that is no result, with its number.
pub fn decode_batch_results(format: &dyn Format, body: &[u8]) -> Result<Vec<BatchResult>> {
    let lines = body.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    lines
        .map(|(number, line)| {
            // Without serde's words, which may quote an answer.
            let none = |_| protocol(format!("line {} of the results is none", number + 1));
            let found: ResultLine = serde_json::from_slice(line).map_err(none)?;
            Ok(BatchResult { outcome: outcome(format, &found), id: found.custom_id })
        })
        .collect()
}

fn outcome(format: &dyn Format, line: &ResultLine) -> Result<Response> {
    let headers = HeaderMap::new();
    let refused = |status: u16, body: &RawValue| {
        Err(format.error(&Head { status, headers: &headers }, body.get().as_bytes()))
    };
    if let Some(response) = &line.response {
        return match response.status_code {
            200..300 => whole(format, &response.body),
            status => refused(status, &response.body),
        };
    }
    let result = line.result.as_ref();
    match (result.map(|result| result.kind.as_str()), result) {
        (Some("succeeded"), Some(ResultOf { message: Some(message), .. })) => whole(format, message),
        (Some("errored"), Some(ResultOf { error: Some(error), .. })) => refused(400, error),
        (Some(kind @ ("canceled" | "expired")), _) => {
            Err(Error::new(ErrorKind::Cancelled, format!("the batch ended before this request: {kind}")))
        }
        _ => match &line.error {
            Some(error) => refused(400, error),
            None => Err(protocol("a result with neither an answer nor an error".to_owned())),
        },
    }
}

/// A whole answer.
fn whole(format: &dyn Format, body: &RawValue) -> Result<Response> {
    let headers = HeaderMap::new();
    let limits = DecodeLimits::default();
    let mut decoder = format.decoder(&Head { status: 200, headers: &headers }, limits);
    decoder.push(bytes::Bytes::copy_from_slice(body.get().as_bytes()));
    decoder.end(None);
    let mut assembler = Assembler::new(limits.max_answer_bytes);
    loop {
        match decoder.advance() {
            Advance::Delta => assembler.push(decoder.current())?,
            Advance::NeedBytes => decoder.end(None),
            Advance::End(ending) => {
                assembler.push(Delta::End(&ending))?;
                return match ending {
                    Ending::Finished { .. } => Ok(assembler.into_response()),
                    Ending::Failed(error) => Err(error),
                    _ => Err(protocol("the answer is not whole".to_owned())),
                };
            }
        }
    }
}

/// The body of one request.
fn body(format: &dyn Format, item: &BatchItem, model: &str) -> Result<Box<RawValue>> {
    let request = item.request.clone().with_stream(false);
    let model = if request.model.is_empty() { model } else { &request.model };
    let encoded = format.encode(&request, model)?;
    serde_json::from_slice(&encoded.body).map_err(unwritable)
}

fn check(items: &[BatchItem]) -> Result<()> {
    let wrong = |what: &str| Err(Error::new(ErrorKind::InvalidRequest, format!("a batch {what}")));
    if items.is_empty() {
        return wrong("needs at least one request");
    }
    let is_id = |id: &str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let mut known = std::collections::BTreeSet::new();
    for (number, item) in items.iter().enumerate() {
        if !is_id(&item.id) {
            return wrong(&format!("cannot name its request {number} so: 1 to 64 letters, digits, - and _"));
        }
        if !known.insert(&item.id) {
            return wrong(&format!("has two requests of one id: {number} is the second"));
        }
    }
    Ok(())
}

fn batches(format: &dyn Format, method: Method, rest: &str) -> Result<Call> {
    let path = match dialect(format) {
        Dialect::OpenAi | Dialect::Responses => format!("batches{rest}"),
        Dialect::Anthropic => format!("messages/batches{rest}"),
        _ => return Err(unsupported(format, "batches")),
    };
    Ok(Call { method, path, headers: HeaderMap::new(), body: bytes::Bytes::new() })
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, "a batch cannot be written as JSON").with_source(error)
}

#[derive(serde::Serialize)]
struct Line<'a> {
    custom_id: &'a str,
    method: &'static str,
    url: &'static str,
    body: Box<RawValue>,
}

#[derive(serde::Serialize)]
struct Requests<'a> {
    requests: Vec<Params<'a>>,
}

#[derive(serde::Serialize)]
struct Params<'a> {
    custom_id: &'a str,
    params: Box<RawValue>,
}

#[derive(Deserialize)]
struct Found {
    id: String,
    status: Option<String>,
    processing_status: Option<String>,
    request_counts: Option<Counts>,
    output_file_id: Option<String>,
    error_file_id: Option<String>,
    results_url: Option<String>,
    errors: Option<Errors>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Counts {
    total: Option<u64>,
    completed: u64,
    failed: u64,
    processing: u64,
    succeeded: u64,
    errored: u64,
    canceled: u64,
    expired: u64,
}

#[derive(Deserialize)]
struct Errors {
    data: Option<Vec<Said>>,
}

#[derive(Deserialize)]
struct Said {
    message: Option<String>,
}

#[derive(Deserialize)]
struct ResultLine {
    custom_id: String,
    response: Option<Answered>,
    result: Option<ResultOf>,
    error: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Answered {
    status_code: u16,
    body: Box<RawValue>,
}

#[derive(Deserialize)]
struct ResultOf {
    #[serde(rename = "type")]
    kind: String,
    message: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
}
