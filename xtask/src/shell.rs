//! Running other programs: the command line is shown before it runs, a failure names it, and a task made of several steps
//! ends with a table of what passed and how long it took.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::term;

/// The steps of one task. A failing step does not stop the later ones: one run tells everything that is wrong.
#[derive(Debug)]
pub(crate) struct Steps {
    started: Instant,
    done: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    took: Duration,
    error: Option<String>,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), done: Vec::new() }
    }

    /// Runs one step and remembers how it went; says whether it passed.
    pub(crate) fn run(&mut self, name: &str, body: impl FnOnce() -> Result<()>) -> bool {
        term::step(name);
        let started = Instant::now();
        let error = body().err().map(|error| format!("{error:#}"));
        let took = started.elapsed();
        match &error {
            Some(error) => term::error(&format!("{name}: {error}")),
            None => term::detail(&format!("done in {}", term::seconds(took))),
        }
        let passed = error.is_none();
        self.done.push(Step { name: name.to_owned(), took, error });
        passed
    }

    /// Prints the table; an error if any step failed.
    pub(crate) fn finish(self) -> Result<()> {
        let mut rows: Vec<Vec<String>> = Vec::new();
        for step in &self.done {
            let result = if step.error.is_some() { term::failed() } else { term::ok() };
            rows.push(vec![step.name.clone(), result, term::seconds(step.took)]);
        }
        rows.push(vec!["total".to_owned(), String::new(), term::seconds(self.started.elapsed())]);
        term::table(&["step", "result", "time"], &rows, false);
        let failed: Vec<&str> =
            self.done.iter().filter(|step| step.error.is_some()).map(|step| step.name.as_str()).collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }
}

/// Shows the command, runs it with the terminal's own streams and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    term::detail(&show(command));
    let status = command.status().with_context(|| format!("could not start `{}`", show(command)))?;
    check(command, status)
}

/// Runs the command quietly and returns its standard output; on failure the error carries the end of its standard error.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start `{}`", show(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` ended with {}\n{}", show(command), output.status, tail(&stderr, 20));
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` printed invalid UTF-8", show(command)))
}

/// Which stream of a child [`watch`] looks at; the other one goes straight to the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    Out,
    Err,
}

/// Runs the command, passes one of its streams on line by line as it comes and shows each line to `seen`.
pub(crate) fn watch(command: &mut Command, which: Watched, mut seen: impl FnMut(&str)) -> Result<()> {
    term::detail(&show(command));
    match which {
        Watched::Out => command.stdout(Stdio::piped()),
        Watched::Err => command.stderr(Stdio::piped()),
    };
    let mut child = command.spawn().with_context(|| format!("could not start `{}`", show(command)))?;
    let pipe: Box<dyn Read> = match which {
        Watched::Out => Box::new(child.stdout.take().context("the child's standard output is missing")?),
        Watched::Err => Box::new(child.stderr.take().context("the child's standard error is missing")?),
    };
    let mut lines = BufReader::new(pipe);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        match which {
            Watched::Out => term::say(text),
            Watched::Err => drop(writeln!(std::io::stderr().lock(), "{text}")),
        }
        seen(text);
        line.clear();
    }
    let status = child.wait()?;
    check(command, status)
}

/// The last `count` lines.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The command as one would type it, without the environment.
pub(crate) fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| {
            let word = word.to_string_lossy();
            let plain =
                !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "'\"$&|;<>*()".contains(c));
            if plain { word.into_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn check(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{}` ended with {status}", show(command));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_step_fails_the_task_but_not_the_later_steps() {
        let mut steps = Steps::new();
        assert!(!steps.run("first", || bail!("no")));
        assert!(steps.run("second", || Ok(())));
        assert_eq!(steps.finish().unwrap_err().to_string(), "failed: first");
    }

    #[test]
    fn errors_name_the_command_and_carry_its_last_words() {
        let error = read(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("why"), "{error}");
        assert!(read(&mut Command::new("no-such-program-here")).is_err());
    }

    #[test]
    fn shown_commands_can_be_pasted() {
        let mut command = Command::new("cargo");
        command.args(["run", "--", "it's", ""]);
        assert_eq!(show(&command), r"cargo run -- 'it'\''s' ''");
    }

    #[test]
    fn watched_lines_are_seen() {
        let mut seen = Vec::new();
        watch(Command::new("sh").args(["-c", "printf 'a\\nb'"]), Watched::Out, |line| {
            seen.push(line.to_owned());
        })
        .unwrap();
        assert_eq!(seen, ["a", "b"]);
    }
}
