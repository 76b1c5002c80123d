//! Formats by hand against the program they stand for, byte for byte, over conversations made at random; and what of Hugging
//! Face's dialect a program needs.
#![cfg(feature = "template")]

use std::{env, fs, path::Path};

use loquat_core::{Message, Part, Reasoning, Role, Tool, ToolCall, ToolResult};
use loquat_prompt::template::{
    TemplateErrorKind as Kind,
    chat::{Chat, ChatTemplate, Format},
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

/// What stands at the edges of real messages, and what templates look for.
const SCRAPS: [&str; 24] = [
    "word",
    " ",
    "\n",
    "\n\n",
    "\t",
    "",
    "<think>",
    "</think>",
    "<|im_end|>",
    "<|eot_id|>",
    "[/INST]",
    "</s>",
    "<end_of_turn>",
    "<tool_response>",
    "</tool_response>",
    "<｜Assistant｜>",
    "{{ x }}",
    "{% if %}",
    "é漢😀",
    "\u{a0}",
    "\u{1c}",
    "'\"\\",
    "<&>",
    "Today",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::collection::vec(prop::sample::select(SCRAPS.to_vec()), 0..6).prop_map(|parts| parts.concat()),
        1 => any::<String>(),
    ]
}

fn message(role: Role) -> impl Strategy<Value = Message> {
    (text(), text(), 0..8_u8).prop_map(move |(text, thoughts, kind)| match (role, kind) {
        (Role::Assistant, 0) => {
            Message::new(role, vec![Part::Reasoning(Reasoning::new(thoughts)), Part::Text(text)])
        }
        (_, 1) => Message::new(role, vec![Part::Text(text), Part::Text(thoughts)]),
        _ => Message::new(role, vec![Part::Text(text)]),
    })
}

/// Mostly by turns, as the stricter formats demand.
fn conversation() -> impl Strategy<Value = Vec<Message>> {
    let by_turns = (any::<bool>(), 1..9_usize).prop_flat_map(|(has_system, turns)| {
        let system = has_system.then_some(Role::System);
        let turns = (0..turns).map(|index| if index % 2 == 0 { Role::User } else { Role::Assistant });
        system.into_iter().chain(turns).map(message).collect::<Vec<_>>()
    });
    let role = prop::sample::select(vec![Role::System, Role::User, Role::Assistant, Role::Tool]);
    let any_order = prop::collection::vec(role.prop_flat_map(message), 0..7);
    prop_oneof![4 => by_turns, 1 => any_order]
}

