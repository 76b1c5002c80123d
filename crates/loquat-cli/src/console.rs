//! Where words to the person go: notes and errors on stderr, colours only where they are wanted, no key anywhere.

use std::{
    borrow::Cow,
    env,
    error::Error as _,
    fmt,
    io::{self, IsTerminal as _, Write as _},
};

use anstyle::{AnsiColor, Style};
use loquat::{
    Error, ErrorKind, Result, Secret,
    transport::{Proxy, Url},
};

use crate::neutral;

pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Shortest value that is taken for a secret because its variable's name sounds like that of one. Of those that are known to be
/// keys, shorter ones are, too: see [`Secret::redact`].
const MIN_GUESSED_BYTES: usize = 8;
/// Most causes shown under an error: deeper chains are nobody's reading.
const MAX_CAUSES: usize = 8;

/// Most of a server's answer that is shown, in bytes: a page says what it is at its beginning.
const MAX_BODY_BYTES: usize = 2048;

/// What is known of the terminal, and what must never be shown on it.
pub(crate) struct Console {
    /// Whether a person reads stdout.
    pub(crate) out_is_terminal: bool,
    /// Whether a person reads stderr.
    pub(crate) err_is_terminal: bool,
    pub(crate) verbose: bool,
    out_color: bool,
    err_color: bool,
    /// Whether the command line says which proxy is used.
    proxy_is_said: bool,
    /// The flags of the command that runs, without their dashes: none other is hinted at.
    flags: Vec<String>,
    secrets: Vec<Secret>,
}

impl Console {
    /// Reads the terminals and the environment (`NO_COLOR`, `CLICOLOR_FORCE`, `TERM`; and which keys there are).
    /// `key_variable` names one more variable that holds a key, `flags` are those of the command that runs.
    pub(crate) fn new(verbose: bool, key_variable: Option<&str>, flags: Vec<String>) -> Self {
        let color = |choice| choice != anstream::ColorChoice::Never;
        Self {
            out_is_terminal: io::stdout().is_terminal(),
            err_is_terminal: io::stderr().is_terminal(),
            verbose,
            out_color: color(anstream::AutoStream::choice(&io::stdout())),
            err_color: color(anstream::AutoStream::choice(&io::stderr())),
            proxy_is_said: env::args_os().any(|word| {
                word.to_str().is_some_and(|word| word == "--proxy" || word.starts_with("--proxy="))
            }),
            flags,
            secrets: secrets(key_variable),
        }
    }

    /// `text` in that style, for stdout.
    pub(crate) fn out_paint(&self, style: Style, text: &str) -> String {
        paint(self.out_color, style, text)
    }

    /// `text` in that style, for stderr.
    pub(crate) fn err_paint(&self, style: Style, text: &str) -> String {
        paint(self.err_color, style, text)
    }

    /// What a peer said, without keys.
    pub(crate) fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.secrets.iter().fold(Cow::Borrowed(text), |text, secret| {
            if secret.is_in(&text) { Cow::Owned(secret.redact(&text)) } else { text }
        })
    }

    /// A line on stderr, not of the answer.
    pub(crate) fn note(&self, text: &str) {
        let text = neutral::paragraph(&self.redact(text));
        write_err(&format!("{}\n", self.err_paint(DIM, &text)));
    }

    /// A line on stderr where `-v` asked for it.
    pub(crate) fn detail(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            self.note(&text());
        }
    }

    /// An error, its causes, and what may help.
    pub(crate) fn error(&self, error: &Error) {
        let mut text = format!("{} {}\n", self.err_paint(BAD, "error:"), self.said(&error.to_string()));
        for cause in causes(error) {
            text += &format!("{} {}\n", self.err_paint(DIM, "caused by:"), self.said(&cause));
        }
        let unused = (!self.proxy_is_said).then(|| unused_proxy(error, |name| env::var(name).ok())).flatten();
        let unused = unused.map(|variable| format!("{variable} is set and not used; `--proxy env` uses it"));
        let has_flag = |name: &str| self.flags.iter().any(|flag| flag == name);
        for hint in hint(error, has_flag).map(str::to_owned).into_iter().chain(unused) {
            text += &format!("{} {hint}\n", self.err_paint(BOLD, "hint:"));
        }
        write_err(&text);
        self.detail(|| format!("{error:?}"));
        if let Some(body) = error.raw_body().filter(|body| !body.is_empty()) {
            self.detail(|| {
                // Before it is cut: half a key is no longer known for one.
                let text = String::from_utf8_lossy(body);
                let text = self.redact(&text);
                let end = text.floor_char_boundary(MAX_BODY_BYTES);
                let cut = if end < text.len() { "…" } else { "" };
                format!("the server said: {}{cut}", &text[..end])
            });
        }
    }

    fn said(&self, text: &str) -> String {
        neutral::paragraph(&self.redact(text))
    }
}

