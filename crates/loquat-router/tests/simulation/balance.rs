//! tower itself: its `Balance` (power of two choices) over its `PeakEwma`, driven through the same scripts.
//!
//! Its clock is tokio's, which a paused runtime turns by hand; its chance is seeded through its own trait. A request is
//! in flight for tower from its call to its answer's head, which is the first token here (`CompleteOnResponse`); a refusal
//! is an answer like another, since tower measures how soon a service answers, and not what. tower does not know what
//! else a request has tried: whoever was tried already is drawn again, as often as it takes, and only the last draw
//! counts. That is kinder than a retry around a balancer, which asks the same one twice.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    future::{Future as _, Ready, ready},
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use futures_core::Stream;
use loquat_router::{
    Draw,
    simulate::{Chooser, Script},
};
use tokio::runtime::Runtime;
use tower::{
    BoxError, Service,
    balance::p2c::Balance,
    discover::Change,
    load::{CompleteOnResponse, PeakEwmaDiscover},
    util::rng::Rng,
};

use crate::absent;

/// What tower's own example has: an unknown service is taken for a fast one.
pub(crate) const EXAMPLE: Settings =
    Settings { unknown: Duration::from_millis(30), decay: Duration::from_secs(10) };

/// The same, but an unknown service is taken for a slow one.
pub(crate) const WARY: Settings =
    Settings { unknown: Duration::from_millis(250), decay: Duration::from_secs(10) };

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The round trip that an unknown service is taken to have.
    unknown: Duration,
    decay: Duration,
}

/// Most draws for one choice.
const MAX_DRAWS: usize = 1_000;

/// A server: says which one was called.
struct Numbered(usize);

impl Service<Arc<AtomicUsize>> for Numbered {
    type Response = ();
    type Error = BoxError;
    type Future = Ready<Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, called: Arc<AtomicUsize>) -> Self::Future {
        called.store(self.0, Relaxed);
        ready(Ok(()))
    }
}

/// Who joined and has not been taken in yet.
#[derive(Clone, Default)]
struct Joined(Rc<RefCell<VecDeque<usize>>>);

impl Stream for Joined {
    type Item = Result<Change<usize, Numbered>, BoxError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Whoever chooses looks here first, and so need not be woken.
        let joined = self.0.borrow_mut().pop_front();
        joined.map_or(Poll::Pending, |server| Poll::Ready(Some(Ok(Change::Insert(server, Numbered(server))))))
    }
}

struct Chance(Draw);

impl Rng for Chance {
    fn next_u64(&mut self) -> u64 {
        self.0.bits()
    }
}

type Balanced = Balance<PeakEwmaDiscover<Joined>, Arc<AtomicUsize>>;
type Answering = <Balanced as Service<Arc<AtomicUsize>>>::Future;

/// tower's clock, which all clients of a script share: it has been turned to this time.
pub(crate) struct Clock {
    runtime: Runtime,
    shows: RefCell<Instant>,
}

impl Clock {
    /// One that shows that time.
    pub(crate) fn new(now: Instant) -> Rc<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        Rc::new(Self { runtime: runtime.expect("a runtime"), shows: RefCell::new(now) })
    }

    /// Does it at that time.
    fn at<R>(&self, now: Instant, act: impl FnOnce() -> R) -> R {
        let before = self.shows.replace(now);
        let passed = now.checked_duration_since(before).expect("time goes on");
        if !passed.is_zero() {
            self.runtime.block_on(tokio::time::advance(passed));
        }
        let _guard = self.runtime.enter();
        act()
    }
}

pub(crate) struct Tower {
    clock: Rc<Clock>,
    balance: Balanced,
    joined: Joined,
    called: Arc<AtomicUsize>,
    answering: HashMap<u64, Answering>,
}

impl Tower {
    pub(crate) fn new(script: &Script, client: usize, settings: Settings, clock: &Rc<Clock>) -> Self {
        let joined = Joined::default();
        let absent = absent(script);
        joined.0.borrow_mut().extend((0..script.servers.len()).filter(|at| !absent.contains(at)));
        let Settings { unknown, decay } = settings;
        let measured = PeakEwmaDiscover::new::<Arc<AtomicUsize>>(
            joined.clone(),
            unknown,
            decay,
            CompleteOnResponse::default(),
        );
        let chance = Chance(Draw::seeded(script.seed * 31 + client as u64));
        Self {
            clock: clock.clone(),
            balance: Balance::from_rng(measured, chance),
            joined,
            called: Arc::default(),
            answering: HashMap::new(),
        }
    }

    fn answered(&mut self, request: u64, now: Instant) {
        let answering = self.answering.remove(&request).expect("it was asked");
        let mut cx = Context::from_waker(Waker::noop());
        let answer = self.clock.at(now, || pin!(answering).poll(&mut cx));
        assert!(matches!(answer, Poll::Ready(Ok(()))), "it answers at once when it is asked");
    }
}

impl Chooser for Tower {
    fn choose(&mut self, request: u64, _: u32, tried: &[usize], now: Instant) -> Option<usize> {
        let Self { clock, balance, called, .. } = self;
        let mut cx = Context::from_waker(Waker::noop());
        let (server, answering) = clock.at(now, || {
            (0..MAX_DRAWS).find_map(|_| {
                assert!(matches!(balance.poll_ready(&mut cx), Poll::Ready(Ok(()))), "all are always ready");
                // Given up at once where it was tried before: as if it had never been called.
                let answering = balance.call(called.clone());
                let server = called.load(Relaxed);
                (!tried.contains(&server)).then_some((server, answering))
            })
        })?;
        self.answering.insert(request, answering);
        Some(server)
    }

    fn first_token(&mut self, request: u64, _: usize, _: Duration, now: Instant) {
        self.answered(request, now);
    }

    fn failed(&mut self, request: u64, _: usize, _: Option<Duration>, is_timeout: bool, now: Instant) {
        // A call that was given up is dropped, and measured all the same.
        if is_timeout {
            let given_up = self.answering.remove(&request);
            return self.clock.at(now, || drop(given_up));
        }
        self.answered(request, now);
    }

    fn done(&mut self, _: u64, _: usize, _: Instant) {}

    fn appeared(&mut self, server: usize, _: Instant) {
        self.joined.0.borrow_mut().push_back(server);
    }
}
