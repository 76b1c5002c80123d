//! `loquat tokens`: how many tokens a text or a request has, and which.

use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use loquat::{
    ChatRequest, Error, ErrorKind, Message, Part, Result, Role, Tool, ToolCall, ToolResult,
    core::{JsonText, Media, ResponseFormat},
    prompt::{
        Detokenizer,
        count::{Count, Counter, Family, RequestCount},
        tokenizer::from_file,
    },
};
use serde_json::{Value, json};

use crate::{
    console::{BOLD, Console, DIM, write_out},
    exit::{EXIT_CODES, Exit},
    input, neutral,
};

/// Most bytes read: a text of that size is ten million tokens.
const MAX_INPUT_BYTES: u64 = 64 * 1024 * 1024;
/// Most bytes of a tokenizer's file: those in use have up to 40 MB.
const MAX_TOKENIZER_BYTES: u64 = 128 * 1024 * 1024;
const DEFAULT_MODEL: &str = "gpt-4o";

const EXAMPLES: &str = "\
Examples:
  git diff | loquat tokens                        how many tokens
  loquat tokens --pieces prompt.txt               where each begins and ends
  loquat tokens --ids -m gpt-4 prompt.txt         their numbers
  loquat tokens --messages -m gpt-4o request.json a row for each message of a chat request
  loquat tokens --price 2.5 prompt.txt            at 2.50 for a million
  loquat tokens --tokenizer tokenizer.json a.txt  by a model's own tokenizer: Qwen, Llama, …";

/// Count tokens: of a text, or of a chat request message by message
///
/// Exact for OpenAI's models, and with `--tokenizer` for those that publish one; for others, whose vocabulary is closed or not
/// built in, a range. No network is used.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct TokensArgs {
    /// The file to read; `-` or nothing for stdin
    file: Option<PathBuf>,

    /// Whose tokens to count, gpt-4o unless `--tokenizer` is given; with it, whose rules to count a request by
    #[arg(long, short)]
    model: Option<String>,

    /// The model's `tokenizer.json` or `tekken.json`, as it is published beside its weights; one that is not understood is refused
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// Print the tokens' numbers, on one line
    #[arg(long, conflicts_with_all = ["pieces", "messages"])]
    ids: bool,

    /// Print the text with its tokens in turning colours, or between bars where there are none
    #[arg(long, conflicts_with = "messages")]
    pieces: bool,

    /// The input is the JSON of a chat request, or of its messages: print a row for each
    #[arg(long)]
    messages: bool,

    /// Price of a million input tokens, in any currency: adds what the input costs
    #[arg(long, value_name = "AMOUNT", value_parser = price)]
    price: Option<f64>,
}

