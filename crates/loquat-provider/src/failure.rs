//! What a provider says went wrong, in whatever shape it says so, as one [`Error`].
//!
//! Shapes seen: `{"error":{message,type,code}}` (OpenAI, Anthropic, Groq, OpenRouter), `{"error":"text"}` (Ollama),
//! `{"message",…}` and `{"detail":…}` (Mistral, FastAPI), `{"code","message"}` (DashScope), a list around any of them
//! (Gemini), a page of HTML (proxies). The kind comes from the provider's code or type where it names one, then from the
//! status, because compatible servers send 400 for everything or 500 for a prompt that is too long.

use std::{borrow::Cow, time::Duration};

use loquat_core::{ContextLength, Error, ErrorKind};
use serde_json::Value;

use crate::Head;

/// Longest code kept, in bytes; longer ones are prose.
const MAX_CODE_BYTES: usize = 128;
/// Longest JSON body that is parsed, in bytes: a longer one keeps its status and its raw beginning.
const MAX_PARSED_BYTES: usize = 1024 * 1024;

/// The error of a response that is not 2xx.
pub(crate) fn of_response(head: &Head<'_>, body: &[u8]) -> Error {
    let parsed =
        (body.len() <= MAX_PARSED_BYTES).then(|| serde_json::from_slice::<Value>(body).ok()).flatten();
    let mut said = parsed.as_ref().map(Said::read).unwrap_or_default();
    // Amazon names the kind in a header alone: `ExpiredTokenException:http://internal.amazon.com/…`.
    let amazons = head.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    said.kind = said.kind.or_else(|| Some(amazons?.split(':').next()?.into()));
    let message = match &said.message {
        Some(message) => message.to_string(),
        None => match plain_text(head, body) {
            Some(text) => text.to_owned(),
            None => "the server refused without an explanation".to_owned(),
        },
    };
    let error = said.error(Some(head.status), message, parsed.as_ref(), body);
    let mut hint = head.own_retry_hint();
    hint.after = hint.after.or_else(|| parsed.as_ref().and_then(retry_delay));
    let error = error.with_status(head.status).with_retry_hint(hint).with_rate_limits(head.rate_limits());
    match head.request_id().or(said.request_id.as_deref()) {
        Some(id) => error.with_request_id(id),
        None => error,
    }
}

/// The error that an event inside a stream, or a document under status 200, reports. `data` is the whole event.
pub(crate) fn of_event(data: &str) -> Error {
    let parsed = serde_json::from_str::<Value>(data).ok();
    let said = parsed.as_ref().map(Said::read).unwrap_or_default();
    let message = match (&said.message, &parsed) {
        (Some(message), _) => message.to_string(),
        (None, None) if !data.trim().is_empty() => data.trim().to_owned(),
        _ => "the provider reported an error without explaining it".to_owned(),
    };
    let error = said.error(None, message, parsed.as_ref(), data.as_bytes());
    match &said.request_id {
        Some(id) => error.with_request_id(&**id),
        None => error,
    }
}

/// The error that a frame of a binary event stream reports: its kind, its message or, in its payload, the same as JSON.
pub(crate) fn of_frame(code: &str, message: &str, payload: &str) -> Error {
    let parsed = serde_json::from_str::<Value>(payload).ok();
    let said = parsed.as_ref().map(Said::read).unwrap_or_default();
    let message = match said.message {
        Some(said) => said.to_string(),
        None if !message.is_empty() => message.to_owned(),
        None => "the provider reported an error without explaining it".to_owned(),
    };
    let word = code.to_ascii_lowercase();
    let kind = by_word(&word).or_else(|| by_message(&message, None)).unwrap_or(match &*word {
        word if word.contains("validation") => ErrorKind::InvalidRequest,
        word if word.contains("accessdenied") => ErrorKind::Permission,
        word if word.contains("timeout") => ErrorKind::Timeout,
        _ => ErrorKind::Server,
    });
    let numbers = numbers(kind, parsed.as_ref(), &message);
    let error = Error::new(kind, message).with_context_length(numbers).with_raw_body(payload.as_bytes());
    if code.is_empty() { error } else { error.with_code(code) }
}

