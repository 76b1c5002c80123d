//! One request on its way through a route: attempts until one begins, and what is done when it breaks off.

use std::{
    future::poll_fn,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};

use loquat_core::{Answer, BoxFuture, ChatRequest, Context, Error, ErrorKind, Event, Result};

use crate::{
    Abilities, Asked, Fan,
    answer::{Begun, Routed, begin},
    canary::{Canary, Sample},
    decide::{Decision, MAX_TRIED, Tried},
    fallback::Class,
    load::{Outcome, Ticket},
    router::{Inner, refused},
    table::{Route, Table},
};

/// Tables gone over to for one choice: more reloads than fit into its microsecond.
const MAX_MOVES: usize = 8;

/// What one operation knows. It owns all it needs, so that an answer can go on with it.
pub(crate) struct Operation {
    inner: Arc<Inner>,
    /// The table of its beginning: a reload in between changes nothing for it, unless all have left who were there then.
    table: Arc<Table>,
    route: usize,
    /// What the caller asked for.
    name: String,
    pub(crate) asked: Asked,
    pub(crate) context: Context,
    pub(crate) request: Arc<ChatRequest>,
    tried: Tried,
    attempts: u32,
    /// Where the request ends in the beginning of its own answer: the tokens that this added to it.
    begun_tokens: Option<u32>,
    /// Whether somebody beside this route can be asked.
    had_alternative: bool,
    trace: u64,
}

impl Operation {
    pub(crate) fn new(
        inner: Arc<Inner>,
        table: Arc<Table>,
        route: usize,
        asked: Asked,
        context: Context,
        request: Arc<ChatRequest>,
    ) -> Self {
        let id = context.trace().trace_id();
        let trace = u64::from_be_bytes(std::array::from_fn(|at| id[at]));
        // An endpoint's own name for its model, not the route's. Copies the request once, if others hold it, too.
        let (name, request) = if request.model.is_empty() {
            (String::new(), request)
        } else {
            let mut own = Arc::unwrap_or_clone(request);
            (std::mem::take(&mut own.model), Arc::new(own))
        };
        let (tried, had_alternative) = (Tried::default(), context.has_alternative());
        Self {
            inner,
            table,
            route,
            name,
            asked,
            context,
            request,
            tried,
            attempts: 0,
            begun_tokens: None,
            had_alternative,
            trace,
        }
    }

    /// The answer of the first endpoint that begins one.
    pub(crate) async fn answer(mut self) -> Result<Answer> {
        let begun = self.begin().await?;
        Ok(Routed::wrap(self, begun))
    }

    pub(crate) fn fallback(&self) -> Option<&crate::FallbackPolicy> {
        Some(&self.route()?.fallback)
    }

    fn route(&self) -> Option<&Route> {
        self.table.routes.get(self.route)
    }

    /// Attempts until one begins, or the policy says that it is enough.
    pub(crate) async fn begin(&mut self) -> Result<Begun> {
        let mut last: Option<Error> = None;
        loop {
            if let Err(error) = self.context.check() {
                return Err(last.map_or(error, |last| self.note(last)));
            }
            // Also where an answer is gone on with: it is one answer, and those asked before count.
            let is_further = self.attempts > 0;
            let decision = match self.next() {
                Ok(decision) if !is_further || self.is_allowed(&decision) => decision,
                Err(nobody) if !is_further || !self.has_others(false) => {
                    // What the last endpoint said is worth more than that there is no other.
                    return Err(last.map_or(nobody, |last| self.note(last)));
                }
                _ => return Err(self.used_up(last)),
            };
            self.claim(&decision, None);
            // By the table that it was chosen from.
            let fan = self.route().map_or(Fan::One, |route| route.fan);
            // Those of a race are asked beside others, and may be as patient as they are.
            let is_beside = matches!(fan, Fan::Race(_)) && self.attempts == 1;
            let there_is = self.had_alternative || (!is_beside && self.has_alternative());
            self.context.set_alternative(there_is);
            let result = match fan {
                Fan::Race(count) if self.attempts == 1 => self.race(decision, count).await,
                Fan::Hedge(delay) if self.attempts == 1 => self.hedge(decision, delay).await,
                _ => self.attempt(decision).await.map_err(|failure| vec![failure]),
            };
            let failures = match result {
                Ok(begun) => return Ok(begun),
                Err(failures) => failures,
            };
            for Failure { error, decision } in failures {
                if !self.goes_on(&error, &decision) {
                    return Err(self.note(error));
                }
                self.learn(&error, &decision);
                last = Some(error);
            }
        }
    }

