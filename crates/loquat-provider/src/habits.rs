//! Formats with other habits: for a server of one's own, which speaks like one that is known but for this and that.
//!
//! Their types are `#[non_exhaustive]`, as servers are inventive: one is made of another, in a `static` of one's own
//! where that is wanted. The name stays, since what is asked besides answers ([`operations`](crate::operations)) goes
//! by it.

use crate::{
    AnthropicMessages, AnthropicPlace, BudgetField, DashScope, Gemini, OpenAiChat, OpenAiPlace, StrictMode,
};

/// For each field a method that replaces it.
macro_rules! replaced {
    ($($with:ident $field:ident: $type:ty),+ $(,)?) => {
        $(
            #[doc = concat!("Replaces [`", stringify!($field), "`](Self::", stringify!($field), ").")]
            #[must_use]
            pub const fn $with(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            }
        )+
    };
}

/// ```
/// use loquat_provider::{BudgetField, OPENAI_COMPATIBLE, OpenAiChat};
///
/// static OURS: OpenAiChat =
///     OPENAI_COMPATIBLE.with_stream_options(false).with_budget(BudgetField::ThinkingBudget);
/// ```
impl OpenAiChat {
    replaced! {
        with_max_tokens_field max_tokens_field: &'static str,
        with_stream_options stream_options: bool,
        with_reasoning_field reasoning_field: Option<&'static str>,
        with_call_signatures call_signatures: bool,
        with_reasoning_details reasoning_details: bool,
        with_budget budget: BudgetField,
        with_json_schema json_schema: bool,
        with_strict strict: StrictMode,
        with_prompt_cache prompt_cache: bool,
        with_refuses_sampling refuses_sampling: bool,
        with_seed_field seed_field: &'static str,
        with_dimensions_field dimensions_field: &'static str,
        with_required_choice required_choice: &'static str,
        with_thinking_chunks thinking_chunks: bool,
        with_short_call_ids short_call_ids: bool,
        with_place place: OpenAiPlace,
    }
}

/// ```
/// use loquat_provider::{ANTHROPIC_MESSAGES, AnthropicMessages};
///
/// static OURS: AnthropicMessages = ANTHROPIC_MESSAGES.with_default_max_tokens(2048);
/// ```
impl AnthropicMessages {
    replaced! {
        with_default_max_tokens default_max_tokens: u32,
        with_place place: AnthropicPlace,
    }
}

impl Gemini {
    replaced! {
        with_bearer bearer: bool,
    }
}

impl DashScope {
    replaced! {
        with_incremental incremental: bool,
    }
}
