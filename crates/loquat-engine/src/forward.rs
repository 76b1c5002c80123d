//! The forward pass: tokens in, logits out, on a team of threads that all run the same code on their share of the rows.
//!
//! Between phases each thread repeats the cheap work (normalizing, quantizing, adding) for itself instead of waiting for
//! another to do it. The arithmetic of a position depends neither on how a prompt is cut into steps nor on what else is in
//! the step, so a continued conversation gives the same bits as one read afresh.

use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use crate::cache::{self, Shard};
use crate::error::Result;
use crate::kernel::{
    Activations, BLOCK, Matrix, Partial, RECORD_HEAD, ROWS, add_assign, attend_block, clear_records,
    merge_partials, rms_norm, rotate, silu_mul,
};
use crate::team::{Barrier, Broken, Exchange, Gate, Membership};
use crate::weights::{Layer, Weights};

/// Most tokens of one step: enough to read each weight rarely, few enough to notice a cancellation within a tenth of a second.
pub(crate) const STEP_TOKENS: usize = 64;

/// Of which positions of a step the logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Nothing,
    Last,
    #[cfg(test)]
    All,
}

#[derive(Debug, Clone)]
enum Command {
    Step { tokens: Vec<u32>, start: usize, want: Want },
    Stop,
}

/// What all threads of a team see.
struct Shared<'a> {
    weights: &'a Weights,
    threads: usize,
    barrier: Barrier,
    gate: Gate,
    command: RwLock<Command>,
    projected: Exchange,
    attended: Exchange,
    mixed: Exchange,
    hidden: Exchange,
    reduced: Exchange,
    logits: Exchange,
}

/// The team's leader, through which the caller drives it.
pub(crate) struct Leader<'a, 's> {
    shared: &'s Shared<'a>,
    worker: Worker<'a, 's>,
}

/// Runs `lead` with a team of as many threads as there are shards; they end with it.
///
/// # Errors
/// What `lead` returns; or that a thread could not be started.
pub(crate) fn with_team<R>(
    weights: &Weights,
    shards: &mut [Shard],
    lead: impl FnOnce(&mut Leader<'_, '_>) -> Result<R>,
) -> Result<R> {
    let threads = shards.len();
    let exchange = || Exchange::new(threads);
    let shared = Shared {
        weights,
        threads,
        barrier: Barrier::new(threads),
        gate: Gate::default(),
        command: RwLock::new(Command::Stop),
        projected: exchange(),
        attended: exchange(),
        mixed: exchange(),
        hidden: exchange(),
        reduced: exchange(),
        logits: exchange(),
    };
    let mut workers = shards.iter_mut().enumerate().map(|(index, shard)| Worker::new(&shared, index, shard));
    let Some(first) = workers.next() else {
        return Err(crate::error::invalid("a team of no threads"));
    };
    std::thread::scope(|scope| {
        let mut leader = Leader { shared: &shared, worker: first };
        let mut helpers = Vec::new();
        for mut worker in workers {
            let helper = std::thread::Builder::new().name("loquat-engine".into());
            match helper.spawn_scoped(scope, move || worker.serve()) {
                Ok(helper) => helpers.push(helper),
                // Dropping the leader stops those that did start.
                Err(e) => return Err(crate::error::local("cannot start a thread", e)),
            }
        }
        let result = lead(&mut leader);
        drop(leader);
        for helper in helpers {
            // A helper that panicked has broken the barrier, and `result` says so.
            drop(helper.join());
        }
        result
    })
}

impl Leader<'_, '_> {
    /// Reads at most [`STEP_TOKENS`] tokens at the positions from `start` on; all before must have been read.
    ///
    /// # Errors
    /// A thread of the team has failed.
    pub(crate) fn step(&mut self, tokens: &[u32], start: usize, want: Want) -> Result<()> {
        let command = Command::Step { tokens: tokens.to_vec(), start, want };
        *self.shared.command.write().unwrap_or_else(PoisonError::into_inner) = command;
        self.shared.gate.open();
        self.worker
            .step(tokens, start, want)
            .map_err(|Broken| crate::error::internal("a thread of the engine failed"))
    }

    /// The logits of the last step's position `row` (counted among those wanted), one per token of the vocabulary.
    pub(crate) fn logits(&self, row: usize, to: &mut Vec<f32>) {
        to.clear();
        for thread in 0..self.shared.threads {
            let part = self.shared.logits.read(thread);
            let width = share(self.shared.weights.output().rows(), self.shared.threads, thread).len() * ROWS;
            to.extend_from_slice(part.get(row * width..(row + 1) * width).unwrap_or_default());
        }
    }
}

impl Drop for Leader<'_, '_> {
    fn drop(&mut self) {
        *self.shared.command.write().unwrap_or_else(PoisonError::into_inner) = Command::Stop;
        self.shared.gate.open();
    }
}

/// The groups of eight rows that fall to one thread.
fn share(rows: usize, threads: usize, thread: usize) -> Range<usize> {
    let groups = rows / ROWS;
    groups * thread / threads..groups * (thread + 1) / threads
}

