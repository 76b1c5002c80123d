//! Profiles as a table: where each provider is asked, by which key, and how it differs from what it is compatible with.

use http::{HeaderMap, header};
use loquat_core::{ChatRequest, EmbedRequest, ErrorKind, Secret, Tool, ToolChoice};
use loquat_provider::{
    ANTHROPIC_MESSAGES, ANTHROPIC_VERTEX, AZURE_OPENAI, AZURE_OPENAI_DEPLOYMENT, Format, GEMINI,
    GEMINI_VERTEX, OPENAI_CHAT, operations, profile, profiles,
};

/// Name, address of a streamed request (its path where the rest is a customer's own), variable of the key, header that carries it.
const TABLE: &[(&str, &str, &str, &str)] = &[
    ("openai", "https://api.openai.com/v1/chat/completions", "OPENAI_API_KEY", "authorization"),
    ("openai-responses", "https://api.openai.com/v1/responses", "OPENAI_API_KEY", "authorization"),
    ("openai-completions", "https://api.openai.com/v1/completions", "OPENAI_API_KEY", "authorization"),
    ("anthropic", "https://api.anthropic.com/v1/messages", "ANTHROPIC_API_KEY", "x-api-key"),
    ("azure", "/chat/completions", "AZURE_OPENAI_API_KEY", "api-key"),
    (
        "azure-deployment",
        "/deployments/m/chat/completions?api-version=2024-10-21",
        "AZURE_OPENAI_API_KEY",
        "api-key",
    ),
    (
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta/models/m:streamGenerateContent?alt=sse",
        "GEMINI_API_KEY",
        "x-goog-api-key",
    ),
    (
        "gemini-interactions",
        "https://generativelanguage.googleapis.com/v1beta/interactions",
        "GEMINI_API_KEY",
        "x-goog-api-key",
    ),
    (
        "gemini-openai",
        "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        "GEMINI_API_KEY",
        "authorization",
    ),
    ("ollama", "http://127.0.0.1:11434/api/chat", "", "authorization"),
    ("ollama-generate", "http://127.0.0.1:11434/api/generate", "", "authorization"),
    ("ollama-openai", "http://127.0.0.1:11434/v1/chat/completions", "", "authorization"),
    (
        "qwen",
        "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions",
        "DASHSCOPE_API_KEY",
        "authorization",
    ),
    (
        "qwen-intl",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1/chat/completions",
        "DASHSCOPE_API_KEY",
        "authorization",
    ),
    (
        "dashscope",
        "https://dashscope.aliyuncs.com/api/v1/services/aigc/text-generation/generation",
        "DASHSCOPE_API_KEY",
        "authorization",
    ),
    ("deepseek", "https://api.deepseek.com/v1/chat/completions", "DEEPSEEK_API_KEY", "authorization"),
    ("groq", "https://api.groq.com/openai/v1/chat/completions", "GROQ_API_KEY", "authorization"),
    ("xai", "https://api.x.ai/v1/chat/completions", "XAI_API_KEY", "authorization"),
    ("xai-responses", "https://api.x.ai/v1/responses", "XAI_API_KEY", "authorization"),
    ("openrouter", "https://openrouter.ai/api/v1/chat/completions", "OPENROUTER_API_KEY", "authorization"),
    ("mistral", "https://api.mistral.ai/v1/chat/completions", "MISTRAL_API_KEY", "authorization"),
    ("cohere", "https://api.cohere.com/v2/chat", "CO_API_KEY", "authorization"),
    ("together", "https://api.together.xyz/v1/chat/completions", "TOGETHER_API_KEY", "authorization"),
    (
        "fireworks",
        "https://api.fireworks.ai/inference/v1/chat/completions",
        "FIREWORKS_API_KEY",
        "authorization",
    ),
    ("cerebras", "https://api.cerebras.ai/v1/chat/completions", "CEREBRAS_API_KEY", "authorization"),
    ("moonshot", "https://api.moonshot.ai/v1/chat/completions", "MOONSHOT_API_KEY", "authorization"),
    ("zai", "https://api.z.ai/api/paas/v4/chat/completions", "ZAI_API_KEY", "authorization"),
    ("zhipu", "https://open.bigmodel.cn/api/paas/v4/chat/completions", "ZHIPU_API_KEY", "authorization"),
    ("perplexity", "https://api.perplexity.ai/chat/completions", "PERPLEXITY_API_KEY", "authorization"),
    ("huggingface", "https://router.huggingface.co/v1/chat/completions", "HF_TOKEN", "authorization"),
    ("nvidia", "https://integrate.api.nvidia.com/v1/chat/completions", "NVIDIA_API_KEY", "authorization"),
    (
        "bedrock",
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/converse-stream",
        "AWS_BEARER_TOKEN_BEDROCK",
        "authorization",
    ),
    ("llamacpp", "http://127.0.0.1:8080/v1/chat/completions", "", "authorization"),
    ("vllm", "http://127.0.0.1:8000/v1/chat/completions", "", "authorization"),
    ("sglang", "http://127.0.0.1:30000/v1/chat/completions", "", "authorization"),
    ("lmstudio", "http://127.0.0.1:1234/v1/chat/completions", "", "authorization"),
];

