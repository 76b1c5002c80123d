//! A conversation: every turn sends the whole of it again, so that the engine (and a provider's prompt cache) goes on
//! from what it has read already.

use std::path::Path;

use loquat::{ChatRequest, Ending, Message, Part, Result, core::CancellationToken};

use crate::{console::write_err, exit::Exit};

use super::{
    Chat, Party,
    ask::{Asked, Outcome, ask, finish_line},
    command::{self, Command, Line},
    editor::{Input, LineEditor},
    stats::Stopwatch,
    text::Text,
    transcript, waits,
};

/// Talks until the person leaves.
///
/// # Errors
/// What kept the conversation from beginning. Later errors are shown, and the conversation goes on.
pub(super) async fn converse(chat: &Chat<'_>, model: String) -> Result<Exit> {
    let Chat { args, console, interrupts, .. } = chat;
    let Some(party) = chat.find(&CancellationToken::new(), &model).await.transpose()? else {
        return Ok(Asked::interrupted().tell(console));
    };
    console.note(&format!(
        "loquat {}, {}. /help lists commands.",
        env!("CARGO_PKG_VERSION"),
        party.shown(&model)
    ));
    let mut session = Session {
        chat,
        party,
        asked_as: model,
        system: args.sampling.system.clone(),
        messages: Vec::new(),
        shows_stats: args.output.stats,
        shows_reasoning: args.shows_reasoning(console),
    };
    let mut editor = LineEditor::open()?;
    let prompt = "> ";
    let mut interrupted_before = false;
    loop {
        interrupts.ignore();
        let input;
        (editor, input) = editor.read(prompt.to_owned()).await?;
        let line = match input {
            Input::Line(line) => line,
            Input::End => return Ok(Exit::Finished),
            Input::Interrupt if interrupted_before => return Ok(Exit::Interrupted),
            Input::Interrupt => {
                interrupted_before = true;
                console.note("[Ctrl-C again, Ctrl-D or /quit to leave]");
                continue;
            }
        };
        interrupted_before = false;
        if let Go::Leave(exit) = chat.watch.task("turn", session.line(&line)).await {
            return Ok(exit);
        }
    }
}

/// Whether the conversation goes on.
enum Go {
    On,
    Leave(Exit),
}

struct Session<'a> {
    chat: &'a Chat<'a>,
    party: Party,
    /// The model's name as the person gave it.
    asked_as: String,
    system: Option<String>,
    /// What was said, without the system message.
    messages: Vec<Message>,
    shows_stats: bool,
    shows_reasoning: bool,
}

