//! What tracing systems say of a trace to themselves further down: W3C Trace Context §3.3, the `tracestate` header, as in Level 2.
//!
//! It is carried, not understood: nothing here adds an entry or changes one. What arrives comes from strangers, so it is read within
//! limits and kept within others, those of the standard.

use std::{collections::HashSet, fmt, sync::Arc};

/// Most entries (§3.3.1.1). A header with more is not kept at all.
const MAX_ENTRIES: usize = 32;
/// What is kept, in characters (§3.3.1.5): as much as every hop has to pass on, and no more.
const MAX_KEPT_BYTES: usize = 512;
/// Entries beyond that go first where not all can be kept (§3.3.1.5).
const LONG_ENTRY_BYTES: usize = 128;
/// Longest key, and longest value.
const MAX_PART_BYTES: usize = 256;
/// Most bytes that are looked at: so many entries of the greatest length fit, and white space around them.
const MAX_READ_BYTES: usize = MAX_ENTRIES * (2 * MAX_PART_BYTES + 8);

/// The entries that tracing systems have added to a trace, the newest first. At most 32, and 512 characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceState(Arc<str>);

impl TraceState {
    /// Reads a `tracestate` header; of several, their values joined by commas. `None` where there is nothing in it, where it is
    /// malformed, and where it has more than 32 entries: then the trace goes on without it.
    ///
    /// Of entries with the same key the first, and so the newest, stays. Where more than 512 characters are left, entries that are
    /// longer than 128 go, and then others, in either case the last ones first. Anything else stays as it came, in its order.
    pub fn parse(header: &str) -> Option<Self> {
        if header.len() > MAX_READ_BYTES {
            return None;
        }
        let (mut entries, mut keys, mut count) = (Vec::new(), HashSet::new(), 0);
        let is_space = |byte| byte == ' ' || byte == '\t';
        for entry in header.split(',').map(|entry| entry.trim_matches(is_space)) {
            if entry.is_empty() {
                continue; // the standard allows them
            }
            let (key, value) = entry.split_once('=')?;
            count += 1;
            if count > MAX_ENTRIES || !is_key(key) || !is_value(value) {
                return None;
            }
            if keys.insert(key) {
                entries.push(entry);
            }
        }
        while length(&entries) > MAX_KEPT_BYTES {
            match entries.iter().rposition(|entry| entry.len() > LONG_ENTRY_BYTES) {
                Some(index) => {
                    entries.remove(index);
                }
                None => entries.truncate(entries.len() - 1),
            }
        }
        (!entries.is_empty()).then(|| Self(entries.join(",").into()))
    }

