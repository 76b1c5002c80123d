//! `loquat chat`: one question, or a conversation.

mod args;
mod ask;
mod command;
mod editor;
mod interactive;
mod json;
mod prompt;
mod stats;
mod text;
mod transcript;

use std::{io::IsTerminal as _, sync::Arc};

use loquat::{Client, Context, Message, Model, Result};

use crate::{
    connect::{Connection, shown_url},
    console::Console,
    exit::Exit,
    interrupt::Interrupts,
};

pub(crate) use args::ChatArgs;
use ask::{Asked, ask, finish_line};
use json::JsonLines;
use stats::Stopwatch;
use text::Text;

/// Who answers.
struct Party {
    model: Arc<dyn Model>,
    /// Its name at the endpoint.
    name: String,
    /// Where it is, for a person.
    place: String,
}

impl Party {
    /// Finds who goes by that name. Loads the engine, and fetches its model, where that is asked for.
    async fn find(client: &Client, context: &Context, name: &str) -> Result<Self> {
        let (model, at_endpoint) = client.resolve(context, name).await?;
        Ok(Self { model, place: place(client, name), name: at_endpoint })
    }

    fn shown(&self, asked_as: &str) -> String {
        let name = if self.name.is_empty() { asked_as } else { &self.name };
        format!("{name} at {}", self.place)
    }
}

/// Where the model of that name is, for a person.
fn place(client: &Client, name: &str) -> String {
    if let Some(url) = client.base_url() {
        return shown_url(url);
    }
    let prefix = name.split_once(':').map_or(name, |(prefix, _)| prefix);
    match client.providers().iter().find(|provider| provider.name == prefix) {
        Some(provider) => shown_url(&provider.base_url),
        None if prefix == "engine" || name.ends_with(".gguf") => "the embedded engine".to_owned(),
        None => "the provider that lists it".to_owned(),
    }
}

/// Runs the command.
///
/// # Errors
/// What kept it from asking; what went wrong later has been shown, and is in the code.
pub(crate) fn run(args: &ChatArgs, console: &Console) -> Result<Exit> {
    let piped = !std::io::stdin().is_terminal();
    let model = args.model_name()?;
    let provider = model.split_once(':').map(|(provider, _)| provider);
    let connection =
        Connection { network: &args.network, server: &args.server, limits: args.limits(), provider };
    #[cfg(feature = "engine")]
    let pull = crate::progress::PullDisplay::new(console, "smollm2, the engine's default model");
    let client = connection.client(
        #[cfg(feature = "engine")]
        Some(pull.progress()),
    )?;
    let interrupts = Interrupts::listen()?;

    // One thread is enough: it reads the socket, decodes and prints, and no chunk changes threads on its way.
    let runtime = crate::runtime()?;
    let wants_conversation = args.prompt.is_none() && !piped && console.out_is_terminal && !args.output.json;
    let exit = if wants_conversation {
        runtime.block_on(interactive::converse(args, console, &client, &interrupts, model))
    } else {
        let prompt = prompt::read(args.prompt.as_deref(), console)?;
        runtime.block_on(one_shot(args, console, &client, &interrupts, &model, prompt))
    };
    // A blocking thread (a model being loaded) is not waited for.
    runtime.shutdown_background();
    exit
}

/// Asks once.
async fn one_shot(
    args: &ChatArgs,
    console: &Console,
    client: &Client,
    interrupts: &Interrupts,
    model: &str,
    prompt: String,
) -> Result<Exit> {
    let context = args.context();
    interrupts.cancel(context.cancellation());
    let mut lines = JsonLines::stdout();
    let found = context.cancellation().run_until_cancelled(Party::find(client, &context, model)).await;
    let asked = match found {
        None => Asked::interrupted(),
        Some(Err(error)) => Asked::failed(error),
        Some(Ok(party)) => {
            console.detail(|| format!("asking {}, trace {:?}", party.shown(model), context.trace()));
            let mut request = args.request(&party.name);
            request.messages.push(Message::user(prompt));
            let mut stopwatch = Stopwatch::start(!args.output.no_stream);
            let asked = if args.output.json {
                ask(&*party.model, &context, request, &mut lines, &mut stopwatch).await
            } else {
                let mut text = Text::new(console, args.shows_reasoning(console));
                let asked = ask(&*party.model, &context, request, &mut text, &mut stopwatch).await;
                finish_line(asked, &mut text)
            };
            if args.output.stats {
                console.note(&stopwatch.report(&asked, &party.shown(model)));
            }
            asked
        }
    };
    if args.output.json {
        return Ok(lines.end(&asked, console));
    }
    Ok(asked.tell(console))
}