/// How many conversations each format is compared on; `LOQUAT_CHAT_CASES` asks for more.
fn cases() -> u32 {
    env::var("LOQUAT_CHAT_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(150)
}

/// The format found, after it has been compared.
fn compare(name: &str, source: &str, beginning: &str, end: &str) -> Option<Format> {
    let template =
        ChatTemplate::try_new(source, beginning, end).unwrap_or_else(|error| panic!("{name}: {error}"));
    let format = template.format()?.clone();
    let by_hand = ChatTemplate::of(format.clone(), beginning, end);
    let mut covered = 0_u32;
    let config = ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&(conversation(), any::<bool>()), |(messages, opens)| {
        let chat = Chat::new(&messages).with_answer_opened(opens);
        let Ok(written) = by_hand.render(&chat, None) else { return Ok(()) };
        let interpreted =
            template.interpret(&chat, None).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(written.text(), interpreted.text());
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{name}, {format:?}: {error}"));
    let mut runner = TestRunner::deterministic();
    for _ in 0..100 {
        let messages = conversation().new_tree(&mut runner).expect("a conversation").current();
        covered += u32::from(by_hand.render(&Chat::new(&messages), None).is_ok());
    }
    assert!(covered > 15, "{name}: {format:?} covers {covered} of 100 conversations only");
    Some(format)
}

#[test]
fn formats_by_hand_write_what_the_programs_write() {
    let chat_ml = |default: Option<&str>| Format::ChatMl { default_system: default.map(str::to_owned) };
    let opening = |text: &str| text.to_owned();
    for (name, source, expected) in [
        ("chatml", include_str!("chat/chatml.jinja"), chat_ml(None)),
        ("qwen2", include_str!("chat/qwen2.jinja"), chat_ml(Some("You are a helpful assistant."))),
        ("qwen3", include_str!("chat/qwen3.jinja"), Format::Qwen3),
        ("llama3", include_str!("chat/llama3.jinja"), Format::Llama3 { preamble: None }),
        (
            "llama31",
            include_str!("chat/llama31.jinja"),
            Format::Llama3 {
                preamble: Some("Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n".into()),
            },
        ),
        ("gemma2", include_str!("chat/gemma2.jinja"), Format::Gemma { takes_system: false }),
        ("gemma3", include_str!("chat/gemma3.jinja"), Format::Gemma { takes_system: true }),
        (
            "deepseek3",
            include_str!("chat/deepseek3.jinja"),
            Format::DeepSeek { drops_thoughts: false, opening: opening("") },
        ),
        (
            "deepseek_r1",
            include_str!("chat/deepseek_r1.jinja"),
            Format::DeepSeek { drops_thoughts: true, opening: opening("<think>\n") },
        ),
    ] {
        assert_eq!(compare(name, source, "<s>", "</s>"), Some(expected), "{name}");
    }
    for (name, source) in
        [("mistral1", include_str!("chat/mistral1.jinja")), ("mistral3", include_str!("chat/mistral3.jinja"))]
    {
        assert!(matches!(compare(name, source, "<s>", "</s>"), Some(Format::Mistral(_))), "{name}");
    }
}

/// Mistral's versions differ in blanks, in where a system message goes and in what they trim. Whatever a template's text, what is
/// written by hand is what the program writes, or the program is asked.
#[test]
fn a_version_of_mistrals_format_is_never_guessed() {
    let (first, third) = (include_str!("chat/mistral1.jinja"), include_str!("chat/mistral3.jinja"));
    let changed = |source: &str, from: &str, to: &str| {
        assert!(source.contains(from), "{from}");
        source.replace(from, to)
    };
    let question = "{{ '[INST] ' + message['content'] + ' [/INST]' }}";
    let answer = "{{ message['content'] + eos_token}}";
    let refusal = "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}";
    for (what, source, is_by_hand) in [
        ("as it is", first.to_owned(), true),
        ("as it is, the third", third.to_owned(), true),
        (
            "a blank before the answer",
            changed(first, answer, "{{ ' ' + message['content'] + eos_token}}"),
            true,
        ),
        (
            "no blank before the end of a question",
            changed(first, question, "{{ '[INST] ' + message['content'] + '[/INST]' }}"),
            true,
        ),
        // Tekken's third version.
        (
            "no blanks at all",
            changed(first, question, "{{ '[INST]' + message['content'] + '[/INST]' }}"),
            false,
        ),
        (
            "questions trimmed",
            changed(first, question, "{{ '[INST] ' + message['content']|trim + ' [/INST]' }}"),
            false,
        ),
        ("two blanks", changed(first, question, "{{ '[INST]  ' + message['content'] + ' [/INST]' }}"), false),
        (
            "a line break between turns",
            changed(first, answer, "{{ message['content'] + eos_token + '\n' }}"),
            false,
        ),
        ("no end behind an answer", changed(first, answer, "{{ message['content'] }}"), false),
        (
            "no end behind the last answer",
            changed(
                first,
                answer,
                "{{ message['content'] }}{% if not loop.last %}{{ eos_token }}{% endif %}",
            ),
            false,
        ),
        ("a beginning each turn", changed(first, question, &format!("{{{{ bos_token }}}}{question}")), false),
        ("no beginning", changed(first, "{{ bos_token }}", ""), false),
        // The seventh version.
        (
            "a system message by itself",
            changed(
                &changed(
                    &changed(first, "(message['role'] == 'user') != (loop.index0 % 2 == 0)", "false"),
                    question,
                    "{{ '[INST]' + message['content'] + '[/INST]' }}",
                ),
                refusal,
                "{% else %}{{ '[SYSTEM_PROMPT]' + message['content'] + '[/SYSTEM_PROMPT]' }}",
            ),
            false,
        ),
        (
            "a system message that every conversation has",
            changed(
                first,
                "{{ bos_token }}",
                "{{ bos_token + '[SYSTEM_PROMPT] Be brief.[/SYSTEM_PROMPT]' }}",
            ),
            false,
        ),
        (
            "a word that is looked for in an answer",
            changed(first, answer, "{{ message['content'].replace('[/THINK]', '') + eos_token}}"),
            false,
        ),
    ] {
        let format = compare(what, &source, "<s>", "</s>");
        assert_eq!(format.is_some(), is_by_hand, "{what}: {format:?}");
    }
    // By hand or not, what comes out is the program's.
    for trimmed in ["message['content'].strip()", "message['content']|trim"] {
        let source = changed(first, answer, &format!("{{{{ {trimmed} + eos_token}}}}"));
        let _either = compare(trimmed, &source, "<s>", "</s>");
    }
}

#[test]
fn original_templates_where_there_are_some() {
    let Some(folder) = env::var_os("LOQUAT_CHAT_TEMPLATES") else {
        return eprintln!("LOQUAT_CHAT_TEMPLATES is unset: no original templates are compared");
    };
    let mut compared = 0;
    for entry in fs::read_dir(Path::new(&folder)).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "jinja") {
            continue;
        }
        let words = fs::read_to_string(path.with_extension("words")).expect("the words beside the template");
        let (beginning, end) = words.split_once('\n').expect("two lines");
        let source = fs::read_to_string(&path).expect("the template");
        let format = compare(&path.display().to_string(), &source, beginning, end);
        eprintln!("{}: {format:?}", path.display());
        assert!(format.is_some(), "{}: no format by hand", path.display());
        compared += 1;
    }
    assert!(compared > 0, "no template in {}", Path::new(&folder).display());
}

