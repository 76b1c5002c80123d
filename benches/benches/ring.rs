//! Bytes from one thread to another: the transport's ring beside `rtrb`, a channel of `Bytes`, and a `Vec` that the reader
//! takes whole under a lock. A message is 300 bytes, about a chunk of a token stream.
//!
//! | case | what it is |
//! |---|---|
//! | `inline` | put and taken by one thread in turn: the queue's own cost, whatever else the machine does |
//! | `stream` | both sides at full speed; what handing a message over costs |
//! | `wake` | the reader sleeps and is woken for each message, and answers: what a chunk would pay for a thread of its own |
//!
//! The last case is why the ring is not on the way of a response: waking costs a thousand times the copy, whichever queue
//! lies between. The floor is the copy alone, in one thread.
//!
//! Contenders take turns; medians over the rounds, in nanoseconds per message.

use std::{
    hint::black_box,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Instant,
};

use bytes::Bytes;
use loquat_benches::{is_quick, side};
use loquat_transport::ring::{Consumer, Producer, ring};

const MESSAGE: [u8; 300] = [b'x'; 300];
const CAPACITY: usize = 64 * 1024;

/// One side puts a message in if there is room, the other takes out what is there.
trait Put: Send + 'static {
    fn put(&mut self) -> bool;
}
trait Take {
    /// Bytes taken.
    fn take(&mut self) -> usize;
}

impl Put for Producer {
    fn put(&mut self) -> bool {
        self.free() >= MESSAGE.len() && self.write(&MESSAGE) == MESSAGE.len()
    }
}

impl Take for Consumer {
    fn take(&mut self) -> usize {
        self.read_with(|first, second| {
            black_box((first, second));
            first.len() + second.len()
        })
    }
}

impl Put for rtrb::Producer<u8> {
    fn put(&mut self) -> bool {
        let Ok(mut chunk) = self.write_chunk(MESSAGE.len()) else { return false };
        let (first, second) = chunk.as_mut_slices();
        let (one, two) = MESSAGE.split_at(first.len());
        first.copy_from_slice(one);
        second.copy_from_slice(two);
        chunk.commit_all();
        true
    }
}

impl Take for rtrb::Consumer<u8> {
    fn take(&mut self) -> usize {
        let slots = self.slots();
        let Ok(chunk) = self.read_chunk(slots) else { return 0 };
        black_box(chunk.as_slices());
        chunk.commit_all();
        slots
    }
}

/// A message is allocated, as one that came from a socket is.
impl Put for mpsc::SyncSender<Bytes> {
    fn put(&mut self) -> bool {
        self.try_send(Bytes::copy_from_slice(&MESSAGE)).is_ok()
    }
}

impl Take for mpsc::Receiver<Bytes> {
    fn take(&mut self) -> usize {
        self.try_iter().map(|message| black_box(message).len()).sum()
    }
}

#[derive(Clone, Default)]
struct Drained(Arc<Mutex<Vec<u8>>>, Vec<u8>);

impl Put for Drained {
    fn put(&mut self) -> bool {
        let mut bytes = self.0.lock().expect("no panic");
        let has_room = bytes.len() + MESSAGE.len() <= CAPACITY;
        if has_room {
            bytes.extend_from_slice(&MESSAGE);
        }
        has_room
    }
}

impl Take for Drained {
    fn take(&mut self) -> usize {
        self.1.clear();
        std::mem::swap(&mut *self.0.lock().expect("no panic"), &mut self.1);
        black_box(&self.1).len()
    }
}

/// Nanoseconds per message when one thread does both.
fn inline(mut put: impl Put, mut take: impl Take, messages: usize) -> f64 {
    let began = Instant::now();
    for _ in 0..messages {
        assert!(put.put(), "there is room for one");
        assert_eq!(take.take(), MESSAGE.len());
    }
    began.elapsed().as_nanos() as f64 / messages as f64
}

/// Nanoseconds per message with both sides at full speed.
fn stream(mut put: impl Put, mut take: impl Take, messages: usize) -> f64 {
    let began = Instant::now();
    let writer = thread::spawn(move || {
        for _ in 0..messages {
            while !put.put() {
                thread::yield_now();
            }
        }
        put
    });
    let mut left = messages * MESSAGE.len();
    while left > 0 {
        match take.take() {
            0 => thread::yield_now(),
            bytes => left -= bytes,
        }
    }
    let nanos = began.elapsed().as_nanos() as f64 / messages as f64;
    drop(writer.join().expect("no panic"));
    nanos
}

/// Nanoseconds per message when the reader sleeps until it is woken, and the writer until it is answered.
fn wake(mut put: impl Put, mut take: impl Take, messages: usize) -> f64 {
    let reader = thread::current();
    let (answer, answered) = mpsc::channel::<()>();
    let began = Instant::now();
    let writer = thread::spawn(move || {
        for _ in 0..messages {
            assert!(put.put(), "there is room for one");
            reader.unpark();
            answered.recv().expect("an answer");
        }
        put
    });
    for _ in 0..messages {
        let mut left = MESSAGE.len();
        while left > 0 {
            match take.take() {
                0 => thread::park(),
                bytes => left -= bytes,
            }
        }
        answer.send(()).expect("the writer waits");
    }
    let nanos = began.elapsed().as_nanos() as f64 / messages as f64;
    drop(writer.join().expect("no panic"));
    nanos
}

/// The copy alone.
fn floor(messages: usize) -> f64 {
    let mut to = [0_u8; MESSAGE.len()];
    let began = Instant::now();
    for _ in 0..messages {
        to.copy_from_slice(black_box(&MESSAGE));
        black_box(&to);
    }
    began.elapsed().as_nanos() as f64 / messages as f64
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("skipped: run by `cargo xtask bench ring`");
        return;
    }
    let rounds = if is_quick() { 5 } else { 21 };
    let mut figures: Vec<(&str, &str, Vec<f64>)> = Vec::new();
    let mut note =
        |case, who, value| match figures.iter_mut().find(|figure| (figure.0, figure.1) == (case, who)) {
            Some(figure) => figure.2.push(value),
            None => figures.push((case, who, vec![value])),
        };
    let (many, few) = (50_000, 1_000);
    let slots = CAPACITY / MESSAGE.len();
    for _ in 0..rounds {
        macro_rules! turn {
            ($who:literal, $make:expr) => {
                let (put, take) = $make;
                note("inline", $who, inline(put, take, many));
                let (put, take) = $make;
                note("stream", $who, stream(put, take, many));
                let (put, take) = $make;
                note("wake", $who, wake(put, take, few));
            };
        }
        turn!("ours", ring(CAPACITY));
        turn!("rtrb", rtrb::RingBuffer::<u8>::new(CAPACITY));
        turn!("channel of Bytes", mpsc::sync_channel::<Bytes>(slots));
        turn!("drained Vec", {
            let both = Drained::default();
            (both.clone(), both)
        });
        note("inline", "floor", floor(many));
        note("stream", "floor", floor(many));
        note("wake", "floor", floor(few));
    }
    for (case, who, mut values) in figures {
        values.sort_by(f64::total_cmp);
        side::figure(case, who, values[values.len() / 2], "ns/message");
    }
}
