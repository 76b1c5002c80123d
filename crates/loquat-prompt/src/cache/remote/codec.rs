//! Values as bytes: a version, a kind, a seal, the tenant, the content.
//!
//! ```text
//! 'L' version kind | tag (16 bytes) | tenant length, tenant | content
//! ```
//!
//! The tag is keyed BLAKE3 over key, version, kind, tenant and content, cut to 16 bytes. Tokens are numbers in LEB128, plain or as
//! zigzag differences to the one before, whichever is shorter; on English prose some 2.2 bytes a token.

use super::super::hashing_digest::Digest;

/// What is read by this code. Another version is a miss.
const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;
const HEAD_BYTES: usize = 3 + TAG_BYTES;

/// What a value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tokens = 1,
    Count = 2,
    Fragment = 3,
    Answer = 4,
}

impl Kind {
    /// In keys, for people who look at Redis.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Count => "count",
            Self::Fragment => "fragment",
            Self::Answer => "answer",
        }
    }
}

/// Names keys and seals values.
#[derive(Debug)]
pub(super) struct Sealer {
    seal: Digest,
    prefix: String,
}

impl Sealer {
    pub(super) fn new(seal: &str, prefix: &str) -> Self {
        Self { seal: Digest::keyed("loquat prompt cache 1", seal.as_bytes()), prefix: prefix.to_owned() }
    }

    /// The key of an item: nothing of its content can be read from it, and nobody without the seal can guess it.
    pub(super) fn key(&self, kind: Kind, tenant: &str, parts: &[&[u8]]) -> String {
        let tenant_digest = self.seal.of(&[b"tenant", tenant.as_bytes()]);
        let mut all: Vec<&[u8]> = vec![b"item", kind.name().as_bytes(), tenant.as_bytes()];
        all.extend(parts);
        let item = self.seal.of(&all);
        let mut key = format!("{}:{}:", self.prefix, kind.name());
        hex(tenant_digest.get(..8).unwrap_or_default(), &mut key);
        key.push(':');
        hex(&item, &mut key);
        key
    }

    pub(super) fn seal(&self, kind: Kind, key: &str, tenant: &str, content: &[u8]) -> Vec<u8> {
        let mut value = Vec::with_capacity(HEAD_BYTES + tenant.len() + 5 + content.len());
        value.extend_from_slice(&[b'L', VERSION, kind as u8]);
        value.extend_from_slice(&self.tag(kind, key, tenant, content));
        write_number(tenant.len() as u64, &mut value);
        value.extend_from_slice(tenant.as_bytes());
        value.extend_from_slice(content);
        value
    }

    /// The content, if the value is whole, ours, of this version, this kind, this key and this tenant.
    pub(super) fn open<'v>(&self, kind: Kind, key: &str, tenant: &str, value: &'v [u8]) -> Option<&'v [u8]> {
        let (head, rest) = value.split_at_checked(HEAD_BYTES)?;
        let (start, tag) = head.split_at_checked(3)?;
        if start != [b'L', VERSION, kind as u8] {
            return None;
        }
        let mut reader = Reader(rest);
        let named = reader.bytes()?;
        let content = reader.0;
        // As long as any other, whatever differs where: the tag is no secret, but nobody need guess at it byte by byte.
        let expected = self.tag(kind, key, tenant, content);
        let differs = tag.iter().zip(expected).fold(0, |all, (a, b)| all | (a ^ b));
        (differs == 0 && named == tenant.as_bytes()).then_some(content)
    }

    fn tag(&self, kind: Kind, key: &str, tenant: &str, content: &[u8]) -> [u8; TAG_BYTES] {
        let digest =
            self.seal.of(&[b"value", &[VERSION, kind as u8], key.as_bytes(), tenant.as_bytes(), content]);
        let mut tag = [0; TAG_BYTES];
        tag.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        tag
    }
}

fn hex(bytes: &[u8], to: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    for byte in bytes {
        to.extend(
            [byte >> 4, byte & 15].map(|digit| DIGITS.get(usize::from(digit)).copied().unwrap_or_default()),
        );
    }
}

