//! The pool's decisions against a simple model of them, in random worlds: callers who come, wait, leave and are done; connections that
//! come up, fail, end, and change how many streams they allow. A seed that fails is printed.

mod expected;
#[path = "../pool_parts/mod.rs"]
mod pool_parts;

/// The standard library's.
mod parts {
    pub(crate) use std::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize},
    };
}

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use loquat_core::{Error, ErrorKind};
use loquat_transport::{Http2Limits, PoolConfig, Protocol};

use pool_parts::{
    ConnectionInfo,
    http1::{self, Http1},
    http2::{self, Http2},
    pool::{self, Checkout, Permit, Site, Slot, Ticket, Turn, Wants},
    stats,
};

/// Xorshift: `below` is all that is needed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        // Neighbouring seeds are far apart, and none is zero.
        let mut random = Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        (0..8).for_each(|_| random.advance());
        random
    }

    fn advance(&mut self) {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
    }

    fn below(&mut self, end: usize) -> usize {
        self.advance();
        usize::try_from((self.0 >> 33) % end.max(1) as u64).expect("below a usize")
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// Whether a caller was told to look.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

type Checking = Pin<Box<dyn Future<Output = Checkout>>>;

/// Somebody who came.
#[derive(Debug, Clone, Copy)]
struct Caller {
    number: usize,
    wants: Wants,
    turn: Turn,
}

/// A connection being made.
struct Attempt {
    caller: Caller,
    ticket: Ticket,
    /// Which one it is, of all.
    number: usize,
}

struct Waiter {
    number: usize,
    wants: Wants,
    turn: Turn,
    /// How many attempts had been begun when it began to wait.
    begun: usize,
    checking: Checking,
    woken: Arc<Woken>,
}

/// The driver's end of an HTTP/2 connection: while it lives, so does the connection's place.
struct Driver {
    /// What its making was.
    attempt: pool::Attempt,
    /// Which one that was, of all.
    number: usize,
    connection: Weak<Http2>,
    said: Arc<http2::Said>,
    own_limit: usize,
    permit: Permit,
}

/// What a caller was given, as far as others' turns go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http1,
    Http2,
    Connect,
    Failed,
}

