//! Looks for planted words in whatever a test run leaves: what it printed, that of passed tests included, and what it wrote to files.
//!
//! Everything that must go nowhere (keys, prompts, answers, what a provider says) has the word [`PLANTED`] in it in this
//! repository's tests. Each test looks for it where it expects it; this looks everywhere, once, for what no test thought of: a log
//! line, a panic's message, a span, a profile. A test's own name has underscores around the word and is not meant.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{conformance::Count, shell, term};

/// What is in all that must not come out.
const PLANTED: &[u8] = b"planted";
/// The same as base64 begins it, in hexadecimal digits, and as a list of bytes is shown for debugging.
const DISGUISED: &[&[u8]] =
    &[b"cGxhbnRl", b"706c616e746564", b"112, 108, 97, 110, 116, 101, 100", b"706C616E746564"];
/// Largest file looked at: far above what a test writes.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Most findings shown.
const MAX_SHOWN: usize = 20;

/// Where it is in there.
fn place(bytes: &[u8]) -> Option<usize> {
    let is_name = |at: Option<&u8>| at.is_some_and(|byte| *byte == b'_');
    let plain = bytes.windows(PLANTED.len()).enumerate().position(|(at, window)| {
        window == PLANTED
            && !is_name(bytes.get(at + PLANTED.len()))
            && !is_name(at.checked_sub(1).and_then(|before| bytes.get(before)))
    });
    let disguised = |word: &&[u8]| bytes.windows(word.len()).position(|window| window == *word);
    plain.or_else(|| DISGUISED.iter().find_map(disguised))
}

/// What was found, and where.
#[derive(Debug, Default)]
pub(crate) struct Leaks(Vec<String>);

impl Leaks {
    /// What stands before the word is shown, never the word or what follows: this goes to a log, too.
    fn note(&mut self, source: &str, bytes: &[u8]) {
        if let Some(at) = place(bytes) {
            let before = bytes.get(at.saturating_sub(120)..at).unwrap_or_default();
            self.0.push(format!("{source}: {}…", String::from_utf8_lossy(before)));
        }
    }

    /// Runs `cargo test`, which is told to show what passed tests print; on the terminal that is left out. What conformance suites say of
    /// themselves in it is returned. Its output goes through files in that folder: a pipe would not end before the last process that some
    /// test left behind.
    ///
    /// # Errors
    /// As the command.
    pub(crate) fn watch(&mut self, command: &mut Command, folder: &Path) -> Result<Vec<Count>> {
        term::detail(&shell::show(command));
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (mut out, to_out) = Growing::new(&folder.join("out.txt"))?;
        let (mut err, to_err) = Growing::new(&folder.join("err.txt"))?;
        command.stdout(to_out).stderr(to_err);
        let mut child =
            command.spawn().with_context(|| format!("could not start `{}`", shell::show(command)))?;
        let mut passed = Passed::default();
        loop {
            // Before the files are read: what was written until then is in them.
            let ended = child.try_wait()?;
            err.lines(ended.is_some(), |line| {
                self.note("standard error", line);
                drop(writeln!(std::io::stderr().lock(), "{}", String::from_utf8_lossy(line)));
            })?;
            out.lines(ended.is_some(), |line| {
                self.note("standard output", line);
                if passed.is_shown(line) {
                    term::say(String::from_utf8_lossy(line));
                }
            })?;
            let Some(status) = ended else {
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            passed.tell_skipped();
            if !status.success() {
                bail!("`{}` ended with {status}", shell::show(command));
            }
            return Ok(passed.counts);
        }
    }

    /// Looks into what lies in that folder.
    pub(crate) fn search(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.search(&path),
                Ok(kind)
                    if kind.is_file() && entry.metadata().is_ok_and(|meta| meta.len() <= MAX_FILE_BYTES) =>
                {
                    let bytes = fs::read(&path).unwrap_or_default();
                    bytes
                        .split(|byte| *byte == b'\n')
                        .for_each(|line| self.note(&path.to_string_lossy(), line));
                }
                _ => {}
            }
        }
    }

    /// In how many places something was found, where that is what is wanted.
    pub(crate) fn count(self) -> usize {
        self.0.len()
    }

    /// # Errors
    /// Something was found.
    pub(crate) fn finish(self) -> Result<()> {
        if self.0.is_empty() {
            term::detail("no word that was planted is in anything that the tests printed or left");
            return Ok(());
        }
        self.0.iter().take(MAX_SHOWN).for_each(term::say);
        bail!("words that were planted came out in {} places", self.0.len())
    }
}

/// A file that somebody writes to, read line by line as it grows.
#[derive(Debug)]
struct Growing {
    file: File,
    /// A line that has no end yet.
    carry: Vec<u8>,
}

impl Growing {
    /// The file, emptied, and a way for somebody else to write to its end.
    fn new(path: &Path) -> Result<(Self, Stdio)> {
        let failed = || format!("cannot make {}", path.display());
        let file = File::create(path).and_then(|_| File::open(path)).with_context(failed)?;
        let writer = File::options().append(true).open(path).with_context(failed)?;
        Ok((Self { file, carry: Vec::new() }, writer.into()))
    }

