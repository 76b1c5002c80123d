//! Values as bytes: a version, a kind, a seal, the tenant, the content.
//!
//! ```text
//! 'L' version kind | tag (16 bytes) | tenant length, tenant | content
//! ```
//!
//! The tag is keyed BLAKE3 over the content, cut to 16 bytes; its key, a [`Lock`], is keyed BLAKE3 over version, kind, key, tenant and
//! what the content is of. So all but the content is hashed before there is one. Numbers are LEB128; how tokens are written says
//! `packing`.
//!
//! Where tokens lie is said by a quick hash of their text, so that the question is on its way at once; what decides is the text in the
//! lock, which is made while Redis answers, or, of long texts, before it is asked. Texts of one quick hash are one another's miss. The
//! hash itself is in nobody's sight: keys are a keyed digest of it.

use std::fmt;

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use super::super::hashing_digest::Digest;

/// What is read by this code. Another version is a miss.
const VERSION: u8 = 4;
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
    pub(super) const ALL: [Self; 4] = [Self::Tokens, Self::Count, Self::Fragment, Self::Answer];

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

/// Where the tokens of texts are, of one tenant and by one tokenizer.
#[derive(Clone)]
pub(super) struct Places {
    shelf: Shelf,
    quick: RapidSecrets,
    names: Digest,
}

impl Places {
    pub(super) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    pub(super) fn key(&self, text: &str) -> String {
        let quick = rapidhash_v3_seeded(text.as_bytes(), &self.quick);
        let length = text.len() as u64;
        self.shelf.key(&self.names.of(&[&quick.to_le_bytes(), &length.to_le_bytes()]))
    }
}

/// Without what the hash is keyed with.
impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Places").field(&self.shelf).finish()
    }
}

impl Shelf {
    fn key(&self, item: &[u8; 32]) -> String {
        let mut key = String::with_capacity(self.start.len() + 2 * item.len());
        key.push_str(&self.start);
        hex(item, &mut key);
        key
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
        shelf.key(&self.seal.of(&all))
    }

    /// Where a tenant's tokens are, by the tokenizer of that fingerprint.
    pub(super) fn places(&self, tenant: &str, fingerprint: &[u8]) -> Places {
        let secret = self.seal.of(&[b"places", tenant.as_bytes(), fingerprint]);
        let seed = Digest::keyed("loquat prompt cache, quick hash", &secret).of(&[]);
        let seed = seed.first_chunk().map_or(0, |seed| u64::from_le_bytes(*seed));
        Places {
            shelf: self.shelf(Kind::Tokens, tenant),
            quick: RapidSecrets::seed(seed),
            names: Digest::keyed("loquat prompt cache, names", &secret),
        }
    }

    /// What the value in a place is sealed and opened with. `of`: what the content is of, where its key is not the last word on that.
    pub(super) fn lock(&self, shelf: &Shelf, key: &str, of: &[u8]) -> Lock {
        let head = [VERSION, shelf.kind as u8];
        let parts = [b"value", &head[..], key.as_bytes(), shelf.tenant.as_bytes(), of];
        Lock(Digest::of_key(self.seal.of(&parts)))
    }
}

/// What the value in one place, of one text, is sealed and opened with; no other value is opened by it.
#[derive(Debug, Clone)]
pub(super) struct Lock(Digest);

impl Lock {
    pub(super) fn seal(&self, shelf: &Shelf, content: &[u8]) -> Vec<u8> {
        let mut value = Vec::with_capacity(HEAD_BYTES + shelf.tenant.len() + 5 + content.len());
        value.extend_from_slice(&[b'L', VERSION, shelf.kind as u8]);
        value.extend_from_slice(&self.tag(content));
        write_number(shelf.tenant.len() as u64, &mut value);
        value.extend_from_slice(shelf.tenant.as_bytes());
        value.extend_from_slice(content);
        value
    }