/// The error among lines that were no event, if there is one: a bare JSON body, or an `error:` field.
pub(crate) fn in_stray(stray: &[u8]) -> Option<Error> {
    if stray.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(stray);
    let field = text.lines().find_map(|line| line.strip_prefix("error:"));
    if let Some(value) = field {
        return Some(of_event(value.trim()));
    }
    let bare = text.trim_start();
    if !bare.starts_with(['{', '[']) {
        return None;
    }
    match serde_json::from_str::<Value>(bare) {
        Ok(value) if Said::read(&value).is_error => Some(of_event(bare)),
        Ok(_) => None,
        // Cut at the bound of what is kept, or on its way: what can be read of it is its beginning.
        Err(_) if bare.contains("\"error\"") => Some(of_event(bare)),
        Err(_) => None,
    }
}

/// What an error body says.
#[derive(Debug, Default)]
struct Said<'a> {
    message: Option<Cow<'a, str>>,
    code: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    /// Google's reason among the details, where the kind is `INVALID_ARGUMENT` for a key that is none.
    reason: Option<&'a str>,
    /// OpenRouter says why a filter refused.
    is_filtered: bool,
    /// The part of the request that is objected to.
    parameter: Option<Cow<'a, str>>,
    request_id: Option<Cow<'a, str>>,
    is_error: bool,
}

impl<'a> Said<'a> {
    fn read(body: &'a Value) -> Self {
        let body = match body {
            Value::Array(list) => list.first().unwrap_or(body),
            body => body,
        };
        let inner = match body.get("error") {
            None | Some(Value::Null | Value::Bool(false)) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(inner) => Some(inner),
        };
        let request_id = ["request_id", "requestId"].iter().find_map(|key| text_of(body.get(*key)?));
        let named = |from: &'a Value, keys: &[&str]| keys.iter().find_map(|key| text_of(from.get(*key)?));
        const MESSAGE: &[&str] = &["message", "msg", "error", "detail", "error_msg", "errors"];
        const CODE: &[&str] = &["code", "error_code", "status_code", "raw_status_code"];
        match inner {
            Some(Value::Object(_)) => {
                let inner = inner.unwrap_or(body);
                let detail = inner.get("metadata").and_then(|metadata| text_of(metadata.get("raw")?));
                Self {
                    message: joined(named(inner, MESSAGE).or_else(|| named(body, MESSAGE)), detail),
                    code: named(inner, CODE),
                    kind: named(inner, &["type", "status"]),
                    reason: reason(inner),
                    is_filtered: inner
                        .get("metadata")
                        .is_some_and(|metadata| metadata.get("flagged_input").is_some()),
                    parameter: named(inner, &["param"]),
                    request_id,
                    is_error: true,
                }
            }
            _ => {
                let message = named(body, MESSAGE);
                let code = named(body, CODE);
                let kind = named(body, &["type", "object"]);
                let looks_like_one = inner.is_some()
                    || kind.as_deref() == Some("error")
                    || body.get("detail").is_some()
                    || (message.is_some() && code.is_some());
                let kind = kind.filter(|kind| kind != "error");
                let parameter = named(body, &["param"]);
                let said = Self {
                    is_error: looks_like_one,
                    message,
                    code,
                    kind,
                    parameter,
                    request_id,
                    ..Self::default()
                };
                Self { reason: reason(body), ..said }
            }
        }
    }

    fn error(&self, status: Option<u16>, message: String, body: Option<&Value>, raw: &[u8]) -> Error {
        let kind = self.kind(status);
        let numbers = numbers(kind, body, &message);
        let mut error = Error::new(kind, message).with_context_length(numbers).with_raw_body(raw);
        if let Some(code) = self.best_code() {
            error = error.with_code(code);
        }
        match self.parameter.as_deref().filter(|parameter| parameter.len() <= MAX_CODE_BYTES) {
            Some(parameter) => error.with_parameter(parameter),
            None => error,
        }
    }

