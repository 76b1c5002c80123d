//! A group of endpoints, laid out for deciding: what never changes as masks and tables, what changes behind one pointer
//! for each member.
//!
//! Whether members are well is looked at one by one now and then ([`HealthPolicy::sweep`]) and kept as a mask; between
//! sweeps only the member that is chosen is asked. A thousand pointers are not followed for one decision.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::{
    Abilities, Allowance, Asked, EndpointSpec, Mask,
    health::HealthPolicy,
    load::{Live, millis},
};

/// The members of a group and what is known of them.
#[derive(Debug)]
pub struct Pool {
    epoch: Instant,
    policy: HealthPolicy,
    members: Box<[Member]>,
    /// For each slot of keys, the members that rank first; empty where the group's strategy has no use for it.
    ranks: Box<[[u16; RANKED]]>,
    /// Their numbers, side by side.
    ids: Box<[u64]>,
    all: Mask,
    by_ability: [Mask; Abilities::COUNT],
    windows: Limits,
    outputs: Limits,
    /// The sums of weights up to and with each member.
    weights: Box<[u64]>,
    /// Prices from the cheapest on, with those that ask it.
    tiers: Box<[Tier]>,
    picture: Picture,
    /// How slow each was at the last sweep, as bits of an `f32` in microseconds for each 1,000 tokens; 0 for unknown. Beside it,
    /// and side by side, so that many are looked at without waiting for lines that others write to.
    slowness: Box<[AtomicU32]>,
}

/// Each limit there is, ascending, and beside it who has one that is no smaller. Apart, so that a search for a limit runs over a few
/// cache lines and not over one for each mask.
#[derive(Debug)]
struct Limits {
    limits: Box<[u32]>,
    enough: Box<[Mask]>,
}

/// An endpoint as a member of a pool.
pub struct Member {
    /// What is said of it.
    pub spec: Arc<EndpointSpec>,
    /// What is known of it.
    pub live: Arc<Live>,
    /// A number that stays the same over reloads and in other processes: a hash of its name.
    pub id: u64,
    /// Its number in the table of all endpoints.
    pub(crate) index: usize,
    /// What a further attempt there is allowed by; `None` for always.
    pub(crate) allowance: Option<Arc<dyn Allowance>>,
}

/// A price, and who asks it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tier {
    /// The price, [blended](crate::Price::blended).
    pub price: f32,
    /// Those that ask it, in order.
    pub members: Box<[u16]>,
}

/// What the last sweep saw. A cache line of its own: it is written while the rest is read.
#[derive(Debug)]
#[repr(align(64))]
struct Picture {
    /// As many words as the members need.
    well: Box<[AtomicU64]>,
    panics: AtomicBool,
    next_sweep_ms: AtomicU64,
    /// When the last sweep was, counted from 1.
    swept_ms: AtomicU64,
    /// The mean of what is known of the members' first tokens, as bits of an `f32` in microseconds.
    typical_us: AtomicU32,
    /// Requests in hand of all members.
    in_flight: AtomicU32,
}

impl Pool {
    /// At most [`crate::MAX_MEMBERS`].
    pub(crate) fn new(members: Vec<Member>, epoch: Instant, policy: HealthPolicy, ranks: bool) -> Self {
        let all = Mask::first(members.len());
        let mut by_ability = [Mask::EMPTY; Abilities::COUNT];
        let mut sum = 0;
        let mut weights = Vec::with_capacity(members.len());
        for (index, member) in members.iter().enumerate() {
            member.spec.abilities.bits().for_each(|bit| by_ability[bit].insert(index));
            sum += u64::from(member.spec.weight);
            weights.push(sum);
        }
        let limits =
            |limit: fn(&EndpointSpec) -> Option<u32>| Limits::of(members.iter().map(|m| limit(&m.spec)));
        let mut prices: Vec<f32> = members.iter().map(|member| member.spec.price.blended()).collect();
        prices.sort_by(f32::total_cmp);
        prices.dedup();
        let tiers = prices.into_iter().map(|price| {
            let here = (0_u16..).zip(&members).filter(|(_, member)| member.spec.price.blended() == price);
            Tier { price, members: here.map(|(index, _)| index).collect() }
        });
        Self {
            epoch,
            policy,
            all,
            by_ability,
            windows: limits(|spec| spec.context_window),
            outputs: limits(|spec| spec.max_output_tokens),
            weights: weights.into(),
            tiers: tiers.collect(),
            picture: Picture {
                well: all.words().iter().copied().map(AtomicU64::new).collect(),
                panics: AtomicBool::new(false),
                next_sweep_ms: AtomicU64::new(0),
                swept_ms: AtomicU64::new(0),
                typical_us: AtomicU32::new(0),
                in_flight: AtomicU32::new(0),
            },
            ranks: if ranks { slots(&members) } else { Box::default() },
            slowness: members.iter().map(|_| AtomicU32::new(0)).collect(),
            ids: members.iter().map(|member| member.id).collect(),
            members: members.into(),
        }
    }

