//! The [`Engine`]: a loaded model that answers chat requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use loquat_core::{
    Answer, BoxFuture, ChatRequest, Context, Error, ErrorKind, Model, ResponseFormat, Result, ToolChoice,
};

use crate::convert;
use crate::error::{local, unsupported};
use crate::generate::{self, Job};
use crate::gguf::Gguf;
use crate::outlet;
use crate::queue::Queue;
use crate::sample::Sampling;
use crate::store;
use crate::template::ChatTemplate;
use crate::text::TextFilter;
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;

/// The engine's limits. `Default` is what a careful operator would choose for a desktop.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineConfig {
    /// Threads that compute, 1 to 64. Default: the processors this process may use, at most 8; generating is bound by memory
    /// bandwidth, which more do not add to.
    pub threads: usize,
    /// Most tokens of a conversation, prompt and answer together. Default 8192; the model's own limit holds besides.
    pub max_context_tokens: usize,
    /// Requests that may wait while another is served; one more is refused. Default 16.
    pub max_queued_requests: usize,
    /// Conversations kept in memory, so that their next turn is not read afresh. Default 4; 0 keeps none.
    pub max_sessions: usize,
    /// Memory for kept conversations, bytes. Default 512 MiB: some 11,000 tokens of SmolLM2-135M (45 KiB each). A running
    /// request uses its own besides, at most `max_context_tokens`.
    pub max_cache_bytes: usize,
    /// Where weights are kept that had to be converted for the kernels: at most 4 files, each about as large as its model in
    /// eight bits. Default: `converted` in [`store::cache_dir`]. `None`: they are converted in memory at every start.
    pub converted_dir: Option<PathBuf>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            threads: processors.min(8),
            max_context_tokens: 8192,
            max_queued_requests: 16,
            max_sessions: 4,
            max_cache_bytes: 512 << 20,
            converted_dir: store::cache_dir().ok().map(|folder| folder.join("converted")),
        }
    }
}

impl EngineConfig {
    /// With that many computing threads.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// With that many tokens at most per conversation.
    #[must_use]
    pub fn with_max_context_tokens(mut self, tokens: usize) -> Self {
        self.max_context_tokens = tokens;
        self
    }

    /// With room for that many waiting requests.
    #[must_use]
    pub fn with_max_queued_requests(mut self, requests: usize) -> Self {
        self.max_queued_requests = requests;
        self
    }

    /// With that many conversations kept, in that many bytes.
    #[must_use]
    pub fn with_sessions(mut self, max_sessions: usize, max_cache_bytes: usize) -> Self {
        self.max_sessions = max_sessions;
        self.max_cache_bytes = max_cache_bytes;
        self
    }

    /// With converted weights kept in that folder, or nowhere.
    #[must_use]
    pub fn with_converted_dir(mut self, folder: Option<PathBuf>) -> Self {
        self.converted_dir = folder;
        self
    }
}

/// What the working thread needs.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) weights: Weights,
    pub(crate) tokenizer: Tokenizer,
    template: ChatTemplate,
    pub(crate) threads: usize,
    /// The limit that holds: the model's or the configured one.
    pub(crate) context_tokens: usize,
    pub(crate) max_sessions: usize,
    pub(crate) cache_bytes: usize,
    longest_token: usize,
    name: Arc<str>,
}

impl Loaded {
    pub(crate) fn read(path: &Path, config: &EngineConfig) -> Result<Self> {
        if !(1..=64).contains(&config.threads) {
            let what = format!("EngineConfig::threads is {}; allowed are 1 to 64", config.threads);
            return Err(Error::new(ErrorKind::InvalidRequest, what));
        }
        let file = convert::prepared(Gguf::open(path)?, config.converted_dir.as_deref());
        // The vocabulary's maps and the weights take about as long: one thread each.
        let (tokenizer, weights) = std::thread::scope(|scope| -> Result<_> {
            let building = std::thread::Builder::new()
                .name("loquat-load".into())
                .spawn_scoped(scope, || Tokenizer::read(&file))
                .map_err(|e| local("cannot start a thread", e))?;
            let vocabulary = file.array("tokenizer.ggml.tokens").map_or(0, <[_]>::len);
            let weights = Weights::read(&file, vocabulary, config.threads);
            let tokenizer = building.join().unwrap_or_else(|_| Err(crate::error::internal("loading failed")));
            Ok((tokenizer?, weights?))
        })?;
        let template = ChatTemplate::read(&file, tokenizer.spelled())?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let ids = 0..u32::try_from(tokenizer.len()).unwrap_or(u32::MAX);
        Ok(Self {
            context_tokens: weights.shape.context.min(config.max_context_tokens),
            longest_token: ids.map(|id| tokenizer.text(id).len()).max().unwrap_or(1).max(16),
            name: file.text("general.name").map(str::to_owned).or(stem).unwrap_or_default().into(),
            weights,
            tokenizer,
            template,
            threads: config.threads,
            max_sessions: config.max_sessions,
            cache_bytes: config.max_cache_bytes,
        })
    }

    /// The prompt's ids, checked against the context window.
    pub(crate) fn encode(&self, request: &ChatRequest) -> Result<Vec<u32>> {
        let limit = self.context_tokens;
        let too_long = |tokens: usize, about: &str| {
            let what = format!(
                "the prompt has {about}{tokens} tokens; the limit is {limit} (model {}, max_context_tokens), and the answer \
                 needs at least one of them",
                self.weights.shape.context
            );
            Error::new(ErrorKind::ContextLength, what)
        };
        // No token stands for more bytes than the longest: such a text cannot fit, and need not be tokenized to know it.
        let bytes: usize = request.messages.iter().flat_map(|message| message.texts()).map(str::len).sum();
        if bytes / self.longest_token >= limit {
            return Err(too_long(bytes / self.longest_token, "at least "));
        }
        let prompt = self.template.encode(&request.messages, &self.tokenizer)?;
        if prompt.is_empty() {
            return Err(Error::new(ErrorKind::InvalidRequest, "the prompt is empty"));
        }
        if prompt.len() >= limit {
            return Err(too_long(prompt.len(), ""));
        }
        Ok(prompt)
    }
}