/// One thread's state.
struct Worker<'a, 's> {
    shared: &'s Shared<'a>,
    index: usize,
    shard: &'s mut Shard,
    /// The residual stream, `tokens × width`.
    stream: Vec<f32>,
    normal: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    wide: Vec<f32>,
    up: Vec<f32>,
    angles: Vec<f32>,
    quantized: Activations,
}

impl<'a, 's> Worker<'a, 's> {
    fn new(shared: &'s Shared<'a>, index: usize, shard: &'s mut Shard) -> Self {
        Self {
            shared,
            index,
            shard,
            stream: Vec::new(),
            normal: Vec::new(),
            queries: Vec::new(),
            keys: Vec::new(),
            values: Vec::new(),
            wide: Vec::new(),
            up: Vec::new(),
            angles: Vec::new(),
            quantized: Activations::default(),
        }
    }

    fn serve(&mut self) {
        let _membership = Membership(&self.shared.barrier);
        let mut seen = 0;
        loop {
            seen = self.shared.gate.pass(seen);
            let command = self.shared.command.read().unwrap_or_else(PoisonError::into_inner).clone();
            let Command::Step { tokens, start, want } = command else { return };
            if self.step(&tokens, start, want) == Err(Broken) {
                return;
            }
        }
    }

    fn step(&mut self, tokens: &[u32], start: usize, want: Want) -> Result<(), Broken> {
        let _membership = Membership(&self.shared.barrier);
        let weights = self.shared.weights;
        let shape = &weights.shape;
        self.stream.resize(tokens.len() * shape.width, 0.0);
        for (token, to) in tokens.iter().zip(self.stream.chunks_exact_mut(shape.width)) {
            weights.embedding.row(*token as usize, to);
        }
        self.prepare_angles(tokens.len(), start);
        for (index, layer) in weights.layers.iter().enumerate() {
            self.attention(index, layer, tokens.len(), start)?;
            self.feed_forward(layer, tokens.len())?;
        }
        let wanted = match want {
            Want::Nothing => 0,
            Want::Last => 1,
            #[cfg(test)]
            Want::All => tokens.len(),
        };
        if wanted > 0 {
            let from = &self.stream[(tokens.len() - wanted) * shape.width..];
            self.normal.resize(from.len(), 0.0);
            rms_norm(from, &weights.output_norm, shape.epsilon, &mut self.normal);
            self.quantized.quantize(&self.normal, shape.width);
            self.multiply_into(&self.shared.logits, weights.output(), wanted);
        }
        self.shared.barrier.wait()
    }

    fn attention(&mut self, index: usize, layer: &Layer, tokens: usize, start: usize) -> Result<(), Broken> {
        let Shared { weights, threads, .. } = *self.shared;
        let shape = &weights.shape;
        let (dim, per_kv) = (shape.head_dim, shape.heads / shape.kv_heads);
        self.normalize(&layer.attention_norm, tokens);

        let parts = [&layer.query, &layer.key, &layer.value];
        let ranges = parts.map(|matrix| share(matrix.rows(), threads, self.index));
        let lengths = ranges.clone().map(|range| range.len() * ROWS * tokens);
        self.shared.projected.write(self.index, lengths.iter().sum(), |mut buffer| {
            for ((matrix, range), length) in parts.into_iter().zip(ranges).zip(lengths) {
                let (to, rest) = std::mem::take(&mut buffer).split_at_mut(length);
                matrix.multiply(range, &self.quantized, to);
                buffer = rest;
            }
        });
        self.shared.barrier.wait()?;

        let rows = parts.map(Matrix::rows);
        let targets = [&mut self.queries, &mut self.keys, &mut self.values];
        for ((to, rows), part) in targets.into_iter().zip(rows).zip(0..3) {
            to.resize(tokens * rows, 0.0);
            let mut at = 0;
            for thread in 0..threads {
                let before: usize =
                    (0..part).map(|p| share(parts[p].rows(), threads, thread).len() * ROWS * tokens).sum();
                let width = share(rows, threads, thread).len() * ROWS;
                let buffer = self.shared.projected.read(thread);
                scatter(&buffer[before..before + width * tokens], width, to, rows, at);
                at += width;
            }
        }

        let pairs = shape.rotated_pairs;
        let scale = 1.0 / (dim as f32).sqrt();
        for token in 0..tokens {
            let (cosines, sines) = self.angles[token * pairs * 2..(token + 1) * pairs * 2].split_at(pairs);
            for head in self.queries[token * shape.query_width()..(token + 1) * shape.query_width()]
                .chunks_exact_mut(dim)
            {
                rotate(head, cosines, sines);
                head.iter_mut().for_each(|value| *value *= scale);
            }
            let (owner, local) = cache::owner(start + token, threads);
            if owner == self.index {
                let range = token * shape.kv_width()..(token + 1) * shape.kv_width();
                let keys = &mut self.keys[range.clone()];
                keys.chunks_exact_mut(dim).for_each(|head| rotate(head, cosines, sines));
                self.shard.store(shape, index, local, start + token, keys, &self.values[range]);
            }
        }

        // Per token and head: peak and sum of the softmax, then the mixed values.
        let record = RECORD_HEAD + dim;
        self.shared.attended.write(self.index, tokens * shape.heads * record, |records| {
            clear_records(records, dim);
            for kv_head in 0..shape.kv_heads {
                for (local, (keys, values)) in self.shard.blocks(shape, index, kv_head).enumerate() {
                    let first = (local * threads + self.index) * BLOCK;
                    for token in first.saturating_sub(start)..tokens {
                        let valid = (start + token + 1 - first).min(BLOCK);
                        let from = token * shape.heads + kv_head * per_kv;
                        let queries = &self.queries[from * dim..(from + per_kv) * dim];
                        let records = &mut records[from * record..(from + per_kv) * record];
                        attend_block(queries, dim, keys, values, valid, records);
                    }
                }
            }
        });
        self.shared.barrier.wait()?;

        self.wide.resize(tokens * shape.query_width(), 0.0);
        let all = self.shared.attended.read_all();
        for (at, to) in self.wide.chunks_exact_mut(dim).enumerate() {
            let parts = all.iter().map(|part| {
                let record = &part[at * record..(at + 1) * record];
                (Partial { peak: record[0], sum: record[1] }, &record[RECORD_HEAD..])
            });
            merge_partials(parts, to);
        }
        drop(all);
        self.quantized.quantize(&self.wide, shape.query_width());
        self.multiply_into(&self.shared.mixed, &layer.output, tokens);
        self.shared.barrier.wait()?;
        self.add_to_stream(&self.shared.mixed, tokens);
        Ok(())
    }

