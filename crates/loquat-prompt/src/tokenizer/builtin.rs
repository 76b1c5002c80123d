//! The vocabularies that are part of this crate.
//!
//! Their data is in `vocabularies/`, 1.8 MB, which `README.md` there describes; it is read at the first use, in some
//! milliseconds, and kept.

use std::sync::{Arc, OnceLock};

use loquat_core::Result;

use super::{BytePair, bpe::Vocabulary, byte_pair::Splitter};

type Cell = OnceLock<Result<Arc<BytePair>>>;

/// `o200k_base`: GPT-4o, GPT-4.1, GPT-5 and the o-series.
///
/// The first call takes some milliseconds and 12 MB; further ones share the value.
///
/// # Errors
///
/// None, unless the crate was built with damaged data.
pub fn o200k_base() -> Result<Arc<BytePair>> {
    static CELL: Cell = OnceLock::new();
    built_in(
        &CELL,
        "o200k_base",
        include_bytes!("../../vocabularies/o200k_base.merges"),
        Splitter::O200k,
        &[("<|endoftext|>", 199_999), ("<|endofprompt|>", 200_018)],
    )
}

/// `cl100k_base`: GPT-4, GPT-3.5 and the embeddings of their time.
///
/// The first call takes some milliseconds and 8 MB; further ones share the value.
///
/// # Errors
///
/// None, unless the crate was built with damaged data.
pub fn cl100k_base() -> Result<Arc<BytePair>> {
    static CELL: Cell = OnceLock::new();
    built_in(
        &CELL,
        "cl100k_base",
        include_bytes!("../../vocabularies/cl100k_base.merges"),
        Splitter::Cl100k,
        &[
            ("<|endoftext|>", 100_257),
            ("<|fim_prefix|>", 100_258),
            ("<|fim_middle|>", 100_259),
            ("<|fim_suffix|>", 100_260),
            ("<|endofprompt|>", 100_276),
        ],
    )
}

fn built_in(
    cell: &Cell,
    name: &str,
    data: &[u8],
    pattern: Splitter,
    controls: &[(&str, u32)],
) -> Result<Arc<BytePair>> {
    let read = || {
        let controls = controls.iter().map(|(written, token)| ((*written).to_owned(), *token));
        Ok(Arc::new(BytePair::new(name, Vocabulary::read(data)?, pattern, controls)?))
    };
    cell.get_or_init(read).clone()
}