    /// Whether another endpoint is asked after that.
    fn goes_on(&self, error: &Error, decision: &Decision) -> bool {
        let Some(policy) = self.fallback() else { return false };
        // Refused by who was only taken for able: it cannot do what was asked.
        let is_unable = || {
            let node = self.table.nodes.get(decision.endpoint as usize);
            error.kind() == ErrorKind::InvalidRequest
                && node.is_some_and(|node| node.spec.abilities == Abilities::ASSUMED)
                && !Abilities::COMMON.has(self.asked.abilities)
        };
        policy.allows(error) || (policy.classes.contains(&Class::Unsupported) && is_unable())
    }

    /// Who is asked next, by the present table where all have left who were there before.
    fn next(&mut self) -> Result<Decision> {
        let mut moves = 0;
        loop {
            if !self.has_attempts_left() {
                return Err(Error::new(ErrorKind::Overloaded, "as many endpoints were asked as may be"));
            }
            let choice = self.choose();
            moves += 1;
            if choice.is_ok() || moves > MAX_MOVES || !self.moves() {
                return choice;
            }
        }
    }

    fn has_attempts_left(&self) -> bool {
        self.attempts < self.fallback().map_or(1, |policy| policy.max_attempts.min(MAX_TRIED))
    }

    /// Whether somebody else would be asked now, whatever of what a retry is good for goes wrong.
    fn has_alternative(&self) -> bool {
        const RETRIED: [Class; 4] = [Class::Overload, Class::Timeout, Class::Connection, Class::Server];
        let allowed =
            |policy: &crate::FallbackPolicy| RETRIED.iter().all(|class| policy.classes.contains(class));
        self.fallback().is_some_and(allowed) && self.has_others(true)
    }

    /// Whether there is somebody else to be asked now, of those who may be (`allowed`) or of all.
    fn has_others(&self, allowed: bool) -> bool {
        let (table, now) = (&self.table, self.context.now());
        self.has_attempts_left()
            && self.inner.has_others(table, self.route, &self.asked, &self.tried, allowed, now)
    }

    /// There are others, and none of them may be asked any more.
    fn used_up(&self, last: Option<Error>) -> Error {
        let used_up = "the budget for further attempts is used up";
        match last {
            Some(last) => self.note(last).map_message(|text| format!("{text}; {used_up}")),
            None => Error::new(ErrorKind::Overloaded, used_up),
        }
    }

    fn choose(&self) -> Result<Decision> {
        let now = self.context.now();
        self.inner
            .decide(&self.table, self.route, &self.asked, &self.tried, now, self.trace)
            .map_err(|nobody| refused(&self.table, self.route, &self.asked, nobody))
    }

    /// Goes over to the present table, if there is another by now that has its route. Who was here when it began may all be
    /// leaving, and nobody who leaves is asked any more.
    fn moves(&mut self) -> bool {
        let table = self.inner.table.load_full();
        let route = table.route(&self.name).filter(|_| !Arc::ptr_eq(&table, &self.table));
        let Some(route) = route else { return false };
        let mut tried = Tried::default();
        for node in self.tried.iter().filter_map(|index| self.table.nodes.get(index)) {
            let same = table.nodes.iter().position(|other| Arc::ptr_eq(&other.live, &node.live));
            same.into_iter().for_each(|index| tried.insert(index));
        }
        (self.table, self.route, self.tried) = (table, route, tried);
        true
    }

    /// Counts it as asked, and tells whoever watches. `why` where it is not asked by the group's choice or as a fallback.
    fn claim(&mut self, decision: &Decision, why: Option<&'static str>) {
        self.count(decision);
        self.tell(decision, why);
    }

    fn count(&mut self, decision: &Decision) {
        self.attempts += 1;
        self.tried.insert(decision.endpoint as usize);
    }

    fn tell(&self, decision: &Decision, why: Option<&'static str>) {
        let node = self.table.nodes.get(decision.endpoint as usize);
        if let (Some(node), true) = (node, self.context.probe().is_some()) {
            self.context.report(&Event::Route {
                endpoint: &node.spec.name,
                reason: why.unwrap_or_else(|| self.reason(decision)),
            });
        }
    }

