//! What an endpoint can do, and what a request asks for: derived from the request itself, before anything is sent.

use std::fmt;

use loquat_core::{ChatRequest, Context, MediaSource, Part, ResponseFormat, ToolChoice};

/// A set of abilities, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Abilities(u16);

/// The abilities by name, in the order of their bits.
const NAMES: [&str; 10] = [
    "vision",
    "tool_use",
    "streaming",
    "json_object",
    "json_schema",
    "audio",
    "reasoning",
    "files",
    "prefill",
    "logprobs",
];

impl Abilities {
    /// None.
    pub const NONE: Self = Self(0);
    /// Takes pictures.
    pub const VISION: Self = Self(1);
    /// Calls tools.
    pub const TOOL_USE: Self = Self(1 << 1);
    /// Answers in pieces.
    pub const STREAMING: Self = Self(1 << 2);
    /// Answers with some JSON object when told to.
    pub const JSON_OBJECT: Self = Self(1 << 3);
    /// Answers by a JSON Schema.
    pub const JSON_SCHEMA: Self = Self(1 << 4);
    /// Takes sound.
    pub const AUDIO: Self = Self(1 << 5);
    /// Thinks before it speaks, as hard as it is told to.
    pub const REASONING: Self = Self(1 << 6);
    /// Takes documents.
    pub const FILES: Self = Self(1 << 7);
    /// Goes on with an assistant's message that the request ends in.
    pub const PREFILL: Self = Self(1 << 8);
    /// Tells log probabilities.
    pub const LOGPROBS: Self = Self(1 << 9);
    /// What nearly every chat server can do: tools, streaming, JSON objects.
    pub const COMMON: Self = Self(Self::TOOL_USE.0 | Self::STREAMING.0 | Self::JSON_OBJECT.0);

    /// What a model is taken for of which nothing is known but its name: all but [`PREFILL`](Self::PREFILL), which a server may take for
    /// a message like others. It is asked, and its refusal is another's turn.
    pub const ASSUMED: Self = Self(((1 << NAMES.len()) - 1) & !Self::PREFILL.0);

    /// How many there are.
    pub(crate) const COUNT: usize = NAMES.len();

    /// The ability of that name, as in a configuration.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().position(|known| *known == name).map(|bit| Self(1 << bit))
    }

    /// All names, for messages and schemas.
    pub fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are here.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those of `self` that `other` lacks.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The numbers of the bits that are set.
    pub(crate) fn bits(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(bit)
        })
    }
}

impl fmt::Display for Abilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lead = "";
        for bit in self.bits() {
            write!(f, "{lead}{}", NAMES[bit])?;
            lead = ", ";
        }
        if lead.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

impl fmt::Debug for Abilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Abilities({self})")
    }
}

/// What one request asks of an endpoint, and what it is likely to cost it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Asked {
    /// What the endpoint must be able to do.
    pub abilities: Abilities,
    /// Tokens of the prompt: counted where the caller did, else a quarter of its bytes and a lump for each picture.
    pub prompt_tokens: u32,
    /// Tokens of the answer, where the request bounds them; 0 where it does not.
    pub output_tokens: u32,
    /// What requests that belong together have in common: a session's key, or else how the prompt begins.
    pub affinity: u64,
    /// What a canary's share is told by: the tenant, or else the affinity.
    pub stable_key: u64,
}

/// What a picture, a sound or a document counts where nobody counted it. Tokens.
const MEDIA_TOKENS: u32 = 1_000;
/// How much of a prompt's beginning tells conversations apart. Bytes of each of the first messages.
const PREFIX_BYTES: usize = 1_024;

impl Asked {
    /// Nothing in particular: any endpoint will do.
    pub const fn nothing() -> Self {
        Self { abilities: Abilities::NONE, prompt_tokens: 0, output_tokens: 0, affinity: 0, stable_key: 0 }
    }

    /// What that request asks for. Reads every part once and allocates nothing.
    pub fn of(request: &ChatRequest, context: &Context) -> Self {
        let mut abilities = Abilities::NONE;
        let mut need = |ability| abilities = abilities.and(ability);
        if request.stream {
            need(Abilities::STREAMING);
        }
        if !request.tools.is_empty() && request.tool_choice != ToolChoice::None {
            need(Abilities::TOOL_USE);
        }
        match request.response_format {
            ResponseFormat::JsonObject => need(Abilities::JSON_OBJECT),
            ResponseFormat::JsonSchema { .. } => need(Abilities::JSON_SCHEMA),
            _ => {}
        }
        if request.reasoning_effort.is_some() || request.reasoning_budget_tokens.is_some() {
            need(Abilities::REASONING);
        }
        if request.top_logprobs.is_some() {
            need(Abilities::LOGPROBS);
        }
        let (mut bytes, mut lumps) = (0_usize, 0_u32);
        for tool in &request.tools {
            bytes += tool.name.len() + tool.description.len() + tool.parameters.as_str().len();
        }
        for part in request.messages.iter().flat_map(|message| &message.parts) {
            match part {
                Part::Text(text) | Part::Refusal(text) => bytes += text.len(),
                Part::ToolCall(call) => {
                    bytes += call.name.len() + call.arguments.len();
                    need(Abilities::TOOL_USE);
                }
                Part::ToolResult(result) => bytes += result.content.len(),
                Part::Reasoning(reasoning) => bytes += reasoning.text.len(),
                Part::Opaque(opaque) => bytes += opaque.json.as_str().len(),
                Part::Image(media) | Part::Audio(media) | Part::File(media) => {
                    lumps = lumps.saturating_add(1);
                    need(match part {
                        Part::Image(_) => Abilities::VISION,
                        Part::Audio(_) => Abilities::AUDIO,
                        _ => Abilities::FILES,
                    });
                    if let MediaSource::FileId(_) = media.source {
                        need(Abilities::FILES);
                    }
                }
                _ => {}
            }
        }
        let text_tokens = u32::try_from(bytes / 4).unwrap_or(u32::MAX);
        let affinity = match &request.cache.key {
            Some(key) => hash(0, key.as_bytes()),
            None => prefix_hash(request),
        };
        Self {
            abilities,
            prompt_tokens: text_tokens.saturating_add(lumps.saturating_mul(MEDIA_TOKENS)),
            output_tokens: request.max_output_tokens.unwrap_or(0),
            affinity,
            stable_key: context.tenant().map_or(affinity, |tenant| hash(1, tenant.as_bytes())),
        }
    }

