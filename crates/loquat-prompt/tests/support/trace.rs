//! A day of traffic, made up by a seed: templates by Zipf's law, chats that grow turn by turn, most of them on one node, some requests
//! asked twice. What the test `day` and the bench `cache` have in common.

/// Machines that share the traffic.
pub(crate) const NODES: usize = 3;
pub(crate) const TEMPLATES: usize = 50;
/// Longest chat.
pub(crate) const TURNS: usize = 40;

/// xorshift64*
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).expect("31 bits") % bound
    }

    /// The first ones most often: the inverse of a harmonic distribution.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the bound")]
    fn zipf(&mut self, bound: usize) -> usize {
        let share = self.below(1_000_000) as f64 / 1e6;
        ((bound as f64 + 1.0).powf(share) as usize).saturating_sub(1).min(bound - 1)
    }

    pub(crate) fn words(&mut self, count: usize) -> String {
        (0..count).map(|_| format!(" w{}", self.below(3000))).collect()
    }
}

/// One request.
pub(crate) struct Asked<'a> {
    pub(crate) node: usize,
    pub(crate) template: usize,
    /// From 0.
    pub(crate) turn: usize,
    /// What kind of turn it is.
    pub(crate) kind: Kind,
    pub(crate) messages: &'a [String],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The turn before was on this node, or there is none.
    Warm,
    /// The turn before was on another node.
    Cold,
    /// As it was asked just now.
    Again,
}

/// Serves the requests of so many chats.
pub(crate) fn day(seed: u64, chats: usize, mut serve: impl FnMut(Asked<'_>)) {
    let mut chance = Chance(seed);
    for _ in 0..chats {
        let (template, home) = (chance.zipf(TEMPLATES), chance.below(NODES));
        let mut messages: Vec<String> = Vec::new();
        let mut last = None;
        for turn in 0..chance.below(TURNS) + 1 {
            let (question, answer) = (chance.below(40) + 5, chance.below(150) + 20);
            messages.push(chance.words(question));
            // Most turns stay on their node; a router's second choice starts cold.
            let node = if chance.below(20) == 0 { chance.below(NODES) } else { home };
            let kind = if last.is_none_or(|last| last == node) { Kind::Warm } else { Kind::Cold };
            last = Some(node);
            serve(Asked { node, template, turn, kind, messages: &messages });
            // Some are asked again as they are: a retry, a second window.
            if chance.below(10) == 0 {
                serve(Asked { node, template, turn, kind: Kind::Again, messages: &messages });
            }
            messages.push(chance.words(answer));
        }
    }
}
