//! Contenders that take turns: each a slice of some ten milliseconds, in an order that is reversed every round, so that a
//! neighbour's burst on a shared machine strikes all alike. Medians over the rounds count.

use std::time::{Duration, Instant};

use crate::machine::{median, process_cpu};

/// Long enough for the clock, short enough to be seldom interrupted.
const SLICE: Duration = Duration::from_millis(25);

/// One contender's rounds.
pub struct Turns<'a> {
    pub who: String,
    /// Sends that many requests; how long each took.
    run: Box<dyn Fn(usize) -> Vec<Duration> + 'a>,
    cpu: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    rate: Vec<f64>,
}

/// The medians, in microseconds and per second.
#[derive(Debug, Clone, Copy)]
pub struct Medians {
    pub cpu: f64,
    pub p50: f64,
    pub p99: f64,
    pub rate: f64,
}

impl<'a> Turns<'a> {
    pub fn new(who: impl Into<String>, run: Box<dyn Fn(usize) -> Vec<Duration> + 'a>) -> Self {
        let (cpu, p50, p99, rate) = Default::default();
        Self { who: who.into(), run, cpu, p50, p99, rate }
    }

    /// That many requests outside any figure.
    pub fn run(&self, requests: usize) -> Vec<Duration> {
        (self.run)(requests)
    }

    pub fn medians(&mut self) -> Medians {
        Medians {
            cpu: median(&mut self.cpu),
            p50: median(&mut self.p50),
            p99: median(&mut self.p99),
            rate: median(&mut self.rate),
        }
    }
}

/// Lets them take turns for so many rounds; how many requests a slice was.
pub fn alternate(contenders: &mut [Turns<'_>], rounds: usize, concurrency: usize) -> usize {
    // Warms connections, caches and buffers; then, how many requests fill a slice.
    let warm = concurrency.max(16) * 8;
    contenders.iter().for_each(|contender| drop(contender.run(warm)));
    let began = Instant::now();
    contenders.iter().for_each(|contender| drop(contender.run(warm)));
    let each = began.elapsed().as_secs_f64() / (warm * contenders.len().max(1)) as f64;
    // Callers that come and go at a slice's ends must not be what is measured.
    let requests = ((SLICE.as_secs_f64() / each) as usize).max(concurrency * 8).next_multiple_of(concurrency);
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let contender = &mut contenders[index];
            let (before, began) = (process_cpu(), Instant::now());
            let mut times = contender.run(requests);
            let (spent, elapsed) = (process_cpu() - before, began.elapsed());
            times.sort_unstable();
            let micros = |time: Duration| time.as_secs_f64() * 1e6;
            contender.cpu.push(micros(spent) / times.len() as f64);
            contender.p50.push(micros(times[times.len() / 2]));
            contender.p99.push(micros(times[times.len() * 99 / 100]));
            contender.rate.push(times.len() as f64 / elapsed.as_secs_f64());
        }
    }
    requests
}