    /// The members, in the order in which they were named.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The members that rank first for a key, the first first; empty where no ranks are kept.
    pub(crate) fn ranks(&self, key: u64) -> &[u16] {
        let slot = usize::try_from(key % SLOTS as u64).unwrap_or(0);
        let ranks = self.ranks.get(slot).map_or(&[][..], |ranks| ranks);
        &ranks[..ranks.len().min(self.members.len())]
    }

    /// The members' stable numbers, in the same order.
    pub(crate) fn member_ids(&self) -> &[u64] {
        &self.ids
    }

    /// All of them.
    pub fn all(&self) -> &Mask {
        &self.all
    }

    /// Those that can do what is asked, window and length included.
    pub fn able(&self, asked: &Asked) -> Mask {
        let mut mask = self.all;
        self.keep_able(asked, &mut mask);
        mask
    }

    /// Keeps those that can do what is asked; how many can, and how many are left.
    pub(crate) fn keep_able(&self, asked: &Asked, mask: &mut Mask) -> (usize, usize) {
        let windows = self.windows.enough_for(asked.window_tokens());
        let outputs = self.outputs.enough_for(asked.output_tokens);
        let (Some(windows), Some(outputs)) = (windows, outputs) else {
            return mask.keep_all(&[&Mask::EMPTY]);
        };
        let mut needed = [windows; 2 + Abilities::COUNT];
        needed[1] = outputs;
        let mut count = 2;
        for bit in asked.abilities.bits() {
            needed[count] = &self.by_ability[bit];
            count += 1;
        }
        mask.keep_all(&needed[..count])
    }

    /// The widest context window among those that can do all else that is asked; `None` where there is none of them.
    pub(crate) fn widest(&self, asked: &Asked) -> Option<u32> {
        let mut asked = *asked;
        (asked.prompt_tokens, asked.output_tokens) = (0, 0);
        let able = self.able(&asked);
        able.iter().map(|index| self.members[index].spec.context_window.unwrap_or(u32::MAX)).max()
    }

    /// Those that were well at the last sweep, and whether so few are that all are to be tried.
    pub fn well(&self, now: Instant) -> (Mask, bool) {
        self.well_at(now, millis(self.epoch, now))
    }

    pub(crate) fn well_at(&self, now: Instant, now_ms: u64) -> (Mask, bool) {
        let due = self.picture.next_sweep_ms.load(Relaxed);
        if now_ms >= due {
            self.sweep_if(due, now, now_ms);
        }
        self.picture()
    }

    fn picture(&self) -> (Mask, bool) {
        (
            Mask::from_words(self.picture.well.iter().map(|word| word.load(Relaxed))),
            self.picture.panics.load(Relaxed),
        )
    }

    /// Looks at every member now; `false` where somebody has within this millisecond.
    pub(crate) fn sweep(&self, now: Instant, now_ms: u64) -> bool {
        let is_due = self.picture.swept_ms.load(Relaxed) != now_ms.saturating_add(1);
        is_due && self.sweep_if(self.picture.next_sweep_ms.load(Relaxed), now, now_ms)
    }

    /// One of those who come at once does it; the others go by the picture there is.
    fn sweep_if(&self, due: u64, now: Instant, now_ms: u64) -> bool {
        let period = u64::try_from(self.policy.sweep.as_millis()).unwrap_or(u64::MAX).max(1);
        let next = now_ms.saturating_add(period);
        if self.picture.next_sweep_ms.compare_exchange(due, next, Relaxed, Relaxed).is_err() {
            return false;
        }
        self.picture.swept_ms.store(now_ms.saturating_add(1), Relaxed);
        let mut well = Mask::EMPTY;
        let (mut staying, mut known, mut sum, mut in_flight) = (0_usize, 0_u32, 0.0_f32, 0_u32);
        let mut remaining = Mask::EMPTY;
        for (index, member) in self.members.iter().enumerate() {
            if member.live.takes(now, now_ms) {
                well.insert(index);
            }
            if !member.live.is_draining() {
                staying += 1;
                remaining.insert(index);
            }
            // A penalty is no latency that a newcomer should be measured by.
            if let Some(us) = member.live.measured_us(now_ms) {
                known += 1;
                sum += us;
            }
            let slowness = member.live.faded_us(now_ms).unwrap_or(0.0);
            self.slowness[index].store(slowness.to_bits(), Relaxed);
            in_flight = in_flight.saturating_add(member.live.in_flight().0);
        }
        let out = staying.saturating_sub(well.len());
        let panics = out * 100 > staying * self.policy.max_out_percent as usize;
        let seen = if panics { remaining } else { well };
        let words = seen.words().iter().chain(std::iter::repeat(&0));
        self.picture.well.iter().zip(words).for_each(|(slot, word)| slot.store(*word, Relaxed));
        self.picture.panics.store(panics, Relaxed);
        let typical = if known > 0 { sum / known as f32 } else { 0.0 };
        self.picture.typical_us.store(typical.to_bits(), Relaxed);
        self.picture.in_flight.store(in_flight, Relaxed);
        true
    }