#[test]
fn each_provider_is_asked_where_it_listens() {
    let names: Vec<_> = profiles().iter().map(|profile| profile.name).collect();
    let listed: Vec<_> = TABLE.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, listed, "a profile is a line in this table");
    let request = ChatRequest::new("").with_user("hi");
    for (name, address, variable, key_header) in TABLE {
        let profile = profile(name).expect("listed");
        let encoded = profile.format.encode(&request, "m").expect("a plain request");
        assert_eq!(format!("{}/{}", profile.base_url, encoded.path), *address);
        assert_eq!(profile.key_variable.unwrap_or_default(), *variable, "{name}");
        let mut headers = HeaderMap::new();
        profile.format.authenticate(&Secret::new("planted"), &mut headers).expect("a key");
        let value = headers.get(*key_header).unwrap_or_else(|| panic!("{name}: no {key_header}"));
        let bearer = if *key_header == header::AUTHORIZATION.as_str() { "Bearer " } else { "" };
        assert_eq!(value, &format!("{bearer}planted"), "{name}");
        assert!(value.is_sensitive(), "{name}");
    }
}

/// The same formats at the doors of others, where the address is a customer's own: path, key, and that what is said is the same.
#[test]
fn other_doors_differ_in_path_and_key() {
    let request = ChatRequest::new("").with_user("hi").with_max_output_tokens(5);
    let doors: [(&dyn Format, &dyn Format, &str, &str, &str); 4] = [
        (&AZURE_OPENAI, &OPENAI_CHAT, "chat/completions", "api-key", "planted"),
        (
            &AZURE_OPENAI_DEPLOYMENT,
            &OPENAI_CHAT,
            "deployments/a%20model/chat/completions?api-version=2024-10-21",
            "api-key",
            "planted",
        ),
        (
            &GEMINI_VERTEX,
            &GEMINI,
            "models/a%20model:streamGenerateContent?alt=sse",
            "authorization",
            "Bearer planted",
        ),
        (
            &ANTHROPIC_VERTEX,
            &ANTHROPIC_MESSAGES,
            "models/a%20model:streamRawPredict",
            "authorization",
            "Bearer planted",
        ),
    ];
    for (door, own, path, key_header, key) in doors {
        let name = door.name();
        let encoded = door.encode(&request, "a model").expect("a plain request");
        assert_eq!(encoded.path, path, "{name}");
        let mut headers = HeaderMap::new();
        door.authenticate(&Secret::new("planted"), &mut headers).expect("a key");
        assert_eq!(headers.len(), 1, "{name}: {headers:?}");
        assert_eq!(headers[key_header], key, "{name}");
        assert!(headers[key_header].is_sensitive(), "{name}");
        let members = |body: &[u8]| -> serde_json::Map<String, serde_json::Value> {
            serde_json::from_slice(body).expect("an object")
        };
        let (mut said, mut owns) =
            (members(&encoded.body), members(&own.encode(&request, "a model").expect("valid").body));
        if name == ANTHROPIC_VERTEX.name() {
            assert_eq!(said.remove("anthropic_version"), Some("vertex-2023-10-16".into()));
            assert_eq!(owns.remove("model"), Some("a model".into()), "the path names it");
        }
        assert_eq!(said, owns, "{name}");
    }
}

