//! Pictures and sound that come in base64 and without a word on what they are: their beginning tells.

use loquat_core::Result;
use loquat_json::Value;

use crate::outbox::{Outbox, Text};

/// The media type of sound by how its base64 begins; what is no file is bare samples.
pub(crate) fn audio_type(base64: &str) -> &'static str {
    match base64.get(..4) {
        Some("UklG") => "audio/wav",
        Some("SUQz" | "//tQ" | "//uQ") => "audio/mpeg",
        Some("T2dn") => "audio/ogg",
        Some("Zkxh") => "audio/flac",
        _ => "audio/pcm",
    }
}

/// A picture that the model made; as a detail if it is no base64, so that nothing is lost.
pub(crate) fn picture(value: Value<'_>, out: &mut Outbox) -> Result<()> {
    let Some(text) = value.as_str().filter(|text| !text.is_empty()) else { return Ok(()) };
    let is_told = match text.borrowed() {
        Some(base64) => out.media(0, Text::Plain(picture_type(base64)), base64)?,
        None => false,
    };
    if is_told { Ok(()) } else { out.detail(0, "images", value) }
}

/// The media type of a picture by how its base64 begins.
pub(crate) fn picture_type(base64: &str) -> &'static str {
    match base64.get(..4) {
        Some("iVBO") => "image/png",
        Some("/9j/") => "image/jpeg",
        Some("UklG") => "image/webp",
        Some("R0lG") => "image/gif",
        _ => "application/octet-stream",
    }
}
