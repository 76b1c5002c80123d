//! Keyed BLAKE3 over parts that cannot be confused with one another: each is preceded by its length.

/// A key.
#[derive(Clone)]
pub(crate) struct Digest([u8; 32]);

/// Up to this many bytes the parts are put one after the other first: chunks of 1 KiB that lie side by side are hashed side by side,
/// which costs a third; a copy of more than fits the second cache would cost it again.
const MAX_JOINED_BYTES: usize = 256 << 10;

impl Digest {
    /// A key for one purpose out of a secret.
    pub(crate) fn keyed(purpose: &str, secret: &[u8]) -> Self {
        Self(blake3::derive_key(purpose, secret))
    }

    pub(crate) fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let before = |part: &[u8]| (part.len() as u64).to_le_bytes();
        let length: usize = parts.iter().map(|part| part.len() + 8).sum();
        if length <= MAX_JOINED_BYTES {
            let mut joined = Vec::with_capacity(length);
            for part in parts {
                joined.extend_from_slice(&before(part));
                joined.extend_from_slice(part);
            }
            return *blake3::keyed_hash(&self.0, &joined).as_bytes();
        }
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(&before(part)).update(part);
        }
        *hasher.finalize().as_bytes()
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_or_not_it_is_the_same() {
        let (key, long) = (Digest::keyed("test", b"secret"), vec![7; MAX_JOINED_BYTES - 20]);
        for parts in [[&b"a"[..], &long[..], b"bc"], [b"", &long, b"0123456789"], [&long, b"x", &long]] {
            let mut hasher = blake3::Hasher::new_keyed(&key.0);
            for part in parts {
                hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
            }
            assert_eq!(key.of(&parts), *hasher.finalize().as_bytes());
        }
    }
}