    /// Why that endpoint, in one word of few: what set the decision apart, else how its group picks.
    fn reason(&self, decision: &Decision) -> &'static str {
        match () {
            () if self.attempts > 1 => "fallback",
            () if decision.panics => "panic",
            () if decision.is_canary => "canary",
            () => {
                let group = self.route().and_then(|route| route.groups.get(usize::from(decision.group)));
                group.map_or("unknown", |group| group.strategy.word())
            }
        }
    }

    /// A fallback is paid for as a retry is.
    fn is_allowed(&self, decision: &Decision) -> bool {
        let node = self.table.nodes.get(decision.endpoint as usize);
        let allowance = node.and_then(|node| node.connected.allowance.as_ref());
        allowance.is_none_or(|allowance| allowance.try_take(self.context.now()))
    }

    /// After a prompt that was too long, only a wider window will do.
    fn learn(&mut self, error: &Error, decision: &Decision) {
        if Class::of(error) != Some(Class::ContextLength) {
            return;
        }
        let said = error.context_length();
        let node = self.table.nodes.get(decision.endpoint as usize);
        let window = said.and_then(|said| said.limit_tokens).and_then(|limit| u32::try_from(limit).ok());
        let window = window.or_else(|| node.and_then(|node| node.spec.context_window));
        let counted = said.and_then(|said| said.request_tokens).and_then(|count| u32::try_from(count).ok());
        let wider = window.map(|window| window.saturating_add(1).saturating_sub(self.asked.output_tokens));
        let least = counted.into_iter().chain(wider).chain([self.asked.prompt_tokens]).max();
        self.asked.prompt_tokens = least.unwrap_or(self.asked.prompt_tokens);
    }

    /// One endpoint, up to the first delta that says something.
    async fn attempt(&self, decision: Decision) -> Result<Begun, Failure> {
        let Some(node) = self.table.nodes.get(decision.endpoint as usize) else {
            let error = Error::new(ErrorKind::Internal, "the router lost its own endpoint");
            return Err(Failure { error, decision });
        };
        let ticket = node.live.enter(self.asked.prompt_tokens, self.context.now());
        let mut waiting = Waiting { ticket: Some(ticket), operation: self, decision };
        let begun = match node.connected.model.infer(&self.context, self.request.clone()).await {
            Ok(answer) => begin(answer).await,
            Err(error) => Err(error),
        };
        let now = self.context.now();
        match begun {
            Ok(parts) => {
                let mut ticket = waiting.ticket.take();
                if let Some(ticket) = &mut ticket {
                    ticket.first_token(now);
                    let took = now.saturating_duration_since(ticket.started());
                    self.report(&Sample::answered(decision.is_canary, self.asked.stable_key, took));
                }
                Ok(Begun { parts, ticket, decision, answered: now })
            }
            Err(error) => {
                // Where the caller had enough it is as if it had been dropped.
                if let Some(ticket) = waiting.ticket.take_if(|_| !self.is_callers(&error)) {
                    ticket.settle(self.outcome(&error), now);
                }
                self.failed(&error, &decision, None);
                Err(Failure { error, decision })
            }
        }
    }

    /// What the error says of the endpoint. What layers of this toolkit refused never reached it, and a limit that was the
    /// caller's own deadline is not its failure.
    pub(crate) fn outcome(&self, error: &Error) -> Outcome {
        let is_ours = error.code().is_some_and(|code| code.starts_with("loquat_"));
        if is_ours || self.is_callers(error) { Outcome::Neutral } else { Outcome::of(error) }
    }

    /// Whether it was the caller who had enough: by its own deadline, or by cancelling.
    fn is_callers(&self, error: &Error) -> bool {
        matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Cancelled) && self.context.check().is_err()
    }

    /// Tells the canary of a failure that is its endpoint's; where it had `answered` before, then.
    pub(crate) fn failed(&self, error: &Error, decision: &Decision, answered: Option<Instant>) {
        if matches!(self.outcome(error), Outcome::Failure { .. }) {
            let (is_canary, key) = (decision.is_canary, self.asked.stable_key);
            self.report(&match answered {
                Some(at) => Sample::broke_off(is_canary, key, error, at),
                None => Sample::failed(is_canary, key, error),
            });
        }
    }

    /// Nobody waits for that attempt any more.
    fn gave_up(&self, ticket: Ticket, decision: &Decision) {
        let now = self.context.now();
        let waited = now.saturating_duration_since(ticket.started());
        // A shorter wait says nothing of when the first token would have come.
        if self.canary().is_some_and(|canary| canary.is_late(waited)) {
            self.report(&Sample::answered(decision.is_canary, self.asked.stable_key, waited));
        }
        let group = self.route().and_then(|route| route.groups.get(usize::from(decision.group)));
        ticket.give_up(group.and_then(|group| group.pool.typical()), now);
    }

    fn canary(&self) -> Option<&Canary> {
        self.route()?.canary.as_deref()
    }

    fn report(&self, sample: &Sample<'_>) {
        let Some(canary) = self.canary() else { return };
        let sample = sample.with_trace(self.context.trace().trace_id());
        let event = canary.record(sample, self.context.now());
        if let (Some(listener), Some(event)) = (&self.inner.listener, event) {
            listener(&event);
        }
    }

    /// Several at once, as far as there are attempts for them; the first that begins.
    async fn race(&mut self, first: Decision, count: u8) -> Result<Begun, Vec<Failure>> {
        let mut chosen = vec![first];
        while chosen.len() < usize::from(count) && self.has_attempts_left() {
            let Ok(next) = self.choose() else { break };
            if !self.is_allowed(&next) {
                break;
            }
            self.claim(&next, Some("race"));
            chosen.push(next);
        }
        let attempts =
            chosen.into_iter().map(|decision| -> BoxFuture<'_, _> { Box::pin(self.attempt(decision)) });
        first_to_begin(attempts.collect(), None).await
    }

    /// Another one, when the first takes longer than that and there is an attempt left. It is chosen, and paid for, when it is
    /// asked. Where the first fails before, it is for the policy to say whether another one is asked, and so the first need not be
    /// patient; once the second is asked, each may be as patient as the other.
    async fn hedge(&mut self, first: Decision, delay: Duration) -> Result<Begun, Vec<Failure>> {
        let timer = self.inner.timer.clone().filter(|_| self.has_attempts_left());
        let Some(timer) = timer else { return self.attempt(first).await.map_err(|failure| vec![failure]) };
        let asked = OnceLock::new();
        let is_alone = Arc::new(AtomicBool::new(true));
        if !self.had_alternative && self.context.has_alternative() {
            self.context.set_alternative_while(is_alone.clone());
        }
        let this = &*self;
        let ask = || -> Option<Attempt<'_>> {
            let second = this.choose().ok().filter(|second| this.is_allowed(second))?;
            is_alone.store(false, Relaxed);
            this.tell(&second, Some("hedge"));
            Some(Box::pin(this.attempt(*asked.get_or_init(|| second))))
        };
        let late = Late { time: timer.sleep(delay), ask: Box::new(ask) };
        let begun = first_to_begin(vec![Box::pin(this.attempt(first))], Some(late)).await;
        if let Some(second) = asked.get() {
            self.count(second);
        }
        begun
    }

    /// The request as it goes on from a text: for endpoints that accept a beginning of their own answer.
    pub(crate) fn go_on_from(&mut self, text: &str) {
        let request = Arc::make_mut(&mut self.request);
        let more = u32::try_from(text.len() / 4).unwrap_or(u32::MAX);
        // Of an answer that breaks off again, the text so far stands in place of what it was then.
        let before = self.begun_tokens.replace(more);
        if before.is_some() {
            request.messages.pop();
        }
        request.messages.push(loquat_core::Message::assistant(text));
        let tokens = self.asked.prompt_tokens.saturating_sub(before.unwrap_or(0)).saturating_add(more);
        self.asked = self.asked.with_abilities(Abilities::PREFILL).with_prompt_tokens(tokens);
    }

    /// How many endpoints were asked, for an error that several had a part in.
    pub(crate) fn note(&self, error: Error) -> Error {
        match self.attempts {
            0 | 1 => error,
            count => error.map_message(|text| format!("{text} (the last of {count} endpoints)")),
        }
    }
}