/// The chain of causes, nearest first.
pub(crate) fn causes(error: &Error) -> Vec<String> {
    let mut said = Vec::new();
    let mut cause = error.source();
    while let Some(next) = cause.filter(|_| said.len() < MAX_CAUSES) {
        let text = next.to_string();
        // Some libraries repeat their cause in their own words.
        if said.last() != Some(&text) {
            said.push(text);
        }
        cause = next.source();
    }
    said
}

/// Writes to stdout.
///
/// # Errors
/// [`ErrorKind::Local`] where it cannot be written. That the reader went away is such an error, too, so that no command goes on
/// for nobody; the program tells it by [`is_reader_gone`] and ends well, since the reader has what it wanted.
pub(crate) fn write_out(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|cause| {
        let error = Error::new(ErrorKind::Local, "cannot write to stdout");
        if cause.kind() == io::ErrorKind::BrokenPipe {
            error.with_source(ReaderGone)
        } else {
            error.with_source(cause)
        }
    })
}

/// The cause of an error of [`write_out`]: a type of its own, because a server's connection may be a broken pipe as well.
#[derive(Debug)]
struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its reader went away")
    }
}

impl std::error::Error for ReaderGone {}

/// Whether nothing is wrong but that nobody reads stdout any more.
pub(crate) fn is_reader_gone(error: &Error) -> bool {
    error.source().is_some_and(|cause| cause.is::<ReaderGone>())
}

/// Writes to stderr; a stderr that cannot be written to leaves nobody to tell.
pub(crate) fn write_err(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}

/// Of an answer that no API gives.
const BASE: &str = "does the address end in /v1? Most do that speak like OpenAI; redirects are not followed, and `-v` shows what came";

/// What a person may do about it, where that is not in the message and the command has the flag for it.
fn hint(error: &Error, has_flag: impl Fn(&str) -> bool) -> Option<&'static str> {
    let first = error.raw_body().and_then(|body| body.trim_ascii_start().first().copied());
    let is_page = first == Some(b'<');
    let is_json = matches!(first, Some(b'{' | b'['));
    // Whoever has the model's name wrong is told so in JSON; a path that is not there is not, most often by nothing at all.
    let is_no_path =
        error.status() == Some(404) && (!is_json || error.message().eq_ignore_ascii_case("not found"));
    Some(match error.kind() {
        ErrorKind::NotFound if is_no_path => BASE,
        ErrorKind::Protocol
            if is_page || error.status().is_some_and(|status| (300..400).contains(&status)) =>
        {
            BASE
        }
        ErrorKind::NotConfigured => {
            "`loquat doctor` shows what is configured, `loquat models` what can be asked"
        }
        ErrorKind::Authentication => "check the key; `loquat doctor` shows which variables are read",
        ErrorKind::NotFound => "is the name right? `loquat models` lists what a provider has",
        ErrorKind::QuotaExceeded => "waiting does not help: see the plan and the bill at the provider",
        ErrorKind::ContextLength => "shorten the prompt; in a conversation, /clear begins anew",
        ErrorKind::Connect => "is the server running, and is the address right?",
        ErrorKind::Tls if has_flag("ca-cert") => {
            "`--ca-cert FILE` trusts a certificate authority of your own"
        }
        ErrorKind::Timeout if has_flag("idle-timeout") => {
            "`--timeout`, `--first-token-timeout`, `--thinking-timeout` and `--idle-timeout` change how long is waited"
        }
        ErrorKind::Timeout if has_flag("timeout") => "`--timeout` changes how long is waited",
        _ => return None,
    })
}

/// Which variable names a proxy that an address without a connection would have been asked through.
fn unused_proxy(error: &Error, variable: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    /// As [`Proxy::from_variables`] reads them.
    const VARIABLES: [&str; 5] = ["https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"];
    let history = error.history().filter(|_| error.kind() == ErrorKind::Connect)?;
    let url = Url::parse(&history.origin).ok()?;
    let Proxy::Rules(rules) = Proxy::from_variables(&variable) else { return None };
    if rules.bypasses(url.origin()) {
        return None;
    }
    let other = if url.origin().is_secure() { "http_" } else { "https_" };
    let is_set = |name: &&str| variable(name).is_some_and(|value| !value.trim().is_empty());
    VARIABLES.into_iter().filter(|name| !name.to_ascii_lowercase().starts_with(other)).find(is_set)
}

