//! Pictures: how large one is, from its first bytes, and how many tokens each provider makes of that.

use super::Count;

/// How a provider counts pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pictures {
    /// Scaled into 2,048², the shorter side to 768, then so many for each tile of 512² and a base; with low detail the base alone
    /// (OpenAI, "Images and vision").
    Tiles {
        base: u64,
        tile: u64,
    },
    /// A patch for each 32², the picture scaled until there are at most 1,536, and for each patch so many hundredths of a token (the
    /// same page). Low detail is taken for a picture of 512².
    Patches {
        hundredths: (u64, u64),
    },
    /// OpenAI's, the model not told: any of the above, and the 10,000 patches of the newest.
    OpenAi,
    /// Scaled into 1,568², then a token for each 750 pixels (Anthropic, "Vision").
    Anthropic,
    /// 258 for a small one and for each tile, of which one and a half are as long as the shorter side (Google, "Image understanding");
    /// the third generation up to 1,120.
    Gemini,
    /// A patch for each 16² of at most 1,024², or for each 28² of at most 1,540², and one more for each row (Mistral's `mistral-common`,
    /// `ImageEncoder`).
    Mistral,
    /// A patch for each 28² or 32², at most 16,384, between two more; of what is smaller, as if enlarged to four of 28²
    /// (Qwen 2.5) or 64 of 32² (Qwen 3; `smart_resize` with the least size of the models' own `preprocessor_config.json`).
    /// Who serves it may allow less.
    Qwen,
    Unknown,
}

/// Beginnings of names, the more special first. Where OpenAI's page and its own calculator differ (the small ones of the fifth
/// generation are 1.62 and 2.46 on the one, 1.2 and 1.5 on the other, and were billed as the other), both are within.
const NAMES: &[(&str, Pictures)] = &[
    ("gpt-4o-mini", Pictures::Tiles { base: 2833, tile: 5667 }),
    ("gpt-4.1-mini", Pictures::Patches { hundredths: (162, 162) }),
    ("gpt-4.1-nano", Pictures::Patches { hundredths: (246, 246) }),
    ("gpt-4", Pictures::Tiles { base: 85, tile: 170 }),
    ("chatgpt-4o", Pictures::Tiles { base: 85, tile: 170 }),
    ("o1", Pictures::Tiles { base: 75, tile: 150 }),
    ("o3", Pictures::Tiles { base: 75, tile: 150 }),
    ("o4-mini", Pictures::Patches { hundredths: (172, 172) }),
    ("gpt-5-mini", Pictures::Patches { hundredths: (120, 162) }),
    ("gpt-5-nano", Pictures::Patches { hundredths: (150, 246) }),
    // Which of the later ones count by patches is said of some.
    ("gpt-5-codex", Pictures::OpenAi),
    ("gpt-5.", Pictures::OpenAi),
    ("gpt-5", Pictures::Tiles { base: 70, tile: 140 }),
];

impl Pictures {
    /// Those of the model with that name, where it is told apart from its family.
    pub(super) fn of(name: &str) -> Option<Self> {
        let mut names = NAMES.iter();
        names.find(|(beginning, _)| name.starts_with(beginning)).map(|(_, pictures)| *pictures)
    }

