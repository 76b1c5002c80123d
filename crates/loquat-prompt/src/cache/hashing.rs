//! A fast keyed hash. The key is drawn anew for each cache, so that nobody outside can make texts collide; and where they do,
//! texts are compared in full, so that a collision costs a look and never an answer.

use std::hash::{BuildHasher, Hasher, RandomState};

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

/// Bytes that are sampled of a long text: its beginning, its end, and six places between them at even distances.
const SAMPLED_BYTES: usize = WINDOWS * WINDOW_BYTES;
const WINDOWS: usize = 8;
const WINDOW_BYTES: usize = 16;

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

    /// A hash of a text's length and of some bytes spread over it: a tenth of the time for 4 KB. Texts that differ elsewhere alone
    /// have the same, and who writes texts can see to it that many have; so it says where to look first, and no more.
    pub(crate) fn sample(&self, text: &str) -> u64 {
        let bytes = text.as_bytes();
        let Some(last) = bytes.len().checked_sub(WINDOW_BYTES).filter(|_| bytes.len() > SAMPLED_BYTES) else {
            return self.of(text);
        };
        let mut sampled = [0; SAMPLED_BYTES + 8];
        let (windows, length) = sampled.split_at_mut(SAMPLED_BYTES);
        length.copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        for (number, window) in windows.as_chunks_mut::<WINDOW_BYTES>().0.iter_mut().enumerate() {
            let at = last * number / (WINDOWS - 1);
            if let Some(from) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
                *window = *from;
            }
        }
        rapidhash_v3_seeded(&sampled, &self.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_tell_texts_apart_by_length_beginning_and_end() {
        let hash = Keyed::random();
        for length in [0, 1, 127, 128, 129, 130, 4096, 100_001] {
            let text = "x".repeat(length);
            assert_eq!(hash.sample(&text), hash.sample(&text.clone()));
            assert_ne!(hash.sample(&text), hash.sample(&"x".repeat(length + 1)), "{length}");
            if length > 0 {
                assert_ne!(hash.sample(&text), hash.sample(&format!("{}y", &text[1..])), "{length}");
                assert_ne!(hash.sample(&text), hash.sample(&format!("y{}", &text[1..])), "{length}");
            }
        }
        let (one, two) = (format!("{}a{}", "x".repeat(100), "x".repeat(4000)), "x".repeat(4101));
        assert_eq!(hash.sample(&one), hash.sample(&two), "what is not sampled does not show");
        assert_ne!(hash.of(&one), hash.of(&two));
    }
}
