//! One request from its sending to its ending, shown while it comes.

use std::{io, sync::Arc};

use loquat::{ChatRequest, Context, Delta, Ending, Error, ErrorKind, FinishReason, Model, Part, Response};

use crate::{console::Console, exit::Exit};

use super::stats::Stopwatch;

/// Where deltas are shown as they come.
pub(crate) trait Show {
    /// Shows one. [`Delta::End`] is not among them.
    ///
    /// # Errors
    /// The output cannot be written; nothing more is asked for then.
    fn show(&mut self, delta: &Delta<'_>) -> io::Result<()>;

    /// Ends an open line, so that what follows on the terminal stands for itself.
    ///
    /// # Errors
    /// As [`show`](Self::show).
    fn end_line(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How it went.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The answer came to one of its three endings, or did not begin (which is a failure).
    Ended(Ending),
    /// Ctrl-C.
    Interrupted,
    /// The output cannot be written to.
    Unwritable(io::Error),
}

/// A request that is over.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) outcome: Outcome,
    /// What arrived.
    pub(crate) response: Response,
}

/// What came of an answer.
enum Came {
    Nothing,
    Thoughts,
    Answer,
}

impl Asked {
    /// Nothing arrived but this error.
    pub(crate) fn failed(error: Error) -> Self {
        Self { outcome: Outcome::Ended(Ending::Failed(error)), response: Response::default() }
    }

    /// Ctrl-C before anything arrived.
    pub(crate) fn interrupted() -> Self {
        Self { outcome: Outcome::Interrupted, response: Response::default() }
    }

    /// What there is to show of it.
    fn came(&self) -> Came {
        let parts = || self.response.choices.iter().flat_map(|choice| &choice.message.parts);
        if parts().any(|part| !matches!(part, Part::Reasoning(_))) {
            Came::Answer
        } else if parts().next().is_some() {
            Came::Thoughts
        } else {
            Came::Nothing
        }
    }

    /// The error, where it did not end well; `None`, too, where a reader went away.
    pub(crate) fn error(&self) -> Option<Error> {
        match &self.outcome {
            Outcome::Ended(Ending::Finished { .. }) => None,
            Outcome::Ended(Ending::Failed(error)) => Some(error.clone()),
            Outcome::Ended(truncated @ Ending::Truncated { .. }) => {
                let error = truncated.clone().into_result().err()?;
                Some(error.map_message(|_| {
                    let stopped = match self.came() {
                        Came::Nothing => "no answer: the stream stopped before the model had said anything",
                        Came::Thoughts => "no answer: the stream stopped while the model was thinking",
                        Came::Answer => {
                            "truncated: the stream stopped before the model had finished; what was printed is a part"
                        }
                    };
                    stopped.to_owned()
                }))
            }
            Outcome::Interrupted => {
                let what = match self.came() {
                    Came::Nothing => "before anything came",
                    Came::Thoughts => "while the model was thinking",
                    Came::Answer => "what was printed is a part",
                };
                Some(Error::new(ErrorKind::Cancelled, format!("interrupted: {what}")))
            }
            Outcome::Unwritable(cause) if cause.kind() == io::ErrorKind::BrokenPipe => None,
            Outcome::Unwritable(cause) => {
                let cause = io::Error::new(cause.kind(), cause.to_string());
                Some(Error::new(ErrorKind::Local, "cannot write the answer to stdout").with_source(cause))
            }
        }
    }

    /// The exit code, where there is no error.
    pub(crate) fn exit(&self) -> Exit {
        match &self.outcome {
            Outcome::Ended(Ending::Finished { reason, .. }) => Exit::of_reason(reason),
            _ => Exit::Finished,
        }
    }

    /// Says on stderr how it ended, where that needs a word, and gives the exit code.
    pub(crate) fn tell(&self, console: &Console) -> Exit {
        if let Outcome::Ended(Ending::Finished { reason, .. }) = &self.outcome {
            match reason {
                FinishReason::Stop | FinishReason::ToolCalls => {}
                // Whole, and nobody said why it stopped.
                FinishReason::Other(word) if word.is_empty() => {}
                FinishReason::Length => {
                    console.note("[the answer met the limit of tokens, see --max-tokens]");
                }
                FinishReason::ContentFilter => console.note("[the provider's filter stopped the answer]"),
                FinishReason::Refusal => console.note("[the model declined]"),
                other => console.note(&format!("[the model stopped: {other}]")),
            }
        }
        match (self.error(), &self.outcome) {
            (None, _) => self.exit(),
            (Some(error), Outcome::Interrupted) => {
                console.note(&format!("[{}]", error.message()));
                Exit::Interrupted
            }
            (Some(error), _) => {
                console.error(&error);
                Exit::of(&error)
            }
        }
    }
}

/// Sends the request and shows what comes until it ends, the output fails, or the context is cancelled.
pub(crate) async fn ask(
    model: &dyn Model,
    context: &Context,
    request: ChatRequest,
    show: &mut dyn Show,
    stopwatch: &mut Stopwatch,
) -> Asked {
    let cancelled = context.cancellation();
    let mut answer = match cancelled.run_until_cancelled(model.infer(context, Arc::new(request))).await {
        None => return Asked::interrupted(),
        // The model saw the cancellation before we did.
        Some(Err(_)) if cancelled.is_cancelled() => return Asked::interrupted(),
        Some(Err(error)) => return Asked::failed(error),
        Some(Ok(answer)) => answer,
    };
    let outcome = loop {
        match cancelled.run_until_cancelled(answer.next()).await {
            None => break Outcome::Interrupted,
            Some(Some(Delta::End(Ending::Failed(_) | Ending::Truncated { .. })))
                if cancelled.is_cancelled() =>
            {
                break Outcome::Interrupted;
            }
            Some(Some(Delta::End(ending))) => {
                stopwatch.end();
                break Outcome::Ended(ending.clone());
            }
            Some(Some(delta)) => {
                stopwatch.delta(&delta);
                if let Err(cause) = show.show(&delta) {
                    break Outcome::Unwritable(cause);
                }
            }
            Some(None) => {
                let bug = Error::new(ErrorKind::Internal, "the answer stopped without an ending");
                break Outcome::Ended(Ending::Failed(bug));
            }
        }
    };
    // Dropping the answer gives the request up at once.
    Asked { outcome, response: answer.so_far().cloned().unwrap_or_default() }
}

/// Ends the open line of what was printed.
pub(crate) fn finish_line(asked: Asked, show: &mut dyn Show) -> Asked {
    match (&asked.outcome, show.end_line()) {
        (Outcome::Unwritable(_), _) | (_, Ok(())) => asked,
        (_, Err(cause)) => Asked { outcome: Outcome::Unwritable(cause), ..asked },
    }
}
