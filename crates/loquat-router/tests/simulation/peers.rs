//! Plain ways of choosing: at random, in turn, and the smallest mean of the last ten, as one gateway chooses.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use loquat_router::{
    Draw,
    simulate::{Chooser, Script},
};

use crate::absent;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Random,
    RoundRobin,
    ArgMin,
}

/// What is kept of a server.
#[derive(Default, Clone)]
struct Known {
    absent: bool,
    last: VecDeque<f64>,
}

impl Known {
    fn learn(&mut self, seconds: f64) {
        self.last.push_back(seconds);
        if self.last.len() > 10 {
            self.last.pop_front();
        }
    }

    /// Of who was never asked it is 0: that one is asked first.
    fn mean(&self) -> f64 {
        self.last.iter().sum::<f64>() / self.last.len().max(1) as f64
    }
}

pub(crate) struct Peer {
    way: Way,
    draw: Draw,
    turn: usize,
    servers: Vec<Known>,
}

impl Peer {
    pub(crate) fn new(script: &Script, way: Way, client: usize) -> Self {
        let mut servers = vec![Known::default(); script.servers.len()];
        absent(script).iter().for_each(|&at| servers[at].absent = true);
        Self { way, draw: Draw::seeded(script.seed * 31 + client as u64), turn: client, servers }
    }
}

impl Chooser for Peer {
    fn choose(&mut self, _: u64, _: u32, tried: &[usize], _: Instant) -> Option<usize> {
        let free: Vec<_> =
            (0..self.servers.len()).filter(|at| !tried.contains(at) && !self.servers[*at].absent).collect();
        match self.way {
            Way::Random => free.get(self.draw.below(free.len())).copied(),
            Way::RoundRobin => {
                self.turn += 1;
                free.get(self.turn % free.len().max(1)).copied()
            }
            Way::ArgMin => {
                free.into_iter().min_by(|a, b| self.servers[*a].mean().total_cmp(&self.servers[*b].mean()))
            }
        }
    }

    fn first_token(&mut self, _: u64, server: usize, took: Duration, _: Instant) {
        self.servers[server].learn(took.as_secs_f64());
    }

    fn failed(&mut self, _: u64, server: usize, _: Option<Duration>, is_timeout: bool, _: Instant) {
        // That gateway counts a timeout as a thousand seconds, and no other failure at all.
        if is_timeout {
            self.servers[server].learn(1000.0);
        }
    }

    fn done(&mut self, _: u64, _: usize, _: Instant) {}

    fn appeared(&mut self, server: usize, _: Instant) {
        self.servers[server].absent = false;
    }
}