    /// The `tracestate` header for the next hop.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How long they are, joined.
fn length(entries: &[&str]) -> usize {
    entries.iter().map(|entry| entry.len() + 1).sum::<usize>().saturating_sub(1)
}

/// `key = ( lcalpha / DIGIT ) 0*255 ( keychar )` (Level 2, §3.3.1.3.1), of which all keys of Level 1 are. That had more rules, for the
/// two parts of a key around an `@`: they are those of who writes the entry, and not of who carries it.
fn is_key(key: &str) -> bool {
    let begins = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let is_rest = |byte| begins(byte) || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@');
    key.len() <= MAX_PART_BYTES && key.bytes().next().is_some_and(begins) && key.bytes().all(is_rest)
}

/// `value = 0*255(chr) nblk-chr` (§3.3.1.3.2): what is printed, but no comma and no equals sign; a blank at its end is none of it.
fn is_value(value: &str) -> bool {
    let is_chr = |byte| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=';
    (1..=MAX_PART_BYTES).contains(&value.len()) && value.bytes().all(is_chr)
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Its size alone: what is in it is for those who wrote it.
impl fmt::Debug for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceState({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_valid_stays_as_it_came_and_what_is_not_goes() {
        let entry = |key: char, length: usize| format!("{key}={}", "x".repeat(length - 2));
        let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        let (a, b, c, d) = (entry('a', 128), entry('b', 129), entry('c', 128), entry('d', 128));
        let fits = format!("{a},{c},{d},e={}", "x".repeat(123));
        for (header, kept) in [
            ("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", Some("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")),
            (" a=1 ,, \tb=2\t,", Some("a=1,b=2")),
            ("a= 1 2 ", Some("a= 1 2")),
            ("fw529a3039@dt=FfFf,0t@s=1", Some("fw529a3039@dt=FfFf,0t@s=1")),
            // By Level 1 none of these.
            ("0a=1,7=2", Some("0a=1,7=2")),
            ("a@0b=1,a@=2,a@b@c=3", Some("a@0b=1,a@=2,a@b@c=3")),
            ("a=1,b=2,a=3", Some("a=1,b=2")),
            (
                "a/b*c_d-e=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~",
                Some("a/b*c_d-e=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~"),
            ),
            ("", None),
            (" , ,", None),
            ("a", None),
            ("a=", None),
            ("=1", None),
            ("A=1", None),
            ("_a=1", None),
            ("-a=1", None),
            ("*a=1", None),
            ("/a=1", None),
            ("a=1=2", None),
            ("a=1,b", None),
            ("a b=1", None),
            ("a =1", None),
            ("@a=1", None),
            ("a@B=1", None),
            ("a.b=1", None),
            ("a=é", None),
            ("a=1\r\nx: y", None),
            (&*many(32), Some(&*many(32))),
            (&*many(33), None),
            // One of the entries has to go: the long one, or the last of those that are not.
            (&*format!("{a},{b},{c},{d}"), Some(&*format!("{a},{c},{d}"))),
            (&*fits, Some(&*fits)),
            (&*format!("{fits}x"), Some(&*format!("{a},{c},{d}"))),
        ] {
            assert_eq!(TraceState::parse(header).as_ref().map(TraceState::as_str), kept, "{header:?}");
        }
        for (part, longest, with) in
            [("key", 256, "=v"), ("key with a system", 254, "@s=v"), ("value", 256, "")]
        {
            for (length, is_valid) in [(longest, true), (longest + 1, false)] {
                let header = match part {
                    "value" => format!("k={}", "v".repeat(length)),
                    _ => format!("{}{with}", "k".repeat(length)),
                };
                assert_eq!(TraceState::parse(&header).is_some(), is_valid, "{part} of {length}");
            }
        }
        assert_eq!(TraceState::parse(&format!("a=1{}", ",".repeat(1 << 20))), None, "not even looked at");
    }

    /// Whatever comes: what is kept is within the limits, has each key once, is made of what came in its order, and is read again
    /// as what it is.
    #[test]
    fn whatever_comes_is_kept_within_the_limits() {
        let mut state = 7_u64;
        let mut below = |end: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 40).expect("24 bits") % end
        };
        let mut kept = 0;
        for _ in 0..20_000 {
            let mut header = String::new();
            for _ in 0..below(40) {
                match below(30) {
                    0 => header.push_str(["", "=", "é=1", "A=1", "\t", "a=1=", "@", "\0"][below(8)]),
                    1 => header.push_str(&format!("long{}={}", below(4), "x".repeat(below(300)))),
                    2 => header.push_str(&format!("t{}@s={}", below(9), below(9))),
                    _ => header.push_str(&format!("k{}={}", below(60), "v".repeat(1 + below(30)))),
                }
                header.push_str([",", ", ", " ,\t", ",,"][below(4)]);
            }
            let Some(state) = TraceState::parse(&header) else { continue };
            kept += 1;
            let entries: Vec<_> = state.as_str().split(',').collect();
            assert!(state.as_str().len() <= 512 && entries.len() <= 32, "{header:?}");
            let keys: HashSet<_> = entries.iter().map(|entry| entry.split('=').next()).collect();
            assert_eq!(keys.len(), entries.len(), "{header:?}");
            let mut came = header.split(',').map(str::trim);
            assert!(entries.iter().all(|entry| came.any(|other| other == *entry)), "{header:?}");
            assert_eq!(TraceState::parse(state.as_str()), Some(state), "{header:?}");
        }
        assert!(kept > 5000, "{kept}");
    }
}