struct World {
    site: Arc<Site>,
    random: Random,
    max_open: usize,
    max_connecting: usize,
    own_limit: usize,
    /// As the model has learnt them.
    streams: usize,
    speaks: Option<Protocol>,
    /// What connections will speak, or either.
    will_speak: Option<Protocol>,
    came: usize,
    /// Runs ahead, for a peer that pauses is tried in time.
    clock: Instant,
    /// Attempts to connect so far.
    begun: usize,
    /// In the order in which they came.
    waiters: Vec<Waiter>,
    tickets: Vec<Attempt>,
    http1: Vec<(Caller, Box<Http1>)>,
    slots: Vec<(Caller, Arc<Http2>, Slot)>,
    drivers: Vec<Driver>,
    /// Who was given what since it was last looked at.
    given: Vec<(usize, Wants, Kind)>,
    /// Of each HTTP/1.1 connection so far.
    lives: Vec<Weak<()>>,
    /// Who is to learn that no connection could be made.
    failing: Vec<usize>,
    /// Whether somebody has left since then who had been given something.
    has_left: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (max_open, max_connecting, own_limit) =
            (1 + random.below(4), 1 + random.below(3), 1 + random.below(5));
        let will_speak = [Some(Protocol::Http1), Some(Protocol::Http2), Some(Protocol::Http2), None];
        let will_speak = will_speak[random.below(4)];
        Self::with(random, max_open, max_connecting, own_limit, will_speak)
    }

    fn with(
        random: Random,
        max_open: usize,
        max_connecting: usize,
        own_limit: usize,
        will_speak: Option<Protocol>,
    ) -> Self {
        let mut config = PoolConfig::default().with_max_connections_per_origin(max_open).with_max_age(None);
        config.max_connecting_per_origin = max_connecting;
        let site = pool::site(config, &Http2Limits::default().with_max_streams(own_limit));
        Self {
            site,
            random,
            max_open,
            max_connecting,
            own_limit,
            streams: own_limit,
            speaks: None,
            will_speak,
            came: 0,
            clock: Instant::now(),
            begun: 0,
            waiters: Vec::new(),
            tickets: Vec::new(),
            http1: Vec::new(),
            slots: Vec::new(),
            drivers: Vec::new(),
            given: Vec::new(),
            lives: Vec::new(),
            failing: Vec::new(),
            has_left: false,
        }
    }

    fn arrive(&mut self) {
        self.came += 1;
        let wants = Wants { replayable: self.random.percent(50), fresh: self.random.percent(15) };
        self.look(Caller { number: self.came, wants, turn: Turn::default() });
    }

    fn look(&mut self, mut caller: Caller) {
        match self.site.look(caller.wants, &mut caller.turn, Instant::now()) {
            Some(checkout) => self.take(caller, checkout),
            None => self.wait(caller, None),
        }
    }

    /// Among others in the order in which they came.
    fn wait(&mut self, caller: Caller, left: Option<Permit>) {
        let site = Arc::clone(&self.site);
        let Caller { number, wants, turn } = caller;
        let checking: Checking = Box::pin(async move { site.checkout(wants, turn, left).await });
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let index = self.waiters.partition_point(|waiter| waiter.number < number);
        self.waiters.insert(index, Waiter { number, wants, turn, begun: self.begun, checking, woken });
        self.poll(index);
    }

    fn take(&mut self, caller: Caller, checkout: Checkout) {
        let kind = match checkout {
            Checkout::Http1(connection) => {
                self.http1.push((caller, connection));
                Kind::Http1
            }
            Checkout::Http2(slot) => {
                let connection = pool::whose(&self.site, &slot).expect("one that takes streams");
                let (held, limit) = (self.held(&connection) + 1, connection.limit());
                assert!(held <= limit, "{held} streams where {limit} are allowed");
                self.slots.push((caller, connection, slot));
                Kind::Http2
            }
            Checkout::Connect(ticket) => {
                self.begun += 1;
                self.tickets.push(Attempt { caller, ticket, number: self.begun });
                Kind::Connect
            }
            Checkout::Failed(error) => {
                assert_eq!(error.message(), "no way");
                Kind::Failed
            }
        };
        self.given.push((caller.number, caller.wants, kind));
    }

    fn poll(&mut self, index: usize) {
        let waiter = &mut self.waiters[index];
        waiter.woken.0.store(false, SeqCst);
        let waker = Waker::from(Arc::clone(&waiter.woken));
        if let Poll::Ready(checkout) = waiter.checking.as_mut().poll(&mut Context::from_waker(&waker)) {
            let Waiter { number, wants, turn, .. } = self.waiters.remove(index);
            self.take(Caller { number, wants, turn }, checkout);
        }
    }

    /// Everybody does what they have been told to, in any order.
    fn settle(&mut self) {
        loop {
            let awake: Vec<_> =
                (0..self.waiters.len()).filter(|&index| self.waiters[index].woken.0.load(SeqCst)).collect();
            let gone = self.drivers.iter().position(|driver| driver.connection.strong_count() == 0);
            match (awake.is_empty(), gone) {
                (true, None) => return,
                (_, Some(index)) => self.end(index, false),
                (false, None) => {
                    let index = self.random.below(awake.len());
                    self.poll(awake[index]);
                }
            }
        }
    }

    /// As a driver does when its connection has ended, or was given up because its peer has not said how many streams it takes.
    fn end(&mut self, index: usize, is_failure: bool) {
        let Driver { attempt, number, said, permit, .. } = self.drivers.remove(index);
        let failure = is_failure.then(|| {
            self.failing = self.those_without_hope(number);
            pool::Failure { error: Error::new(ErrorKind::Timeout, "no way"), attempt }
        });
        self.site.lost(|| said.closing.store(true, SeqCst), failure.as_ref());
        drop(permit);
    }

    /// As a driver does when the peer's SETTINGS have come.
    fn allow(&mut self, index: usize, limit: usize) {
        let Driver { said, own_limit, .. } = &self.drivers[index];
        if said.limit.load(SeqCst) != limit {
            let streams = limit.min(*own_limit);
            if streams > 0 {
                self.streams = streams;
            }
            self.site.learnt(|| {
                said.limit.store(limit, SeqCst);
                if limit > 0 {
                    said.has_allowed.store(true, SeqCst);
                }
                streams
            });
        }
    }

    fn connected(&mut self, index: usize) {
        let Attempt { caller, ticket: Ticket { mut permit, making }, number } = self.tickets.remove(index);
        let either = [Protocol::Http1, Protocol::Http2][self.random.below(2)];
        let protocol = self.will_speak.unwrap_or(either);
        self.speaks = Some(protocol);
        permit.opened(protocol);
        match protocol {
            Protocol::Http1 => {
                making.made_http1();
                let life = Arc::new(());
                self.lives.push(Arc::downgrade(&life));
                let connection = Http1 { idle_since: Instant::now(), permit, _life: life };
                self.http1.push((caller, Box::new(connection)));
            }
            _ => {
                let said = http2::Said::new(http2::UNSETTLED);
                let info = ConnectionInfo { reused: false, more: () };
                let connection = Http2 { said: Arc::clone(&said), own_limit: self.own_limit, info };
                let attempt = making.attempt();
                let slot = making.made_http2(connection);
                let connection = pool::whose(&self.site, &slot).expect("it has just been made");
                let driver = Driver {
                    attempt,
                    number,
                    connection: Arc::downgrade(&connection),
                    said,
                    own_limit: self.own_limit,
                    permit,
                };
                self.drivers.push(driver);
                self.slots.push((caller, connection, slot));
            }
        }
    }

    /// So much time has passed, and somebody says that they wait still: where a peer pauses, one of them tries another connection.
    fn probe(&mut self) {
        self.clock += Duration::from_secs(8);
        let counts = pool::counts(&self.site);
        let is_tried = self.is_paused()
            && self.waiters.len() > self.room(self.coming())
            && counts.connecting < self.max_connecting
            && (counts.open < self.max_open || counts.idle > 0);
        let tickets = self.tickets.len() + usize::from(is_tried);
        // Others say so, too.
        for _ in 0..2 {
            self.site.probe(self.clock);
            self.settle();
            assert_eq!(self.tickets.len(), tickets, "one more connection is made where a peer pauses");
        }
    }

    /// A stream is refused, or all of a connection that closes: who had one looks again, in the turn that it has.
    fn refuse(&mut self, index: usize, closes: bool) {
        let refusing = Arc::clone(&self.slots[index].1);
        let refused: Vec<_> = if closes {
            refusing.retire();
            self.slots.extract_if(.., |(_, connection, _)| Arc::ptr_eq(connection, &refusing)).collect()
        } else {
            vec![self.slots.remove(index)]
        };
        drop(refusing);
        let mut callers = Vec::new();
        for (mut caller, _, mut slot) in refused {
            slot.settle();
            drop(slot);
            // Those of a connection that closes may not even have begun, and have their second try still.
            caller.wants.fresh |= !closes || self.random.percent(50);
            callers.push(caller);
        }
        self.settle();
        self.check_order();
        for caller in callers {
            self.look(caller);
            self.settle();
            self.check_order();
        }
    }

    /// One thing happens.
    fn step(&mut self) {
        let (tickets, http1, slots) = (self.tickets.len(), self.http1.len(), self.slots.len());
        let (drivers, waiters) = (self.drivers.len(), self.waiters.len());
        let what = self.random.below(100);
        match what {
            0..34 => self.arrive(),
            34 => self.probe(),
            35..45 if waiters > 0 => {
                let index = self.random.below(waiters);
                drop(self.waiters.remove(index));
            }
            45..58 if tickets > 0 => {
                let index = self.random.below(tickets);
                self.connected(index);
            }
            58..63 if tickets > 0 => {
                let index = self.random.below(tickets);
                let Attempt { ticket: Ticket { permit, making }, number, .. } = self.tickets.remove(index);
                self.failing = self.those_without_hope(number);
                making.failed(&Error::new(ErrorKind::Connect, "no way"));
                drop(permit);
            }
            63..66 if tickets > 0 => {
                let index = self.random.below(tickets);
                drop(self.tickets.remove(index));
            }
            66..75 if http1 > 0 => {
                let index = self.random.below(http1);
                self.site.rest(self.http1.remove(index).1);
            }
            75..77 if http1 > 0 => {
                let index = self.random.below(http1);
                drop(self.http1.remove(index));
            }
            // It was dead: who had it wants another one, and waits no longer for that than who came later.
            77..79 if http1 > 0 => {
                let index = self.random.below(http1);
                let (mut caller, connection) = self.http1.remove(index);
                caller.wants.fresh = true;
                self.wait(caller, Some(connection.permit));
            }
            79..82 if slots > 0 => {
                let (index, closes) = (self.random.below(slots), self.random.percent(50));
                self.refuse(index, closes);
            }
            82..87 if slots > 0 => {
                let index = self.random.below(slots);
                let (.., mut slot) = self.slots.remove(index);
                if self.random.percent(70) {
                    slot.settle();
                }
            }
            87..95 if drivers > 0 => {
                let (index, limit) = (self.random.below(drivers), self.random.below(6));
                self.allow(index, limit);
            }
            95..98 if drivers > 0 => {
                let index = self.random.below(drivers);
                let said = &self.drivers[index].said;
                let counts = said.limit.load(SeqCst) == http2::UNSETTLED && !said.closing.load(SeqCst);
                let is_failure = counts && self.random.percent(50);
                self.end(index, is_failure);
            }
            98 => drop(pool::sweep(&self.site, Instant::now() + Duration::from_secs(3600))),
            // Who holds a stream finds its connection closing, and says so; somebody comes before the stream is given back.
            99 if slots > 0 => {
                let index = self.random.below(slots);
                let (_, connection, slot) = self.slots.remove(index);
                connection.retire();
                self.arrive();
                self.settle();
                self.check_order();
                drop(slot);
            }
            _ => {}
        }
        // Some leave in the moment in which they were given something.
        if self.random.percent(20)
            && let Some(index) = self.waiters.iter().position(|waiter| waiter.woken.0.load(SeqCst))
        {
            let before = self.alive();
            let left = self.waiters.remove(index);
            self.failing.retain(|number| *number != left.number);
            drop(left);
            self.has_left = true;
            // A connection goes to the next, or rests; unless the next wants another one in its place.
            let is_kept = self.alive() == before || self.waiters.iter().any(|waiter| waiter.wants.fresh);
            assert!(is_kept, "a connection was closed because a caller left");
        }
        self.settle();
    }

    /// Nobody comes any more, and everybody who is here is done in time.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            if let Some(index) = self.drivers.iter().position(|driver| driver.said.limit.load(SeqCst) > 8) {
                self.allow(index, 1);
            } else if !self.tickets.is_empty() {
                self.connected(0);
            } else if let Some((_, connection)) = self.http1.pop() {
                self.site.rest(connection);
            } else if let Some(slot) = self.slots.pop() {
                drop(slot);
            } else if let Some(index) =
                self.drivers.iter().position(|driver| driver.said.limit.load(SeqCst) == 0)
            {
                self.allow(index, 2);
            } else {
                break;
            }
            self.settle();
            self.check();
        }
        assert_eq!(self.waiters.len(), 0, "somebody waits for ever");
        for _ in 0..2 {
            assert_eq!(pool::counts(&self.site).connecting, 0);
            pool::sweep(&self.site, Instant::now() + Duration::from_secs(3600));
            self.settle();
        }
        assert!(pool::sweep(&self.site, Instant::now()), "{:?}", pool::counts(&self.site));
    }
}

