//! [`Piece`]: a part of a prompt, typed by who wrote it, so that only a template can write a control token.

use loquat_core::Result;

use super::Tokenizer;

/// A part of a prompt, typed by who wrote it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// What a user, a tool or a document said: never a control token, whatever it says.
    Text(&'a str),
    /// A template's own words: control tokens that are written out in it become such tokens.
    Markup(&'a str),
}

impl<'a> Piece<'a> {
    pub(crate) fn text(&self) -> &'a str {
        match *self {
            Self::Text(text) | Self::Markup(text) => text,
        }
    }

    pub(crate) fn is_markup(&self) -> bool {
        matches!(self, Self::Markup(_))
    }
}

impl std::fmt::Debug for Piece<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Markup(text) => write!(f, "Markup({} bytes)", text.len()),
        }
    }
}

/// Which end of a text to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keep {
    /// The beginning.
    Head,
    /// The end.
    Tail,
}

/// The tokens of a prompt. Ordinary text is gathered up to the next control token, because a merge may cross from a
/// template's words into a user's: `encode("a" + "b")` is not `encode("a") + encode("b")`.
pub(super) fn encode_prompt<T: Tokenizer + ?Sized>(
    tokenizer: &T,
    pieces: &[Piece<'_>],
    tokens: &mut Vec<u32>,
) -> Result<()> {
    let begin = Begin { from: 0, markup: None, said: &[] };
    encode_from(tokenizer, pieces, begin, tokens, |text, _, tokens| tokenizer.encode(text, tokens)).map(drop)
}

/// A control token of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Which piece it is in, and where.
    pub(crate) piece: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// How many tokens there are up to it, itself included.
    pub(crate) tokens: usize,
}

/// Where to begin, and what is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begin<'a> {
    /// The byte of the first piece.
    pub(crate) from: usize,
    /// Markup, and the control token in it that comes first: where it begins and ends, and which it is.
    pub(crate) markup: Option<(&'a str, (usize, usize, u32))>,
    /// What the template is known to say.
    pub(crate) said: &'a [Said],
}

/// Some words of a template, and the first control token in them.
pub(crate) type Said = (Box<str>, Control);