    /// With these abilities besides.
    #[must_use]
    pub fn with_abilities(mut self, abilities: Abilities) -> Self {
        self.abilities = self.abilities.and(abilities);
        self
    }

    /// With a prompt of that many tokens.
    #[must_use]
    pub fn with_prompt_tokens(mut self, tokens: u32) -> Self {
        self.prompt_tokens = tokens;
        self
    }

    /// With an answer of at most that many tokens.
    #[must_use]
    pub fn with_output_tokens(mut self, tokens: u32) -> Self {
        self.output_tokens = tokens;
        self
    }

    /// Belongs together with others of that key.
    #[must_use]
    pub fn with_affinity(mut self, key: u64) -> Self {
        self.affinity = key;
        self
    }

    /// Told by that key where a canary's share is drawn.
    #[must_use]
    pub fn with_stable_key(mut self, key: u64) -> Self {
        self.stable_key = key;
        self
    }

    /// The window that prompt and answer need together. Tokens.
    pub fn window_tokens(&self) -> u32 {
        self.prompt_tokens.saturating_add(self.output_tokens)
    }
}

/// The system message and the first of the user: what stays the same while a conversation grows.
fn prefix_hash(request: &ChatRequest) -> u64 {
    let mut state = 0;
    for message in request.messages.iter().take(2) {
        for text in message.texts() {
            let bytes = text.as_bytes();
            state = hash(state, &bytes[..bytes.len().min(PREFIX_BYTES)]);
        }
    }
    state
}

/// A hash that is the same in every process and release, so that instances agree: the finalizer of MurmurHash3 over eight
/// bytes at a time. It protects nothing: whoever chooses their own key may choose their endpoint.
pub fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = mix(seed ^ bytes.len() as u64);
    for piece in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        state = mix(state ^ u64::from_le_bytes(word)).wrapping_add(state.rotate_left(23));
    }
    mix(state)
}

/// MurmurHash3's 64-bit finalizer: every bit of the input moves half of the output's.
pub(crate) const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    z = (z ^ (z >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    z ^ (z >> 33)
}

#[cfg(test)]
mod tests {
    use loquat_core::{CacheHint, Media, Message, Role, Tool};

    use super::*;

    fn asked(request: &ChatRequest) -> Asked {
        Asked::of(request, &Context::new())
    }

    #[test]
    fn a_request_says_what_it_needs() {
        use Abilities as A;
        let plain = ChatRequest::new("m").with_user("hi");
        let picture = Message::new(Role::User, vec![Part::Image(Media::url("http://x"))]);
        let mut schema = plain.clone().with_stream(false);
        schema.response_format =
            ResponseFormat::JsonSchema { name: "n".into(), schema: loquat_core::JsonText::new("{}") };
        let mut thinks = plain.clone();
        thinks.reasoning_effort = Some("high".into());
        for (request, needs) in [
            (plain.clone(), A::STREAMING),
            (plain.clone().with_tool(Tool::new("t", "", "{}")), A::STREAMING.and(A::TOOL_USE)),
            (plain.clone().with_message(picture), A::STREAMING.and(A::VISION)),
            (schema, A::JSON_SCHEMA),
            (thinks, A::STREAMING.and(A::REASONING)),
        ] {
            assert_eq!(asked(&request).abilities, needs, "{request:?}");
        }
    }

    #[test]
    fn sizes_and_keys() {
        let long = ChatRequest::new("m").with_user("x".repeat(4000)).with_max_output_tokens(50);
        assert_eq!((asked(&long).prompt_tokens, asked(&long).window_tokens()), (1000, 1050));
        let begun = ChatRequest::new("m").with_system("s").with_user("one");
        let grown = begun.clone().with_message(Message::assistant("two")).with_user("three");
        assert_eq!(asked(&begun).affinity, asked(&grown).affinity, "a conversation keeps its key");
        assert_ne!(
            asked(&begun).affinity,
            asked(&ChatRequest::new("m").with_system("s").with_user("1")).affinity
        );
        let mut hint = CacheHint::default();
        hint.key = Some("session".into());
        assert_eq!(asked(&begun.with_cache(hint.clone())).affinity, asked(&long.with_cache(hint)).affinity);
        let tenant = |name: &str| Asked::of(&grown, &Context::new().with_tenant(name)).stable_key;
        assert_ne!(tenant("a"), tenant("b"));
    }

    #[test]
    fn names_round_trip() {
        for (bit, name) in Abilities::names().iter().enumerate() {
            assert_eq!(Abilities::named(name).map(|a| a.bits().collect::<Vec<_>>()), Some(vec![bit]));
            assert_eq!(Abilities::named(name).map(|a| a.to_string()).as_deref(), Some(*name));
        }
        assert_eq!(Abilities::named("flight"), None);
        assert_eq!(Abilities::COMMON.without(Abilities::STREAMING).to_string(), "tool_use, json_object");
        let names = Abilities::names().iter().filter(|name| **name != "prefill");
        assert_eq!(Abilities::ASSUMED.to_string(), names.copied().collect::<Vec<_>>().join(", "));
    }
}