    /// The more telling of code and type: a word before a number.
    fn best_code(&self) -> Option<&str> {
        let short = |text: &&str| !text.is_empty() && text.len() <= MAX_CODE_BYTES;
        let code = self.code.as_deref().filter(short);
        let kind = self.kind.as_deref().filter(short);
        match (code, kind) {
            (Some(code), Some(kind)) if code.bytes().all(|byte| byte.is_ascii_digit()) => Some(kind),
            (Some(code), _) => Some(code),
            (None, kind) => kind,
        }
    }

    fn kind(&self, status: Option<u16>) -> ErrorKind {
        let code = self.code.as_deref().unwrap_or_default();
        let kind = self.kind.as_deref().unwrap_or_default();
        self.is_filtered
            .then_some(ErrorKind::ContentFiltered)
            // Whatever else is said: Groq's code for a request that is larger than what a minute may hold is that of one
            // too many, and no wait makes it fit.
            .or_else(|| (status == Some(413)).then_some(ErrorKind::ContextLength))
            .or_else(|| by_message(self.message.as_deref().unwrap_or_default(), status))
            .or_else(|| by_word(code))
            .or_else(|| by_word(kind))
            .or_else(|| by_word(self.reason?))
            .or_else(|| by_status(status.or_else(|| code.parse().ok())?))
            // Last, as compatible servers say this of everything.
            .or_else(|| kind.contains("invalid_request").then_some(ErrorKind::InvalidRequest))
            .unwrap_or(ErrorKind::Server)
    }
}

/// Google's `ErrorInfo` among an error's details: `"reason": "API_KEY_INVALID"`.
fn reason(error: &Value) -> Option<&str> {
    error.get("details")?.as_array()?.iter().find_map(|detail| detail.get("reason")?.as_str())
}

/// How much fits and how much was sent, if that is what is wrong.
fn numbers(kind: ErrorKind, body: Option<&Value>, message: &str) -> ContextLength {
    match kind {
        ErrorKind::ContextLength => crate::window::numbers(body, message),
        _ => ContextLength::default(),
    }
}

/// Google's `RetryInfo` among an error's details, which stands in for a header: `"retryDelay": "34s"`.
/// <https://cloud.google.com/apis/design/errors#error_details>
fn retry_delay(body: &Value) -> Option<Duration> {
    let body = body.get(0).unwrap_or(body);
    let mut details = body.get("error")?.get("details")?.as_array()?.iter();
    let seconds =
        details.find_map(|detail| detail.get("retryDelay")?.as_str()?.strip_suffix('s')?.parse().ok());
    Duration::try_from_secs_f64(seconds?).ok()
}

/// A value as text: a string, a number, or the messages of a list such as FastAPI's.
fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Array(list) => list.first().and_then(text_of),
        Value::Object(object) => {
            ["message", "msg", "detail"].iter().find_map(|key| text_of(object.get(*key)?))
        }
        _ => None,
    }
}

fn joined<'a>(message: Option<Cow<'a, str>>, detail: Option<Cow<'a, str>>) -> Option<Cow<'a, str>> {
    match (message, detail) {
        (Some(message), Some(detail)) if !message.contains(&*detail) => {
            Some(format!("{message}: {detail}").into())
        }
        (message, detail) => message.or(detail),
    }
}