    fn feed_forward(&mut self, layer: &Layer, tokens: usize) -> Result<(), Broken> {
        let Shared { weights, threads, .. } = *self.shared;
        let hidden = weights.shape.hidden;
        self.normalize(&layer.hidden_norm, tokens);
        let range = share(hidden, threads, self.index);
        let length = range.len() * ROWS * tokens;
        self.up.resize(length, 0.0);
        layer.up.multiply(range.clone(), &self.quantized, &mut self.up);
        self.shared.hidden.write(self.index, length, |gate| {
            layer.gate.multiply(range, &self.quantized, gate);
            silu_mul(gate, &self.up);
        });
        self.shared.barrier.wait()?;

        self.wide.resize(tokens * hidden, 0.0);
        let mut at = 0;
        for thread in 0..threads {
            let width = share(hidden, threads, thread).len() * ROWS;
            scatter(&self.shared.hidden.read(thread), width, &mut self.wide, hidden, at);
            at += width;
        }
        self.quantized.quantize(&self.wide, hidden);
        self.multiply_into(&self.shared.reduced, &layer.down, tokens);
        self.shared.barrier.wait()?;
        self.add_to_stream(&self.shared.reduced, tokens);
        Ok(())
    }

    /// Normalizes the stream and quantizes the result.
    fn normalize(&mut self, weight: &[f32], tokens: usize) {
        let shape = &self.shared.weights.shape;
        self.normal.resize(tokens * shape.width, 0.0);
        rms_norm(&self.stream, weight, shape.epsilon, &mut self.normal);
        self.quantized.quantize(&self.normal, shape.width);
    }

    /// Multiplies this thread's share of the rows with the quantized activations.
    fn multiply_into(&self, to: &Exchange, matrix: &Matrix, tokens: usize) {
        let range = share(matrix.rows(), self.shared.threads, self.index);
        to.write(self.index, range.len() * ROWS * tokens, |to| matrix.multiply(range, &self.quantized, to));
    }

    fn add_to_stream(&mut self, from: &Exchange, tokens: usize) {
        let width = self.shared.weights.shape.width;
        let mut at = 0;
        for thread in 0..self.shared.threads {
            let part = share(width, self.shared.threads, thread).len() * ROWS;
            let buffer = from.read(thread);
            for token in 0..tokens {
                let to = &mut self.stream[token * width + at..token * width + at + part];
                add_assign(to, &buffer[token * part..(token + 1) * part]);
            }
            at += part;
        }
    }

    /// Cosines, then sines, of each position's angles.
    fn prepare_angles(&mut self, tokens: usize, start: usize) {
        self.angles.clear();
        for position in start..start + tokens {
            let angles =
                || self.shared.weights.frequencies.iter().map(move |frequency| frequency * position as f32);
            self.angles.extend(angles().map(f32::cos));
            self.angles.extend(angles().map(f32::sin));
        }
    }
}

/// Copies rows of `width` numbers to column `at` of rows of `to_width`.
fn scatter(from: &[f32], width: usize, to: &mut [f32], to_width: usize, at: usize) {
    for (from, to) in from.chunks_exact(width.max(1)).zip(to.chunks_exact_mut(to_width)) {
        to[at..at + width].copy_from_slice(from);
    }
}