/// What the template of that prompt says first, a few short pieces and what is behind the control tokens in them.
#[cfg(feature = "cache")]
pub(crate) fn said(tokenizer: &dyn Tokenizer, pieces: &[Piece<'_>]) -> Vec<Said> {
    let mut said: Vec<Said> = Vec::new();
    let markup = pieces.iter().filter(|piece| piece.is_markup() && piece.text().len() <= KNOWN_BYTES);
    for piece in markup.take(KNOWN) {
        let mut rest = piece.text();
        while said.len() < KNOWN && said.iter().all(|(known, _)| **known != *rest) {
            let control = find_control(tokenizer, rest);
            said.push((rest.into(), control));
            let Some((_, end, _)) = control else { break };
            rest = rest.get(end..).unwrap_or_default();
        }
    }
    said
}

/// [`encode_prompt`] from a place on where a run of ordinary text begins, by another way to encode such a run, which is told the control
/// token before it. The last control token, if there is one; its piece is one of these, its tokens are all.
pub(crate) fn encode_from<T: Tokenizer + ?Sized>(
    tokenizer: &T,
    pieces: &[Piece<'_>],
    Begin { mut from, markup, said }: Begin<'_>,
    tokens: &mut Vec<u32>,
    mut encode: impl FnMut(&str, Option<Cut>, &mut Vec<u32>) -> Result<()>,
) -> Result<Option<Cut>> {
    let mut run = Run { pending: "", gathered: String::new() };
    let mut known = [None; KNOWN];
    known[0] = markup.map(|(markup, control)| (markup, Some(control)));
    let mut controls = Remembered { tokenizer, said, known, next: 1 };
    let mut last: Option<Cut> = None;
    for (number, piece) in pieces.iter().enumerate() {
        let mut rest = piece.text().get(std::mem::take(&mut from)..).unwrap_or_default();
        if piece.is_markup() {
            while let Some((start, end, control)) = controls.find(rest) {
                run.push(rest.get(..start).unwrap_or_default());
                encode(run.take(), last, tokens)?;
                run.clear();
                tokens.push(control);
                let before = piece.text().len() - rest.len();
                last = Some(Cut {
                    piece: number,
                    start: before + start,
                    end: before + end,
                    tokens: tokens.len(),
                });
                rest = rest.get(end..).unwrap_or_default();
            }
        }
        run.push(rest);
    }
    encode(run.take(), last, tokens)?;
    Ok(last)
}

/// Markup that is remembered within a prompt.
const KNOWN: usize = 8;
/// Longer markup is not: comparing it would cost as much as looking through it.
const KNOWN_BYTES: usize = 64;

/// Where a control token is in a text and which, if there is one.
pub(crate) type Control = Option<(usize, usize, u32)>;

fn find_control<T: Tokenizer + ?Sized>(tokenizer: &T, text: &str) -> Control {
    tokenizer.find_control(text).map(|(place, control)| (place.start, place.end, control))
}

/// The control tokens of markup. A template says the same few things over and over; what was found in them is remembered.
struct Remembered<'t, 'a, T: ?Sized> {
    tokenizer: &'t T,
    said: &'a [Said],
    known: [Option<(&'a str, Control)>; KNOWN],
    /// Which one is forgotten next.
    next: usize,
}

impl<'a, T: Tokenizer + ?Sized> Remembered<'_, 'a, T> {
    fn find(&mut self, text: &'a str) -> Control {
        if let Some((_, found)) = self.said.iter().find(|(said, _)| **said == *text) {
            return *found;
        }
        if let Some((_, found)) = self.known.iter().flatten().find(|(known, _)| *known == text) {
            return *found;
        }
        let found = find_control(self.tokenizer, text);
        if text.len() <= KNOWN_BYTES {
            if let Some(known) = self.known.get_mut(self.next) {
                *known = Some((text, found));
            }
            self.next = (self.next + 1) % KNOWN;
        }
        found
    }
}

/// Ordinary text since the last control token: borrowed while it is one piece, copied when it is several.
struct Run<'a> {
    pending: &'a str,
    gathered: String,
}

impl<'a> Run<'a> {
    fn push(&mut self, text: &'a str) {
        if self.pending.is_empty() && self.gathered.is_empty() {
            self.pending = text;
        } else if !text.is_empty() {
            self.gathered.reserve(self.pending.len() + text.len());
            self.gathered.push_str(std::mem::take(&mut self.pending));
            self.gathered.push_str(text);
        }
    }

    fn take(&self) -> &str {
        if self.gathered.is_empty() { self.pending } else { &self.gathered }
    }

    fn clear(&mut self) {
        self.pending = "";
        self.gathered.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Bytes;

    fn check(pieces: &[Piece<'_>], expected: &[u32]) {
        let mut tokens = Vec::new();
        Bytes.encode_prompt(pieces, &mut tokens).unwrap();
        assert_eq!(tokens, expected, "{pieces:?}");
    }

    #[test]
    fn only_markup_writes_control_tokens() {
        let end = Bytes::END_OF_TEXT;
        let written: Vec<u32> = b"<|end|>".iter().map(|byte| u32::from(*byte)).collect();
        check(&[Piece::Markup("<|end|>")], &[end]);
        check(&[Piece::Text("<|end|>")], &written);
        check(
            &[Piece::Markup("a<|end|>"), Piece::Text("b"), Piece::Markup("c<|end|>d")],
            &[97, end, 98, 99, end, 100],
        );
        // However often the same is written, and however much else.
        let words: Vec<String> = (0..30).map(|n| format!("{}<|end|>{}", n % 13, n % 5)).collect();
        let expected: Vec<u32> = (0..30)
            .flat_map(|n: u32| [(n % 13).to_string(), (n % 5).to_string()])
            .flat_map(|digits| digits.into_bytes())
            .map(u32::from)
            .collect();
        let mut tokens = Vec::new();
        let pieces: Vec<Piece<'_>> = words.iter().map(|word| Piece::Markup(word)).collect();
        Bytes.encode_prompt(&pieces, &mut tokens).unwrap();
        assert_eq!(tokens.iter().filter(|token| **token == end).count(), 30);
        tokens.retain(|token| *token != end);
        assert_eq!(tokens, expected);
        // Not even where a template and a user write one half each.
        check(&[Piece::Markup("<|en"), Piece::Text("d|>")], &written);
        check(&[Piece::Text("<|en"), Piece::Markup("d|>")], &written);
    }
}
