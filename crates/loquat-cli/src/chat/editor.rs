//! Line editing with a history, in a file that only its owner can read.
//!
//! It runs on a thread that may block, so that connections are looked after while a person types.

use std::path::PathBuf;

use etcetera::BaseStrategy as _;
use loquat::{Error, ErrorKind, Result};
use rustyline::{
    Context, Editor, Helper,
    completion::Completer,
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::FileHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};

use super::command::COMMANDS;

/// Lines kept in the history.
const MAX_HISTORY_LINES: usize = 1000;

/// What a person entered.
#[derive(Debug)]
pub(super) enum Input {
    Line(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D, or a terminal that is gone.
    End,
}

/// Reads lines from the terminal.
pub(super) struct LineEditor {
    editor: Editor<Assistant, FileHistory>,
    history: Option<PathBuf>,
}

impl LineEditor {
    /// Opens the terminal and the history. A history that cannot be read or written is done without.
    ///
    /// # Errors
    /// [`ErrorKind::Local`] for a terminal that cannot be used.
    pub(super) fn open() -> Result<Self> {
        let config = rustyline::Config::builder()
            .max_history_size(MAX_HISTORY_LINES)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(terminal)?
            // As in shells: a line that begins with a space is not remembered.
            .history_ignore_space(true)
            .build();
        let mut editor = Editor::with_config(config).map_err(terminal)?;
        editor.set_helper(Some(Assistant));
        let history = history_file().filter(|file| prepare(file).is_ok());
        if let Some(file) = &history {
            // A damaged history is no reason not to talk.
            drop(editor.load_history(file));
        }
        Ok(Self { editor, history })
    }

    /// Reads a line; one that ends in a backslash goes on in the next.
    ///
    /// # Errors
    /// [`ErrorKind::Local`] where the terminal fails.
    pub(super) async fn read(mut self, prompt: String) -> Result<(Self, Input)> {
        tokio::task::spawn_blocking(move || {
            let input = match self.editor.readline(&prompt) {
                Ok(line) => {
                    let line = line.replace("\\\n", "\n");
                    self.remember(&line);
                    Input::Line(line)
                }
                Err(ReadlineError::Interrupted) => Input::Interrupt,
                Err(ReadlineError::Eof) => Input::End,
                Err(cause) => return Err(terminal(cause)),
            };
            Ok((self, input))
        })
        .await
        .unwrap_or_else(|cause| {
            Err(Error::new(ErrorKind::Internal, "the line editor was lost").with_source(cause))
        })
    }

    /// Kept at once: a program that is killed loses nothing. Other conversations append to the same file.
    fn remember(&mut self, line: &str) {
        if self.editor.add_history_entry(line).unwrap_or(false)
            && let Some(file) = &self.history
        {
            drop(self.editor.append_history(file));
        }
    }
}

fn terminal(cause: ReadlineError) -> Error {
    Error::new(ErrorKind::Local, "the terminal cannot be used").with_source(cause)
}

/// The history's place in the user's data folder.
fn history_file() -> Option<PathBuf> {
    let folders = etcetera::choose_base_strategy().ok()?;
    Some(folders.data_dir().join("loquat").join("chat-history"))
}

/// Makes the folder, and the file with mode 0600.
fn prepare(file: &std::path::Path) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    private_file().append(true).create(true).open(file).map(drop)
}

/// Opens files that only their owner can read.
pub(super) fn private_file() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Completes commands and joins lines.
struct Assistant;

impl Helper for Assistant {}

impl Highlighter for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..pos).unwrap_or(line);
        let commands = COMMANDS.iter().map(|(name, _)| *name);
        let fitting = commands.filter(|name| typed.starts_with('/') && name.starts_with(typed));
        Ok((0, fitting.map(str::to_owned).collect()))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let goes_on = context.input().ends_with('\\');
        Ok(if goes_on { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}
