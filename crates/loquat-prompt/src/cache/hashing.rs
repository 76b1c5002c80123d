//! A fast keyed hash. The key is drawn anew for each cache, so that nobody outside can make texts collide; and where they do,
//! texts are compared in full, so that a collision costs a look and never an answer.

use std::hash::{BuildHasher, Hasher, RandomState};

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

#[derive(Debug, Clone)]
pub(crate) struct Keyed(RapidSecrets);

impl Keyed {
    pub(crate) fn random() -> Self {
        // The standard library's own source of keys against flooding.
        Self(RapidSecrets::seed(RandomState::new().build_hasher().finish()))
    }

    pub(crate) fn of(&self, text: &str) -> u64 {
        rapidhash_v3_seeded(text.as_bytes(), &self.0)
    }
}

/// Hands on a hash that is one already.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BuildReady;

impl BuildHasher for BuildReady {
    type Hasher = Ready;

    fn build_hasher(&self) -> Ready {
        Ready::default()
    }
}
