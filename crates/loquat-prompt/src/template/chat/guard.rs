//! What a stranger says never becomes a control token, whatever a program makes of it.
//!
//! A program may trim, split and compare what it is given, so quotes around a stranger's text would show. Instead, one private
//! character, the guard, is put into each control token that the text spells out, behind its first character; before it if the program
//! looks for that token, which it would not find otherwise. The guard comes out of the program where the text does, is removed, and
//! the character behind it is cut off on both sides.
//!
//! Tokens that no text spells out alone, a program can put together: of two texts side by side, of a text and its own `<` and
//! `>`. Whatever it put together stands in what it wrote. So the control tokens that came out are looked for in what went in:
//! a text that ends as one of them begins, begins as one ends, or is the middle of one gets a guard too, and the program runs
//! again. Without such a text it runs once.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use minijinja::{Value, value::ValueKind};

use super::{RenderedChat, jinja, python};
use crate::template::{TemplateError, TemplateErrorKind as Kind};
use crate::tokenizer::Tokenizer;

/// The first of the private characters that a guard can be, and how many there are.
const FIRST: u32 = 0xF_0000;
const CHARACTERS: u32 = 256;

/// Which texts are guarded, and by what.
pub(super) struct Guard<'a> {
    /// Nothing is guarded without one.
    tokenizer: Option<&'a dyn Tokenizer>,
    /// The program's source, and which control tokens it looks for.
    source: &'a str,
    looked_for: RefCell<BTreeMap<u32, bool>>,
    character: char,
    /// Which of the private characters the texts hold, a bit each.
    used: Cell<[u64; 4]>,
    /// The control tokens that came out, as they are written.
    written: Vec<String>,
    /// How many guards stand where a text could be a part of one of those.
    parts: Cell<usize>,
}

impl<'a> Guard<'a> {
    pub(super) fn new(source: &'a str, tokenizer: Option<&'a dyn Tokenizer>) -> Self {
        Self {
            tokenizer,
            source,
            looked_for: RefCell::default(),
            character: '\u{F0000}',
            used: Cell::new([0; 4]),
            written: Vec::new(),
            parts: Cell::new(0),
        }
    }

    pub(super) fn character(&self) -> char {
        self.character
    }

    /// The control tokens that came out so far.
    pub(super) fn written(&self) -> &[String] {
        &self.written
    }

    /// How many guards stand where a text could be a part of one of those.
    pub(super) fn parts(&self) -> usize {
        self.parts.get()
    }

    /// What `make` makes of guarded texts, by a guard that is in none of them.
    ///
    /// # Errors
    /// `make`'s own, and where the texts use every character that could be the guard.
    pub(super) fn guarding<T>(
        &mut self,
        make: impl Fn(&Self) -> Result<T, TemplateError>,
    ) -> Result<T, TemplateError> {
        self.parts.set(0);
        let made = make(self)?;
        let used = self.used.get();
        let is_free = |number: &u32| {
            let place = number.wrapping_sub(FIRST);
            used.get(place as usize / 64).is_some_and(|bits| bits & (1 << (place % 64)) == 0)
        };
        if is_free(&u32::from(self.character)) {
            return Ok(made);
        }
        let free = (FIRST..FIRST + CHARACTERS).find(is_free).and_then(char::from_u32);
        self.character = free.ok_or_else(|| {
            let what = "the conversation uses all 256 private characters from U+F0000 on";
            TemplateError::new(Kind::Data, jinja::NAME, what)
        })?;
        self.parts.set(0);
        make(self)
    }

    /// A stranger's text as the program gets it.
    pub(super) fn text(&self, text: &str) -> String {
        let Some(tokenizer) = self.tokenizer else { return text.to_owned() };
        self.note(text);
        let mut places = Vec::new();
        let mut from = 0;
        while let Some((found, token)) = text.get(from..).and_then(|rest| tokenizer.find_control(rest)) {
            let (start, end) = (from + found.start, from + found.end);
            // What follows is looked at again: a control token may begin within another.
            from = text.ceil_char_boundary(start + 1);
            let is_before =
                from == end || self.is_looked_for(text.get(start..end).unwrap_or_default(), token);
            places.push(if is_before { start } else { from });
        }
        let spelled = places.len();
        could_be_parts(text, &self.written, &mut places);
        self.parts.set(self.parts.get() + places.len() - spelled);
        insert(text, self.character, places)
    }

    /// The same of every text in a value of JSON, the keys of objects among them.
    pub(super) fn json(&self, value: &Value) -> Result<Value, TemplateError> {
        each_text(value, &|text| self.text(text)).map_err(|error| jinja::placed(&error))
    }

