//! One computes, the others wait: two threads that miss the same text at once.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::hashing::BuildReady;

/// What is being computed now, by hash. Texts that share one wait for nothing: the winner's text is compared.
#[derive(Debug)]
pub(crate) struct Flights<V>(Mutex<HashMap<u64, Arc<Flight<V>>, BuildReady>>);

#[derive(Debug)]
struct Flight<V> {
    text: Box<str>,
    state: Mutex<State<V>>,
    landed: Condvar,
}

#[derive(Debug)]
enum State<V> {
    Flying,
    /// `None`: the computing thread failed or panicked, and everyone is on their own.
    Landed(Option<V>),
}

/// What to do about a miss.
pub(crate) enum Turn<'a, V> {
    /// Compute, and land the result.
    Compute(Landing<'a, V>),
    /// Another thread has just computed it.
    Joined(V),
    /// Compute for yourself.
    Alone,
}

/// The duty to land; done on drop, too.
pub(crate) struct Landing<'a, V> {
    flights: &'a Flights<V>,
    hash: u64,
    flight: Arc<Flight<V>>,
    result: Option<V>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V: Clone> Flights<V> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(HashMap::default()))
    }

    pub(crate) fn turn(&self, hash: u64, text: &str) -> Turn<'_, V> {
        let flight = {
            let mut flights = lock(&self.0);
            match flights.get(&hash) {
                Some(flight) if &*flight.text == text => Arc::clone(flight),
                Some(_) => return Turn::Alone,
                None => {
                    let flight = Arc::new(Flight {
                        text: text.into(),
                        state: Mutex::new(State::Flying),
                        landed: Condvar::new(),
                    });
                    flights.insert(hash, Arc::clone(&flight));
                    return Turn::Compute(Landing { flights: self, hash, flight, result: None });
                }
            }
        };
        let mut state = lock(&flight.state);
        loop {
            match &*state {
                State::Flying => state = flight.landed.wait(state).unwrap_or_else(PoisonError::into_inner),
                State::Landed(Some(value)) => return Turn::Joined(value.clone()),
                State::Landed(None) => return Turn::Alone,
            }
        }
    }
}

impl<V> Landing<'_, V> {
    pub(crate) fn land(mut self, value: V) {
        self.result = Some(value);
    }
}

impl<V> Drop for Landing<'_, V> {
    fn drop(&mut self) {
        lock(&self.flights.0).remove(&self.hash);
        // Nobody new can find it now; where nobody has, there is nobody to be told, which would be a call of the kernel.
        if Arc::strong_count(&self.flight) > 1 {
            *lock(&self.flight.state) = State::Landed(self.result.take());
            self.flight.landed.notify_all();
        }
    }
}
