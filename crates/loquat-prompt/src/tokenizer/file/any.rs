//! [`from_file`]: whichever engine reads a file.

use std::sync::Arc;

use loquat_core::Result;
use serde::{Deserialize, de::IgnoredAny};

use crate::tokenizer::{BytePair, Tokenizer};

/// The tokenizer of a `tokenizer.json` or a `tekken.json`, told apart by what is in it, under a name of the caller's choice.
///
/// Read by [`BytePair`] where it is wholly understood. Where it is not, the feature `tokenizers` has Hugging Face's library read it,
/// which takes almost any file, and fifty times as long to encode; without that feature it is refused by name, as is with it what is
/// corrupt (two tokens of one number, added tokens that would be numbered anew) or by chance (`dropout`). Control tokens are no text's
/// there either. Of tokens whose file keeps blanks as `▁`, those at a text's beginning may decode with a blank before them.
///
/// # Errors
///
/// As [`BytePair::from_tokenizer_json`].
pub fn from_file(name: &str, json: &[u8]) -> Result<Arc<dyn Tokenizer>> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(rename = "config")]
        _config: IgnoredAny,
        #[serde(rename = "vocab")]
        _vocab: IgnoredAny,
    }
    if serde_json::from_slice::<Head>(json).is_ok() {
        return Ok(Arc::new(BytePair::from_tekken_json(name, json)?));
    }
    match BytePair::from_tokenizer_json(name, json) {
        Ok(tokenizer) => Ok(Arc::new(tokenizer)),
        #[cfg(feature = "tokenizers")]
        Err(_) => super::fallback::tokenizer(name, json),
        #[cfg(not(feature = "tokenizers"))]
        Err(refused) => Err(refused),
    }
}