/// A language model on this machine's processor. Cheap to clone; clones share the model, its queue and its conversations.
///
/// Requests are served one after the other by a thread of its own, which ends when the last clone is dropped and the
/// requests in hand are served. Dropping an answer stops its generation at the next token.
///
/// # Example
///
/// ```no_run
/// use std::{io::{Write, stdout}, sync::Arc};
/// use loquat_core::{ChatRequest, Context, Model};
/// use loquat_engine::Engine;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::load("SmolLM2-135M-Instruct.Q4_1.gguf")?;
/// let request = Arc::new(ChatRequest::new("").with_user("Write one sentence about loquats."));
/// let mut answer = engine.infer(&Context::new(), request).await?;
/// while let Some(text) = answer.next_text().await? {
///     print!("{text}");
///     stdout().flush()?; // or only whole lines are seen
/// }
/// println!();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    model: Arc<Loaded>,
    queue: Arc<Queue>,
    answers: AtomicU64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Engine {
    /// Loads a GGUF file with the default limits, on the calling thread: some tenths of a second for a model of 100 MB. Weights
    /// in Q4_0, Q4_1 and Q8_0 are used as they are; others are converted to eight bits, once, and kept in
    /// [`store::cache_dir`].
    ///
    /// # Errors
    /// The file cannot be read, is no sound GGUF, or holds a model that the engine does not know; the message says which.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(path, &EngineConfig::default())
    }

    /// Loads a GGUF file with these limits.
    ///
    /// # Errors
    /// As [`Engine::load`]; or the number of threads is out of range.
    pub fn load_with(path: impl AsRef<Path>, config: &EngineConfig) -> Result<Self> {
        let model = Arc::new(Loaded::read(path.as_ref(), config)?);
        let queue = Arc::new(Queue::new(config.max_queued_requests));
        generate::start(Arc::clone(&model), Arc::clone(&queue))?;
        Ok(Self { inner: Arc::new(Inner { model, queue, answers: AtomicU64::new(0) }) })
    }

    /// The model's name, from the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.model.name
    }

    /// Most tokens of a conversation: the smaller of the model's own limit and the configured one.
    #[must_use]
    pub fn context_tokens(&self) -> usize {
        self.inner.model.context_tokens
    }

    /// Bytes of memory that the weights take.
    #[must_use]
    pub fn weights_bytes(&self) -> usize {
        self.inner.model.weights.bytes()
    }

    /// Number of tokens that the conversation's prompt would have.
    ///
    /// # Errors
    /// As [`Model::infer`] before any work.
    pub fn count_tokens(&self, request: &ChatRequest) -> Result<usize> {
        self.inner.model.encode(request).map(|prompt| prompt.len())
    }

    #[cfg(test)]
    pub(crate) fn model(&self) -> &Loaded {
        &self.inner.model
    }

    fn begin(&self, context: &Context, request: &ChatRequest) -> Result<Answer> {
        let model = &self.inner.model;
        context.check()?;
        check_supported(request)?;
        let filter = TextFilter::new(&request.stop)?;
        let prompt = model.encode(request)?;
        let room = model.context_tokens - prompt.len();
        let wanted = request.max_output_tokens.map_or(room, |tokens| usize::try_from(tokens).unwrap_or(room));
        if wanted == 0 {
            return Err(Error::new(
                ErrorKind::InvalidRequest,
                "max_output_tokens is 0; at least 1 is needed",
            ));
        }
        let number = self.inner.answers.fetch_add(1, Ordering::Relaxed);
        let id = format!("engine-{number}");
        let (outlet, inlet) = outlet::bridge(id, Arc::clone(&model.name), context.cancellation());
        self.inner.queue.push(Job {
            context: context.clone(),
            prompt,
            sampling: Sampling::of(request),
            seed: request.seed.unwrap_or_else(|| random_seed(number)),
            filter,
            max_tokens: wanted.min(room),
            outlet,
        })?;
        Ok(Answer::new(inlet))
    }
}

/// A seed for those who gave none: differs between runs and requests, and needs no randomness of quality.
fn random_seed(number: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(number)
}

fn check_supported(request: &ChatRequest) -> Result<()> {
    if !request.tools.is_empty() && request.tool_choice != ToolChoice::None {
        return Err(unsupported("the embedded engine has no tool calls; leave tools empty"));
    }
    if request.response_format != ResponseFormat::Text {
        return Err(unsupported(
            "the embedded engine answers in free text only; leave response_format as Text",
        ));
    }
    if request.choices.is_some_and(|choices| choices > 1) {
        return Err(unsupported("the embedded engine gives one answer; leave choices empty"));
    }
    if request.top_logprobs.is_some() {
        return Err(unsupported("the embedded engine tells no probabilities; leave top_logprobs empty"));
    }
    if !request.extra_body.is_empty() {
        return Err(unsupported("the embedded engine has no request body; leave extra_body empty"));
    }
    Ok(())
}

impl Model for Engine {
    /// Tokenizes and queues the request; resolves at once. The prompt is tokenized on the calling task: some microseconds per
    /// hundred tokens. `reasoning_effort`, `reasoning_budget_tokens` and `extra_headers` have no meaning here and are ignored.
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move { self.begin(context, &request) })
    }
}