/// At Azure by deployment the path names the model; the vectors come as they do from OpenAI.
#[test]
fn azure_embeds_at_either_door() {
    let request = EmbedRequest::new(["a", "b"]);
    let own = operations::encode_embed(&OPENAI_CHAT, &request, "a model").expect("valid");
    let doors: [(&dyn Format, &str); 2] = [
        (&AZURE_OPENAI, "embeddings"),
        (&AZURE_OPENAI_DEPLOYMENT, "deployments/a%20model/embeddings?api-version=2024-10-21"),
    ];
    for (door, path) in doors {
        let encoded = operations::encode_embed(door, &request, "a model").expect("it has embeddings");
        assert_eq!(encoded.path, path);
        assert_eq!(encoded.body, own.body, "{path}");
        let body = br#"{"data":[{"index":1,"embedding":[2.0]},{"index":0,"embedding":[1.0]}],"usage":{"prompt_tokens":4}}"#;
        let found = operations::decode_embed(door, 2, body).expect("two vectors");
        assert_eq!(found.vectors, [[1.0], [2.0]], "{path}");
        assert_eq!(found.usage.input_tokens, 4, "{path}");
    }
    // Some servers have a member for what they did not count.
    let body = br#"{"data":[{"index":0,"embedding":[1.0]}],"usage":null}"#;
    assert!(operations::decode_embed(&OPENAI_CHAT, 1, body).is_ok());
    // No deployment judges texts: Azure has another service for that.
    let judged = operations::encode_moderation(&AZURE_OPENAI_DEPLOYMENT, &["a".to_owned()], "m");
    assert_eq!(judged.expect_err("no such path").kind(), ErrorKind::Unsupported);
}

#[test]
fn habits() {
    let mut request = ChatRequest::new("").with_user("hi").with_max_output_tokens(5);
    request.seed = Some(7);
    request.tools.push(Tool::new("f", "", "{}"));
    request.tool_choice = ToolChoice::Required;
    let written = |name: &str| {
        let encoded = profile(name).expect("listed").format.encode(&request, "m").expect("valid");
        String::from_utf8(encoded.body).expect("JSON is UTF-8")
    };
    let openai = written("openai");
    assert!(openai.contains(r#""max_completion_tokens":5"#), "{openai}");
    assert!(openai.contains(r#""tool_choice":"required""#) && openai.contains(r#""seed":7"#), "{openai}");
    let mistral = written("mistral");
    assert!(mistral.contains(r#""max_tokens":5"#) && mistral.contains(r#""random_seed":7"#), "{mistral}");
    assert!(mistral.contains(r#""tool_choice":"any""#) && !mistral.contains("stream_options"), "{mistral}");
    assert!(written("groq").contains("stream_options"));
}

#[test]
fn mistral_takes_its_thoughts_back_as_a_chunk() {
    use loquat_core::{Message, Part, Reasoning, Role};
    let parts = vec![Part::Reasoning(Reasoning::new("hm")), Part::Text("hi".into())];
    let request = ChatRequest::new("").with_message(Message::new(Role::Assistant, parts));
    let encoded = profile("mistral").expect("listed").format.encode(&request, "m").expect("valid");
    let body = String::from_utf8(encoded.body).expect("JSON is UTF-8");
    let content = r#""content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"hi"}]"#;
    assert!(body.contains(content), "{body}");
}
