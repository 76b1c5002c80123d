//! The prompt of a single question: from the command line, from stdin, or from both.

use std::{
    io::{self, IsTerminal as _, Read},
    sync::mpsc,
    thread,
    time::Duration,
};

use loquat::{Error, ErrorKind, Result};

use crate::console::Console;

/// Most bytes read from stdin: four times what the largest context window holds.
const MAX_PROMPT_BYTES: u64 = 16 * 1024 * 1024;
/// How long stdin may be silent before a person is told what is being waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The whole prompt.
///
/// # Errors
/// [`ErrorKind::InvalidRequest`] where there is nothing to ask, or stdin holds too much or no text.
pub(crate) fn read(argument: Option<&str>, console: &Console) -> Result<String> {
    let stdin = io::stdin();
    let piped = !stdin.is_terminal();
    let prompt = match argument {
        Some("-") | None => {
            if !piped {
                console.note("[type the prompt, then Ctrl-D]");
            }
            read_patiently(console)?
        }
        Some(argument) if piped => join(argument, &read_patiently(console)?),
        Some(argument) => argument.to_owned(),
    };
    if prompt.trim().is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidRequest,
            "the prompt is empty: give one as an argument or through stdin (see `loquat chat --help`)",
        ));
    }
    Ok(prompt)
}

/// What is piped in follows the prompt, a line between them.
fn join(argument: &str, piped: &str) -> String {
    if piped.trim().is_empty() { argument.to_owned() } else { format!("{argument}\n\n{piped}") }
}

/// Reads stdin to its end, and says so if that end does not come: some callers leave a pipe open for ever.
fn read_patiently(console: &Console) -> Result<String> {
    let (done, finished) = mpsc::channel::<()>();
    thread::scope(|scope| {
        if !io::stdin().is_terminal() {
            scope.spawn(move || {
                if finished.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                    console.note(
                        "[waiting for the end of stdin; without anything to read there, add </dev/null]",
                    );
                }
            });
        }
        let text = read_text(io::stdin().lock());
        drop(done);
        text
    })
}

fn read_text(input: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    input
        .take(MAX_PROMPT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|cause| Error::new(ErrorKind::Local, "cannot read stdin").with_source(cause))?;
    if bytes.len() as u64 > MAX_PROMPT_BYTES {
        return Err(Error::new(
            ErrorKind::InvalidRequest,
            format!("stdin holds more than {} MiB, more than any model reads", MAX_PROMPT_BYTES >> 20),
        ));
    }
    String::from_utf8(bytes).map_err(|cause| {
        let place = cause.utf8_error().valid_up_to();
        Error::new(
            ErrorKind::InvalidRequest,
            format!("stdin is not UTF-8 text: it goes wrong at byte {place}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argument_and_stdin_are_joined() {
        assert_eq!(join("Sum up:", "text\n"), "Sum up:\n\ntext\n");
        assert_eq!(join("Sum up:", " \n"), "Sum up:");
    }

    #[test]
    fn stdin_is_bounded_text() {
        assert_eq!(read_text(&b"hi \xc5\xbc"[..]).ok().as_deref(), Some("hi ż"));
        let error = read_text(&b"hi \xff"[..]).expect_err("not UTF-8");
        assert!(error.message().contains("byte 3"), "{error}");
        let endless = io::repeat(b'a');
        assert_eq!(read_text(endless).expect_err("endless").kind(), ErrorKind::InvalidRequest);
    }
}
