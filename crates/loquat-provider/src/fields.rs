//! The chosen fields of a format's events, as an enum beside their pointers.

use loquat_core::{Error, ErrorKind, Result};
use loquat_json::{Extractor, Fields, Found, Match, PointerError, Str, Value};

/// A format's fields: the enum that [`fields!`] declares, and how to read one.
pub(crate) trait Pick: Copy + 'static {
    /// All of them, each at its own number.
    const ALL: &'static [Self];

    /// Its number.
    fn number(self) -> usize;

    fn of(found: &Match<'_>) -> Option<Self> {
        Self::ALL.get(found.field).copied()
    }

    #[inline(always)] // asked a dozen times for each event, most often in vain
    fn get(self, found: Found<'_>) -> Option<Value<'_>> {
        found.get(self.number())
    }

    /// A text with something in it.
    fn text(self, found: Found<'_>) -> Option<Str<'_>> {
        self.get(found)?.as_str().filter(|text| !text.is_empty())
    }

    /// A text with something in it that is written as it is, without an escape: most are. `None` also for those that are not.
    #[inline(always)] // on the way of every event
    fn plain(self, found: Found<'_>) -> Option<&str> {
        let text = found.raw(self.number())?.strip_prefix('"')?.strip_suffix('"')?;
        (!text.is_empty() && !text.as_bytes().contains(&b'\\')).then_some(text)
    }

    /// Whether it is written like that, a text with its quotes.
    #[inline(always)]
    fn is(self, found: Found<'_>, raw: &str) -> bool {
        found.raw(self.number()) == Some(raw)
    }

    #[inline]
    fn count(self, found: Found<'_>) -> Option<u64> {
        // As `Value::as_u64`, without making a value of it: no text and no constant is written like an integer.
        found.raw(self.number())?.parse().ok()
    }
}

/// An extractor of fields that are compiled once.
pub(crate) fn extractor(compiled: &Result<Fields, PointerError>) -> Result<Extractor> {
    match compiled {
        Ok(fields) => Ok(Extractor::new(fields.clone())),
        Err(error) => Err(Error::new(ErrorKind::Internal, "a pointer of this format cannot be compiled")
            .with_source(*error)),
    }
}

/// Declares `Field` and its RFC 6901 pointers (`*` = any element) in one table, so that the two cannot drift apart.
macro_rules! fields {
    ($($name:ident = $pointer:expr),* $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Field { $($name),* }

        impl $crate::fields::Pick for Field {
            const ALL: &'static [Self] = &[$(Field::$name),*];

            #[inline(always)]
            fn number(self) -> usize {
                self as usize
            }
        }

        impl Field {
            /// An extractor of these fields.
            fn extractor() -> loquat_core::Result<loquat_json::Extractor> {
                static COMPILED: std::sync::LazyLock<Result<loquat_json::Fields, loquat_json::PointerError>> =
                    std::sync::LazyLock::new(|| loquat_json::Fields::compile(&[$($pointer),*]));
                $crate::fields::extractor(&COMPILED)
            }
        }
    };
}

/// A bit for each of these fields, as [`Found::is_only`] takes them.
macro_rules! bits {
    ($($name:ident)|+) => { $(1_u128 << (Field::$name as u32))|+ };
}

pub(crate) use {bits, fields};
