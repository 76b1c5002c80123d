//! Choosing the next token: greedy, or temperature with top-k and top-p.

use loquat_core::ChatRequest;

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    /// 0 is greedy.
    pub(crate) temperature: f32,
    pub(crate) top_k: usize,
    pub(crate) top_p: f32,
}

impl Sampling {
    /// What the request says, else what SmolLM2's authors recommend: temperature 0.2, top-p 0.9; 40 is llama.cpp's top-k.
    pub(crate) fn of(request: &ChatRequest) -> Self {
        let clean = |value: Option<f32>, default: f32, max: f32| match value {
            Some(value) if value.is_finite() => value.clamp(0.0, max),
            _ => default,
        };
        Self {
            temperature: clean(request.temperature, 0.2, 2.0),
            top_k: 40,
            top_p: clean(request.top_p, 0.9, 1.0),
        }
    }
}

/// A repeatable source of randomness (SplitMix64, Steele et al. 2014): fixed here, so that a seed means the same in every
/// version of every dependency.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Evenly in 0..1.
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The most likely token; the first of equals. Not-a-number counts as least likely.
pub(crate) fn most_likely(logits: &[f32]) -> u32 {
    let mut best = (0u32, f32::NEG_INFINITY);
    for (id, logit) in (0u32..).zip(logits) {
        if *logit > best.1 {
            best = (id, *logit);
        }
    }
    best.0
}

/// The next token. `room` is scratch space.
pub(crate) fn choose(logits: &[f32], sampling: Sampling, dice: &mut Dice, room: &mut Vec<(f32, u32)>) -> u32 {
    if sampling.temperature <= 0.0 {
        return most_likely(logits);
    }
    strongest(logits, sampling.top_k, room);
    let Some((peak, likeliest)) = room.first().copied() else { return most_likely(logits) };
    let mut total = 0.0;
    for (logit, _) in room.iter_mut() {
        *logit = ((*logit - peak) / sampling.temperature).exp();
        total += *logit;
    }
    let mut kept = 0.0;
    let mut count = 0;
    for (weight, _) in room.iter() {
        kept += weight;
        count += 1;
        if kept >= sampling.top_p * total {
            break;
        }
    }
    let mut left = dice.roll() * f64::from(kept);
    for (weight, id) in &room[..count] {
        left -= f64::from(*weight);
        if left < 0.0 {
            return *id;
        }
    }
    likeliest
}

/// The `count` largest logits with their ids, largest first; equals by id.
fn strongest(logits: &[f32], count: usize, room: &mut Vec<(f32, u32)>) {
    room.clear();
    let mut floor = f32::NEG_INFINITY;
    let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    for (id, logit) in (0u32..).zip(logits) {
        if *logit > floor {
            room.push((*logit, id));
            if room.len() >= count * 4 {
                room.sort_unstable_by(order);
                room.truncate(count);
                floor = room.last().map_or(floor, |last| last.0);
            }
        }
    }
    room.sort_unstable_by(order);
    room.truncate(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARM: Sampling = Sampling { temperature: 1.0, top_k: 40, top_p: 1.0 };

    #[test]
    fn frequencies_follow_the_softmax() {
        let logits = [0.0, 2f32.ln(), f32::NAN, 5f32.ln(), f32::NEG_INFINITY];
        let (mut dice, mut room, mut counts) = (Dice::new(1), Vec::new(), [0u32; 5]);
        for _ in 0..80_000 {
            counts[choose(&logits, WARM, &mut dice, &mut room) as usize] += 1;
        }
        for (count, expected) in counts.iter().zip([10_000u32, 20_000, 0, 50_000, 0]) {
            assert!(count.abs_diff(expected) < 600, "{counts:?}");
        }
    }

    #[test]
    fn bounds_hold() {
        let logits: Vec<f32> = (0..1000).map(|i| (i * 7919 % 1000) as f32 / 100.0).collect();
        let best = most_likely(&logits);
        let (mut dice, mut room) = (Dice::new(3), Vec::new());
        for _ in 0..200 {
            assert_eq!(choose(&logits, Sampling { top_p: 0.0, ..WARM }, &mut dice, &mut room), best);
            assert_eq!(choose(&logits, Sampling { temperature: 0.0, ..WARM }, &mut dice, &mut room), best);
            let id = choose(&logits, Sampling { top_k: 5, ..WARM }, &mut dice, &mut room);
            assert!(logits[id as usize] > 9.94);
        }
        assert_eq!(choose(&[f32::NAN; 3], WARM, &mut dice, &mut room), 0);
        assert_eq!(choose(&[], WARM, &mut dice, &mut room), 0);
    }

    #[test]
    fn the_same_seed_gives_the_same_tokens() {
        let logits: Vec<f32> = (0..100).map(|i| (i % 7) as f32).collect();
        let run = |seed| {
            let (mut dice, mut room) = (Dice::new(seed), Vec::new());
            (0..50).map(|_| choose(&logits, WARM, &mut dice, &mut room)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }
}
