//! The pool's places and streams under loom: all interleavings, up to so many preemptions, of callers who come, wait, leave and give back with
//! a driver who learns how many streams there are, or that the connection is gone. The counter of streams is no atomic: that everybody
//! who looks at it holds the lock, and that nobody who waits is forgotten, is what is tried here.

mod pool_parts;

/// Loom's.
mod parts {
    pub(crate) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize},
    };
}

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Instant,
};

use loom::thread;
use loquat_transport::{Http2Limits, PoolConfig, Protocol};
use parts::AtomicUsize;
use pool_parts::{
    ConnectionInfo, http1,
    http2::{self, Http2, Said, UNSETTLED},
    pool::{self, Checkout, Permit, Site, Slot, Ticket, Turn, Wants},
    stats,
};

const WANTS: Wants = Wants { replayable: true, fresh: false };

/// One connection, the only one that may be, and the stream of who made it.
struct World {
    site: Arc<Site>,
    said: Arc<Said>,
    connection: Arc<Http2>,
    /// What the driver keeps.
    permit: Permit,
}

impl World {
    fn new(limit: usize) -> (Self, Slot) {
        let config = PoolConfig::default().with_max_connections_per_origin(1).with_max_age(None);
        let site = pool::site(config, &Http2Limits::default().with_max_streams(2));
        let Ticket { making, mut permit } = site.spare(1, Instant::now()).expect("a place");
        permit.opened(Protocol::Http2);
        let said = Said::new(limit);
        let info = ConnectionInfo { reused: false, more: () };
        let slot = making.made_http2(Http2 { said: Arc::clone(&said), own_limit: 2, info });
        let connection = pool::whose(&site, &slot).expect("it has just been made");
        (Self { site, said, connection, permit }, slot)
    }

    /// Nobody has a stream of it any more, nobody waits, and whoever comes now gets one at once.
    fn assert_rests(&self) {
        assert_eq!(pool::in_use(&self.site, &self.connection), Some(0));
        let next = self.site.look(WANTS, &mut Turn::default(), Instant::now());
        let Some(Checkout::Http2(slot)) = next else { panic!("{next:?}") };
        give_back(slot);
        assert_eq!(pool::in_use(&self.site, &self.connection), Some(0));
    }
}

/// Told to go on.
struct Parked(thread::Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits as a task does. Whoever is never woken is a deadlock, which loom finds.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        thread::park();
    }
}

/// What somebody gets who comes now, however long that takes.
fn come(site: &Arc<Site>) -> Checkout {
    let mut turn = Turn::default();
    let found = site.look(WANTS, &mut turn, Instant::now());
    found.unwrap_or_else(|| block_on(site.checkout(WANTS, turn, None)))
}

fn stream(checkout: Checkout) -> Slot {
    let Checkout::Http2(slot) = checkout else { panic!("{checkout:?}") };
    slot
}

/// After a stream that has ended by itself.
fn give_back(mut slot: Slot) {
    slot.settle();
}

/// Comes, has a stream while no more than so many others have one, and gives it back.
fn call(site: &Arc<Site>, held: &AtomicUsize, most: usize) {
    let slot = stream(come(site));
    let others = held.fetch_add(1, SeqCst);
    assert!(others < most, "{others} others where {most} are allowed");
    held.fetch_sub(1, SeqCst);
    give_back(slot);
}

fn model(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // Half a second in all; six, some four seconds (`LOOM_MAX_PREEMPTIONS`).
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(model);
}

#[test]
fn one_stream_is_had_by_one_at_a_time_and_by_everybody() {
    model(|| {
        let (world, slot) = World::new(1);
        let held = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let (site, held) = (Arc::clone(&world.site), Arc::clone(&held));
                thread::spawn(move || call(&site, &held, 1))
            })
            .collect();
        give_back(slot);
        callers.into_iter().for_each(|caller| caller.join().expect("no panic"));
        world.assert_rests();
    });
}

/// Who comes just then, and who waits already, has one of them.
#[test]
fn who_waits_is_told_when_the_peer_says_how_many_it_takes() {
    model(|| {
        let (world, slot) = World::new(UNSETTLED);
        let held = Arc::new(AtomicUsize::new(0));
        let (site, counter) = (Arc::clone(&world.site), Arc::clone(&held));
        let caller = thread::spawn(move || call(&site, &counter, 2));
        let (site, said) = (Arc::clone(&world.site), Arc::clone(&world.said));
        let driver = thread::spawn(move || {
            site.learnt(|| {
                said.limit.store(2, Relaxed);
                said.has_allowed.store(true, Relaxed);
                2
            });
        });
        call(&world.site, &held, 2);
        give_back(slot);
        caller.join().expect("no panic");
        driver.join().expect("no panic");
        world.assert_rests();
    });
}

/// The place of a connection that is gone goes to who waits for it, whether its stream is given back before or after.
#[test]
fn who_waits_for_a_connection_that_is_lost_may_make_another() {
    model(|| {
        let (World { site, said, connection, permit }, slot) = World::new(UNSETTLED);
        drop(connection);
        let own = Arc::clone(&site);
        let driver = thread::spawn(move || {
            own.lost(|| said.closing.store(true, Relaxed), None);
            drop(permit);
        });
        let own = Arc::clone(&site);
        let holder = thread::spawn(move || {
            drop(slot);
            drop(own);
        });
        // Who comes before it is lost and after the stream is back gets that, and finds out later.
        match come(&site) {
            Checkout::Connect(Ticket { making, permit }) => {
                drop(making);
                drop(permit);
            }
            checkout => give_back(stream(checkout)),
        }
        driver.join().expect("no panic");
        holder.join().expect("no panic");
        assert_eq!(pool::counts(&site), pool::Counts { open: 0, connecting: 0, idle: 0 });
    });
}

#[test]
fn what_was_given_to_who_leaves_just_then_goes_to_the_next() {
    model(|| {
        let (world, slot) = World::new(1);
        let mut turn = Turn::default();
        assert!(world.site.look(WANTS, &mut turn, Instant::now()).is_none());
        let site = Arc::clone(&world.site);
        let mut leaving: Pin<Box<dyn Future<Output = Checkout> + Send>> =
            Box::pin(async move { site.checkout(WANTS, turn, None).await });
        assert!(leaving.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let site = Arc::clone(&world.site);
        let next = thread::spawn(move || give_back(stream(come(&site))));
        let leaves = thread::spawn(move || drop(leaving));
        give_back(slot);
        leaves.join().expect("no panic");
        next.join().expect("no panic");
        world.assert_rests();
    });
}
