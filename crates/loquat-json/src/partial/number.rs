//! A number that grows, byte by byte: how far it is says what may follow (RFC 8259 §6).

/// What a number ends with so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Minus,
    /// The zero that a number begins with, which no digit follows.
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Part {
    /// How a number begins.
    pub(super) fn first(byte: u8) -> Option<Self> {
        match byte {
            b'-' => Some(Self::Minus),
            _ => Self::Minus.then(byte),
        }
    }

    /// With one more byte; `None` when that is no part of the number.
    pub(super) fn then(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus | Self::Digits, b'0'..=b'9') => Self::Digits,
            (Self::Zero | Self::Digits, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Digits | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::ExponentSign,
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => Self::ExponentDigits,
            _ => return None,
        })
    }

    /// Whether it is a number if nothing more comes.
    pub(super) fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Digits | Self::Fraction | Self::ExponentDigits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan;

    /// All texts of six of the bytes that matter, against the scan of whole ones.
    #[test]
    fn a_number_ends_where_the_scan_says() {
        const BYTES: &[u8; 7] = b"017.e-,";
        for sequence in 0..BYTES.len().pow(6) {
            let text: Vec<u8> =
                (0..6).map(|place| BYTES[sequence / BYTES.len().pow(place) % BYTES.len()]).collect();
            let mut part = Part::first(text[0]);
            let mut at = usize::from(part.is_some());
            while let Some(next) = part.zip(text.get(at)).and_then(|(part, byte)| part.then(*byte)) {
                part = Some(next);
                at += 1;
            }
            let got = if part.is_some_and(Part::is_whole) { Ok(at) } else { Err(at) };
            let expected = scan::number(&text, 0).map_err(|error| usize::try_from(error.offset()).unwrap());
            assert_eq!(got, expected, "{:?}", str::from_utf8(&text));
        }
    }
}
