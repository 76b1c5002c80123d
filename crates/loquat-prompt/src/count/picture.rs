//! Pictures: how large one is, from its first bytes, and how many tokens each provider makes of that.

use super::Count;

/// How a provider counts pictures.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pictures {
    /// Scaled into 2,048², the shorter side to 768, then 170 for each tile of 512² and 85 more (OpenAI, "Images and vision"). Small models
    /// count otherwise: their range is part of this one.
    OpenAi,
    /// Scaled into 1,568², then a token for each 750 pixels (Anthropic, "Vision").
    Anthropic,
    /// 258 for a small one and for each tile of 768² (Google, "Understand and count tokens"); the third generation up to 1,120.
    Gemini,
    Unknown,
}

impl Pictures {
    /// The tokens of a picture of that width and height, if they are known.
    pub(super) fn count(self, size: Option<(u32, u32)>) -> Count {
        let size = size.filter(|(width, height)| *width > 0 && *height > 0);
        let (low, high) = match (self, size) {
            // With low detail any picture is 85.
            (Self::OpenAi, None) => (70, 1445),
            (Self::OpenAi, Some(size)) => {
                let (width, height) = shrunk(size, 2048, 768);
                let tiles = width.div_ceil(512) * height.div_ceil(512);
                (70, 85 + 170 * tiles)
            }
            (Self::Anthropic, None) => (50, 1700),
            (Self::Anthropic, Some(size)) => {
                let (width, height) = shrunk(size, 1568, 1568);
                let tokens = width * height / 750;
                (tokens * 9 / 10, (tokens * 11 / 10).min(1700) + 10)
            }
            (Self::Gemini, Some((width, height))) if width <= 384 && height <= 384 => (256, 1120),
            (Self::Gemini, _) => (256, 3000),
            (Self::Unknown, _) => (50, 4000),
        };
        Count::between(low, high.max(low))
    }
}

/// Made smaller, its shape kept, until the longer side is at most `long` and the shorter at most `short`.
fn shrunk((width, height): (u32, u32), long: u64, short: u64) -> (u64, u64) {
    let (mut width, mut height) = (u64::from(width), u64::from(height));
    for (side, limit) in [(width.max(height), long), (0, short)] {
        let side = if side == 0 { width.min(height) } else { side };
        if side > limit {
            (width, height) = ((width * limit / side).max(1), (height * limit / side).max(1));
        }
    }
    (width, height)
}

/// Width and height of a PNG, GIF, JPEG or WebP, from its header. Nothing is decoded.
pub(super) fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some((big(bytes, 16, 4)?, big(bytes, 20, 4)?));
    }
    if bytes.starts_with(b"GIF8") {
        return Some((little(bytes, 6, 2)?, little(bytes, 8, 2)?));
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return match bytes.get(12..16)? {
            b"VP8X" => Some((little(bytes, 24, 3)? + 1, little(bytes, 27, 3)? + 1)),
            b"VP8 " => Some((little(bytes, 26, 2)? & 0x3FFF, little(bytes, 28, 2)? & 0x3FFF)),
            b"VP8L" => {
                let bits = little(bytes, 21, 4)?;
                Some(((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
            }
            _ => None,
        };
    }
    if bytes.starts_with(b"\xFF\xD8") {
        return jpeg(bytes);
    }
    None
}

/// From marker to marker until the frame's header (ITU-T T.81 §B.2.2).
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let [0xFF, marker] = *bytes.get(at..)?.first_chunk::<2>()? else { return None };
        let length = big(bytes, at + 2, 2)? as usize;
        match marker {
            0xC4 | 0xC8 | 0xCC => {}
            0xC0..=0xCF => return Some((big(bytes, at + 7, 2)?, big(bytes, at + 5, 2)?)),
            _ => {}
        }
        at = at.checked_add(2 + length.max(2))?;
    }
}

fn big(bytes: &[u8], at: usize, length: usize) -> Option<u32> {
    Some(bytes.get(at..at + length)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

fn little(bytes: &[u8], at: usize, length: usize) -> Option<u32> {
    Some(bytes.get(at..at + length)?.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_the_size() {
        let png = [b"\x89PNG\r\n\x1a\n\0\0\0\x0DIHDR".as_slice(), &[0, 0, 4, 0, 0, 0, 3, 0]].concat();
        let jpeg = [0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 0, 0, 0xFF, 0xC2, 0, 11, 8, 3, 0, 4, 0, 3];
        let lossless =
            [b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2F".as_slice(), &(1023_u32 | 767 << 14).to_le_bytes()].concat();
        for picture in [png.as_slice(), &jpeg, b"GIF89a\0\x04\0\x03", &lossless] {
            assert_eq!(size(picture), Some((1024, 768)), "{picture:?}");
            for cut in 0..picture.len() {
                let _ = size(&picture[..cut]);
            }
        }
        assert_eq!(size(b"\xFF\xD8\xFF\xE0\0\0\xFF"), None);
        assert_eq!(size(b"text"), None);
    }

    #[test]
    fn documented_examples() {
        // OpenAI's guide: 1,024² is 765 tokens, 2,048 x 4,096 is 1,105.
        assert_eq!(Pictures::OpenAi.count(Some((1024, 1024))).high(), 765);
        assert_eq!(Pictures::OpenAi.count(Some((2048, 4096))).high(), 1105);
        let anthropic = Pictures::Anthropic.count(Some((1000, 1000)));
        assert!(anthropic.low() <= 1334 && 1334 <= anthropic.high());
    }
}
