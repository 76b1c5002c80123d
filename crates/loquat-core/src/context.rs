//! The conditions of one operation: who asks, under which trace, until when, and whether still.
//!
//! A context is passed explicitly and never kept in a task-local: `spawn` does not inherit those. Following Go's
//! `context` and W3C Trace Context (<https://www.w3.org/TR/trace-context/>).

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{Clock, Error, ErrorKind, Event, Probe, SystemClock, TraceState};

/// The conditions of one operation. Cheap to clone; clones share the cancellation.
#[derive(Clone)]
#[must_use]
pub struct Context {
    trace: TraceContext,
    trace_state: Option<TraceState>,
    tenant: Option<Arc<str>>,
    deadline: Option<Instant>,
    idempotency_key: Option<Arc<str>>,
    /// Whether the trace began elsewhere, so that the next hop has a use for it.
    joined: bool,
    /// Whether somebody else can be asked where this one fails.
    has_alternative: bool,
    /// For how long that is so, where it is not for good.
    alternative_lasts: Option<Arc<AtomicBool>>,
    cancellation: CancellationToken,
    /// The system's, where there is none: a context is made for each request.
    clock: Option<Arc<dyn Clock>>,
    probe: Option<Arc<dyn Probe>>,
}

impl Context {
    /// A fresh trace, no tenant, no deadline, not cancelled, on the system's clock.
    pub fn new() -> Self {
        Self {
            trace: TraceContext::random(),
            trace_state: None,
            tenant: None,
            deadline: None,
            idempotency_key: None,
            joined: false,
            has_alternative: false,
            alternative_lasts: None,
            cancellation: CancellationToken::new(),
            clock: None,
            probe: None,
        }
    }