fn price(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(price) if price.is_finite() && price >= 0.0 => Ok(price),
        _ => Err("a price is a number, such as 2.5".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// Where the input cannot be read, is no UTF-8, or has no numbers to show.
pub(crate) fn run(args: &TokensArgs, console: &Console) -> Result<Exit> {
    let text = input::text(args.file.as_deref(), MAX_INPUT_BYTES)?;
    let counter = counter(args)?;
    let mut out = String::new();
    let total = if args.messages {
        let request = request(&text)?;
        let counted = counter.request(&request)?;
        rows(&request, &counted, console, &mut out);
        counted.total
    } else if args.ids || args.pieces {
        let count = counter.text(&text)?;
        if !count.is_exact() {
            let model = neutral::line(args.model.as_deref().unwrap_or(DEFAULT_MODEL));
            let why = format!(
                "the tokens of {model} are not known here, only about how many: leave --ids and --pieces out"
            );
            return Err(Error::new(ErrorKind::InvalidRequest, why));
        }
        let mut tokens = Vec::new();
        counter.tokenizer().encode(&text, &mut tokens)?;
        if args.ids {
            let ids: Vec<String> = tokens.iter().map(u32::to_string).collect();
            return write_out(&format!("{}\n", ids.join(" "))).map(|()| Exit::Finished);
        }
        pieces(&tokens, &counter, console, &mut out)?;
        count
    } else {
        counter.text(&text)?
    };
    out.push_str(&total.to_string());
    if let Some(price) = args.price {
        out.push_str(&console.out_paint(DIM, &format!("  {}", cost(total, price))));
    }
    out.push('\n');
    write_out(&out)?;
    Ok(Exit::Finished)
}

fn counter(args: &TokensArgs) -> Result<Counter> {
    let Some(file) = &args.tokenizer else {
        return Counter::for_model(args.model.as_deref().unwrap_or(DEFAULT_MODEL));
    };
    let name = neutral::line(&file.display().to_string());
    let json = input::file(file, MAX_TOKENIZER_BYTES)?;
    let family = args.model.as_deref().map_or(Family::Other, Family::of);
    let tokenizer =
        from_file(&name, &json).map_err(|error| error.map_message(|what| format!("{name}: {what}")))?;
    Ok(Counter::with_tokenizer(tokenizer, family))
}

/// The text with its tokens told apart. Bytes of a character that goes over a border belong to the token that ends it.
fn pieces(tokens: &[u32], counter: &Counter, console: &Console, out: &mut String) -> Result<()> {
    const COLORS: [AnsiColor; 4] = [AnsiColor::Cyan, AnsiColor::Green, AnsiColor::Yellow, AnsiColor::Magenta];
    let mut text = Detokenizer::new(&**counter.tokenizer());
    for (number, token) in tokens.iter().enumerate() {
        let style: Style =
            COLORS.get(number % COLORS.len()).map(|color| color.on_default()).unwrap_or_default();
        let mut shown = String::new();
        for (line, piece) in text.push(*token)?.split('\n').enumerate() {
            if line > 0 {
                // Each line is painted by itself: a colour that goes over its end colours the whole row.
                shown.push_str(&console.out_paint(style, "⏎"));
                shown.push('\n');
            }
            shown.push_str(&console.out_paint(style, &neutral::line(piece)));
        }
        out.push_str(&shown);
        if !shown.contains('\u{1b}') {
            out.push('|');
        }
    }
    out.push('\n');
    Ok(())
}

fn rows(request: &ChatRequest, counted: &RequestCount, console: &Console, out: &mut String) {
    let mut row = |name: &str, count: Count, what: &str| {
        let what: String = what.chars().take(60).collect();
        let name = console.out_paint(BOLD, &format!("{name:<10}"));
        out.push_str(&format!(
            "{name} {:>13}  {}\n",
            count.to_string(),
            console.out_paint(DIM, &neutral::line(&what))
        ));
    };
    for (message, count) in request.messages.iter().zip(&counted.messages) {
        let role = format!("{:?}", message.role).to_lowercase();
        row(&role, *count, &message.text());
    }
    if !request.tools.is_empty() {
        let names: Vec<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
        row("tools", counted.tools, &names.join(", "));
    }
    row("around", counted.overhead, "what the provider adds once");
}

fn cost(count: Count, price: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
    let of = |tokens: u64| tokens as f64 / 1e6 * price;
    if count.is_exact() {
        format!("{:.6}", of(count.low()))
    } else {
        format!("{:.6}–{:.6}", of(count.low()), of(count.high()))
    }
}

/// A request in the form of OpenAI's chat completions or of Anthropic's messages, or its list of messages alone.
fn request(text: &str) -> Result<ChatRequest> {
    let value: Value =
        serde_json::from_str(text).map_err(|cause| wrong("it is no JSON").with_source(cause))?;
    let messages = value.as_array().or_else(|| value.get("messages")?.as_array());
    let messages = messages.ok_or_else(|| wrong("it has no list `messages`"))?;
    let mut request = ChatRequest::new("");
    // Anthropic has the instructions beside the messages.
    if let Some(content) = value.get("system").filter(|content| !content.is_null()) {
        let system = message(&json!({"role": "system", "content": content}));
        request.messages.push(system.map_err(|what| wrong(&format!("system: {what}")))?);
    }
    for (at, value) in (1..).zip(messages) {
        let message = message(value).map_err(|what| wrong(&format!("message {at}: {what}")))?;
        request.messages.push(message);
    }
    if let Some(schema) = value.pointer("/response_format/json_schema/schema") {
        let name = value.pointer("/response_format/json_schema/name").and_then(Value::as_str);
        let (name, schema) = (name.unwrap_or_default().to_owned(), JsonText::new(schema.to_string()));
        request.response_format = ResponseFormat::JsonSchema { name, schema };
    }
    for tool in value.get("tools").and_then(Value::as_array).into_iter().flatten() {
        let tool = tool.get("function").unwrap_or(tool);
        let schema = tool.get("parameters").or_else(|| tool.get("input_schema")).map(Value::to_string);
        let word = |name: &str| tool.get(name).and_then(Value::as_str).unwrap_or_default();
        request.tools.push(Tool::new(
            word("name"),
            word("description"),
            schema.unwrap_or_else(|| "{}".to_owned()),
        ));
    }
    Ok(request)
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::InvalidRequest, format!("the input is no chat request: {what}"))
}

fn word(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn message(value: &Value) -> std::result::Result<Message, String> {
    if !value.is_object() {
        return Err("it is no object".to_owned());
    }
    let role = match value.get("role").and_then(Value::as_str) {
        Some("system" | "developer") => Role::System,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        _ => Role::User,
    };
    let mut parts = Vec::new();
    match value.get("content") {
        Some(Value::String(text)) => parts.push(Part::Text(text.clone())),
        Some(Value::Array(content)) => {
            for content in content {
                parts.push(part(content)?);
            }
        }
        Some(Value::Null) | None => {}
        Some(_) => return Err("its content is neither a text nor a list of parts".to_owned()),
    }
    if role == Role::Tool {
        if !parts.iter().all(|part| matches!(part, Part::Text(_))) {
            return Err("what a tool gave is counted as text alone".to_owned());
        }
        let call = ToolCall::new(word(value, "tool_call_id"), "", "");
        let content = Message::new(role, parts).text();
        return Ok(Message::tool(ToolResult::new(&call, content)));
    }
    for call in value.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        let function = call.get("function").unwrap_or(call);
        parts.push(Part::ToolCall(ToolCall::new(
            word(call, "id"),
            word(function, "name"),
            word(function, "arguments"),
        )));
    }
    Ok(Message::new(role, parts))
}

/// A part of a message's content. What it does not know it does not count as nothing.
fn part(value: &Value) -> std::result::Result<Part, String> {
    if !value.is_object() {
        return Err("a part of its content is no object".to_owned());
    }
    let kind = value.get("type").and_then(Value::as_str).unwrap_or("text");
    let inner = value.get(kind).unwrap_or(&Value::Null);
    Ok(match kind {
        "text" | "input_text" | "output_text" => {
            let text = value.get("text").and_then(Value::as_str).ok_or("a part of it has no text")?;
            Part::Text(text.to_owned())
        }
        "refusal" => Part::Refusal(word(value, "refusal")),
        "image_url" => Part::Image(media(&inner.as_str().map_or_else(|| word(inner, "url"), str::to_owned))?),
        "input_image" => Part::Image(media(&word(value, "image_url"))?),
        "input_audio" => Part::Audio(decoded("audio/*", &word(inner, "data"))?),
        "file" => Part::File(media(&word(inner, "file_data"))?),
        other => return Err(format!("what `{}` costs is not known here", neutral::line(other))),
    })
}

/// Bytes where the address holds them (RFC 2397), else what stands somewhere else.
fn media(url: &str) -> std::result::Result<Media, String> {
    match url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        Some((kind, data)) => decoded(kind, data),
        None => Ok(Media::url(url)),
    }
}

fn decoded(kind: &str, data: &str) -> std::result::Result<Media, String> {
    let bytes = STANDARD.decode(data).map_err(|_| "a part's data are no base64".to_owned())?;
    Ok(Media::bytes(kind, bytes))
}
