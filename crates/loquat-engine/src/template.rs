//! The chat template: the Jinja program that a GGUF carries, run with a bound on its steps.
//!
//! A template is code from the file. It gets the messages and nothing else: no files, no includes, no environment. Message
//! texts are guarded, so that no user can write a control token (see `Tokenizer::guard`).

use loquat_core::{Message, Part, Role};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};

use crate::error::{Result, invalid, local, unsupported};
use crate::gguf::Gguf;
use crate::tokenizer::{Spelled, Tokenizer};

/// Steps of the template's virtual machine: some 100 per message are usual.
const MAX_STEPS: u64 = 1_000_000;
/// Longest template accepted, bytes. The longest published ones (with tools) have about 20 kB.
const MAX_TEMPLATE_BYTES: usize = 256 << 10;
/// Used where the file has none: ChatML, which most instruction-tuned models of this size understand.
const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + \
                      '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
const NAME: &str = "chat_template";

/// A compiled template.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    spelled: Spelled,
}

impl ChatTemplate {
    pub(crate) fn read(file: &Gguf, spelled: Spelled) -> Result<Self> {
        let source = file.text("tokenizer.chat_template").unwrap_or(CHATML);
        if source.len() > MAX_TEMPLATE_BYTES {
            let (shown, length) = (file.path().display(), source.len());
            return Err(invalid(format!(
                "{shown}: a chat template of {length} bytes; allowed are {MAX_TEMPLATE_BYTES}"
            )));
        }
        Self::compile(source.to_owned(), spelled)
            .map_err(|e| local(format!("{}: its chat template does not compile", file.path().display()), e))
    }

    fn compile(source: String, spelled: Spelled) -> Result<Self, minijinja::Error> {
        let mut environment = Environment::empty();
        environment.set_fuel(Some(MAX_STEPS));
        environment.set_recursion_limit(64);
        // As Hugging Face's own renderer is set.
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        // Templates are written for Python and call methods such as `strip` on texts.
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        add_builtins(&mut environment);
        environment.add_template_owned(NAME, source)?;
        Ok(Self { environment, spelled })
    }

    /// The prompt's token ids, up to and including the opening of the assistant's turn.
    ///
    /// # Errors
    /// A message has parts that are no text; or the template fails, for example over the order of roles.
    pub(crate) fn encode(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        let texts = messages.iter().map(text_of).collect::<Result<Vec<_>>>()?;
        let guard = unused_character(&texts)?;
        let values: Vec<Value> = messages
            .iter()
            .zip(&texts)
            .map(|(message, text)| {
                let role = match message.role {
                    Role::System => "system",
                    Role::User => "user",
                    Role::Assistant => "assistant",
                    _ => "tool",
                };
                context! { role, content => tokenizer.guard(text, guard) }
            })
            .collect();
        let rendered = self
            .environment
            .get_template(NAME)
            .and_then(|template| {
                template.render(context! {
                    messages => values,
                    add_generation_prompt => true,
                    bos_token => self.spelled.beginning.as_str(),
                    eos_token => self.spelled.end.as_str(),
                })
            })
            // The library's error shows lines of the template, not the messages.
            .map_err(|e| {
                loquat_core::Error::new(
                    loquat_core::ErrorKind::InvalidRequest,
                    "the model's chat template refused the messages",
                )
                .with_source(e)
            })?;
        tokenizer.encode_rendered(&rendered, guard)
    }
}

/// What of Jinja's standard library templates use; the rest stays out of a stranger's reach.
fn add_builtins(environment: &mut Environment<'_>) {
    use minijinja::{filters, functions, tests};
    environment.add_filter("trim", filters::trim);
    environment.add_filter("upper", filters::upper);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("length", filters::length);
    environment.add_filter("count", filters::length);
    environment.add_filter("default", filters::default);
    environment.add_filter("first", filters::first);
    environment.add_filter("last", filters::last);
    environment.add_filter("join", filters::join);
    environment.add_filter("list", filters::list);
    environment.add_filter("items", filters::items);
    environment.add_filter("string", |value: Value| value.to_string());
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("string", tests::is_string);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("iterable", tests::is_iterable);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("number", tests::is_number);
    environment.add_test("true", tests::is_true);
    environment.add_test("false", tests::is_false);
    environment.add_function("range", functions::range);
    environment.add_function("namespace", functions::namespace);
}

fn text_of(message: &Message) -> Result<String> {
    let mut text = String::new();
    for part in &message.parts {
        match part {
            Part::Text(words) | Part::Refusal(words) => text.push_str(words),
            // Thoughts are not sent back to models of this kind.
            Part::Reasoning(_) => {}
            other => {
                let kind = match other {
                    Part::Image(_) => "an image",
                    Part::Audio(_) => "audio",
                    Part::File(_) => "a file",
                    Part::ToolCall(_) | Part::ToolResult(_) => "a tool call or result",
                    _ => "a part",
                };
                return Err(unsupported(format!(
                    "the embedded engine reads text only; a message holds {kind}"
                )));
            }
        }
    }
    Ok(text)
}

/// A private-use character that occurs in none of the texts.
fn unused_character(texts: &[String]) -> Result<char> {
    ('\u{F0000}'..='\u{F00FF}')
        .find(|character| !texts.iter().any(|text| text.contains(*character)))
        .ok_or_else(|| unsupported("the messages use all 256 private characters from U+F0000 on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_without_end_runs_out_of_steps() {
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        let template = ChatTemplate::compile(endless.into(), Spelled::default()).unwrap();
        let error = template.environment.get_template(NAME).unwrap().render(()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfFuel);
    }

    #[test]
    fn media_is_refused_by_name() {
        let image = Part::Image(loquat_core::Media::url("https://example.com/a.png"));
        let error = text_of(&Message::user("look").with_part(image)).unwrap_err();
        assert!(error.to_string().contains("an image"), "{error}");
    }
}