    /// Whether that member takes requests at this moment.
    pub(crate) fn takes(&self, index: usize, now: Instant, now_ms: u64) -> bool {
        self.members.get(index).is_some_and(|member| member.live.takes(now, now_ms))
    }

    /// Whether a further attempt at that member would be allowed at this moment.
    pub(crate) fn allows(&self, index: usize, now: Instant) -> bool {
        let allowance = self.members.get(index).and_then(|member| member.allowance.as_ref());
        allowance.is_none_or(|allowance| allowance.has_left(now))
    }

    /// How slow that member is, in microseconds for each 1,000 tokens of work to a first token: as measured, or as its like.
    pub fn slowness_us(&self, index: usize, now: Instant) -> f32 {
        let now_ms = millis(self.epoch, now);
        self.members.get(index).map_or(f32::INFINITY, |member| self.slowness_of(member, now_ms))
    }

    #[inline]
    pub(crate) fn slowness_of(&self, member: &Member, now_ms: u64) -> f32 {
        member.live.faded_us(now_ms).unwrap_or_else(|| {
            let typical = self.typical_us();
            if typical > 0.0 { typical } else { member.live.seed_us() }
        })
    }

    /// What a member is taken for of which nothing is known: the mean of what was known of the others at the last sweep, for each
    /// 1,000 tokens of work; `None` where that was nothing.
    pub fn typical(&self) -> Option<Duration> {
        let typical = self.typical_us();
        (typical > 0.0).then(|| Duration::from_secs_f32(typical / 1e6))
    }

    /// 0 where nothing is known of anybody.
    fn typical_us(&self) -> f32 {
        f32::from_bits(self.picture.typical_us.load(Relaxed))
    }

    /// As [`slowness_us`](Self::slowness_us) at the last sweep; 0 where nothing was known.
    pub(crate) fn slowness_seen_us(&self, index: usize) -> f32 {
        self.slowness.get(index).map_or(0.0, |bits| f32::from_bits(bits.load(Relaxed)))
    }

    /// What share of its usual load that member is fit for, from 0.1 to 1: less while it is new.
    pub fn warmth(&self, index: usize, now: Instant) -> f32 {
        self.members.get(index).map_or(1.0, |member| member.live.warmth(millis(self.epoch, now)))
    }

    /// Requests in hand for each member, on average, as of the last sweep.
    pub fn mean_in_flight(&self) -> f32 {
        self.picture.in_flight.load(Relaxed) as f32 / self.members.len().max(1) as f32
    }

    /// The sums of weights up to and with each member.
    pub fn weight_sums(&self) -> &[u64] {
        &self.weights
    }

    /// Prices from the cheapest on, with those that ask it.
    pub fn price_tiers(&self) -> &[Tier] {
        &self.tiers
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("spec", &self.spec)
            .field("live", &self.live)
            .field("id", &self.id)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// Members ranked for each slot of keys.
const RANKED: usize = 16;
/// Slots of keys: always as many, or a change of their number would move every key. Half a MiB for a group, and some tens of
/// milliseconds for a thousand members.
const SLOTS: usize = 16_384;

/// Ranks every member for every slot, by one multiplication each.
fn slots(members: &[Member]) -> Box<[[u16; RANKED]]> {
    let one = |slot: usize| {
        let key = crate::ability::mix(slot as u64);
        let mut best = [(0_u64, 0_u16); RANKED];
        for (index, member) in members.iter().enumerate() {
            let mixed = (key ^ member.id).wrapping_mul(0xff51_afd7_ed55_8ccd);
            let rank = (mixed ^ (mixed >> 32)).max(1);
            if rank > best[RANKED - 1].0 {
                let at = best.partition_point(|(other, _)| *other >= rank);
                best[at..].rotate_right(1);
                best[at] = (rank, u16::try_from(index).unwrap_or(0));
            }
        }
        best.map(|(_, index)| index)
    };
    (0..SLOTS).map(one).collect()
}

impl Limits {
    /// Who has no limit is with all, the last included.
    fn of(limits: impl Iterator<Item = Option<u32>>) -> Self {
        let mut sorted: Vec<_> =
            limits.enumerate().map(|(index, limit)| (limit.unwrap_or(u32::MAX), index)).collect();
        sorted.sort_unstable();
        let mut masks: Vec<(u32, Mask)> = Vec::new();
        let mut enough = Mask::EMPTY;
        for (limit, index) in sorted.into_iter().rev() {
            enough.insert(index);
            match masks.last_mut() {
                Some(last) if last.0 == limit => last.1 = enough,
                _ => masks.push((limit, enough)),
            }
        }
        let (limits, enough): (Vec<_>, Vec<_>) = masks.into_iter().rev().unzip();
        Self { limits: limits.into(), enough: enough.into() }
    }

    /// Whose limit is no smaller; `None` where nobody's is.
    fn enough_for(&self, need: u32) -> Option<&Mask> {
        self.enough.get(self.limits.partition_point(|limit| *limit < need))
    }
}
