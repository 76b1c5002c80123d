//! Models by the names that they go by.

/// Looks the model up by its bare name, or without the provider that may stand before it, and its region: `openai:gpt-4o` is a
/// provider and a model, `us.anthropic.claude-…` a region, too, `gpt-oss:20b` a model and a size.
pub(crate) fn named<T>(model: &str, look: impl Fn(&str) -> Option<T>) -> Option<T> {
    let name = model.to_ascii_lowercase();
    let bare = name.rsplit('/').next().unwrap_or_default();
    let after = |mark| bare.split_once(mark).map(|(_, model)| model);
    let dots = bare.match_indices('.').take(2);
    let mut without = dots.filter_map(|(dot, _)| bare.get(dot + 1..));
    look(bare).or_else(|| after(':').and_then(&look)).or_else(|| without.find_map(&look))
}
