//! The lanes of an HTTP/2 connection under loom: all interleavings of callers who leave a lane and take the next with a driver who gives
//! up the stream it has found there. They are compiled here a second time, over loom's parts and a lane that only knows whose it is.

#[path = "../src/http2"]
mod http2 {
    mod parts {
        pub(super) use loom::sync::{Arc, Mutex, MutexGuard, atomic::Ordering::Relaxed};

        pub(super) use super::{Lane, Timer};
    }

    mod lanes;

    use lanes::Lanes;
    use loom::sync::{Arc, Mutex, atomic::AtomicUsize};

    /// Who made it.
    type Timer = usize;

    /// As much of a lane as the driver and its caller meet over: its stream, and whether that was given up.
    #[derive(Debug)]
    struct Lane {
        stream: Mutex<Option<(usize, bool)>>,
        index: AtomicUsize,
    }

    impl Lane {
        fn new() -> Self {
            Self { stream: Mutex::new(None), index: AtomicUsize::new(0) }
        }

        fn begin(&self, stream: usize) {
            let before = self.stream.lock().expect("no panic").replace((stream, false));
            assert_eq!(before, None, "{stream} begins in a lane that is another's");
        }

        /// The stream and whether it was given up.
        fn end(&self) -> Option<(usize, bool)> {
            self.stream.lock().expect("no panic").take()
        }

        fn is_of(&self, stream: usize) -> bool {
            self.stream.lock().expect("no panic").is_some_and(|(other, _)| other == stream)
        }

        /// As the lane's own: whatever stream is there now, unless none is.
        fn give_up(&self) {
            if let Some((_, is_given_up)) = &mut *self.stream.lock().expect("no panic") {
                *is_given_up = true;
            }
        }
    }

    fn enter(lanes: &Lanes, stream: usize) -> (Arc<Lane>, Option<Timer>) {
        lanes.enter(Lane::new, |lane| lane.begin(stream))
    }

    /// As a stream does when it is dropped; what became of it.
    fn leave(lanes: &Lanes, lane: Arc<Lane>, timer: Timer) -> Option<(usize, bool)> {
        let left = lanes.leave(&lane, Some(timer), Lane::end);
        drop(lane);
        left
    }

    #[test]
    fn the_next_stream_in_a_lane_is_not_given_up_for_the_last() {
        loom::model(|| {
            let lanes = Arc::new(Lanes::new());
            let (lane, timer) = enter(&lanes, 1);
            assert_eq!(timer, None);
            let other = Arc::clone(&lanes);
            let driver = loom::thread::spawn(move || {
                for lane in other.those(|lane| lane.is_of(1)) {
                    lane.give_up();
                }
            });
            let first = leave(&lanes, lane, 10);
            assert!(matches!(first, Some((1, _))), "{first:?}");
            let (lane, timer) = enter(&lanes, 2);
            assert!(timer.is_none_or(|timer| timer == 10), "{timer:?}");
            driver.join().expect("no panic");
            assert_eq!(leave(&lanes, lane, 20), Some((2, false)));
            assert!(lanes.is_empty());
            // Now nobody else has it, and it is kept.
            assert_eq!(enter(&lanes, 3).1, Some(20));
        });
    }

    #[test]
    fn each_of_two_callers_has_its_own_lane_and_its_own_timer() {
        loom::model(|| {
            let lanes = Arc::new(Lanes::new());
            let caller = |lanes: &Lanes, lane, stream| {
                assert_eq!(leave(lanes, lane, 10 * stream), Some((stream, false)));
                let (lane, timer) = enter(lanes, stream + 2);
                (lane, timer)
            };
            let [(one, _), (two, _)] = [enter(&lanes, 1), enter(&lanes, 2)];
            let other = Arc::clone(&lanes);
            let thread = loom::thread::spawn(move || caller(&other, one, 1));
            let (mine, my_timer) = caller(&lanes, two, 2);
            let (theirs, their_timer) = thread.join().expect("no panic");
            assert!(!Arc::ptr_eq(&mine, &theirs));
            // Whoever comes first finds what was left by then, and nobody finds what another has.
            assert!(my_timer.is_some() && their_timer.is_some() && my_timer != their_timer);
            assert_eq!(lanes.len(), 2);
            assert_eq!(leave(&lanes, mine, 40), Some((4, false)));
            assert_eq!(lanes.sum(|lane| usize::from(lane.is_of(3))), 1, "the other's place is found");
            assert_eq!(leave(&lanes, theirs, 30), Some((3, false)));
            assert!(lanes.is_empty());
        });
    }
}