    /// The tokens of a picture of that width and height, if they are known.
    pub(super) fn count(self, size: Option<(u32, u32)>) -> Count {
        let size = size.filter(|(width, height)| *width > 0 && *height > 0);
        let (low, high) = match (self, size) {
            (Self::Tiles { base, tile }, size) => (base, base + tile * size.map_or(8, tiles)),
            (Self::Patches { hundredths: (less, more) }, size) => {
                // A picture that is scaled comes below the limit, or was billed as the limit.
                let (fitted, most) =
                    size.map_or((1, PATCHES), |size| (fitted(size), patches(size).min(PATCHES)));
                (fitted.min(256) * less / 100, (most * more).div_ceil(100))
            }
            (Self::OpenAi, size) => {
                let (patches, tiles) =
                    size.map_or((10_000, 8), |size| (patches(size).min(10_000), tiles(size)));
                (
                    if size.is_some() { patches.min(70) } else { 1 },
                    (patches * 246).div_ceil(100).max(2833 + 5667 * tiles),
                )
            }
            (Self::Anthropic, None) => (50, 1700),
            (Self::Anthropic, Some(size)) => {
                let (width, height) = shrunk(size, 1568, 1568);
                let tokens = width * height / 750;
                (tokens * 9 / 10, (tokens * 11 / 10).min(1700) + 10)
            }
            (Self::Gemini, Some((width, height))) if width <= 384 && height <= 384 => (256, 1120),
            (Self::Gemini, Some(size)) => (256, (cropped(size) * 258).max(1120)),
            (Self::Gemini, None) => (256, 3000),
            (Self::Mistral, size) => {
                let (less, more) =
                    size.map_or((2, 64 * 65), |size| (rows(size, 1540, 28), rows(size, 1024, 16)));
                (less.min(more), less.max(more))
            }
            (Self::Qwen, Some((width, height))) => {
                let by = |side: u32| u64::from(width.div_ceil(side)) * u64::from(height.div_ceil(side));
                let high = by(28).max(enlarged((width, height), 64, 32)).min(16_384);
                ((by(32) * 3 / 4).clamp(4, 1024), high + 2)
            }
            (Self::Qwen, None) => (4, 16_386),
            (Self::Unknown, _) => (50, 4000),
        };
        Count::between(low, high.max(low))
    }
}

/// The most tiles that a picture may be. Of a side of two thirds of its shorter side (Google, "Image understanding"); or of 256 to 768
/// pixels, once the picture fits into 3,072² (Vertex AI, of the same name): nobody says which holds for which model. No window holds more
/// tokens than they are at most.
fn cropped(size: (u32, u32)) -> u64 {
    let tiles = |(width, height): (u64, u64), least, most| {
        let side = (width.min(height) * 2 / 3).clamp(least, most);
        width.div_ceil(side) * height.div_ceil(side)
    };
    let as_it_is = (u64::from(size.0), u64::from(size.1));
    tiles(as_it_is, 1, u64::MAX).max(tiles(shrunk(size, 3072, 3072), 256, 768)).min(WINDOW / 258)
}

/// Tokens of the largest windows.
const WINDOW: u64 = 1 << 20;

/// Patches of that side in a picture that is enlarged until it has the area of so many, both sides rounded up; 0 for one
/// that has it.
fn enlarged((width, height): (u32, u32), least: u64, side: u64) -> u64 {
    let (width, height) = (u64::from(width.max(1)), u64::from(height.max(1)));
    if width * height >= least * side * side {
        return 0;
    }
    // Scaled to that area, one side has √(least · one ÷ other) patches.
    let along = |one: u64, other: u64| {
        let square = (least * one).div_ceil(other);
        let root = square.isqrt();
        root + u64::from(root * root < square)
    };
    along(width, height) * along(height, width)
}

/// Patches of that side in a picture scaled into `most`², and a break for each row.
fn rows(size: (u32, u32), most: u64, patch: u64) -> u64 {
    let (width, height) = shrunk(size, most, most);
    (width.div_ceil(patch) + 1) * height.div_ceil(patch)
}

/// The most patches that most of OpenAI's models look at.
const PATCHES: u64 = 1536;

/// Tiles of 512², at most 4 by 2.
fn tiles(size: (u32, u32)) -> u64 {
    let (width, height) = shrunk(size, 2048, 768);
    width.div_ceil(512) * height.div_ceil(512)
}

fn patches((width, height): (u32, u32)) -> u64 {
    u64::from(width.div_ceil(32)) * u64::from(height.div_ceil(32))
}