#[test]
fn a_template_that_differs_is_left_to_its_program() {
    let chat_ml = include_str!("chat/chatml.jinja");
    for (what, source) in [
        ("a blank", chat_ml.replace("'\\n' + message['content']", "'\\n ' + message['content']")),
        (
            "a word it looks for",
            format!("{{% if messages[0]['content'] == 'magic' %}}!{{% endif %}}{chat_ml}"),
        ),
        (
            "a part it looks for",
            format!("{{% if '/no_think' in messages[-1]['content'] %}}!{{% endif %}}{chat_ml}"),
        ),
        ("the time", format!("{{{{ strftime_now('%Y') }}}}{chat_ml}")),
        (
            "an order it looks for",
            format!("{{% if messages[0]['role'] == 'assistant' %}}!{{% endif %}}{chat_ml}"),
        ),
    ] {
        let template = ChatTemplate::try_new(source, "", "").expect("it compiles");
        assert_eq!(template.format(), None, "{what}");
    }
}

#[test]
fn tools_and_results_reach_the_program() {
    let template =
        ChatTemplate::try_new(include_str!("chat/qwen3.jinja"), "", "<|im_end|>").expect("it compiles");
    let call = ToolCall::new("1", "weather", r#"{"place":"Kyōto","days":[1,2],"note":"<&'>"}"#);
    let messages = [
        Message::user("How is the weather?"),
        Message::new(Role::Assistant, vec![Part::ToolCall(call.clone())]),
        Message::tool(ToolResult::new(&call, "sunny")),
    ];
    let tools =
        [Tool::new("weather", "Looks", r#"{"type":"object","properties":{"place":{"type":"string"}}}"#)];
    let chat = Chat::new(&messages).with_tools(&tools).with_variable("enable_thinking", false);
    let text = template.render(&chat, None).expect("it renders").into_text();
    for expected in [
        // As Python's `json.dumps` writes it, members in their order.
        r#"{"type": "function", "function": {"name": "weather", "description": "Looks", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}}}"#,
        r#"{"name": "weather", "arguments": {"place": "Kyōto", "days": [1, 2], "note": "<&'>"}}"#,
        "<|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>\n",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert!(text.ends_with("<|im_start|>assistant\n<think>\n\n</think>\n\n"), "{text}");
}

/// Half of a character, escaped in JSON, stands for no text: it stays as it is written, or is refused by name, and is never lost.
#[test]
fn half_a_character_in_json_is_kept_as_written_or_refused() {
    let template =
        ChatTemplate::try_new(include_str!("chat/qwen3.jinja"), "", "<|im_end|>").expect("it compiles");
    for half in [r"\ud800", r"\udc00", r"\ud800\ud800", r"\ude00\ud83d"] {
        let arguments = format!(r#"{{"note": "a{half}b"}}"#);
        let call = ToolCall::new("1", "note", arguments.clone());
        let messages = [Message::user("Note it."), Message::new(Role::Assistant, vec![Part::ToolCall(call)])];
        let text = template.render(&Chat::new(&messages), None).expect("it renders").into_text();
        assert!(text.contains(&arguments), "{half}: {text}");
        let tools = [Tool::new("note", "Notes", format!(r#"{{"type": "object", "title": "{half}"}}"#))];
        let error = template.render(&Chat::new(&messages).with_tools(&tools), None).expect_err(half);
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.to_string().ends_with("the schema of the tool `note` is no JSON"), "{error}");
        let read = format!("x\n{{{{ '\"{}\"' | fromjson }}}}", half.replace('\\', "\\\\"));
        let read = ChatTemplate::try_new(read, "", "").expect("it compiles");
        let error = read.render(&Chat::new(&messages), None).expect_err(half);
        assert_eq!((error.kind(), error.line()), (Kind::Data, Some(2)), "{error}");
    }
    let whole = ToolCall::new("1", "note", r#"{"note": "\ud83d\ude00"}"#);
    let messages = [Message::user("Note it."), Message::new(Role::Assistant, vec![Part::ToolCall(whole)])];
    let text = template.render(&Chat::new(&messages), None).expect("it renders").into_text();
    assert!(text.contains(r#"{"note": "😀"}"#), "{text}");
}

#[test]
fn hugging_faces_dialect_is_understood() {
    let messages = [Message::user("hi")];
    let chat = Chat::new(&messages).with_now(1_795_482_123).with_variable("mode", "x");
    for (source, expected) in [
        ("{{ strftime_now('%d %b %Y') }}", "24 Nov 2026"),
        ("a {% generation %}b{% endgeneration %} c", "a b c"),
        ("a {%- generation -%} b {%- endgeneration %} c", "ab c"),
        ("{{ '{\"b\": 1, \"a\": [true, null]}' | fromjson | tojson }}", "{\"b\": 1, \"a\": [true, null]}"),
        ("{{ {'a': [1]} | tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ]\n}"),
        ("{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}x{% endfor %}{{ mode }}", "x"),
        ("{{ messages[0].content.upper() }}{{ tools is none }}{{ missing is defined }}", "HITruefalse"),
    ] {
        let template =
            ChatTemplate::try_new(source, "", "").unwrap_or_else(|error| panic!("{source}: {error}"));
        let text =
            template.render(&chat, None).unwrap_or_else(|error| panic!("{source}: {error}")).into_text();
        assert_eq!(text.to_lowercase(), expected.to_lowercase(), "{source}");
    }
    for (source, kind) in [
        ("{% if %}", Kind::Syntax),
        ("\n\n{{ strftime_now('%Y') }}", Kind::Data),
        ("{{ raise_exception('no') }}", Kind::Data),
        ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", Kind::TooLong),
        (
            "{% set n = namespace(x='x') %}{% for a in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
            Kind::TooLong,
        ),
        (
            "{% set n = namespace(x='x') %}{% for a in range(22) %}{% set n.x = n.x ~ n.x %}{% endfor %}\
             {% for a in range(17) %}{{ n.x }}{% endfor %}",
            Kind::TooLarge,
        ),
        ("{{ messages | nothing }}", Kind::UnknownHelper),
        ("{{ missing.part }}", Kind::MissingVariable),
        ("{% include 'x' %}", Kind::Syntax),
    ] {
        let plain = Chat::new(&messages);
        let error = match ChatTemplate::try_new(source, "", "") {
            Ok(template) => template.render(&plain, None).expect_err(source),
            Err(error) => error,
        };
        assert_eq!(error.kind(), kind, "{source}: {error}");
        assert!(error.line().is_some() || kind == Kind::TooLarge, "{source}: {error}");
    }
}