/// An attempt of which nothing has come yet. Dropped so, it lost a race or its caller gave up: its endpoint was no faster.
struct Waiting<'a> {
    ticket: Option<Ticket>,
    operation: &'a Operation,
    decision: Decision,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.operation.gave_up(ticket, &self.decision);
        }
    }
}

type Attempt<'a> = BoxFuture<'a, Result<Begun, Failure>>;

/// An attempt that did not begin to answer.
struct Failure {
    error: Error,
    decision: Decision,
}

/// An attempt that may join later.
struct Late<'a> {
    time: BoxFuture<'static, ()>,
    ask: Box<dyn FnOnce() -> Option<Attempt<'a>> + Send + 'a>,
}

/// The first attempt that begins; the others are dropped, which cancels them. All failures in their order, if all fail. A late
/// one joins when it is time, while another still runs.
async fn first_to_begin<'a>(
    mut running: Vec<Attempt<'a>>,
    mut late: Option<Late<'a>>,
) -> Result<Begun, Vec<Failure>> {
    let mut failures = Vec::new();
    poll_fn(move |cx| {
        loop {
            let mut at = 0;
            while let Some(attempt) = running.get_mut(at) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(begun)) => return Poll::Ready(Ok(begun)),
                    Poll::Ready(Err(failure)) => {
                        drop(running.swap_remove(at));
                        failures.push(failure);
                    }
                    Poll::Pending => at += 1,
                }
            }
            if running.is_empty() {
                return Poll::Ready(Err(std::mem::take(&mut failures)));
            }
            let joins = late.take_if(|late| late.time.as_mut().poll(cx).is_ready());
            match joins.and_then(|late| (late.ask)()) {
                Some(attempt) => running.push(attempt),
                None => return Poll::Pending,
            }
        }
    })
    .await
}
