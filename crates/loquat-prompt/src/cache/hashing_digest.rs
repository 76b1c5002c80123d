//! Keyed BLAKE3 over parts that cannot be confused with one another: their number comes first, and before each its length.

/// A key.
#[derive(Clone)]
pub(crate) struct Digest([u8; 32]);

/// Up to this many bytes the parts are put one after the other first: chunks of 1 KiB that lie side by side are hashed side by side,
/// which costs a third; a copy of more than fits the second cache would cost it again.
const MAX_JOINED_BYTES: usize = 256 << 10;

/// What BLAKE3 hashes chunk after chunk, two or four of them side by side on any processor with vectors.
const CHUNK_BYTES: usize = 1 << 10;

impl Digest {
    /// A key for one purpose out of a secret.
    pub(crate) fn keyed(purpose: &str, secret: &[u8]) -> Self {
        Self(blake3::derive_key(purpose, secret))
    }

    /// A key that was derived already.
    pub(crate) fn of_key(key: [u8; 32]) -> Self {
        Self(key)
    }

    pub(crate) fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let before = |part: &[u8]| (part.len() as u64).to_le_bytes();
        let number = (parts.len() as u64).to_le_bytes();
        let length = 8 + parts.iter().map(|part| part.len() + 8).sum::<usize>();
        // A chunk that is not whole is hashed after the others: filled up they take half of the time. Zeros after the last part are
        // no part.
        let length = match length.div_ceil(CHUNK_BYTES) {
            2 => 2 * CHUNK_BYTES,
            3 | 4 => 4 * CHUNK_BYTES,
            _ => length,
        };
        if length <= MAX_JOINED_BYTES {
            let mut joined = Vec::with_capacity(length);
            joined.extend_from_slice(&number);
            for part in parts {
                joined.extend_from_slice(&before(part));
                joined.extend_from_slice(part);
            }
            joined.resize(length, 0);
            return *blake3::keyed_hash(&self.0, &joined).as_bytes();
        }
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&number);
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
        let key = Digest::keyed("test", b"secret");
        let (long, fits) = (vec![7; MAX_JOINED_BYTES - 20], vec![7; MAX_JOINED_BYTES - 100]);
        let (short, whole) = (vec![7; 500], vec![7; 4200]);
        let few: [&[u8]; 3] = [&short, b"", b"x"];
        for parts in [[&b"a"[..], &long, b"bc"], [b"", &fits, b"0123456789"], [&whole, b"x", &whole], few] {
            let mut hasher = blake3::Hasher::new_keyed(&key.0);
            hasher.update(&3_u64.to_le_bytes());
            for part in parts {
                hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
            }
            assert_eq!(key.of(&parts), *hasher.finalize().as_bytes());
        }
        // From one chunk to two, and from there to four, zeros follow.
        for (length, filled) in
            [(1008, 1024), (1009, 2048), (2000, 2048), (2032, 2048), (2033, 4096), (4000, 4096), (4081, 4097)]
        {
            let part = vec![7; length];
            let mut joined = [1_u64.to_le_bytes(), (length as u64).to_le_bytes()].concat();
            joined.extend_from_slice(&part);
            joined.resize(filled, 0);
            assert_eq!(key.of(&[&part]), *blake3::keyed_hash(&key.0, &joined).as_bytes(), "{length}");
        }
    }

    #[test]
    fn parts_are_apart_whether_filled_up_or_not() {
        let key = Digest::keyed("test", b"secret");
        for length in [1, 10, 1000, 1100, 3000, 4060, 4100] {
            let (text, zeros) = (vec![7; length], vec![0; 8]);
            let longer = [&text[..], &zeros].concat();
            let all = [
                key.of(&[&text]),
                key.of(&[&text, b""]),
                key.of(&[b"", &text]),
                key.of(&[&longer]),
                key.of(&[&text, &zeros]),
            ];
            for (index, one) in all.iter().enumerate() {
                assert!(!all[..index].contains(one), "{index} of {length} bytes");
            }
        }
    }
}