/// What only the message tells: a prompt that is too long is "invalid request" to most providers, a key that is none to some.
fn by_message(message: &str, status: Option<u16>) -> Option<ErrorKind> {
    if status.is_some_and(|status| matches!(status, 401 | 403 | 404 | 429)) {
        return None;
    }
    let message = message.to_ascii_lowercase();
    const PHRASES: &[(&str, ErrorKind)] = &[
        ("maximum context length", ErrorKind::ContextLength),
        ("maximum prompt length", ErrorKind::ContextLength),
        ("context window", ErrorKind::ContextLength),
        ("available context size", ErrorKind::ContextLength),
        ("context length", ErrorKind::ContextLength),
        ("context limit", ErrorKind::ContextLength),
        ("prompt is too long", ErrorKind::ContextLength),
        ("input is too long for", ErrorKind::ContextLength), // Bedrock
        ("maximum model length", ErrorKind::ContextLength),  // vLLM
        ("exceeded model token limit", ErrorKind::ContextLength), // Moonshot
        ("too many tokens: ", ErrorKind::ContextLength), // Cohere; Amazon's "too many tokens, please wait" is a rate limit
        ("range of input length", ErrorKind::ContextLength),
        ("maximum number of tokens allowed", ErrorKind::ContextLength),
        ("`inputs` tokens + `max_new_tokens` must be", ErrorKind::ContextLength),
        // Mistral, xAI and OpenRouter answer 400 for a model that is not there.
        ("model not found", ErrorKind::NotFound),
        ("invalid model:", ErrorKind::NotFound),
        ("is not a valid model", ErrorKind::NotFound),
        // Gemini and xAI answer 400 for a key that is none, Anthropic for an account with nothing in it.
        ("api key not valid", ErrorKind::Authentication),
        ("api key not found", ErrorKind::Authentication),
        ("api key expired", ErrorKind::Authentication),
        ("incorrect api key", ErrorKind::Authentication),
        ("credit balance is too low", ErrorKind::QuotaExceeded),
    ];
    PHRASES.iter().find(|(phrase, _)| message.contains(phrase)).map(|(_, kind)| *kind)
}

fn by_word(word: &str) -> Option<ErrorKind> {
    use ErrorKind as K;
    const WORDS: &[(&str, ErrorKind)] = &[
        ("insufficient_quota", K::QuotaExceeded),
        ("insufficient_balance", K::QuotaExceeded),
        ("exceeded_current_quota", K::QuotaExceeded),
        ("quota_exceeded", K::QuotaExceeded),
        ("billing", K::QuotaExceeded),
        ("arrearage", K::QuotaExceeded),
        ("credits", K::QuotaExceeded),
        ("context_length", K::ContextLength),
        ("exceed_context_size", K::ContextLength),
        ("too_many_prompt_tokens", K::ContextLength),
        ("tokens_limit_reached", K::ContextLength),
        ("request_too_large", K::ContextLength), // Anthropic, in a stream or behind a proxy's own status
        ("string_above_max_length", K::ContextLength),
        ("content_filter", K::ContentFiltered),
        ("content_policy", K::ContentFiltered),
        ("data_inspection", K::ContentFiltered),
        ("datainspection", K::ContentFiltered),
        ("rate_limit", K::RateLimited),
        ("ratelimit", K::RateLimited),
        ("throttling", K::RateLimited),
        ("too_many_requests", K::RateLimited),
        ("resource_exhausted", K::RateLimited),
        ("overloaded", K::Overloaded),
        ("unavailable", K::Overloaded),
        ("authentication", K::Authentication),
        ("invalid_api_key", K::Authentication),
        ("invalidapikey", K::Authentication),
        ("api_key_invalid", K::Authentication),
        ("expiredtoken", K::Authentication),
        ("unrecognizedclient", K::Authentication),
        ("invalidsignature", K::Authentication),
        ("unauthorized", K::Authentication),
        ("permission", K::Permission),
        ("access_denied", K::Permission),
        ("model_not_found", K::NotFound),
        ("not_found", K::NotFound),
        ("server_error", K::Server),
        ("api_error", K::Server),
    ];
    let word = word.to_ascii_lowercase();
    WORDS.iter().find(|(part, _)| word.contains(part)).map(|(_, kind)| *kind)
}

fn by_status(status: u16) -> Option<ErrorKind> {
    Some(match status {
        401 => ErrorKind::Authentication,
        402 => ErrorKind::QuotaExceeded,
        403 => ErrorKind::Permission,
        404 => ErrorKind::NotFound,
        408 => ErrorKind::Timeout,
        429 => ErrorKind::RateLimited,
        503 | 529 => ErrorKind::Overloaded,
        400..=499 => ErrorKind::InvalidRequest,
        500..=599 => ErrorKind::Server,
        300..=399 => ErrorKind::Protocol,
        _ => return None,
    })
}

