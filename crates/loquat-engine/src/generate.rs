//! One request, from its prompt's token ids to the answer's end, on the engine's working thread.

use std::sync::Arc;

use loquat_core::{Context, Ending, Error, FinishReason, Usage};

use crate::engine::Loaded;
use crate::forward::{Leader, STEP_TOKENS, Want, with_team};
use crate::outlet::Outlet;
use crate::queue::Queue;
use crate::sample::{Dice, Sampling, choose};
use crate::session::{Session, Sessions};
use crate::text::TextFilter;

/// A request, ready to be worked on.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) context: Context,
    pub(crate) prompt: Vec<u32>,
    pub(crate) sampling: Sampling,
    pub(crate) seed: u64,
    pub(crate) filter: TextFilter,
    /// Most tokens to generate; at least 1.
    pub(crate) max_tokens: usize,
    pub(crate) outlet: Outlet,
}

impl Job {
    /// Whether somebody still waits for it.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.outlet.is_abandoned() && self.context.check().is_ok()
    }

    /// Ends a job that is not wanted any more.
    pub(crate) fn expire(self) {
        if let Err(error) = self.context.check() {
            self.outlet.fail(error);
        }
    }
}

/// The working thread: serves jobs until the queue closes.
pub(crate) fn serve(model: &Loaded, queue: &Queue) {
    /// However this thread ends, nobody must wait for it.
    struct Leaving<'a>(&'a Queue);
    impl Drop for Leaving<'_> {
        fn drop(&mut self) {
            self.0.abandon();
        }
    }
    let _leaving = Leaving(queue);
    let mut sessions = Sessions::new(model.threads, model.max_sessions, model.cache_bytes);
    while let Some(job) = queue.pop() {
        if job.is_wanted() {
            run(model, queue, &mut sessions, job);
        } else {
            job.expire();
        }
    }
}

fn run(model: &Loaded, queue: &Queue, sessions: &mut Sessions, mut job: Job) {
    let shape = &model.weights.shape;
    let mut session = sessions.take(job.context.tenant(), &job.prompt, shape);
    let mut usage = Usage::default();
    usage.input_tokens = job.prompt.len() as u64;
    usage.cache_read_tokens = session.tokens.len() as u64;

    let Session { tokens, shards, .. } = &mut session;
    let result = with_team(&model.weights, shards, |leader| {
        let mut generation = Generation { model, queue, leader, tokens, job: &mut job };
        generation.read_prompt()?;
        let (reason, count) = generation.write_answer()?;
        usage.output_tokens = count;
        Ok(reason)
    });
    queue.done();
    match result {
        Ok(reason) => job.outlet.finish(Ending::Finished { reason, usage }),
        // A broken team may have left its part of the cache unwritten.
        Err(error) if error.kind() == loquat_core::ErrorKind::Internal => return job.outlet.fail(error),
        Err(error) => job.outlet.fail(error),
    }
    sessions.keep(session, shape);
}

struct Generation<'g, 'a, 's> {
    model: &'g Loaded,
    queue: &'g Queue,
    leader: &'g mut Leader<'a, 's>,
    /// What the session has read.
    tokens: &'g mut Vec<u32>,
    job: &'g mut Job,
}

impl Generation<'_, '_, '_> {
    fn read_prompt(&mut self) -> Result<(), Error> {
        while self.tokens.len() < self.job.prompt.len() {
            let start = self.tokens.len();
            let end = (start + STEP_TOKENS).min(self.job.prompt.len());
            let want = if end == self.job.prompt.len() { Want::Last } else { Want::Nothing };
            self.look()?;
            let step = &self.job.prompt[start..end];
            self.leader.step(step, start, want)?;
            self.tokens.extend_from_slice(step);
        }
        Ok(())
    }

    /// Why the answer ended, and its number of tokens.
    fn write_answer(&mut self) -> Result<(FinishReason, u64), Error> {
        let (mut logits, mut room, mut text) = (Vec::new(), Vec::new(), String::new());
        let mut dice = Dice::new(self.job.seed);
        let mut count = 0;
        let reason = loop {
            self.look()?;
            self.leader.logits(0, &mut logits);
            let token = choose(&logits, self.job.sampling, &mut dice, &mut room);
            if self.model.tokenizer.is_ending(token) {
                break FinishReason::Stop;
            }
            count += 1;
            if self.job.filter.push(self.model.tokenizer.text(token), &mut text) {
                self.send(&mut text)?;
                return Ok((FinishReason::Stop, count));
            }
            self.send(&mut text)?;
            if count >= self.job.max_tokens as u64 || self.tokens.len() >= self.model.context_tokens {
                break FinishReason::Length;
            }
            self.leader.step(&[token], self.tokens.len(), Want::Last)?;
            self.tokens.push(token);
        };
        self.job.filter.finish(&mut text);
        self.send(&mut text)?;
        Ok((reason, count))
    }

    /// Hands text over. Where nobody takes it, those who wait for the next answer still fail in time.
    fn send(&self, text: &mut String) -> Result<(), Error> {
        self.job.outlet.send(text, &self.job.context, || self.queue.sweep())
    }

    /// Between two steps: is this still wanted, and are those who wait?
    fn look(&self) -> Result<(), Error> {
        self.queue.sweep();
        self.job.context.check()?;
        if self.job.outlet.is_abandoned() {
            return Err(Error::new(loquat_core::ErrorKind::Cancelled, "the answer was dropped"));
        }
        Ok(())
    }
}

/// Starts the working thread.
pub(crate) fn start(model: Arc<Loaded>, queue: Arc<Queue>) -> Result<(), Error> {
    std::thread::Builder::new()
        .name("loquat-engine".into())
        .spawn(move || serve(&model, &queue))
        .map(drop)
        .map_err(|e| crate::error::local("cannot start the engine's thread", e))
}
