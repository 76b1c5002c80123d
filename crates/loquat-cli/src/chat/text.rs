//! An answer as text: on stdout what the model says, on stderr what it thinks.

use std::io::{self, Write as _};

use loquat::Delta;

use crate::{
    console::{Console, DIM, write_err},
    neutral::{self, Neutralizer},
};

use super::ask::Show;

/// Shows an answer's first alternative as text, each delta at once.
pub(crate) struct Text<'a> {
    console: &'a Console,
    shows_reasoning: bool,
    answer: Neutralizer,
    thoughts: Neutralizer,
    /// What is open on the screen, without a line end.
    open: Open,
    buffer: String,
}

/// The last thing that was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// Nothing, or a whole line.
    Nothing,
    /// Words on stdout.
    Answer,
    /// Words on stderr.
    Thoughts,
}

impl<'a> Text<'a> {
    pub(crate) fn new(console: &'a Console, shows_reasoning: bool) -> Self {
        Self {
            console,
            shows_reasoning,
            answer: Neutralizer::default(),
            thoughts: Neutralizer::default(),
            open: Open::Nothing,
            buffer: String::new(),
        }
    }

    fn answer(&mut self, text: &str) -> io::Result<()> {
        self.close_thoughts();
        self.buffer.clear();
        if self.console.out_is_terminal {
            self.answer.push(text, &mut self.buffer);
        } else {
            self.buffer.push_str(text);
        }
        print(&self.buffer)?;
        if let Some(last) = self.buffer.bytes().last() {
            self.open = if last == b'\n' { Open::Nothing } else { Open::Answer };
        }
        Ok(())
    }

    fn thoughts(&mut self, text: &str) {
        self.buffer.clear();
        if self.console.err_is_terminal {
            self.thoughts.push(text, &mut self.buffer);
        } else {
            self.buffer.push_str(text);
        }
        if self.buffer.is_empty() {
            return;
        }
        write_err(&self.console.err_paint(DIM, &self.buffer));
        self.open = if self.buffer.ends_with('\n') { Open::Nothing } else { Open::Thoughts };
    }

    fn close_thoughts(&mut self) {
        if self.open == Open::Thoughts {
            write_err("\n");
            self.open = Open::Nothing;
        }
    }
}

impl Show for Text<'_> {
    fn show(&mut self, delta: &Delta<'_>) -> io::Result<()> {
        match *delta {
            // A refusal is what the model says in place of an answer.
            Delta::Text { choice: 0, text } | Delta::Refusal { choice: 0, text } => self.answer(text)?,
            Delta::Reasoning { choice: 0, text } if self.shows_reasoning => self.thoughts(text),
            Delta::ToolCall { choice: 0, name, .. } => {
                self.end_line()?;
                self.console.note(&format!("[the model asks for the tool {}]", neutral::line(name)));
            }
            _ => {}
        }
        Ok(())
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.close_thoughts();
        self.buffer.clear();
        self.answer.finish(&mut self.buffer);
        if self.open == Open::Answer || !self.buffer.is_empty() {
            self.buffer.push('\n');
            self.open = Open::Nothing;
            print(&self.buffer)?;
        }
        Ok(())
    }
}

/// To stdout, at once.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