    /// The content, if the value is whole, ours, of this version, this kind, this key, this tenant, and of that.
    pub(super) fn open<'v>(&self, shelf: &Shelf, value: &'v [u8]) -> Option<&'v [u8]> {
        let (head, rest) = value.split_at_checked(HEAD_BYTES)?;
        let (start, tag) = head.split_at_checked(3)?;
        if start != [b'L', VERSION, shelf.kind as u8] {
            return None;
        }
        let mut reader = Reader(rest);
        let named = reader.bytes()?;
        let content = reader.0;
        // As long as any other, whatever differs where: the tag is no secret, but nobody need guess at it byte by byte.
        let expected = self.tag(content);
        let differs = tag.iter().zip(expected).fold(0, |all, (a, b)| all | (a ^ b));
        (differs == 0 && named == shelf.tenant.as_bytes()).then_some(content)
    }

    fn tag(&self, content: &[u8]) -> [u8; TAG_BYTES] {
        let digest = self.0.of(&[content]);
        let mut tag = [0; TAG_BYTES];
        tag.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        tag
    }
}

fn hex(bytes: &[u8], to: &mut String) {
    let digit = |four: u8| char::from(if four < 10 { b'0' + four } else { b'a' + four - 10 });
    to.reserve(2 * bytes.len());
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
            let shelf = sealer.shelf(Kind::Tokens, "t");
            prop_assert_eq!(sealer.lock(&shelf, "k", b"text").open(&shelf, &bytes), None);
        }
    }

    #[test]
    fn a_value_is_believed_in_its_own_place_only() {
        let sealer = Sealer::new("0123456789abcdef", "p");
        let shelf = sealer.shelf(Kind::Tokens, "a");
        let value = sealer.lock(&shelf, "key", b"text").seal(&shelf, b"content");
        let opened = |sealer: &Sealer, (kind, tenant), key, of: &[u8], value: &[u8]| {
            let shelf = sealer.shelf(kind, tenant);
            sealer.lock(&shelf, key, of).open(&shelf, value).map(<[u8]>::to_vec)
        };
        let here = (Kind::Tokens, "a");
        assert_eq!(opened(&sealer, here, "key", b"text", &value).as_deref(), Some(&b"content"[..]));
        assert_eq!(opened(&sealer, here, "other", b"text", &value), None, "moved");
        assert_eq!(opened(&sealer, (Kind::Tokens, "b"), "key", b"text", &value), None, "another tenant's");
        assert_eq!(opened(&sealer, (Kind::Count, "a"), "key", b"text", &value), None, "another kind");
        let another = Sealer::new("another seal ......", "p");
        assert_eq!(opened(&another, here, "key", b"text", &value), None);
        assert_eq!(opened(&sealer, here, "key", b"other", &value), None, "of another text");
        for index in 0..value.len() {
            let mut changed = value.clone();
            changed[index] ^= 1;
            assert_eq!(opened(&sealer, here, "key", b"text", &changed), None, "byte {index}");
            assert_eq!(opened(&sealer, here, "key", b"text", &value[..index]), None, "cut at {index}");
        }
        let key = |tenant| sealer.key(&sealer.shelf(Kind::Tokens, tenant), &[b"text"]);
        assert_ne!(key("a"), key("b"));
        assert!(key("a").starts_with("p:tokens:") && !key("a").contains("text"));
        // Parts are apart: ("ab", "c") is not ("a", "bc").
        let shelf = sealer.shelf(Kind::Count, "t");
        assert_ne!(sealer.key(&shelf, &[b"ab", b"c"]), sealer.key(&shelf, &[b"a", b"bc"]));
    }

    #[test]
    fn tokens_lie_where_tenant_tokenizer_and_text_say() {
        let sealer = Sealer::new("0123456789abcdef", "p");
        let key = |tenant, fingerprint: &[u8], text| sealer.places(tenant, fingerprint).key(text);
        let one = key("a", b"o200k", "a text");
        assert_eq!(one, key("a", b"o200k", "a text"));
        assert_ne!(one, key("a", b"o200k", "a text "));
        assert_ne!(one.rsplit(':').next(), key("b", b"o200k", "a text").rsplit(':').next());
        assert_ne!(one, key("a", b"cl100k", "a text"));
        assert_ne!(one, Sealer::new("another seal ......", "p").places("a", b"o200k").key("a text"));
        assert!(one.starts_with("p:tokens:") && !one.contains("text"));
    }
}
