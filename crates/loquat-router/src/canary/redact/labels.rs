//! Which words say that a key follows, and how sure that is: `password:` always, `token:` where what follows is no word of a
//! sentence ("unexpected token: expected a comma" is an error as any other).
//!
//! A label is one however it begins: `accessToken`, `AWS_SECRET_ACCESS_KEY`. It does not know how many words a value has, and
//! takes it for one.

/// How words end that say that a key follows.
const LABELS: &[&str] = &[
    "key",
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "signature",
    "authorization",
    "credential",
    "credentials",
    "bearer",
    "basic",
];
/// Of these, those after which a colon is followed by nothing else.
const SURE: &[&str] = &["secret", "password", "passwd", "passphrase", "pwd", "signature"];
/// Of these, those that say so without a colon.
const SCHEMES: &[&str] = &["bearer", "basic"];
/// What sentences say after those.
const OF_SCHEMES: &[&str] = &["token", "auth", "scheme", "credential"];
/// How many words may stand between a label and its colon: "API key provided: X".
const BETWEEN: u32 = 2;
/// What joins a label to its value.
const JOINTS: [char; 3] = ['=', ':', '>'];

/// How sure it is that a word is a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Announced {
    /// Nothing says so.
    Not,
    /// A scheme stands before it: "Bearer X", but "Basic auth", too.
    ByScheme,
    /// There was a label, and a colon some words later: whatever is no word is one.
    Perhaps,
    /// A label and its colon stand before it: whatever is no lower-case word is one.
    Likely,
    /// It is one, whatever it looks like.
    Surely,
}

impl Announced {
    fn hides(self, word: &str) -> bool {
        match self {
            Self::Not => false,
            Self::ByScheme => {
                let lower = bare(word).to_ascii_lowercase();
                !is_lower(word) && !OF_SCHEMES.iter().any(|start| lower.starts_with(start))
            }
            Self::Perhaps => !is_ordinary(word),
            Self::Likely => !is_lower(word),
            Self::Surely => true,
        }
    }
}

/// What the words so far say of the next.
pub(super) struct Labels {
    /// Words since a label, and since one that is sure.
    since: u32,
    since_sure: u32,
    next: Announced,
}

impl Labels {
    pub(super) fn new() -> Self {
        Self { since: u32::MAX, since_sure: u32::MAX, next: Announced::Not }
    }

    /// Whether the next word has a value in it.
    pub(super) fn hides(&mut self, word: &str) -> bool {
        let now = self.next;
        let core = bare(word);
        // `token =X`: the joint is in the value's word.
        let joined = word.strip_prefix(JOINTS).map(bare);
        let is_joined = joined.is_some_and(|value| !value.is_empty() && self.after(word).hides(value));
        let holds = holds_value(core);
        let label = label(core);
        let is_bare_label = LABELS.contains(&label.as_str()) && label.len() == core.len();
        // "Authorization: Token X": it says what follows.
        let is_told = is_bare_label && now > Announced::ByScheme && now < Announced::Surely;
        let hides = is_joined || holds || (now.hides(word) && !is_told && !core.is_empty());

        self.since = self.since.saturating_add(1);
        self.since_sure = self.since_sure.saturating_add(1);
        if ends(&label, LABELS) {
            self.since = 0;
        }
        if ends(&label, SURE) {
            self.since_sure = 0;
        }
        let joint = word.trim_end_matches(|c| !JOINTS.contains(&c) && "()[]{}<,.;!?'".contains(c));
        self.next = if joint.ends_with(JOINTS) { self.after(joint) } else { Announced::Not };
        if SCHEMES.contains(&label.as_str()) {
            let is_header = now > Announced::ByScheme || holds;
            self.next = self.next.max(if is_header { Announced::Surely } else { Announced::ByScheme });
        }
        if is_told || (is_bare_label && now == Announced::Surely) {
            self.next = Announced::Surely;
        }
        if !word.contains(|c: char| c.is_alphanumeric() || c == '…') {
            // A stroke or a bracket is no value.
            self.next = self.next.max(now);
        }
        hides
    }

    /// What the joint that is in that word says of what follows it.
    fn after(&self, joint: &str) -> Announced {
        if self.since > BETWEEN {
            Announced::Not
        } else if joint.contains('=') || self.since_sure <= BETWEEN {
            Announced::Surely
        } else if self.since == 0 {
            Announced::Likely
        } else {
            Announced::Perhaps
        }
    }
}

/// A word without the brackets and stops around it.
pub(super) fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| "()[]{}<>,.;:!?'…".contains(c))
}

/// The last name in a word, in lower case: of `{a=b,accessToken"` that is `accesstoken`.
fn label(word: &str) -> String {
    let name = word.trim_end_matches(|c: char| !c.is_alphanumeric());
    let name = name.rsplit(['=', ':', '>', ',', '(', '[', '{', '<']).next().unwrap_or_default();
    name.to_ascii_lowercase()
}

fn ends(label: &str, with: &[&str]) -> bool {
    with.iter().any(|end| label.ends_with(end))
}

/// `token=X`, `key:X`, `<key>X`: the label and its value in one word. The first label decides: what comes after it is its value.
fn holds_value(word: &str) -> bool {
    let mut from = 0;
    let found = word.match_indices(JOINTS).find_map(|(at, _)| {
        let name = label(&word[from..at]);
        from = at + 1;
        ends(&name, LABELS).then_some((name, at))
    });
    let Some((name, at)) = found else { return false };
    let (joints, value) = word[at..].split_at(1);
    let more = value.split(char::is_alphanumeric).next().unwrap_or_default();
    let is_sure = joints == "=" || more.contains('=') || ends(&name, SURE);
    let how = if is_sure { Announced::Surely } else { Announced::Likely };
    !value.is_empty() && how.hides(value)
}

/// A word as sentences have them, or a small number.
fn is_ordinary(word: &str) -> bool {
    let word = bare(word);
    let is_number = word.len() <= 5 && word.bytes().all(|byte| byte.is_ascii_digit());
    let mut letters = word.chars().filter(|c| *c != '-' && *c != '\'');
    let is_word = word.chars().all(|c| c.is_alphabetic() || c == '-' || c == '\'');
    let first = letters.next().is_some_and(char::is_uppercase);
    is_number
        || (is_word && (letters.clone().all(char::is_lowercase)))
        || (is_word && first && word.len() <= 5 && letters.all(char::is_uppercase))
}

/// A word in small letters alone.
fn is_lower(word: &str) -> bool {
    bare(word).chars().all(|c| c.is_lowercase() || c == '-' || c == '\'')
}
