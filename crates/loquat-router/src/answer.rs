//! An answer that came through a route: looked at up to its first content, watched to its end, and gone on with elsewhere
//! where the route's policy says so.

use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{self, Poll, ready},
    time::Instant,
};

use loquat_core::{Answer, BoxFuture, Delta, Ending, Error, ErrorKind, OwnedDelta, Result, Source, Step};

use crate::{
    decide::Decision,
    fallback::AfterDelivery,
    load::{Outcome, Ticket},
    operation::Operation,
};

/// Deltas that may come before the first content: the beginning, pings, details.
const MAX_HELD: usize = 16;
/// The longest text that an answer is gone on from. Bytes.
const MAX_DELIVERED: usize = 256 * 1024;

/// An attempt that has begun to answer.
pub(crate) struct Begun {
    pub(crate) parts: Parts,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) decision: Decision,
    /// When the canary was told that it had.
    pub(crate) answered: Instant,
}

/// An answer, taken apart at its first content.
pub(crate) struct Parts {
    /// What is known besides; its source is taken out.
    shell: Answer,
    source: Option<Box<dyn Source>>,
    held: VecDeque<Kept>,
    first: Option<Step>,
}

/// A delta, and when it arrived.
type Kept = (OwnedDelta, Option<Instant>);

/// Pulls up to the first content. A failure before it is the attempt's, and so is an answer that stops without any.
pub(crate) async fn begin(answer: Answer) -> Result<Parts> {
    let mut taken = None;
    let shell = answer.map_source(|source| {
        taken = Some(source);
        Nothing
    });
    let mut held = VecDeque::new();
    let Some(mut source) = taken else {
        return Err(Error::new(ErrorKind::Protocol, "the endpoint's answer had ended before it began"));
    };
    loop {
        match poll_fn(|cx| source.poll_advance(cx)).await {
            Step::Delta => {
                let delta = source.current();
                let is_content =
                    !matches!(delta, Delta::Start { .. } | Delta::Raw { .. } | Delta::Detail { .. });
                if is_content || held.len() >= MAX_HELD {
                    return Ok(Parts { shell, source: Some(source), held, first: Some(Step::Delta) });
                }
                held.push_back((delta.to_owned(), source.arrived()));
            }
            Step::End(ending @ Ending::Finished { .. }) => {
                return Ok(Parts { shell, source: Some(source), held, first: Some(Step::End(ending)) });
            }
            Step::End(ending) => {
                return Err(match ending.into_result() {
                    Err(error) => error,
                    Ok(_) => Error::new(ErrorKind::Internal, "an ending that is none"),
                });
            }
        }
    }
}

/// What broke an answer off, if anything did. One that just stops says nothing of it itself.
fn broken(ending: &Ending) -> Option<Error> {
    match ending {
        Ending::Finished { .. } => None,
        Ending::Failed(error) | Ending::Truncated { cause: Some(error) } => Some(error.clone()),
        Ending::Truncated { cause: None } => {
            Some(Error::new(ErrorKind::Truncated, "the answer stopped before its end"))
        }
    }
}

/// Stands where a source was taken out.
struct Nothing;

impl Source for Nothing {
    fn poll_advance(&mut self, _: &mut task::Context<'_>) -> Poll<Step> {
        Poll::Ready(Step::End(Ending::Truncated { cause: None }))
    }

    fn current(&self) -> Delta<'_> {
        NOTHING
    }
}

const NOTHING: Delta<'_> = Delta::Start { id: "", model: "" };

type GoingOn = BoxFuture<'static, (Box<Operation>, Result<Begun>)>;

/// The source of an answer that came through a route. Dropping it gives up whatever attempt is under way.
pub(crate) struct Routed {
    source: Option<Box<dyn Source>>,
    held: VecDeque<Kept>,
    /// What is shown in place of the source's own.
    showing: Option<Kept>,
    first: Option<Step>,
    ticket: Option<Ticket>,
    decision: Decision,
    answered: Instant,
    /// Away while the answer is gone on with elsewhere.
    operation: Option<Box<Operation>>,
    going_on: Option<GoingOn>,
    policy: AfterDelivery,
    /// The text so far, for policies that need it; `None` once the answer cannot be gone on with.
    delivered: Option<String>,
    /// Of a restarted answer: how much of what was delivered has come again.
    repeated: Option<usize>,
    /// Why the attempt before broke off.
    broke_of: Option<Error>,
}

impl Routed {
    pub(crate) fn wrap(operation: Operation, begun: Begun) -> Answer {
        let policy = operation.fallback().map_or(AfterDelivery::Fail, |fallback| fallback.after_delivery);
        let Begun { parts: Parts { shell, source, held, first }, ticket, decision, answered } = begun;
        shell.map_source(|_| Self {
            source,
            held,
            showing: None,
            first,
            ticket,
            decision,
            answered,
            operation: Some(Box::new(operation)),
            going_on: None,
            policy,
            delivered: (policy != AfterDelivery::Fail).then(String::new),
            repeated: None,
            broke_of: None,
        })
    }

