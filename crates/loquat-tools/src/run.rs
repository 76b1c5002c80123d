//! [`Run`]: ask, execute, hand back, ask again, until the model has answered.
//!
//! Tool calls are executed only from an answer that has finished: arguments that look complete before that may not be
//! (vercel/ai#16838). Its results go back in the order of the calls, whatever order they came in. The ending is one of
//! the three that every answer has; a run that stopped because of a bound has failed and says which. An answer that its provider
//! paused (`pause_turn`) is no end: the model is asked to go on, within the same bound.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    mem,
    sync::Arc,
    task::{self, Poll, ready},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use loquat_core::{
    Answer, BoxFuture, ChatRequest, Context, Delta, Ending, Error, ErrorKind, Message, Model, Part, Response,
    Result, Role, ToolCall, ToolResult, Usage,
};

use crate::{RunLimits, Toolbox};

/// What happened in a [`Run`], borrowed from it.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunEvent<'a> {
    /// A piece of the answer that is being given; [`Delta::End`] is never among them.
    Delta(Delta<'a>),
    /// An answer is complete. What it asks for is executed next.
    Turn(&'a Response),
    /// A call begins.
    Calling(&'a ToolCall),
    /// A call has ended, well or not.
    Called {
        /// What the model is told.
        result: &'a ToolResult,
        /// How long it took.
        elapsed: Duration,
    },
    /// How the run ended: always the last, exactly once.
    End(&'a Ending),
}

impl<'a> RunEvent<'a> {
    /// The text, if this is text.
    pub fn text(&self) -> Option<&'a str> {
        match self {
            Self::Delta(delta) => delta.text(),
            _ => None,
        }
    }
}

/// What a whole [`Run`] came to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// The last answer.
    pub response: Response,
    /// Everything said since the request: answers and results, in order, ready to be appended to the conversation.
    pub messages: Vec<Message>,
    /// What all answers together cost.
    pub usage: Usage,
    /// How many answers there were.
    pub turns: u32,
}

impl Outcome {
    /// The last answer's text.
    pub fn text(&self) -> String {
        self.response.text()
    }
}

/// A model and its tools at work. Pull it with [`next`](Self::next), or all at once with [`finish`](Self::finish).
///
/// Nothing happens that is not pulled, and no task runs behind it. Dropping it cancels the answer and every call that is
/// under way.
///
/// ```
/// use std::sync::Arc;
///
/// use loquat_tools::loquat_core::{ChatRequest, Context, Error, Model};
/// use loquat_tools::{Run, RunEvent, Toolbox};
///
/// async fn ask(model: Arc<dyn Model>, toolbox: Toolbox) -> Result<(), Error> {
///     let request = ChatRequest::new("gpt-4o").with_user("What is the weather in Oslo?");
///     let mut run = Run::new(model, Context::new(), request, toolbox);
///     while let Some(event) = run.next().await {
///         match event {
///             RunEvent::Delta(delta) => print!("{}", delta.text().unwrap_or_default()),
///             RunEvent::Calling(call) => eprintln!("[{}]", call.name),
///             RunEvent::End(ending) => return ending.clone().into_result().map(drop),
///             _ => {}
///         }
///     }
///     Ok(())
/// }
/// ```
#[must_use = "a run does nothing unless it is pulled"]
pub struct Run {
    model: Arc<dyn Model>,
    toolbox: Toolbox,
    limits: RunLimits,
    context: Context,
    request: Arc<ChatRequest>,
    /// Where the request's own messages end.
    asked: usize,
    state: State,
    /// What [`poll_advance`](Self::poll_advance) reached.
    reached: Reached,
    /// The last answer that was complete.
    response: Response,
    /// The part of an answer that never became whole.
    broken: Option<Response>,
    usage: Usage,
    turns: u32,
    ending: Option<Ending>,
}

enum State {
    Asking(BoxFuture<'static, Result<Answer>>),
    Answering(Box<Answer>),
    Executing(Executing),
    Ended,
}

/// The calls of one answer.
struct Executing {
    calls: Vec<ToolCall>,
    /// Positions of those that have not begun.
    waiting: VecDeque<usize>,
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    results: Vec<Option<ToolResult>>,
}

struct Done {
    position: usize,
    result: ToolResult,
    elapsed: Duration,
}

#[derive(Clone, Copy)]
enum Reached {
    Nothing,
    Delta,
    Turn,
    Calling(usize),
    Called(usize, Duration),
    End,
}

impl Run {
    /// A run of that request, whose tools are replaced by the toolbox's.
    pub fn new(model: Arc<dyn Model>, context: Context, mut request: ChatRequest, toolbox: Toolbox) -> Self {
        request.tools = toolbox.tools();
        let asked = request.messages.len();
        let mut run = Self {
            model,
            toolbox,
            limits: RunLimits::default(),
            context,
            request: Arc::new(request),
            asked,
            state: State::Ended,
            reached: Reached::Nothing,
            response: Response::default(),
            broken: None,
            usage: Usage::default(),
            turns: 0,
            ending: None,
        };
        run.ask();
        run
    }

    /// Within these bounds. To be said before the first pull.
    pub fn with_limits(mut self, limits: RunLimits) -> Self {
        self.limits = limits;
        self
    }

    /// What happens next; after [`RunEvent::End`], `None`.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the next call goes on where this one stood.
    pub async fn next(&mut self) -> Option<RunEvent<'_>> {
        if poll_fn(|cx| self.poll_advance(cx)).await { self.current() } else { None }
    }

    /// The next piece of text of any of the answers, `None` when the run has finished.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    ///
    /// # Cancel safety
    /// As [`next`](Self::next).
    pub async fn next_text(&mut self) -> Result<Option<&str>> {
        loop {
            if !poll_fn(|cx| self.poll_advance(cx)).await {
                return Ok(None);
            }
            match self.reached {
                Reached::Delta if self.current().and_then(|event| event.text()).is_some() => break,
                Reached::End => match &self.ending {
                    Some(ending) => return concluded(ending.clone(), self.broken.clone()).map(|()| None),
                    None => return Ok(None),
                },
                _ => {}
            }
        }
        Ok(self.current().and_then(|event| event.text()))
    }

    /// Pulls to the end.
    ///
    /// # Errors
    /// What an answer failed of; [`ErrorKind::Truncated`] if one was cut; [`ErrorKind::TooLarge`] if the model still asked
    /// for tools after [`RunLimits::max_turns`] answers. [`Error::partial`] has the answer that went wrong.
    /// [`Run::messages`] is what to keep of a run that may fail: pull it with [`next`](Self::next) then.
    pub async fn finish(mut self) -> Result<Outcome> {
        while poll_fn(|cx| self.poll_advance(cx)).await {}
        match self.ending.take() {
            Some(ending) => concluded(ending, self.broken.take())?,
            None => return Err(Error::new(ErrorKind::Internal, "the run came to no end")),
        }
        Ok(Outcome {
            messages: self.messages().to_vec(),
            response: self.response,
            usage: self.usage,
            turns: self.turns,
        })
    }

    /// Everything said since the request, whole answers and results only: an answer that asks for tools is among them when all of
    /// its calls have a result, as providers want it. Of one that was
    /// [cut](loquat_core::FinishReason::is_cut) it is what it said, if it said anything; its calls, and the thoughts that nothing else
    /// follows, are in the [response](RunEvent::Turn) alone.
    pub fn messages(&self) -> &[Message] {
        let said = self.request.messages.get(self.asked..).unwrap_or_default();
        match (&self.state, said.split_last()) {
            (State::Executing(_), Some((_asks, before))) => before,
            _ => said,
        }
    }

    /// How it ended; `None` while it has not.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// What all answers so far have cost.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// [`next`](Self::next) for those who poll: `true` when [`current`](Self::current) has something new to show.
    pub fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<bool> {
        loop {
            match &mut self.state {
                State::Ended => {
                    let shown = matches!(self.reached, Reached::End);
                    self.reached = Reached::End;
                    return Poll::Ready(!shown && self.ending.is_some());
                }
                State::Asking(asking) => match ready!(asking.poll_unpin(cx)) {
                    Ok(answer) => self.state = State::Answering(Box::new(answer)),
                    Err(error) => self.end(Ending::Failed(error)),
                },
                State::Answering(answer) => {
                    let more = ready!(answer.poll_advance(cx));
                    if more && answer.ending().is_none() {
                        self.reached = Reached::Delta;
                        return Poll::Ready(true);
                    }
                    if self.answered() {
                        self.reached = Reached::Turn;
                        return Poll::Ready(true);
                    }
                }
                State::Executing(executing) => {
                    if executing.running.len() < self.limits.max_parallel_calls.max(1)
                        && let Some(position) = executing.waiting.pop_front()
                    {
                        executing.begin(position, &self.toolbox, &self.context, self.limits);
                        self.reached = Reached::Calling(position);
                        return Poll::Ready(true);
                    }
                    match ready!(executing.running.poll_next_unpin(cx)) {
                        Some(Done { position, result, elapsed }) => {
                            if let Some(slot) = executing.results.get_mut(position) {
                                *slot = Some(result);
                            }
                            self.reached = Reached::Called(position, elapsed);
                            return Poll::Ready(true);
                        }
                        None => self.executed(),
                    }
                }
            }
        }
    }

    /// What [`poll_advance`](Self::poll_advance) reached.
    pub fn current(&self) -> Option<RunEvent<'_>> {
        Some(match (self.reached, &self.state) {
            (Reached::Delta, State::Answering(answer)) => RunEvent::Delta(answer.current()?),
            (Reached::Turn, _) => RunEvent::Turn(&self.response),
            (Reached::Calling(position), State::Executing(executing)) => {
                RunEvent::Calling(executing.calls.get(position)?)
            }
            (Reached::Called(position, elapsed), State::Executing(executing)) => {
                RunEvent::Called { result: executing.results.get(position)?.as_ref()?, elapsed }
            }
            (Reached::End, _) => RunEvent::End(self.ending.as_ref()?),
            _ => return None,
        })
    }

    fn end(&mut self, ending: Ending) {
        self.state = State::Ended;
        self.ending = Some(ending);
    }

    /// Asks for the next answer.
    fn ask(&mut self) {
        self.turns = self.turns.saturating_add(1);
        // Each turn is another operation: under the first one's key a server would give the first one's answer again.
        let context = match self.context.idempotency_key() {
            Some(key) if self.turns > 1 => {
                self.context.clone().with_idempotency_key(format!("{key}/{}", self.turns))
            }
            _ => self.context.clone(),
        };
        let (model, request) = (self.model.clone(), self.request.clone());
        self.state = State::Asking(Box::pin(async move { model.infer(&context, request).await }));
    }

    /// An answer has come to its end. Whether it was a whole one.
    fn answered(&mut self) -> bool {
        let State::Answering(answer) = mem::replace(&mut self.state, State::Ended) else { return false };
        let ending = answer.ending().cloned().unwrap_or(Ending::Truncated { cause: None });
        let response = answer.so_far().cloned().unwrap_or_default();
        let Ending::Finished { reason, usage } = &ending else {
            self.broken = Some(response).filter(|response| !response.choices.is_empty());
            self.end(ending);
            return false;
        };
        self.usage += *usage;
        let mut message =
            response.message().cloned().unwrap_or_else(|| Message::new(Role::Assistant, Vec::new()));
        let calls: Vec<ToolCall> = message.tool_calls().cloned().collect();
        // The last call may be half of what was meant.
        let is_cut = reason.is_cut();
        // Anthropic stops a turn in which its own tools run long, and goes on when told so far.
        let is_paused = matches!(reason, loquat_core::FinishReason::Other(word) if word == "pause_turn");
        self.response = response;
        if is_cut {
            message.parts = what_can_be_said_again(message.parts, &calls);
        }
        let messages = &mut Arc::make_mut(&mut self.request).messages;
        if !is_cut || message.parts.iter().any(|part| !matches!(part, Part::Reasoning(_) | Part::Opaque(_))) {
            messages.push(message);
        }
        if is_paused && calls.is_empty() {
            if self.turns >= self.limits.max_turns {
                self.exceed("paused");
            } else {
                self.go_on();
            }
        } else if calls.is_empty() || is_cut {
            self.end(ending);
        } else if self.turns >= self.limits.max_turns {
            let refused = |call: &ToolCall| {
                let words =
                    format!("not executed: at most {} answers may ask for tools", self.limits.max_turns);
                Part::ToolResult(ToolResult::new(call, words).with_error())
            };
            messages.push(Message::new(Role::Tool, calls.iter().map(refused).collect()));
            self.exceed("asked for tools");
        } else {
            self.state = State::Executing(Executing::new(calls, self.limits.max_calls_per_turn));
        }
        true
    }

    /// All calls have ended: their results are said, and the model is asked again.
    fn executed(&mut self) {
        let State::Executing(executing) = mem::replace(&mut self.state, State::Ended) else { return };
        let results = executing.results.into_iter().flatten().map(Part::ToolResult).collect();
        Arc::make_mut(&mut self.request).messages.push(Message::new(Role::Tool, results));
        self.go_on();
    }

    /// Ends a run whose last turn was not the model's last, and says what it did there.
    fn exceed(&mut self, what: &str) {
        let message = format!("the model still {what} after max_turns ({}) answers", self.limits.max_turns);
        self.broken = Some(self.response.clone());
        self.end(Ending::Failed(Error::new(ErrorKind::TooLarge, message)));
    }

    /// Asks again, after the results of calls or in the middle of a turn of the model's.
    fn go_on(&mut self) {
        let request = Arc::make_mut(&mut self.request);
        if request.tool_choice != loquat_core::ToolChoice::None {
            // What was demanded has been called; demanded again, it would be called for ever.
            request.tool_choice = loquat_core::ToolChoice::Auto;
        }
        match self.context.check() {
            Ok(()) => self.ask(),
            Err(error) => self.end(Ending::Failed(error)),
        }
    }
}