fn paint(on: bool, style: Style, text: &str) -> String {
    if on { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// Every value in the environment that its name calls a secret.
fn secrets(key_variable: Option<&str>) -> Vec<Secret> {
    // LOQUAT_KEY_ENV holds the name of a variable, which may be called anything.
    let named = env::var("LOQUAT_KEY_ENV").ok();
    let is_key = |name: &str| {
        let profiles = loquat::provider::profiles().iter();
        [key_variable, named.as_deref()].contains(&Some(name))
            || profiles.filter_map(|profile| profile.key_variable).any(|variable| variable == name)
    };
    let sounds_secret = |name: &str| {
        let upper = name.to_ascii_uppercase();
        ["KEY", "TOKEN", "SECRET", "PASSWORD"].iter().any(|word| upper.contains(word))
    };
    let mut secrets: Vec<_> = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, value)| {
            is_key(name)
                || name != "LOQUAT_KEY_ENV" && sounds_secret(name) && value.trim().len() >= MIN_GUESSED_BYTES
        })
        .map(|(_, value)| Secret::new(value))
        .collect();
    // The longest first: one may be a part of another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(secrets: &[&str]) -> Console {
        Console {
            out_is_terminal: false,
            err_is_terminal: false,
            verbose: false,
            out_color: false,
            err_color: true,
            proxy_is_said: false,
            flags: Vec::new(),
            secrets: secrets.iter().map(Secret::new).collect(),
        }
    }

    #[test]
    fn a_key_is_blotted_out_of_what_a_peer_says() {
        let console = console(&["sk-planted-long", "sk-planted"]);
        assert_eq!(console.redact("bad sk-planted-long, sk-planted!"), "bad [redacted], [redacted]!");
        assert_eq!(console.said("x\u{1b}[31m\nerror: y"), "x␛[31m\n    error: y");
    }

    #[test]
    fn a_proxy_is_named_where_it_would_have_been_asked() {
        use loquat::core::{History, Stage};
        const PROXY: &str = "http://proxy:3128";
        for (origin, variables, named) in [
            ("https://api.example", &[("HTTPS_PROXY", PROXY)][..], Some("HTTPS_PROXY")),
            ("https://api.example", &[("ALL_PROXY", PROXY), ("http_proxy", PROXY)], Some("ALL_PROXY")),
            ("http://api.example:81", &[("https_proxy", PROXY), ("http_proxy", PROXY)], Some("http_proxy")),
            ("http://api.example", &[("HTTPS_PROXY", PROXY)], None),
            ("http://api.example", &[("HTTP_PROXY", PROXY)], None),
            ("https://api.example", &[("HTTPS_PROXY", " ")], None),
            ("https://127.0.0.1:1", &[("HTTPS_PROXY", PROXY)], None),
            ("https://a.example", &[("HTTPS_PROXY", PROXY), ("NO_PROXY", ".example")], None),
            ("https://a.example", &[], None),
        ] {
            let variable =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
            let history = History::new(origin, Stage::Pool, std::time::Duration::ZERO);
            let error = |kind| Error::new(kind, "none").with_history(history.clone());
            assert_eq!(unused_proxy(&error(ErrorKind::Connect), variable), named, "{origin} {variables:?}");
            assert_eq!(unused_proxy(&error(ErrorKind::Timeout), variable), None);
        }
    }

    #[test]
    fn the_address_is_doubted_where_no_api_answered() {
        for (status, body, doubted) in [
            (404, "404 page not found", true),
            (404, "<html>", true),
            (404, r#"{"detail":"Not Found"}"#, false),
            (404, r#"[{"error":{"message":"no model"}}]"#, false),
            (404, "", true),
            (400, "no such model", false),
        ] {
            let error = Error::new(ErrorKind::NotFound, "no model").with_status(status);
            assert_eq!(
                hint(&error.with_raw_body(body.as_bytes()), |_| true) == Some(BASE),
                doubted,
                "{status} {body}"
            );
        }
        let error = Error::new(ErrorKind::NotFound, "Not Found").with_status(404);
        assert_eq!(hint(&error.with_raw_body(br#"{"detail":"Not Found"}"#), |_| true), Some(BASE));
    }

    #[test]
    fn a_flag_that_the_command_has_not_is_no_hint() {
        for (kind, flags, hinted) in [
            (ErrorKind::Timeout, &["timeout", "idle-timeout"][..], Some("--idle-timeout")),
            (ErrorKind::Timeout, &["timeout"], Some("--timeout")),
            (ErrorKind::Timeout, &[], None),
            (ErrorKind::Tls, &["ca-cert"], Some("--ca-cert")),
            (ErrorKind::Tls, &["timeout"], None),
        ] {
            let hint = hint(&Error::new(kind, ""), |name| flags.contains(&name));
            assert_eq!(hint.is_some(), hinted.is_some(), "{kind:?} {flags:?}");
            assert!(hint.unwrap_or_default().contains(hinted.unwrap_or_default()), "{hint:?}");
        }
    }

    #[test]
    fn causes_are_listed_once_and_boundedly() {
        let inner = Error::new(ErrorKind::Local, "inner");
        let error = Error::new(ErrorKind::Connect, "outer")
            .with_source(Error::new(ErrorKind::Local, "inner").with_source(inner));
        assert_eq!(causes(&error), ["inner"]);
        let deep = (0..100).fold(Error::new(ErrorKind::Local, "0"), |error, n| {
            Error::new(ErrorKind::Local, n.to_string()).with_source(error)
        });
        assert_eq!(causes(&deep).len(), MAX_CAUSES);
    }
}
