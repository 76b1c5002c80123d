//! The shelf of resting buffers under loom: all interleavings of threads that take a buffer, hold it and give it back. It is compiled
//! here a second time, over loom's mutex.

#[path = "../src/buffers"]
mod buffers {
    mod parts {
        pub(super) use loom::sync::Mutex;
    }

    mod shelf;

    /// What each buffer holds is its name.
    fn buffer(name: u8) -> Box<[u8]> {
        Box::new([name])
    }

    /// Two threads, and what they hold at the same time.
    #[test]
    fn no_two_hold_the_same_buffer_and_no_more_rest_than_may() {
        loom::model(|| {
            let shelf = loom::sync::Arc::new(shelf::Shelf::new(2));
            shelf.put(buffer(1));
            shelf.put(buffer(2));
            shelf.put(buffer(3)); // one too many
            assert_eq!(shelf.len(), 2);
            let other = loom::sync::Arc::clone(&shelf);
            let thread = loom::thread::spawn(move || other.take());
            let mine = shelf.take();
            let theirs = thread.join().expect("no panic");
            // Neither waits for the other: one of them may have found nothing, and never both.
            assert!(mine.is_some() || theirs.is_some());
            assert!(mine.is_none() || mine != theirs, "{mine:?} twice");
            let out = usize::from(mine.is_some()) + usize::from(theirs.is_some());
            assert_eq!(shelf.len(), 2 - out);
            let other = loom::sync::Arc::clone(&shelf);
            let thread = loom::thread::spawn(move || {
                other.put(theirs.unwrap_or_else(|| buffer(4)));
                other.put(buffer(5));
            });
            shelf.put(mine.unwrap_or_else(|| buffer(6)));
            thread.join().expect("no panic");
            assert!((1..=2).contains(&shelf.len()), "{}", shelf.len());
            let all: Vec<_> = std::iter::from_fn(|| shelf.take()).collect();
            let mut names = all.clone();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), all.len(), "{all:?}");
        });
    }
}
