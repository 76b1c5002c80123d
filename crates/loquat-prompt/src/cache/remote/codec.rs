//! Values as bytes: a version, a kind, a seal, the tenant, the content.
//!
//! ```text
//! 'L' version kind | tag (16 bytes) | tenant length, tenant | content
//! ```
//!
//! The tag is keyed BLAKE3 over key, version, kind, tenant and content, cut to 16 bytes. Numbers are LEB128; how tokens are written
//! says `packing`.

use super::super::hashing_digest::Digest;

/// What is read by this code. Another version is a miss.
const VERSION: u8 = 2;
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

/// Where a tenant's items of one kind are.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    pub(super) kind: Kind,
    pub(super) tenant: String,
    start: String,
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

    /// What the keys of a tenant's items of that kind begin with.
    pub(super) fn shelf(&self, kind: Kind, tenant: &str) -> Shelf {
        let tenant_digest = self.seal.of(&[b"tenant", tenant.as_bytes()]);
        let mut start = format!("{}:{}:", self.prefix, kind.name());
        hex(tenant_digest.get(..8).unwrap_or_default(), &mut start);
        start.push(':');
        Shelf { kind, tenant: tenant.to_owned(), start }
    }

    /// The key of an item: nothing of its content can be read from it, and nobody without the seal can guess it.
    pub(super) fn key(&self, shelf: &Shelf, parts: &[&[u8]]) -> String {
        let mut all: Vec<&[u8]> = Vec::with_capacity(parts.len() + 3);
        all.extend([b"item", shelf.kind.name().as_bytes(), shelf.tenant.as_bytes()]);
        all.extend(parts);
        let item = self.seal.of(&all);
        let mut key = String::with_capacity(shelf.start.len() + 64);
        key.push_str(&shelf.start);
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
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four: u8| DIGITS.get(usize::from(four)).copied().map_or(' ', char::from);
    for byte in bytes {
        to.push(digit(byte >> 4));
        to.push(digit(byte & 15));
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rubbish_is_no_value(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let sealer = Sealer::new("0123456789abcdef", "p");
            prop_assert_eq!(sealer.open(Kind::Tokens, "k", "t", &bytes), None);
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
        let key = |tenant| sealer.key(&sealer.shelf(Kind::Tokens, tenant), &[b"text"]);
        assert_ne!(key("a"), key("b"));
        assert!(key("a").starts_with("p:tokens:") && !key("a").contains("text"));
        // Parts are apart: ("ab", "c") is not ("a", "bc").
        let shelf = sealer.shelf(Kind::Count, "t");
        assert_ne!(sealer.key(&shelf, &[b"ab", b"c"]), sealer.key(&shelf, &[b"a", b"bc"]));
    }
}