/// A body that is a sentence and not a page.
fn plain_text<'a>(head: &Head<'_>, body: &'a [u8]) -> Option<&'a str> {
    if head.content_type().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html")) {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?.trim();
    let readable = !text.is_empty() && text.len() <= 1024 && !text.starts_with(['<', '{', '[']);
    (readable && !text.chars().any(|c| c.is_control() && c != '\n')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, kind: ErrorKind, code: Option<&str>, message: &str) {
        let headers = http::HeaderMap::new();
        let error = of_response(&Head { status, headers: &headers }, body.as_bytes());
        assert_eq!((error.kind(), error.code(), error.message()), (kind, code, message), "{body}");
        assert_eq!(error.raw_body(), Some(body.as_bytes()));
    }

    #[test]
    fn shapes_and_kinds() {
        use ErrorKind as K;
        check(
            401,
            r#"{"error":{"message":"Incorrect API key","type":"invalid_request_error","code":"invalid_api_key"}}"#,
            K::Authentication,
            Some("invalid_api_key"),
            "Incorrect API key",
        );
        check(
            529,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            K::Overloaded,
            Some("overloaded_error"),
            "Overloaded",
        );
        check(404, r#"{"error":"model 'x' not found"}"#, K::NotFound, None, "model 'x' not found");
        check(
            429,
            r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#,
            K::QuotaExceeded,
            Some("insufficient_quota"),
            "You exceeded your current quota",
        );
        check(
            400,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
            K::ContextLength,
            Some("exceed_context_size_error"),
            "the request exceeds the available context size",
        );
        check(
            422,
            r#"{"detail":[{"loc":["body"],"msg":"field required","type":"missing"}]}"#,
            K::InvalidRequest,
            None,
            "field required",
        );
        check(
            400,
            r#"{"code":"DataInspectionFailed","message":"no","request_id":"r"}"#,
            K::ContentFiltered,
            Some("DataInspectionFailed"),
            "no",
        );
        check(403, "forbidden", K::Permission, None, "forbidden");
        check(502, "<html>", K::Server, None, "the server refused without an explanation");
        check(500, "", K::Server, None, "the server refused without an explanation");
        check(
            400,
            r#"[{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}]"#,
            K::InvalidRequest,
            Some("INVALID_ARGUMENT"),
            "bad",
        );
    }

    /// Said with the status of a bad request, or with that of a permission which nobody can grant.
    #[test]
    fn kinds_behind_a_status_that_says_another() {
        use ErrorKind as K;
        let kind = |status: u16, header: &str, body: &str| {
            let mut headers = http::HeaderMap::new();
            if !header.is_empty() {
                headers.insert("x-amzn-errortype", header.parse().expect("a header"));
            }
            of_response(&Head { status, headers: &headers }, body.as_bytes()).kind()
        };
        for (status, header, body, expected) in [
            (
                400,
                "",
                r#"{"error":{"code":400,"message":"Please pass another.","status":"INVALID_ARGUMENT","details":[{"a":1},{"reason":"API_KEY_INVALID"}]}}"#,
                K::Authentication,
            ),
            (
                400,
                "",
                r#"{"error":{"code":400,"message":"API key expired. Please renew the API key.","status":"INVALID_ARGUMENT"}}"#,
                K::Authentication,
            ),
            (
                400,
                "",
                r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: gs***tF."}"#,
                K::Authentication,
            ),
            (
                400,
                "",
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#,
                K::QuotaExceeded,
            ),
            (
                403,
                "ExpiredTokenException:http://internal.amazon.com/coral/",
                r#"{"message":"The security token included in the request is expired"}"#,
                K::Authentication,
            ),
            (
                403,
                "UnrecognizedClientException",
                r#"{"message":"The security token included in the request is invalid."}"#,
                K::Authentication,
            ),
            (403, "AccessDeniedException", r#"{"message":"no access to the model"}"#, K::Permission),
            (
                403,
                "",
                r#"{"error":{"code":403,"message":"flagged","metadata":{"reasons":["violence"],"flagged_input":"…","provider_name":"OpenAI"}}}"#,
                K::ContentFiltered,
            ),
            (400, "", r#"{"message":"Input is too long for requested model."}"#, K::ContextLength),
            (413, "", "", K::ContextLength),
            (
                413,
                "",
                r#"{"error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#,
                K::ContextLength,
            ),
            (
                413,
                "",
                r#"{"error":{"message":"Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 7000","type":"tokens","code":"rate_limit_exceeded"}}"#,
                K::ContextLength,
            ),
            (
                502,
                "",
                r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#,
                K::ContextLength,
            ),
            (429, "", r#"{"message":"Too many tokens: slow down"}"#, K::RateLimited),
        ] {
            assert_eq!(kind(status, header, body), expected, "{body}");
        }
        let of_frame = |code, message| of_frame(code, message, "").kind();
        assert_eq!(
            of_frame("validationException", "Input is too long for requested model."),
            K::ContextLength
        );
        assert_eq!(of_frame("validationException", "no such member"), K::InvalidRequest);
        assert_eq!(of_frame("throttlingException", "Too many tokens: slow down"), K::RateLimited);
    }

    /// Neither tried again, though it says when, nor the server's fault.
    #[test]
    fn a_request_that_is_too_large_is_the_callers() {
        let headers =
            http::HeaderMap::from_iter([(http::header::RETRY_AFTER, "1".parse().expect("a header"))]);
        let error = of_response(&Head { status: 413, headers: &headers }, b"Payload Too Large");
        let seen = (error.kind(), error.fault(), error.is_retryable());
        assert_eq!(seen, (ErrorKind::ContextLength, loquat_core::Fault::Caller, false));
    }

    #[test]
    fn a_prompt_that_is_too_long_is_told_with_its_numbers() {
        for (message, limit, request) in [
            (
                "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292.",
                4081,
                4292,
            ),
            (
                "The decoder prompt (length 10127) is longer than the maximum model length of 8192.",
                8192,
                10127,
            ),
            (
                "Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)",
                262_144,
                269_030,
            ),
        ] {
            let headers = http::HeaderMap::new();
            let body =
                serde_json::json!({"error": {"message": message, "type": "BadRequestError", "code": 400}});
            let error = of_response(&Head { status: 400, headers: &headers }, body.to_string().as_bytes());
            assert_eq!(error.kind(), ErrorKind::ContextLength, "{message}");
            assert_eq!(
                error.context_length(),
                Some(ContextLength::new(Some(limit), Some(request))),
                "{message}"
            );
        }
    }

    #[test]
    fn a_delay_among_the_details_is_a_hint() {
        let hint = |body: &str| {
            let headers = http::HeaderMap::new();
            of_response(&Head { status: 429, headers: &headers }, body.as_bytes()).retry_hint().after
        };
        let delay = r#"[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"a":1},{"retryDelay":"34.5s"}]}}]"#;
        assert_eq!(hint(delay), Some(Duration::from_millis(34_500)));
        assert_eq!(hint(r#"{"error":{"details":[{"retryDelay":"-3s"}]}}"#), None);
        assert_eq!(hint(r#"{"error":{"details":{"retryDelay":"3s"}}}"#), None);
    }

    #[test]
    fn errors_among_lines_that_are_no_events() {
        let message = |stray: &[u8]| in_stray(stray).map(|error| error.message().to_owned());
        assert_eq!(message(br#"error: {"detail":"lost it"}"#).as_deref(), Some("lost it"));
        assert_eq!(message(b"error: out of memory").as_deref(), Some("out of memory"));
        assert_eq!(message(br#"{"error":{"message":"late"}}"#).as_deref(), Some("late"));
        assert_eq!(message(b"{\n \"detail\": \"late\"\n}").as_deref(), Some("late"));
        assert_eq!(message(b"foo: bar"), None);
        assert_eq!(message(br#"{"a":1}"#), None);
        assert_eq!(message(b""), None);
    }
}