/// Reads numbers and byte strings; `None` where they are cut.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// The same, quickest for up to three bytes: what a token takes.
    #[inline]
    fn short_number(&mut self) -> Option<u64> {
        if let Some(bytes) = self.0.first_chunk::<4>() {
            let word = u32::from_le_bytes(*bytes);
            // The highest bit of the byte that ends the number is the first that is not set.
            let length = ((!word & 0x0080_8080).trailing_zeros() + 1) / 8;
            if length <= 3 {
                let kept = word & ((1 << (length * 8)) - 1);
                self.0 = self.0.get(length as usize..)?;
                return Some(u64::from(kept & 0x7F | kept >> 1 & 0x3F80 | kept >> 2 & 0x1F_C000));
            }
        }
        self.number()
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

pub(super) fn write_number(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    to.push(u8::try_from(number).unwrap_or_default());
}

pub(super) fn write_text(text: &str, to: &mut Vec<u8>) {
    write_number(text.len() as u64, to);
    to.extend_from_slice(text.as_bytes());
}

/// Tokens as bytes.
pub(super) fn pack(tokens: &[u32]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(tokens.len() * 5 / 2 + 8);
    plain.push(0);
    write_number(tokens.len() as u64, &mut plain);
    tokens.iter().for_each(|token| write_number(u64::from(*token), &mut plain));
    let mut differences = Vec::with_capacity(plain.len());
    differences.push(1);
    write_number(tokens.len() as u64, &mut differences);
    let mut last = 0_i64;
    for token in tokens {
        let difference = i64::from(*token) - last;
        last = i64::from(*token);
        write_number(((difference << 1) ^ (difference >> 63)).cast_unsigned(), &mut differences);
        if differences.len() >= plain.len() {
            return plain;
        }
    }
    differences
}

/// Tokens from bytes; each below `vocabulary`, none over.
pub(super) fn unpack(bytes: &[u8], vocabulary: u32) -> Option<Vec<u32>> {
    let (mode, rest) = bytes.split_first()?;
    let mut reader = Reader(rest);
    let count = usize::try_from(reader.number()?).ok()?;
    // Each has a byte at least: a count that the value cannot hold asks for no memory.
    if count > reader.0.len() {
        return None;
    }
    let mut tokens = Vec::with_capacity(count);
    match mode {
        0 => {
            for _ in 0..count {
                let token = reader.short_number()?;
                tokens.push(u32::try_from(token).ok().filter(|token| *token < vocabulary)?);
            }
        }
        1 => {
            let mut last = 0_i64;
            for _ in 0..count {
                let number = reader.short_number()?;
                last = last.checked_add((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))?;
                tokens.push(u32::try_from(last).ok().filter(|token| *token < vocabulary)?);
            }
        }
        _ => return None,
    }
    reader.0.is_empty().then_some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tokens_come_back(tokens in prop::collection::vec(any::<u32>().prop_map(|t| t % 200_000), 0..300)) {
            let packed = pack(&tokens);
            prop_assert_eq!(unpack(&packed, 200_000), Some(tokens.clone()));
            for cut in 0..packed.len() {
                prop_assert_eq!(unpack(&packed[..cut], 200_000), None);
            }
        }

        #[test]
        fn rubbish_is_no_value(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let sealer = Sealer::new("0123456789abcdef", "p");
            prop_assert_eq!(sealer.open(Kind::Tokens, "k", "t", &bytes), None);
            let _ = unpack(&bytes, 200_000);
        }
    }

    #[test]
    fn a_value_is_believed_in_its_own_place_only() {
        let sealer = Sealer::new("0123456789abcdef", "p");
        let value = sealer.seal(Kind::Tokens, "key", "a", b"content");
        assert_eq!(sealer.open(Kind::Tokens, "key", "a", &value), Some(&b"content"[..]));
        assert_eq!(sealer.open(Kind::Tokens, "other", "a", &value), None, "moved");
        assert_eq!(sealer.open(Kind::Tokens, "key", "b", &value), None, "another tenant's");
        assert_eq!(sealer.open(Kind::Count, "key", "a", &value), None, "another kind");
        assert_eq!(Sealer::new("another seal ......", "p").open(Kind::Tokens, "key", "a", &value), None);
        for index in 0..value.len() {
            let mut changed = value.clone();
            changed[index] ^= 1;
            assert_eq!(sealer.open(Kind::Tokens, "key", "a", &changed), None, "byte {index}");
            assert_eq!(sealer.open(Kind::Tokens, "key", "a", &value[..index]), None, "cut at {index}");
        }
        let key = |tenant| sealer.key(Kind::Tokens, tenant, &[b"text"]);
        assert_ne!(key("a"), key("b"));
        assert!(key("a").starts_with("p:tokens:") && !key("a").contains("text"));
        // Parts are apart: ("ab", "c") is not ("a", "bc").
        assert_ne!(
            sealer.key(Kind::Count, "t", &[b"ab", b"c"]),
            sealer.key(Kind::Count, "t", &[b"a", b"bc"])
        );
    }

    #[test]
    fn small_tokens_take_two_bytes() {
        assert_eq!(pack(&[300; 1000]).len(), 1 + 2 + 1 + 1 + 999, "the same again is a zero");
        let mixed: Vec<u32> = (0..1000).map(|n| (n * 7919) % 16_000).collect();
        assert!(pack(&mixed).len() <= 2003);
    }
}
