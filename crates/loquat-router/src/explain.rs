//! Why: every endpoint of a route with what speaks for and against it. Not for the hot path: it allocates.

use std::{fmt, sync::Arc, time::Instant};

use loquat_core::{ChatRequest, Context, Result};

use crate::{
    Abilities, Asked, Decision, Router,
    decide::groups,
    health::State,
    load::{SIZES, SizeLatency, millis},
    strategy::View,
};

/// Why an endpoint was chosen, and what was said of all others.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Explanation {
    /// The route's first name.
    pub route: Arc<str>,
    /// What was asked.
    pub asked: Asked,
    /// When.
    pub at: Instant,
    /// What was decided; the error's message where nothing could be.
    pub decision: std::result::Result<Decision, String>,
    /// Every endpoint of every group, in order.
    pub candidates: Vec<Candidate>,
}

/// An endpoint of a route.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Its group, counted from 0.
    pub group: usize,
    /// How that group chooses.
    pub strategy: String,
    /// What it lacks of what is asked.
    pub lacks: Abilities,
    /// Whether window and length of answer are enough.
    pub is_wide_enough: bool,
    /// How it stands.
    pub state: State,
    /// Its score by the group's strategy: lower is better.
    pub score: f32,
    /// What that score says.
    pub score_in_words: String,
    /// Requests and tokens in hand.
    pub in_flight: (u32, u64),
    /// The 95th percentile of the time to first token, by size of prompt.
    pub by_size: [SizeLatency; SIZES],
    /// Whether it was chosen.
    pub is_winner: bool,
}

impl Router {
    /// Decides for that request, and says all that spoke for and against. Makes no request.
    ///
    /// # Errors
    /// [`loquat_core::ErrorKind::NotConfigured`] where no route has that name.
    pub fn explain(&self, context: &Context, request: &ChatRequest) -> Result<Explanation> {
        self.explain_for(&request.model, &self.asked(context, request), context.now())
    }

    /// The same for what is asked of a route.
    ///
    /// # Errors
    /// As [`explain`](Self::explain).
    pub fn explain_for(&self, route: &str, asked: &Asked, now: Instant) -> Result<Explanation> {
        let table = self.table();
        let decision = self.decide(route, asked, now);
        let Some(found) = table.route(route).and_then(|at| table.routes.get(at)) else {
            return Err(decision.err().unwrap_or_else(|| {
                loquat_core::Error::new(loquat_core::ErrorKind::NotConfigured, "no route has that name")
            }));
        };
        let winner = decision.as_ref().ok().map(|decision| decision.endpoint as usize);
        let mut candidates = Vec::new();
        for (number, group) in groups(found, true) {
            let view = View { pool: &group.pool, asked, now, now_ms: millis(self.epoch(), now), eligible: 0 };
            let mut bare = *asked;
            bare.abilities = Abilities::NONE;
            let wide = group.pool.able(&bare);
            let scoring = group.strategy.score();
            for (index, member) in group.pool.members().iter().enumerate() {
                let score = scoring.score(&view, index);
                candidates.push(Candidate {
                    name: member.spec.name.clone(),
                    group: number,
                    strategy: format!("{:?}", group.strategy),
                    lacks: asked.abilities.without(member.spec.abilities),
                    is_wide_enough: wide.contains(index),
                    state: member.live.state(now),
                    score,
                    score_in_words: scoring.describe(score),
                    in_flight: member.live.in_flight(),
                    by_size: member.live.by_size(now),
                    is_winner: winner == Some(member.index),
                });
            }
        }
        Ok(Explanation {
            route: found.name.clone(),
            asked: *asked,
            at: now,
            decision: decision.map_err(|error| error.to_string()),
            candidates,
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "route {}: asked for {}, {} tokens of prompt, {} of answer",
            self.route, self.asked.abilities, self.asked.prompt_tokens, self.asked.output_tokens
        )?;
        let mut group = None;
        for candidate in &self.candidates {
            if group.replace(candidate.group) != Some(candidate.group) {
                writeln!(f, "group {}: {}", candidate.group, candidate.strategy)?;
            }
            let mark = if candidate.is_winner { "→" } else { " " };
            write!(f, "{mark} {}: {}", candidate.name, candidate.score_in_words)?;
            write!(f, ", {} requests of {} tokens in hand", candidate.in_flight.0, candidate.in_flight.1)?;
            if candidate.lacks != Abilities::NONE {
                write!(f, ", lacks {}", candidate.lacks)?;
            }
            if !candidate.is_wide_enough {
                write!(f, ", too small for the request")?;
            }
            if candidate.state != State::Up {
                write!(f, ", {}", candidate.state.describe(self.at))?;
            }
            writeln!(f)?;
            for SizeLatency { up_to_tokens, sample, p95 } in candidate.by_size {
                let Some(p95) = p95 else { continue };
                match up_to_tokens {
                    Some(tokens) => write!(f, "    prompts of up to {tokens} tokens")?,
                    None => write!(f, "    longer prompts")?,
                }
                writeln!(f, ": first token within {} ms for 95 of 100, of {sample}", p95.as_millis())?;
            }
        }
        match &self.decision {
            Ok(Decision { left, panics, rival, .. }) => {
                write!(
                    f,
                    "of {} endpoints {} can do it, {} of these are well, {} were eligible",
                    left.members, left.able, left.well, left.eligible
                )?;
                if rival.is_some() {
                    write!(f, "; two were compared")?;
                }
                if *panics {
                    write!(f, "; too many are out, so all were")?;
                }
                writeln!(f)
            }
            Err(message) => writeln!(f, "{message}"),
        }
    }
}