impl Executing {
    fn new(calls: Vec<ToolCall>, max_calls: usize) -> Self {
        let results = calls.iter().enumerate().map(|(position, call)| {
            (position >= max_calls).then(|| {
                let words = format!("not executed: at most {max_calls} calls are, for one answer");
                ToolResult::new(call, words).with_error()
            })
        });
        Self {
            results: results.collect(),
            waiting: (0..calls.len().min(max_calls)).collect(),
            running: FuturesUnordered::new(),
            calls,
        }
    }

    fn begin(&mut self, position: usize, toolbox: &Toolbox, context: &Context, limits: RunLimits) {
        let Some(call) = self.calls.get(position).cloned() else { return };
        let (toolbox, context) = (toolbox.clone(), context.clone());
        self.running.push(Box::pin(async move {
            let started = tokio::time::Instant::now();
            let result = toolbox.execute(&context, &call, &limits).await;
            Done { position, result, elapsed: started.elapsed() }
        }));
    }
}

/// What is left of an answer that was cut. Half a call can be neither answered nor said again, and so can nothing that makes sense
/// with it alone: what a format keeps beside a call names it, and thoughts that led to it, or to nothing, are refused where
/// nothing follows them.
fn what_can_be_said_again(parts: Vec<Part>, calls: &[ToolCall]) -> Vec<Part> {
    let mut kept = Vec::with_capacity(parts.len());
    let without_thoughts = |kept: &mut Vec<Part>| {
        while kept.pop_if(|part| matches!(part, Part::Reasoning(_))).is_some() {}
    };
    let names_a_call = |json: &str| {
        calls.iter().any(|call| !call.id.is_empty() && json.contains(&format!("\"{}\"", call.id)))
    };
    for part in parts {
        match part {
            Part::ToolCall(_) => without_thoughts(&mut kept),
            Part::Opaque(opaque) if names_a_call(opaque.json.as_str()) => {}
            part => kept.push(part),
        }
    }
    without_thoughts(&mut kept);
    kept
}

fn concluded(ending: Ending, broken: Option<Response>) -> Result<()> {
    ending.into_result().map(drop).map_err(|error| match broken {
        Some(broken) => error.with_partial(broken),
        None => error,
    })
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("turns", &self.turns)
            .field("toolbox", &self.toolbox)
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}
