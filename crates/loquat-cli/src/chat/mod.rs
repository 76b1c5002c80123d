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
mod waits;
mod watch;

use std::{io::IsTerminal as _, path::Path, sync::Arc};

use loquat::{Client, Context, Message, Model, Result, core::CancellationToken};

use crate::{
    connect::{Connection, shown_url},
    console::Console,
    exit::Exit,
    input,
    interrupt::Interrupts,
};

pub(crate) use args::ChatArgs;
use ask::{Asked, ask, finish_line};
use json::JsonLines;
use stats::Stopwatch;
use text::Text;
use watch::Watch;

/// Who answers.
struct Party {
    model: Arc<dyn Model>,
    /// Its name at the endpoint.
    name: String,
    /// Where it is, for a person; `None` for the embedded engine.
    place: Option<String>,
}

impl Party {
    fn shown(&self, asked_as: &str) -> String {
        let name = if self.name.is_empty() { asked_as } else { &self.name };
        match &self.place {
            Some(place) => format!("{name} at {place}"),
            None => format!("{asked_as} on this machine"),
        }
    }
}

/// Where the model of that name is, for a person; `None` for the embedded engine.
fn place(client: &Client, name: &str) -> Option<String> {
    if let Some(url) = client.base_url() {
        return Some(shown_url(url));
    }
    let prefix = name.split_once(':').map_or(name, |(prefix, _)| prefix);
    match client.providers().iter().find(|provider| provider.name == prefix) {
        Some(provider) => Some(shown_url(&provider.base_url)),
        None if prefix == "engine" || name.ends_with(".gguf") => None,
        None => Some("the provider that lists it".to_owned()),
    }
}

/// What all questions of a run share.
struct Chat<'a> {
    args: &'a ChatArgs,
    console: &'a Console,
    client: Client,
    watch: Watch,
    interrupts: Interrupts,
    #[cfg(feature = "engine")]
    pull: crate::progress::PullDisplay,
}

/// Runs the command.
///
/// # Errors
/// What kept it from asking; what went wrong later, or whatever it is with `--json`, has been shown, and is in the code.
pub(crate) fn run(args: &ChatArgs, console: &Console) -> Result<Exit> {
    match begin(args, console) {
        // A program reads to the last line, and would take one that is missing for a crash.
        Err(error) if args.output.json => Ok(JsonLines::stdout().end(&Asked::failed(error), console)),
        exit => exit,
    }
}

fn begin(args: &ChatArgs, console: &Console) -> Result<Exit> {
    let piped = !std::io::stdin().is_terminal();
    let model = args.model_name()?;
    let name = model.trim();
    let file = Path::new(name.strip_prefix("engine:").unwrap_or(name));
    // One that is not there may be a model that was pulled, and otherwise the engine says which there are.
    if args.server.base_url.is_none() && name.ends_with(".gguf") && file.exists() {
        input::readable(file, u64::MAX)?;
    }
    let chat = Chat::new(args, console, &model)?;
    // One thread is enough: it reads the socket, decodes and prints, and no chunk changes threads on its way.
    let runtime = crate::runtime()?;
    chat.watch.runtime(&runtime);
    let wants_conversation = args.prompt.is_none() && !piped && console.out_is_terminal && !args.output.json;
    let exit = if wants_conversation {
        runtime.block_on(interactive::converse(&chat, model))
    } else {
        let prompt = prompt::read(args.prompt.as_deref(), console)?;
        Ok(runtime.block_on(chat.watch.task("chat", chat.one_shot(&model, prompt))))
    };
    // A blocking thread (a model being loaded) is not waited for.
    runtime.shutdown_background();
    chat.watch.end(console);
    exit
}

impl<'a> Chat<'a> {
    fn new(args: &'a ChatArgs, console: &'a Console, model: &str) -> Result<Self> {
        let provider = model.split_once(':').map(|(provider, _)| provider);
        let connection =
            Connection { network: &args.network, server: &args.server, limits: args.limits(), provider };
        #[cfg(feature = "engine")]
        let pull = crate::progress::PullDisplay::new(console, "smollm2, the engine's default model");
        let watch = Watch::new(&args.output, args.network.config()?, console)?;
        let client = connection.watched_client(
            watch.observer(),
            #[cfg(feature = "engine")]
            Some(pull.progress()),
        )?;
        Ok(Self {
            args,
            console,
            client,
            watch,
            interrupts: Interrupts::listen()?,
            #[cfg(feature = "engine")]
            pull,
        })
    }

    /// Finds who goes by that name; loads the engine, and fetches its model, where that is asked for. `None` after
    /// Ctrl-C. The limits of an answer do not count yet: a download takes as long as it takes.
    async fn find(&self, cancellation: &CancellationToken, name: &str) -> Option<Result<Party>> {
        self.interrupts.cancel(cancellation);
        let mut context = Context::new().with_cancellation(cancellation.clone());
        // A server that is asked for its only model is given the answer's time; not so the engine, which may have to fetch one.
        if let (Some(limit), true) = (self.args.time.timeout, name.is_empty()) {
            context = context.with_timeout(limit);
        }
        let found = cancellation.run_until_cancelled(self.client.resolve(&context, name)).await;
        #[cfg(feature = "engine")]
        self.pull.finish();
        let found = found?.map(|(model, at_endpoint)| Party {
            model,
            place: place(&self.client, name),
            name: at_endpoint,
        });
        Some(found)
    }

    /// Asks once.
    async fn one_shot(&self, model: &str, prompt: String) -> Exit {
        let Self { args, console, .. } = self;
        let cancellation = CancellationToken::new();
        let mut lines = JsonLines::stdout();
        let mut stats = None;
        let asked = match self.find(&cancellation, model).await {
            None => Asked::interrupted(),
            Some(Err(error)) => Asked::failed(error),
            Some(Ok(party)) => {
                let context = waits::told(args.context(), console).with_cancellation(cancellation);
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
                stats = args.output.stats.then(|| stopwatch.report(&asked, &party.shown(model)));
                asked
            }
        };
        let exit = if args.output.json { lines.end(&asked, console) } else { asked.tell(console) };
        if let Some(stats) = stats {
            console.note(&stats);
        }
        self.watch.tell(console);
        exit
    }
}