    /// Joins a trace that began elsewhere. From here it is sent on, too: [`traceparent`](Self::traceparent). What was said of
    /// another trace is forgotten.
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        (self.trace, self.trace_state) = (trace, None);
        self.joined = true;
        self
    }

    /// With what tracing systems have said of that trace, which came beside it and goes on beside it: after
    /// [`with_trace`](Self::with_trace), and `None` where its header was not to be read ([`TraceState::parse`]). Where no trace was
    /// joined, its `traceparent` not being one, this is about nothing and is forgotten (W3C Trace Context §3.3).
    pub fn with_trace_state(mut self, state: impl Into<Option<TraceState>>) -> Self {
        self.trace_state = state.into().filter(|_| self.joined);
        self
    }

    /// Names this operation for a peer that deduplicates, so that its attempts count as one (`Idempotency-Key`,
    /// draft-ietf-httpapi-idempotency-key-header). A key alone permits no retry: not every peer heeds it.
    pub fn with_idempotency_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// On whose behalf: caches, budgets and queues keep tenants apart.
    pub fn with_tenant(mut self, tenant: impl Into<Arc<str>>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// The absolute instant after which nobody wants the answer. It spans all attempts, queueing included; an
    /// earlier deadline already set stays.
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(self.deadline.map_or(deadline, |old| old.min(deadline)));
        self
    }

    /// [`Context::with_deadline`] at that distance from now.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        match self.now().checked_add(timeout) {
            Some(deadline) => self.with_deadline(deadline),
            None => self, // further away than the clock can count: no deadline
        }
    }

    /// Ends with that token, too.
    pub fn with_cancellation(mut self, cancellation: CancellationToken) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// Reads the time from that clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Tells that probe what happens inside this operation; `None` tells nobody.
    pub fn with_probe(mut self, probe: impl Into<Option<Arc<dyn Probe>>>) -> Self {
        self.probe = probe.into();
        self
    }

    /// Says whether somebody else can be asked at once where this one fails, as a route says it to its endpoints. Who would wait before
    /// asking the same one again then fails instead, where the wait is long.
    pub fn set_alternative(&mut self, there_is: bool) {
        (self.has_alternative, self.alternative_lasts) = (there_is, None);
    }

    /// Says that somebody else can be asked for as long as `lasts` is true, as a route says it that asks another one itself after a while:
    /// from then on nobody else is left for who was asked first. Who waits looks at it anew after each failure.
    pub fn set_alternative_while(&mut self, lasts: Arc<AtomicBool>) {
        (self.has_alternative, self.alternative_lasts) = (true, Some(lasts));
    }

    /// Stands at that position of the trace, which is sent on if it [is recorded](TraceContext::is_sampled) or had
    /// begun elsewhere: for a span around a part of this operation.
    pub fn with_span(mut self, span: TraceContext) -> Self {
        if span.trace_id != self.trace.trace_id {
            self.trace_state = None;
        }
        self.joined |= span.sampled;
        self.trace = span;
        self
    }

    /// A context for a part of this operation: cancelled with it, and by its own token alone.
    pub fn child(&self) -> Self {
        Self { cancellation: self.cancellation.child_token(), ..self.clone() }
    }

    /// The trace this operation belongs to.
    pub fn trace(&self) -> TraceContext {
        self.trace
    }

    /// The `traceparent` header for the next hop, if the trace began elsewhere: a trace that nobody records is of no
    /// use to a provider.
    pub fn traceparent(&self) -> Option<String> {
        self.joined.then(|| self.trace.to_header())
    }

    /// The `tracestate` header for the next hop, as it came: where there is one, and a [`traceparent`](Self::traceparent) that it
    /// belongs to.
    pub fn tracestate(&self) -> Option<&TraceState> {
        self.trace_state.as_ref().filter(|_| self.joined)
    }

    /// Whether the trace began elsewhere.
    pub fn is_joined(&self) -> bool {
        self.joined
    }

    /// Who watches this operation.
    pub fn probe(&self) -> Option<&Arc<dyn Probe>> {
        self.probe.as_ref()
    }

    /// Tells whoever watches. Costs one comparison where nobody does.
    pub fn report(&self, event: &Event<'_>) {
        if let Some(probe) = &self.probe {
            probe.report(event);
        }
    }

    /// Whether somebody else can be asked at once where this one fails. `false` where nobody said so.
    pub fn has_alternative(&self) -> bool {
        self.has_alternative && self.alternative_lasts.as_ref().is_none_or(|lasts| lasts.load(Relaxed))
    }

    /// The name of this operation for a peer that deduplicates.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    /// On whose behalf, if anybody's in particular.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// The absolute deadline.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What is left until the deadline; zero when it has passed, `None` without one.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(self.now()))
    }

    /// The present instant on this context's clock.
    pub fn now(&self) -> Instant {
        self.clock.as_ref().map_or_else(|| SystemClock.now(), |clock| clock.now())
    }

    /// The token that ends this operation.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// # Errors
    /// [`ErrorKind::Cancelled`] or [`ErrorKind::Timeout`] when there is no point in going on.
    pub fn check(&self) -> Result<(), Error> {
        self.check_with(|| SystemClock.now())
    }

    /// [`Context::check`] for those who have read the system's clock just now: it is not read again, unless this context has a clock
    /// of its own.
    ///
    /// # Errors
    /// As there.
    pub fn check_at(&self, system_now: Instant) -> Result<(), Error> {
        self.check_with(|| system_now)
    }

    fn check_with(&self, system_now: impl FnOnce() -> Instant) -> Result<(), Error> {
        if self.cancellation.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "the caller cancelled the request"));
        }
        let Some(deadline) = self.deadline else { return Ok(()) };
        let now = self.clock.as_ref().map_or_else(system_now, |clock| clock.now());
        if now >= deadline {
            return Err(Error::new(ErrorKind::Timeout, "the request's deadline has passed"));
        }
        Ok(())
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("trace", &self.trace)
            .field("tenant", &self.tenant)
            .field("remaining", &self.remaining())
            .field("cancelled", &self.cancellation.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// A position in a distributed trace (W3C Trace Context, version 00).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    sampled: bool,
}

impl TraceContext {
    /// A new trace, not sampled. Its ids are no secrets: who has seen some of a thread's can tell the next ones. After a `fork` of a
    /// thread that has drawn some, parent and child draw the same ones, at most 255 times, until the system seeds each anew.
    pub fn random() -> Self {
        let bytes = random_ids();
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        trace_id.copy_from_slice(&bytes[..16]);
        span_id.copy_from_slice(&bytes[16..]);
        Self { trace_id, span_id, sampled: false }
    }