    /// What the program wrote without guards, cut where they were; all of it a stranger's where nothing was guarded.
    pub(super) fn remove(&self, text: String) -> RenderedChat {
        let mut rendered = RenderedChat::default();
        if self.tokenizer.is_none() {
            rendered.text = text;
            rendered.end_piece(false);
            return rendered;
        }
        let mut parts = text.split(self.character);
        rendered.text.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (first, rest) = part.split_at(part.chars().next().map_or(0, char::len_utf8));
            rendered.end_piece(true);
            rendered.text.push_str(first);
            rendered.end_piece(true);
            rendered.text.push_str(rest);
        }
        rendered.end_piece(true);
        rendered
    }

    /// Takes down which control tokens came out; whether there is one that did not before.
    pub(super) fn learn(&mut self, rendered: &RenderedChat) -> bool {
        let Some(tokenizer) = self.tokenizer else { return false };
        let known = self.written.len();
        for piece in rendered.pieces() {
            let mut rest = piece.text();
            while let Some((found, _)) = tokenizer.find_control(rest) {
                let token = rest.get(found.clone()).unwrap_or_default();
                if !self.written.iter().any(|written| written == token) {
                    self.written.push(token.to_owned());
                }
                rest = rest.get(found.end..).unwrap_or_default();
            }
        }
        self.written.len() > known
    }

    /// Whether the program looks for the token: `'…' in text`, `text.split('…')` and the like.
    fn is_looked_for(&self, spelled: &str, token: u32) -> bool {
        *self.looked_for.borrow_mut().entry(token).or_insert_with(|| {
            ['\'', '"'].into_iter().any(|quote| {
                self.source.contains(&format!("({quote}{spelled}"))
                    || self.source.contains(&format!("{quote}{spelled}{quote} in "))
            })
        })
    }

    fn note(&self, text: &str) {
        // Each of the private characters begins with this byte.
        if !text.as_bytes().contains(&0xF3) {
            return;
        }
        let mut used = self.used.get();
        for character in text.chars() {
            let place = u32::from(character).wrapping_sub(FIRST);
            if let Some(bits) = used.get_mut(place as usize / 64) {
                *bits |= 1 << (place % 64);
            }
        }
        self.used.set(used);
    }
}

/// Where in a text a part of one of the tokens may begin that what stands around the text completes.
fn could_be_parts(text: &str, tokens: &[String], places: &mut Vec<usize>) {
    tokens.iter().for_each(|token| could_be_part(text, token, places));
}

/// The same of one; the text as it is, and trimmed.
fn could_be_part(text: &str, token: &str, places: &mut Vec<usize>) {
    let trimmed = python::strip(text);
    let before = trimmed.as_ptr() as usize - text.as_ptr() as usize;
    let cuts = || (1..token.len()).filter(|cut| token.is_char_boundary(*cut));
    for (offset, text) in [(0, text), (before, trimmed)] {
        if text.is_empty() {
            continue;
        }
        for (head, tail) in cuts().map(|cut| token.split_at(cut)) {
            if text.ends_with(head) {
                places.push(offset + text.len() - head.len());
            }
            if text.starts_with(tail) {
                places.push(offset);
            }
        }
        if text.len() < token.len() && token.contains(text) {
            places.push(offset);
        }
    }
}

/// The text with that character at these places.
fn insert(text: &str, character: char, mut places: Vec<usize>) -> String {
    places.sort_unstable();
    places.dedup();
    let mut guarded = String::with_capacity(text.len() + places.len() * character.len_utf8());
    let mut from = 0;
    for place in places {
        guarded.push_str(text.get(from..place).unwrap_or_default());
        guarded.push(character);
        from = place;
    }
    guarded.push_str(text.get(from..).unwrap_or_default());
    guarded
}

/// A value of JSON with each text in it changed.
pub(super) fn each_text(value: &Value, change: &dyn Fn(&str) -> String) -> Result<Value, minijinja::Error> {
    match value.kind() {
        ValueKind::String => Ok(value.as_str().map_or_else(|| value.clone(), |text| change(text).into())),
        ValueKind::Seq => {
            let items = value.try_iter()?.map(|item| each_text(&item, change));
            Ok(Value::from(items.collect::<Result<Vec<_>, _>>()?))
        }
        ValueKind::Map => {
            let mut members = Vec::with_capacity(value.len().unwrap_or(0));
            for key in value.try_iter()? {
                let member = each_text(&value.get_item(&key)?, change)?;
                members.push((each_text(&key, change)?, member));
            }
            Ok(Value::from_pairs(members))
        }
        _ => Ok(value.clone()),
    }
}

/// The places in `text` of those tokens before which no guard stands.
pub(super) fn unguarded<'t>(text: &'t str, token: &'t str, guard: char) -> impl Iterator<Item = usize> + 't {
    let places = text.match_indices(token).map(|(place, _)| place);
    places.filter(move |place| !text.get(..*place).is_some_and(|before| before.ends_with(guard)))
}

/// The text with a guard where a part of one of these tokens may begin.
pub(super) fn guard_parts(text: &str, tokens: &[String], guard: char) -> String {
    let mut places = Vec::new();
    could_be_parts(text, tokens, &mut places);
    insert(text, guard, places)
}

/// The text with a guard before each of these tokens that has none.
pub(super) fn guard_all(text: &str, tokens: &[String], guard: char) -> String {
    let places = tokens.iter().flat_map(|token| unguarded(text, token, guard)).collect();
    insert(text, guard, places)
}
