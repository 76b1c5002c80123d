//! A conversation in a file.

use std::{fs, io, path::Path};

use loquat::{Error, ErrorKind, Message, Result, Role};
use serde::Serialize;

use super::editor::private_file;

#[derive(Serialize)]
struct Said<'a> {
    role: &'a str,
    content: String,
}

/// Writes the conversation to a new file that only its owner can read: what was said may be private.
///
/// # Errors
/// [`ErrorKind::Local`] for a file that exists already or cannot be written.
pub(super) fn save(file: &Path, messages: &[Message]) -> Result<()> {
    let failed = |cause: io::Error| {
        let what = match cause.kind() {
            io::ErrorKind::AlreadyExists => "exists already",
            _ => "cannot be written",
        };
        Error::new(ErrorKind::Local, format!("{} {what}", file.display())).with_source(cause)
    };
    let text = if file.extension().is_some_and(|extension| extension == "json") {
        as_json(messages)?
    } else {
        as_text(messages)
    };
    let out = private_file().write(true).create_new(true).open(file).map_err(failed)?;
    whole_or_gone(file, out, text.as_bytes()).map_err(failed)
}

/// Half a conversation would stand in the way of the whole one.
fn whole_or_gone(file: &Path, mut out: impl io::Write, bytes: &[u8]) -> io::Result<()> {
    let written = out.write_all(bytes);
    if written.is_err() {
        // It was made just now; where it stays, too, the person sees it.
        drop(fs::remove_file(file));
    }
    written
}

fn as_json(messages: &[Message]) -> Result<String> {
    let said: Vec<_> =
        messages.iter().map(|message| Said { role: role(message.role), content: message.text() }).collect();
    serde_json::to_string_pretty(&said)
        .map(|text| text + "\n")
        .map_err(|cause| Error::new(ErrorKind::Internal, "the conversation is no JSON").with_source(cause))
}

fn as_text(messages: &[Message]) -> String {
    messages
        .iter()
        .map(|message| format!("## {}\n\n{}\n\n", role(message.role), message.text().trim_end()))
        .collect()
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_not_left() {
        /// A disk with room for eight bytes.
        struct Full(fs::File);
        impl io::Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let room = 8 - self.0.metadata()?.len();
                if room == 0 { Err(io::ErrorKind::StorageFull.into()) } else { self.0.write(&bytes[..4]) }
            }
            fn flush(&mut self) -> io::Result<()> {
                self.0.flush()
            }
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("talk.md");
        let disk = Full(fs::File::create_new(&file).expect("a new file"));
        let error = whole_or_gone(&file, disk, b"a conversation").expect_err("no room");
        assert_eq!((error.kind(), file.exists()), (io::ErrorKind::StorageFull, false));
    }

    #[test]
    fn is_saved_once_and_privately() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let messages = [Message::system("Be brief."), Message::user("Hi"), Message::assistant("Hello.\n")];
        let file = folder.path().join("talk.md");
        save(&file, &messages).expect("a new file");
        let text = fs::read_to_string(&file).expect("just written");
        assert_eq!(text, "## system\n\nBe brief.\n\n## user\n\nHi\n\n## assistant\n\nHello.\n\n");
        assert!(save(&file, &messages).is_err_and(|error| error.message().contains("exists")));
        let json = folder.path().join("talk.json");
        save(&json, &messages).expect("a new file");
        let said: serde_json::Value =
            serde_json::from_slice(&fs::read(&json).expect("written")).expect("JSON");
        assert_eq!(said[2]["content"], "Hello.\n");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&json).expect("written").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