impl Session<'_> {
    async fn line(&mut self, line: &str) -> Go {
        let console = self.chat.console;
        let command = match command::parse(line) {
            Line::Empty => return Go::On,
            Line::Words(words) => return self.turn(words.to_owned(), Vec::new()).await,
            Line::Command(command) => command,
        };
        match command {
            Command::Quit => return Go::Leave(Exit::Finished),
            Command::Help => write_err(&format!("{}\n", command::help())),
            Command::System("") => match &self.system {
                Some(system) => console.note(system),
                None => console.note("[no instructions]"),
            },
            Command::System("-") => self.system = None,
            Command::System(text) => self.system = Some(text.to_owned()),
            Command::Model("") => console.note(&self.party.shown(&self.asked_as)),
            Command::Model(name) => self.change_model(name).await,
            Command::Clear => {
                self.messages.clear();
                console.note("[forgotten]");
            }
            Command::Retry => return self.retry().await,
            Command::Save("") => console.note("[/save needs the name of a file]"),
            Command::Save(file) => self.save(Path::new(file)),
            Command::Stats => self.shows_stats = self.toggled("stats", self.shows_stats),
            Command::Reasoning => self.shows_reasoning = self.toggled("reasoning", self.shows_reasoning),
            Command::Unknown(name) => console.note(&format!(
                "[there is no /{name}: /help lists commands, and a message that begins with / is written with //]"
            )),
        }
        Go::On
    }

    fn toggled(&self, what: &str, shown: bool) -> bool {
        self.chat.console.note(&format!("[{what} {}]", if shown { "hidden" } else { "shown" }));
        !shown
    }

    async fn change_model(&mut self, name: &str) {
        match self.chat.find(&CancellationToken::new(), name).await {
            Some(Ok(party)) => {
                self.party = party;
                name.clone_into(&mut self.asked_as);
                self.chat.console.note(&self.party.shown(&self.asked_as));
            }
            Some(Err(error)) => self.chat.console.error(&error),
            None => self.chat.console.note("[interrupted; the model stays]"),
        }
    }

    fn save(&self, file: &Path) {
        let system = self.system.as_ref().map(Message::system);
        let messages: Vec<_> = system.into_iter().chain(self.messages.iter().cloned()).collect();
        match transcript::save(file, &messages) {
            Ok(()) => self.chat.console.note(&format!("[{} messages in {}]", messages.len(), file.display())),
            Err(error) => self.chat.console.error(&error),
        }
    }

    /// Asks the last question again. Its answer is forgotten once there is another.
    async fn retry(&mut self) -> Go {
        let last = self.messages.iter().rposition(|message| message.role == loquat::Role::User);
        let Some(last) = last else {
            self.chat.console.note("[nothing was asked yet]");
            return Go::On;
        };
        let earlier = self.messages.split_off(last);
        let question = earlier.first().map(Message::text).unwrap_or_default();
        self.turn(question, earlier).await
    }

    /// Asks, with what this takes the place of.
    async fn turn(&mut self, words: String, earlier: Vec<Message>) -> Go {
        let context = waits::told(self.chat.args.context(), self.chat.console);
        self.chat.interrupts.cancel(context.cancellation());
        self.messages.push(Message::user(words));
        let mut stopwatch = Stopwatch::start(!self.chat.args.output.no_stream);
        let mut text = Text::new(self.chat.console, self.shows_reasoning);
        let asked = ask(&*self.party.model, &context, self.request(), &mut text, &mut stopwatch).await;
        let asked = finish_line(asked, &mut text);
        self.chat.interrupts.quit();
        let exit = asked.tell(self.chat.console);
        if self.shows_stats {
            self.chat.console.note(&stopwatch.report(&asked, &self.party.shown(&self.asked_as)));
        }
        self.chat.watch.tell(self.chat.console);
        if let Outcome::Unwritable(_) = asked.outcome {
            return Go::Leave(exit);
        }
        self.keep(&asked, earlier);
        Go::On
    }

    fn request(&self) -> ChatRequest {
        let mut request = self.chat.args.request(&self.party.name);
        request.messages = self.system.as_ref().map(Message::system).into_iter().collect();
        request.messages.extend(self.messages.iter().cloned());
        request
    }

    /// Makes the answer a part of the conversation: whole as it came, cut as far as its text goes. Where there is no
    /// text, the question goes, too, because two questions in a row are not understood everywhere; what it was to take the place of
    /// stays.
    fn keep(&mut self, asked: &Asked, earlier: Vec<Message>) {
        let text = asked.response.text();
        if text.is_empty() {
            self.messages.pop();
            self.chat.console.note(if earlier.is_empty() {
                "[no answer: the question is not kept, the Up key brings it back]"
            } else {
                "[no answer: the earlier one is kept]"
            });
            self.messages.extend(earlier);
            return;
        }
        let is_whole = matches!(asked.outcome, Outcome::Ended(Ending::Finished { .. }));
        let whole = asked.response.message().filter(|_| is_whole).cloned();
        self.messages.push(match whole {
            // A call without a result would be refused with the next question: nobody runs tools here.
            Some(mut message) => {
                message.parts.retain(|part| !matches!(part, Part::ToolCall(_)));
                message
            }
            None => Message::assistant(text),
        });
    }
}
