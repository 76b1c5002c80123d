//! Keyed BLAKE3 over parts that cannot be confused with one another: each is preceded by its length.

/// A key.
#[derive(Clone)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    /// A key for one purpose out of a secret.
    pub(crate) fn keyed(purpose: &str, secret: &[u8]) -> Self {
        Self(blake3::derive_key(purpose, secret))
    }

    pub(crate) fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        *hasher.finalize().as_bytes()
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest")
    }
}