/// Names the seed, if what follows panics.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "how to see it again")]
            {
                eprintln!("seed {}", self.0);
            }
        }
    }
}

/// However long the pause.
#[test]
fn a_peer_that_pauses_is_tried_over_few_connections() {
    for under_way in 0..3 {
        let mut world = World::with(Random::new(0), 100, 3, 1, Some(Protocol::Http2));
        // Those streams end late.
        for index in 0..under_way {
            world.arrive();
            world.check();
            world.connected(0);
            world.allow(index, 1);
            world.check();
        }
        for index in 0..under_way {
            world.allow(index, 0);
        }
        world.arrive();
        world.check();
        for _ in 0..20 {
            if world.tickets.is_empty() {
                world.probe();
                world.check();
            }
            world.connected(0);
            world.allow(world.drivers.len() - 1, 0);
            world.settle();
            world.check();
            world.refuse(world.slots.len() - 1, false);
            world.settle();
            world.check();
            let connections = world.connections().count();
            assert!(connections <= under_way + 2, "{connections} for {under_way} streams");
        }
        // Once one takes streams, all is as before.
        world.probe();
        world.check();
        world.connected(0);
        world.allow(world.drivers.len() - 1, 1);
        world.settle();
        world.check();
        world.drain();
    }
}

#[test]
fn places_are_neither_lost_nor_given_twice_and_go_to_who_came_first() {
    for seed in 0..3000 {
        let _named = Named(seed);
        let mut world = World::new(seed);
        for _ in 0..80 {
            world.step();
            world.check();
        }
        world.drain();
    }
}
