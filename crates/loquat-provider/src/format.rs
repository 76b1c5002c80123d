//! The seam to clients: one wire format, object-safe and stateless.

use std::{fmt, time::SystemTime};

use http::{HeaderMap, Method};
use loquat_core::{ChatRequest, Error, ModelInfo, Result, Secret};

use crate::{
    ANTHROPIC_BEDROCK, ANTHROPIC_MESSAGES, ANTHROPIC_VERTEX, AZURE_OPENAI, AZURE_OPENAI_DEPLOYMENT,
    BEDROCK_CONVERSE, COHERE_CHAT, DASHSCOPE, DASHSCOPE_CUMULATIVE, DecodeLimits, Decoder, DecoderMemory,
    GEMINI, GEMINI_INTERACTIONS, GEMINI_VERTEX, Head, OLLAMA_CHAT, OLLAMA_GENERATE, OPENAI_CHAT,
    OPENAI_COMPATIBLE, OPENAI_COMPLETIONS, OPENAI_RESPONSES,
};

/// One wire format: how a request is written, how an answer and an error are read.
///
/// Stateless; every format of this crate is a `static`. Open to implementation outside only as far as a [`Decoder`]
/// can be had from one of ours.
pub trait Format: Send + Sync + fmt::Debug {
    /// The format's name, as [`by_name`] knows it.
    fn name(&self) -> &'static str;

    /// The request for a generation by that model. The same request always gives the same bytes.
    ///
    /// # Errors
    /// `InvalidRequest` or `Unsupported`, naming the part of the request (`messages[2].parts[0]`) and never quoting
    /// it. What a format cannot say is an error where leaving it out would change the meaning; a `seed` is left out
    /// in silence where there is none, because it only ever asks for what a provider can.
    fn encode(&self, request: &ChatRequest, model: &str) -> Result<Encoded>;

    /// Where a model is asked for what is done at `path` (`embeddings`), relative to the base URL: there, unless the format puts the
    /// model's name before it.
    fn operation_path(&self, path: &str, model: &str) -> String {
        let _ = model;
        path.to_owned()
    }

    /// The member of a request for embeddings that says how long they shall be.
    fn dimensions_field(&self) -> &'static str {
        "dimensions"
    }

    /// Adds the headers that carry the credential, marked sensitive.
    ///
    /// # Errors
    /// `Authentication`, if it has characters that no header may carry. The message does not show it.
    fn authenticate(&self, secret: &Secret, headers: &mut HeaderMap) -> Result<()>;

    /// Adds what proves who asks to a request that is complete otherwise: by default the headers of
    /// [`authenticate`](Self::authenticate), elsewhere a signature over the request and the time.
    ///
    /// # Errors
    /// As [`authenticate`](Self::authenticate); `NotConfigured` where the address does not tell what to sign for.
    fn sign(
        &self,
        outgoing: &Outgoing<'_>,
        secret: &Secret,
        now: SystemTime,
        headers: &mut HeaderMap,
    ) -> Result<()> {
        let _ = (outgoing, now);
        self.authenticate(secret, headers)
    }

    /// A decoder for the body of a 2xx response, which learns what events look like for all others of this format.
    fn decoder(&self, head: &Head<'_>, limits: DecodeLimits) -> Decoder {
        self.decoder_in(head, limits, None)
    }

    /// [`decoder`](Self::decoder) that learns in this memory, and from it: for those of one endpoint, whoever it is. One that decoders
    /// of another format use is left alone.
    fn decoder_in(&self, head: &Head<'_>, limits: DecodeLimits, memory: Option<&DecoderMemory>) -> Decoder;

    /// What a response that is not 2xx says: kind, code, the provider's own message, request id, retry hint, body.
    /// `Retry-After` as a date is read against the response's own `Date`, as this crate has no clock; without one, whoever has a
    /// clock asks [`Head::retry_hint`].
    fn error(&self, head: &Head<'_>, body: &[u8]) -> Error;

    /// Where models are listed, relative to the base URL; asked with `GET`.
    fn models_path(&self) -> &'static str;

    /// The models in a listing, in its order.
    ///
    /// # Errors
    /// `Protocol`, if it is none.
    fn decode_models(&self, body: &[u8]) -> Result<Vec<ModelInfo>>;
}

/// What of a credential is secret by itself, for who blots it out of messages: all of it; of a key pair that signs
/// (`AwsCredentials`) the id, the key and the token, without the region.
pub fn secrets_in(credential: &Secret) -> Vec<Secret> {
    #[cfg(feature = "sigv4")]
    if let Some(pair) = crate::AwsCredentials::read(credential) {
        let secrets =
            [Some(Secret::from(pair.access_key_id)), Some(pair.secret_access_key), pair.session_token];
        return secrets.into_iter().flatten().collect();
    }
    vec![credential.clone()]
}

/// A request as it is about to be sent, for what signs it. `Debug` shows the body's size only.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Outgoing<'a> {
    /// The method.
    pub method: &'a Method,
    /// What the `Host` field says.
    pub host: &'a str,
    /// The path, escaped.
    pub path: &'a str,
    /// The query, escaped, without its question mark; empty for none.
    pub query: &'a str,
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Outgoing<'a> {
    /// A request without a query.
    pub fn new(method: &'a Method, host: &'a str, path: &'a str, body: &'a [u8]) -> Self {
        Self { method, host, path, query: "", body }
    }

    /// With that query.
    #[must_use]
    pub fn with_query(mut self, query: &'a str) -> Self {
        self.query = query;
        self
    }
}

impl fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("method", &self.method)
            .field("host", &self.host)
            .field("path", &self.path)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A request, ready for the wire but for its address and its credential. `Debug` shows sizes only.
#[derive(Clone)]
#[non_exhaustive]
pub struct Encoded {
    /// Relative to the base URL, without a leading slash.
    pub path: String,
    /// Headers without credentials, but with the request's own extra headers.
    pub headers: HeaderMap,
    /// The JSON body.
    pub body: Vec<u8>,
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded")
            .field("path", &self.path)
            .field("header_names", &self.headers.keys().collect::<Vec<_>>())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

static FORMATS: &[&dyn Format] = &[
    &OPENAI_CHAT,
    &OPENAI_COMPATIBLE,
    &OPENAI_RESPONSES,
    &AZURE_OPENAI,
    &AZURE_OPENAI_DEPLOYMENT,
    &ANTHROPIC_MESSAGES,
    &ANTHROPIC_BEDROCK,
    &ANTHROPIC_VERTEX,
    &GEMINI,
    &GEMINI_VERTEX,
    &GEMINI_INTERACTIONS,
    &DASHSCOPE,
    &DASHSCOPE_CUMULATIVE,
    &BEDROCK_CONVERSE,
    &COHERE_CHAT,
    &OLLAMA_CHAT,
    &OLLAMA_GENERATE,
    &OPENAI_COMPLETIONS,
];

/// The format of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Format> {
    FORMATS.iter().copied().find(|format| format.name() == name)
}

/// The names that [`by_name`] knows, for a message that says what exists.
pub fn format_names() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().map(|format| format.name())
}