    /// Each line that has come since the last look, without its end; at the end, what has none, too.
    fn lines(&mut self, is_over: bool, mut seen: impl FnMut(&[u8])) -> Result<()> {
        self.file.read_to_end(&mut self.carry)?;
        let whole = match self.carry.iter().rposition(|byte| *byte == b'\n') {
            _ if is_over => self.carry.len(),
            Some(last) => last + 1,
            None => 0,
        };
        let done: Vec<u8> = self.carry.drain(..whole).collect();
        let done = done.strip_suffix(b"\n").unwrap_or(&done);
        if whole > 0 {
            done.split(|byte| *byte == b'\n').for_each(&mut seen);
        }
        Ok(())
    }
}

/// The part of a test program's output that shows what passed tests printed: from `successes:` to its result or failures. It is not
/// shown, but a test that passed because it skipped something has said so there, and that is told at the end.
#[derive(Debug, Default)]
struct Passed {
    is_in_it: bool,
    /// Whose output follows.
    test: String,
    /// What each skipped.
    skipped: BTreeMap<String, Vec<String>>,
    /// What conformance suites say of themselves.
    counts: Vec<Count>,
}

impl Passed {
    fn is_shown(&mut self, line: &[u8]) -> bool {
        if line == b"successes:" {
            self.is_in_it = true;
        } else if line == b"failures:" || line.starts_with(b"test result:") {
            self.is_in_it = false;
        } else if self.is_in_it {
            self.look_for_skipped(&String::from_utf8_lossy(line));
        }
        !self.is_in_it
    }

    fn look_for_skipped(&mut self, line: &str) {
        if let Some(test) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            test.clone_into(&mut self.test);
        } else if let Some(what) = line.strip_prefix("skipped: ") {
            self.skipped.entry(self.test.clone()).or_default().push(what.to_owned());
        } else {
            self.counts.extend(Count::parse(line));
        }
    }

    fn tell_skipped(&self) {
        if !self.skipped.is_empty() {
            term::say(format!("\n{} tests passed and skipped something:", self.skipped.len()));
        }
        for (test, skipped) in &self.skipped {
            let more = skipped.len().saturating_sub(1);
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            term::say(format!("  {test}: {}{more}", skipped.first().map_or("", String::as_str)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Put together here, so that this program's own output would not be taken for a finding.
    fn word() -> String {
        String::from_utf8_lossy(PLANTED).into_owned()
    }

    #[test]
    fn the_word_is_found_in_every_guise_and_names_are_not_taken_for_it() {
        let word = word();
        for text in
            [format!("sk-{word}-1"), format!("a {word}"), word.clone(), format!("{:?}", word.as_bytes())]
        {
            assert!(place(text.as_bytes()).is_some());
        }
        assert!(place(b"x cGxhbnRlZA== y") == Some(2) && place(b"706c616e746564").is_some());
        for name in [format!("test a_{word}_word ... ok"), format!("{word}_words"), "plant".into()] {
            assert_eq!(place(name.as_bytes()), None);
        }
    }

    #[test]
    fn what_a_program_prints_or_leaves_is_found_and_fails() {
        let folder = std::env::temp_dir().join(format!("leaks-{}", std::process::id()));
        let (left, output) = (folder.join("left/below"), folder.join("output"));
        fs::create_dir_all(&left).unwrap();
        let run = |script: &str| {
            let mut leaks = Leaks::default();
            let mut command = Command::new("sh");
            let status = leaks.watch(command.current_dir(&left).args(["-c", script]), &output);
            leaks.search(&folder.join("left"));
            (status.is_ok(), leaks.0.len(), leaks.finish().is_ok())
        };
        assert_eq!(run("echo fine; printf fine >&2"), (true, 0, true));
        // In pieces, so that this test's own script is no finding.
        assert_eq!(run("printf '%s%s\\n' plan ted > file; exit 3"), (false, 1, false));
        fs::remove_file(left.join("file")).unwrap();
        // In the part that is not shown: this test prints nothing that would be a finding itself.
        let printed = "echo successes:; printf 'a\\n%s%s' cGxh bnRl; echo; echo test result: ok";
        assert_eq!(run(printed), (true, 1, false));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_passed_tests_printed_is_not_shown() {
        let output = "running 1 test\nsuccesses:\n\n---- a stdout ----\nx\nskipped: no node\nconformance: a passed=1 failed=0 skipped=0\n\nsuccesses:\n    a\n\nfailures:\ny\ntest result: ok";
        let mut passed = Passed::default();
        let shown: Vec<&str> = output.lines().filter(|line| passed.is_shown(line.as_bytes())).collect();
        assert_eq!(shown, ["running 1 test", "failures:", "y", "test result: ok"]);
        let skipped = BTreeMap::from([("a".to_owned(), vec!["no node".to_owned()])]);
        assert_eq!(passed.skipped, skipped, "what they skipped is told all the same");
        assert_eq!(passed.counts.len(), 1, "and so is what suites say");
    }
}