    /// A new position in the same trace: for an attempt, or whatever else is a span of its own.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: Self::random().span_id, ..*self }
    }

    /// The same position, recorded or not.
    #[must_use]
    pub fn with_sampled(mut self, sampled: bool) -> Self {
        self.sampled = sampled;
        self
    }

    /// Reads a `traceparent` header. `None` for one that is malformed or all zeros: the standard says to start anew.
    pub fn parse(header: &str) -> Option<Self> {
        let mut fields = header.trim().split('-');
        let version = fields.next().filter(|v| v.len() == 2 && *v != "ff")?;
        let (trace, span, flags) = (fields.next()?, fields.next()?, fields.next()?);
        if version == "00" && fields.next().is_some() {
            return None;
        }
        let trace_id = parse_hex::<16>(trace).filter(|id| *id != [0; 16])?;
        let span_id = parse_hex::<8>(span).filter(|id| *id != [0; 8])?;
        parse_hex::<1>(version)?;
        let [flags] = parse_hex::<1>(flags)?;
        Some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }

    /// The `traceparent` header for the next hop.
    pub fn to_header(&self) -> String {
        let flags = if self.sampled { "01" } else { "00" };
        format!("00-{}-{}-{flags}", Hex(&self.trace_id), Hex(&self.span_id))
    }

    /// The trace's id.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The id of the span that is the parent of whatever comes next.
    pub fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// Whether the trace is being recorded.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_header())
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Exactly `2 * N` lower-case hexadecimal digits, as the standard demands.
fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |d: u8| match d {
        b'0'..=b'9' => Some(d - b'0'),
        b'a'..=b'f' => Some(d - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Sixteen bytes straight from the system, for what must not meet its like in any process, nor be guessed, such as an idempotency key:
/// the ids of [`TraceContext::random`] may be both. `None` without the system's randomness. Costs a system call.
pub fn system_random() -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// How many times ids are drawn before the system is asked for another seed: a system call is little among so many, and processes
/// that have forked do not stay alike for long.
const DRAWS_PER_SEED: u32 = 256;

/// What a thread draws its ids from.
#[derive(Clone, Copy)]
struct Ids {
    state: [u64; 4],
    /// Draws until the next seed.
    left: u32,
}

thread_local! {
    static IDS: Cell<Ids> = const { Cell::new(Ids { state: [0; 4], left: 0 }) };
}

impl Ids {
    #[cold]
    fn seeded() -> Option<Self> {
        let mut seed = [[0; 8]; 4];
        getrandom::fill(seed.as_flattened_mut()).ok()?;
        Some(Self { state: seed.map(u64::from_ne_bytes), left: DRAWS_PER_SEED })
    }
}

/// Makes this thread draw the same ids again, as in a process that has forked.
#[cfg(any(test, feature = "test-util"))]
pub(crate) fn seed_ids(seed: u64) {
    IDS.set(Ids { state: [seed, 1, 2, 3], left: DRAWS_PER_SEED });
}

/// A trace's id and a span's. Without the system's randomness they are zero, which W3C calls "invalid" and readers ignore: a
/// request is worth more than its trace.
///
/// They must not meet, and are no secrets: each thread has a generator of its own that the system has seeded, as OpenTelemetry's has.
fn random_ids() -> [u8; 24] {
    let ids = IDS.try_with(|ids| {
        let mut own = ids.get();
        if own.left == 0 {
            own = Ids::seeded()?;
        }
        own.left -= 1;
        let drawn = [(); 3].map(|()| draw(&mut own.state).to_ne_bytes());
        ids.set(own);
        Some(drawn)
    });
    let mut bytes = [0; 24];
    if let Ok(Some(drawn)) = ids {
        bytes.copy_from_slice(drawn.as_flattened());
    }
    bytes
}

/// The next number of xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021).
fn draw(state: &mut [u64; 4]) -> u64 {
    let [a, b, c, d] = *state;
    let drawn = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
    let (c, d) = (c ^ a, d ^ b);
    *state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
    drawn
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_said_of_a_trace_goes_with_it_and_with_no_other() {
        let state = TraceState::parse("congo=t61rcWkgMzE");
        let alone = Context::new().with_trace_state(state.clone());
        assert_eq!(alone.tracestate(), None, "nobody is told of the trace");
        let joined = Context::new().with_trace(TraceContext::random()).with_trace_state(state.clone());
        assert_eq!(joined.tracestate(), state.as_ref());
        let part = joined.child().with_span(joined.trace().child());
        assert_eq!(part.tracestate(), state.as_ref(), "the same trace");
        let other = TraceContext { sampled: true, ..TraceContext::random() };
        assert_eq!(joined.clone().with_span(other).tracestate(), None, "a span of another trace");
        // A header whose traceparent was none: what is sampled here afterwards is not what it was said of.
        let recorded = Context::new().with_trace_state(state.clone()).with_span(other);
        assert!(recorded.traceparent().is_some() && recorded.tracestate().is_none());
        assert_eq!(joined.with_trace(TraceContext::random()).tracestate(), None, "another one");
        let none = TraceState::parse("not valid");
        assert!(
            Context::new().with_trace(TraceContext::random()).with_trace_state(none).traceparent().is_some()
        );
    }

    #[test]
    fn traceparent_round_trips_and_refuses_nonsense() {
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = TraceContext::parse(header).expect("the standard's own example");
        assert!(trace.is_sampled());
        assert_eq!(trace.to_header(), header);
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "00-é0af7651916cd43dd8448eb211c803-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    /// The generator's numbers are those of its authors' program, and no two ids meet, whichever thread draws them.
    #[test]
    fn ids_are_drawn_as_their_generator_says_and_do_not_meet() {
        let mut state = [1, 2, 3, 4];
        let drawn = [(); 4].map(|()| draw(&mut state));
        assert_eq!(drawn, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
        let threads = [(); 4].map(|()| {
            std::thread::spawn(|| -> Vec<_> { (0..10_000).map(|_| TraceContext::random()).collect() })
        });
        let all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect();
        let traces: HashSet<_> = all.iter().map(|ids| ids.trace_id).collect();
        let spans: HashSet<_> = all.iter().map(|ids| ids.span_id).collect();
        assert_eq!((traces.len(), spans.len()), (all.len(), all.len()));
    }

    /// Twice from the same state, as parent and child do after a fork.
    #[test]
    fn generators_that_begin_alike_part_at_their_next_seed() {
        let [parent, child] = [(); 2].map(|()| {
            seed_ids(7);
            (0..=DRAWS_PER_SEED).map(|_| TraceContext::random()).collect::<Vec<_>>()
        });
        let alike = parent.iter().zip(&child).take_while(|(parent, child)| parent == child).count();
        assert_eq!(alike, DRAWS_PER_SEED as usize);
    }

    #[test]
    fn a_trace_is_sent_on_where_it_was_joined() {
        assert_eq!(Context::new().traceparent(), None);
        let trace = TraceContext::random();
        let joined = Context::new().with_trace(trace).child();
        assert_eq!(joined.traceparent().as_deref().and_then(TraceContext::parse), Some(trace));
        let span = trace.child();
        assert_eq!(span.trace_id(), trace.trace_id());
        assert_ne!(span.span_id(), trace.span_id());
    }

    #[test]
    fn a_span_is_sent_on_if_it_is_recorded() {
        let span = TraceContext::random();
        assert_eq!(Context::new().with_span(span).traceparent(), None);
        let sent = Context::new().with_span(span.with_sampled(true)).traceparent();
        assert_eq!(sent, Some(span.with_sampled(true).to_header()));
        assert!(Context::new().with_trace(span).with_span(span.child()).traceparent().is_some());
    }

    #[derive(Debug)]
    struct Stands(Instant);

    impl Clock for Stands {
        fn now(&self) -> Instant {
            self.0
        }
    }

    #[test]
    fn a_clock_that_was_just_read_is_read_again_only_where_it_is_another() {
        let now = Instant::now();
        let ending = |after| Context::new().with_deadline(now + Duration::from_secs(after));
        let kind = |context: Context| context.check_at(now).map_err(|error| error.kind());
        assert_eq!([kind(Context::new()), kind(ending(1))], [Ok(()), Ok(())]);
        assert_eq!(kind(ending(0)), Err(ErrorKind::Timeout));
        let late = Stands(now + Duration::from_secs(2));
        assert_eq!(kind(ending(1).with_clock(Arc::new(late))), Err(ErrorKind::Timeout));
    }

    #[test]
    fn the_earliest_deadline_wins_and_children_end_with_their_parent() {
        let parent = Context::new().with_timeout(Duration::from_secs(5));
        let deadline = parent.deadline();
        assert_eq!(parent.clone().with_timeout(Duration::from_secs(500)).deadline(), deadline);
        assert_eq!(parent.clone().with_timeout(Duration::MAX).deadline(), deadline);
        let child = parent.child();
        child.cancellation().cancel();
        assert!(parent.check().is_ok(), "a child alone");
        let child = parent.child();
        parent.cancellation().cancel();
        assert_eq!(child.check().map_err(|e| e.kind()), Err(ErrorKind::Cancelled));
    }
}