/// The patches of a picture that is scaled, where it has to be, to at most [`PATCHES`] of them: to as many by area, then a little
/// more until the side that comes off worse is whole patches.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the limit")]
fn fitted(size: (u32, u32)) -> u64 {
    if patches(size) <= PATCHES {
        return patches(size);
    }
    let (width, height) = (f64::from(size.0) / 32.0, f64::from(size.1) / 32.0);
    let scale = (PATCHES as f64 / (width * height)).sqrt();
    let (width, height) = (width * scale, height * scale);
    let more = (width.floor() / width).min(height.floor() / height);
    let whole = |side: f64| ((side * more - 1e-6).ceil().max(1.0)) as u64;
    (whole(width) * whole(height)).min(PATCHES)
}

/// Made smaller, its shape kept, until the longer side is at most `long` and the shorter at most `short`.
fn shrunk((width, height): (u32, u32), long: u64, short: u64) -> (u64, u64) {
    let (mut width, mut height) = (u64::from(width), u64::from(height));
    for (side, limit) in [(width.max(height), long), (0, short)] {
        let side = if side == 0 { width.min(height) } else { side };
        if side > limit {
            // To the nearest pixel, as is billed.
            let scaled = |length: u64| ((length * limit + side / 2) / side).max(1);
            (width, height) = (scaled(width), scaled(height));
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
        if marker == 0xFF {
            // Any number of these may fill the place before a marker (§B.1.1.2).
            at += 1;
            continue;
        }
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

    /// The largest and thinnest there can be by their heads.
    #[test]
    fn no_picture_is_more_than_a_window_holds() {
        let kinds = [
            Pictures::Tiles { base: 2833, tile: 5667 },
            Pictures::Patches { hundredths: (246, 246) },
            Pictures::OpenAi,
            Pictures::Anthropic,
            Pictures::Gemini,
            Pictures::Mistral,
            Pictures::Qwen,
            Pictures::Unknown,
        ];
        for kind in kinds {
            for (width, height) in
                [(u32::MAX, u32::MAX), (u32::MAX, 1), (1, u32::MAX), (16_711_424, 12_979), (1, 1)]
            {
                let count = kind.count(Some((width, height)));
                assert!(count.high() < 1 << 20, "{kind:?} of {width} by {height}: {count:?}");
            }
        }
    }

    #[test]
    fn fill_bytes_hide_no_size() {
        let filled =
            [0xFF, 0xD8, 0xFF, 0xFF, 0xFF, 0xE0, 0, 4, 0, 0, 0xFF, 0xFF, 0xC0, 0, 11, 8, 3, 0, 4, 0, 3];
        assert_eq!(size(&filled), Some((1024, 768)));
        assert_eq!(size(&[&[0xFF, 0xD8], [0xFF; 1000].as_slice()].concat()), None);
    }

    /// What users of the models were billed for a picture, the text beside it taken off: OpenAI's forum, threads 1230130, 1262691,
    /// 1281361 and 1344040.
    #[test]
    fn what_was_billed_is_within() {
        for (model, size, billed) in [
            ("gpt-4o-2024-11-20", (128, 64), 85),
            ("gpt-4o-2024-11-20", (128, 64), 255),
            ("gpt-4o-mini-2024-07-18", (128, 64), 2833),
            ("gpt-4o-mini-2024-07-18", (128, 64), 8500),
            ("gpt-4.1-2025-04-14", (2049, 513), 1445),
            ("gpt-4.1-mini-2025-04-14", (128, 64), 13),
            ("gpt-4.1-mini", (2400, 1800), 2352),
            ("gpt-4.1-mini", (4000, 1474), 2488),
            ("gpt-4.1-nano", (4000, 3000), 3778),
            ("o3-2025-04-16", (128, 64), 75),
            ("o3-2025-04-16", (128, 64), 225),
            ("o4-mini-2025-04-16", (128, 64), 13),
            ("gpt-5-nano", (4000, 3000), 2304),
        ] {
            for pictures in [Pictures::of(model).unwrap(), Pictures::OpenAi] {
                let count = pictures.count(Some(size));
                assert!(
                    count.low() <= billed && billed <= count.high(),
                    "{model} {size:?}: {billed}, {count}"
                );
                let blind = pictures.count(None);
                assert!(blind.low() <= billed && billed <= blind.high(), "{model}: {billed}, {blind}");
            }
        }
    }

    #[test]
    fn no_shape_is_beyond_the_limit() {
        for size in [(1, u32::MAX), (u32::MAX, u32::MAX), (33, 49_153), (u32::MAX, 33), (1536 * 32, 32)] {
            assert!((1..=PATCHES).contains(&fitted(size)), "{size:?}: {}", fitted(size));
            for pictures in [Pictures::Gemini, Pictures::Mistral, Pictures::Qwen, Pictures::Anthropic] {
                let count = pictures.count(Some(size));
                assert!(count.low() <= count.high(), "{pictures:?} {size:?}: {count}");
            }
            let count = Pictures::OpenAi.count(Some(size));
            assert!(count.low() >= 1 && count.high() <= 2833 + 5667 * 8, "{size:?}: {count}");
        }
    }

    #[test]
    fn documented_examples() {
        // OpenAI's guide: 1,024² is 765 tokens, 2,048 x 4,096 is 1,105; 1,024 patches of 1,024², 1,452 of 1,800 x 2,400.
        let tiles = Pictures::Tiles { base: 85, tile: 170 };
        assert_eq!(tiles.count(Some((1024, 1024))).high(), 765);
        assert_eq!(tiles.count(Some((2048, 4096))).high(), 1105);
        // Billed for a side of 512.7 and of 512.4 pixels when scaled (thread 1281361).
        assert_eq!(tiles.count(Some((2049, 513))).high(), 1445);
        assert_eq!(tiles.count(Some((2050, 513))).high(), 765);
        assert_eq!(fitted((1024, 1024)), 1024);
        assert_eq!(fitted((1800, 2400)), 1452);
        // Google's guide: 960 x 540 is 6 tiles. A banner is many.
        assert_eq!(Pictures::Gemini.count(Some((960, 540))).high(), 6 * 258);
        assert_eq!(Pictures::Gemini.count(Some((10_000, 500))).high(), 62 * 258);
        assert_eq!(Pictures::Gemini.count(Some((3072, 3072))).high(), 16 * 258);
        // `mistral-common`: 64 rows of 64 and a break, and 37 of 37 with the larger patches; 55 of what is scaled to 1,540².
        let mistral = Pictures::Mistral.count(Some((1024, 1024)));
        assert_eq!((mistral.low(), mistral.high()), (37 * 38, 64 * 65));
        assert_eq!(Pictures::Mistral.count(Some((4000, 4000))).low(), 55 * 56);
        assert_eq!(Pictures::Mistral.count(Some((200, 100))).low(), 4 * 9);
        // Qwen: 1,036 x 644 is 37 by 23 patches, and two around them; what is larger than its largest is scaled to it.
        let qwen = Pictures::Qwen.count(Some((1036, 644)));
        assert!(qwen.low() <= 37 * 23 && qwen.high() == 37 * 23 + 2, "{qwen}");
        assert_eq!(Pictures::Qwen.count(Some((10_000, 10_000))).high(), 16_386);
        // What is small is enlarged: to 8 by 8 patches of 32², and where it is narrow to more, as sides are rounded up.
        for (size, patches) in
            [((32, 32), 64), ((64, 64), 64), ((100, 10), 26 * 3), ((1, 200), 114), ((200, 1), 114)]
        {
            let small = Pictures::Qwen.count(Some(size));
            assert!(small.low() <= 5 && small.high() == patches + 2, "{size:?}: {small}");
        }
        let anthropic = Pictures::Anthropic.count(Some((1000, 1000)));
        assert!(anthropic.low() <= 1334 && 1334 <= anthropic.high());
    }
}