    /// What the delta means for going on elsewhere; whether it is to be shown.
    fn take_note(&mut self) -> Result<bool, Step> {
        let Some(source) = &self.source else { return Ok(true) };
        let Some(delivered) = &mut self.delivered else { return Ok(true) };
        let delta = source.current();
        match (delta, self.repeated) {
            (Delta::Text { choice: 0, text }, None) => {
                if delivered.len() + text.len() > MAX_DELIVERED {
                    self.delivered = None;
                } else {
                    delivered.push_str(text);
                }
                Ok(true)
            }
            (Delta::Text { choice: 0, text }, Some(done)) => {
                let expected = &delivered.as_bytes()[done..];
                let common = expected.len().min(text.len());
                if expected[..common] != text.as_bytes()[..common] {
                    return Err(Step::End(self.differs()));
                }
                let Some(rest) = text.get(common..).filter(|_| common == expected.len()) else {
                    self.repeated = Some(done + common);
                    return Ok(false);
                };
                self.repeated = None;
                if rest.is_empty() {
                    return Ok(false);
                }
                let rest = rest.to_owned();
                delivered.push_str(&rest);
                self.showing = Some((OwnedDelta::Text { choice: 0, text: rest }, source.arrived()));
                Ok(true)
            }
            // A second beginning, and what was said beside the text that has come already.
            (Delta::Start { .. } | Delta::Raw { .. } | Delta::Detail { .. }, Some(_)) => Ok(false),
            (Delta::Start { .. } | Delta::Raw { .. } | Delta::Detail { .. } | Delta::ChoiceEnd { .. }, _) => {
                Ok(true)
            }
            (_, None) => {
                self.delivered = None;
                Ok(true)
            }
            (_, Some(_)) => Err(Step::End(self.differs())),
        }
    }

    /// The second answer is given up; its endpoint did nothing wrong.
    fn differs(&mut self) -> Ending {
        (self.source, self.ticket) = (None, None);
        let cause = self.broke_of.take().map(|error| {
            error.map_message(|text| format!("{text}; asked again, another endpoint answered differently"))
        });
        Ending::Truncated { cause }
    }

    fn settle(&mut self, ending: &Ending) {
        let (Some(ticket), Some(operation)) = (self.ticket.take(), &self.operation) else { return };
        let outcome = broken(ending).map_or(Outcome::Success, |error| {
            operation.failed(&error, &self.decision, Some(self.answered));
            operation.outcome(&error)
        });
        ticket.settle(outcome, operation.context.now());
    }

    /// Whether what broke off is gone on with elsewhere, and if so, begins that.
    fn go_on(&mut self, ending: &Ending) -> bool {
        let Some(error) = broken(ending) else { return false };
        // One attempt that breaks off while it repeats is enough.
        let (Some(delivered), None) = (&self.delivered, self.repeated) else { return false };
        let allowed =
            |operation: &Operation| operation.fallback().is_some_and(|policy| policy.allows(&error));
        let Some(mut operation) = self.operation.take_if(|operation| allowed(operation)) else {
            return false;
        };
        match self.policy {
            AfterDelivery::Fail => return false,
            AfterDelivery::Restart => self.repeated = (!delivered.is_empty()).then_some(0),
            AfterDelivery::Continue => operation.go_on_from(delivered),
        }
        self.source = None;
        self.broke_of = Some(error);
        self.going_on = Some(Box::pin(async move {
            let begun = operation.begin().await;
            (operation, begun)
        }));
        true
    }

    fn poll_going_on(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Step>> {
        let Some(going_on) = &mut self.going_on else { return Poll::Ready(None) };
        let (operation, begun) = ready!(going_on.as_mut().poll(cx));
        self.going_on = None;
        self.operation = Some(operation);
        match begun {
            Ok(Begun { parts, ticket, decision, answered }) => {
                // What came before the first content came once already.
                (self.source, self.first, self.ticket) = (parts.source, parts.first, ticket);
                (self.decision, self.answered) = (decision, answered);
                Poll::Ready(None)
            }
            Err(error) => {
                let cause = self.broke_of.take().map(|broke| {
                    broke.map_message(|text| format!("{text}; and nobody went on: {}", error.message()))
                });
                Poll::Ready(Some(Step::End(Ending::Truncated { cause: cause.or(Some(error)) })))
            }
        }
    }
}

impl Source for Routed {
    fn poll_advance(&mut self, cx: &mut task::Context<'_>) -> Poll<Step> {
        self.showing = self.held.pop_front();
        if self.showing.is_some() {
            return Poll::Ready(Step::Delta);
        }
        loop {
            if let Some(step) = ready!(self.poll_going_on(cx)) {
                return Poll::Ready(step);
            }
            let Some(source) = &mut self.source else {
                return Poll::Ready(Step::End(Ending::Truncated { cause: self.broke_of.take() }));
            };
            let step = match self.first.take() {
                Some(step) => step,
                None => ready!(source.poll_advance(cx)),
            };
            match step {
                Step::Delta => match self.take_note() {
                    Ok(true) => return Poll::Ready(Step::Delta),
                    Ok(false) => {}
                    Err(end) => return Poll::Ready(end),
                },
                Step::End(ending) => {
                    self.settle(&ending);
                    if matches!(ending, Ending::Finished { .. }) && self.repeated.is_some() {
                        // Shorter than what was delivered: not the same answer.
                        return Poll::Ready(Step::End(self.differs()));
                    }
                    if !self.go_on(&ending) {
                        return Poll::Ready(Step::End(ending));
                    }
                }
            }
        }
    }

    fn current(&self) -> Delta<'_> {
        match (&self.showing, &self.source) {
            (Some((delta, _)), _) => delta.as_delta(),
            (None, Some(source)) => source.current(),
            (None, None) => NOTHING,
        }
    }

    fn warm(&mut self) {
        if let Some(source) = &mut self.source {
            source.warm();
        }
    }

    fn arrived(&self) -> Option<Instant> {
        match (&self.showing, &self.source) {
            (Some((_, arrived)), _) => *arrived,
            (None, Some(source)) => source.arrived(),
            (None, None) => None,
        }
    }
}
