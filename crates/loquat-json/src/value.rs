//! Values as they are lent: typed views of a stretch of the document, converted only when asked.

use std::fmt;

use crate::found::Kind;
use crate::text::Str;

/// A value found in a document, borrowed from it. `Debug` shows kinds and lengths, not content.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Value<'e> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number<'e>),
    /// A string.
    Str(Str<'e>),
    /// An array as written, brackets included.
    Array(Raw<'e>),
    /// An object as written, braces included.
    Object(Raw<'e>),
}

impl<'e> Value<'e> {
    /// The value of this kind that stands there in the document.
    #[inline]
    pub(crate) fn new(kind: Kind, document: &'e str, start: usize, end: usize) -> Self {
        // Strings are what a stream is asked for most.
        if let Kind::PlainStr | Kind::EscapedStr = kind {
            return Self::Str(Str::new(document, start, end, kind == Kind::EscapedStr));
        }
        // Places lie on the ASCII of brackets and digits, inside the document that they were found in.
        let text = document.get(start..end).unwrap_or_default();
        match kind {
            Kind::True => Self::Bool(true),
            Kind::False => Self::Bool(false),
            Kind::Number => Self::Number(Number(text)),
            Kind::Array => Self::Array(Raw(text)),
            Kind::Object => Self::Object(Raw(text)),
            Kind::PlainStr | Kind::EscapedStr | Kind::Null | Kind::Superseded => Self::Null,
        }
    }

    /// The string, if it is one.
    #[inline]
    pub fn as_str(&self) -> Option<Str<'e>> {
        match self {
            Self::Str(text) => Some(*text),
            _ => None,
        }
    }

    /// The number as [`Number::as_u64`], if it is one.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_number()?.as_u64()
    }

    /// The number as [`Number::as_i64`], if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_number()?.as_i64()
    }

    /// The number as [`Number::as_f64`], if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        self.as_number()?.as_f64()
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<Number<'e>> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// True for `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The value as written, without white space around it: a JSON text of its own, known to be valid.
    pub fn raw(&self) -> &'e [u8] {
        match self {
            Self::Null => b"null",
            Self::Bool(true) => b"true",
            Self::Bool(false) => b"false",
            Self::Number(number) => number.0.as_bytes(),
            Self::Str(text) => text.quoted().as_bytes(),
            Self::Array(raw) | Self::Object(raw) => raw.as_bytes(),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Bool(_) => f.write_str("Bool"),
            Self::Number(number) => number.fmt(f),
            Self::Str(text) => text.fmt(f),
            Self::Array(raw) => f.debug_tuple("Array").field(raw).finish(),
            Self::Object(raw) => f.debug_tuple("Object").field(raw).finish(),
        }
    }
}

/// A number as written: any length and precision, which JSON does not limit.
#[derive(Clone, Copy)]
pub struct Number<'e>(pub(crate) &'e str);

impl<'e> Number<'e> {
    /// The number as written.
    pub fn raw(&self) -> &'e str {
        self.0
    }

    /// The integer, exactly. `None` with a sign, a fraction or an exponent (`1.0` and `1e3` too), or beyond `u64`.
    pub fn as_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// The integer, exactly. `None` with a fraction or an exponent, or beyond `i64`.
    pub fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// The nearest double. `None` beyond its range.
    pub fn as_f64(&self) -> Option<f64> {
        self.0.parse().ok().filter(|number: &f64| number.is_finite())
    }
}

impl fmt::Debug for Number<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Number({} bytes)", self.0.len())
    }
}

/// An array or object as written: valid JSON, ready to be kept, sent on, or extracted from in turn.
#[derive(Clone, Copy)]
pub struct Raw<'e>(pub(crate) &'e str);

impl<'e> Raw<'e> {
    /// The JSON text.
    pub fn as_str(&self) -> &'e str {
        self.0
    }

    /// The JSON text as bytes.
    pub fn as_bytes(&self) -> &'e [u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raw({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_exact_or_absent() {
        fn check(raw: &str, unsigned: Option<u64>, signed: Option<i64>) {
            assert_eq!((Number(raw).as_u64(), Number(raw).as_i64()), (unsigned, signed), "{raw}");
        }
        check("0", Some(0), Some(0));
        check("-0", None, Some(0));
        check("-1", None, Some(-1));
        check("9007199254740993", Some(9_007_199_254_740_993), Some(9_007_199_254_740_993));
        check("18446744073709551615", Some(u64::MAX), None);
        check("18446744073709551616", None, None);
        check("-9223372036854775808", None, Some(i64::MIN));
        check("-9223372036854775809", None, None);
        check("1.0", None, None);
        check("1e3", None, None);
        check(&"9".repeat(4096), None, None);
    }

    #[test]
    fn debug_shows_no_content() {
        assert_eq!(
            format!("{:?}", [Value::Bool(true), Value::Bool(false), Value::Null]),
            "[Bool, Bool, Null]"
        );
    }

    #[test]
    fn doubles_are_finite() {
        assert_eq!(Number("-1.5e3").as_f64(), Some(-1500.0));
        assert_eq!(Number("1e400").as_f64(), None);
    }
}
