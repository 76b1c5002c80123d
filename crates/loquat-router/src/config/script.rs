//! The shape of a script for a simulation.

use std::time::Duration;

use loquat_core::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::simulate::{Ailment, Script, Server, Spell};

/// Traffic, servers and what happens to them. Servers are the configuration's endpoints; who is not named here behaves
/// as most do.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ScriptConfig {
    /// What chance is drawn from. Default 1.
    seed: Option<u64>,
    /// The route that is asked; the first one where it is missing.
    #[serde(default)]
    pub route: Option<String>,
    /// How long requests arrive. Seconds, at most a day; default 120.
    seconds: Option<u32>,
    /// Requests a second, at most 10,000; default 20.
    requests_per_second: Option<f64>,
    /// The median prompt. Tokens, default 500.
    prompt_tokens: Option<f64>,
    /// How far prompts differ: 0 for all alike, 1.5 for a heavy tail. Default 0.5.
    spread: Option<f64>,
    #[serde(default)]
    servers: Vec<ServerConfig>,
    #[serde(default)]
    spells: Vec<SpellConfig>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServerConfig {
    /// Its endpoint's name.
    name: String,
    /// What each prompt takes, however short. Milliseconds, default 30.
    base_ms: Option<u32>,
    /// Prompt tokens read in a second. Default 20,000.
    tokens_per_second: Option<f64>,
    /// How long it writes an answer. Milliseconds, default 2,000.
    answer_ms: Option<u32>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SpellConfig {
    /// Whose.
    server: String,
    /// From which second on.
    from: f64,
    /// Until which.
    until: f64,
    /// It takes so many times as long.
    slow: Option<f64>,
    /// It refuses after so many milliseconds.
    refuses_after_ms: Option<u32>,
    /// When it refuses: after how many seconds it says to come back.
    retry_after: Option<u32>,
    /// It says nothing, and is given up after so many milliseconds.
    silent_ms: Option<u32>,
}

impl ScriptConfig {
    /// The script over servers of these names.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`] for servers that there are not, and figures that are none.
    pub fn script<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Script> {
        let wrong = |message: String| Error::new(ErrorKind::NotConfigured, message);
        let mut script =
            Script { servers: names.into_iter().map(Server::new).collect(), ..Script::default() };
        script.seed = self.seed.unwrap_or(script.seed);
        script.duration = Duration::from_secs(self.seconds.unwrap_or(120).min(86_400).into());
        let bounded = |name: &str, given: Option<f64>, default: f64, most: f64| match given {
            Some(value) if !(0.0..=most).contains(&value) => {
                Err(wrong(format!("{name} must be 0 to {most}")))
            }
            given => Ok(given.unwrap_or(default)),
        };
        script.rate = bounded("requests_per_second", self.requests_per_second, script.rate, 10_000.0)?;
        script.prompt_tokens = bounded("prompt_tokens", self.prompt_tokens, script.prompt_tokens, 1e6)?;
        script.spread = bounded("spread", self.spread, script.spread, 5.0)?;
        let at = |name: &str, script: &Script| {
            let found = script.servers.iter().position(|server| server.name == name);
            found.ok_or_else(|| wrong(format!("no endpoint has the name `{name}`")))
        };
        for server in &self.servers {
            let index = at(&server.name, &script)?;
            let known = &mut script.servers[index];
            let ms = |given: Option<u32>, old| given.map_or(old, |ms| Duration::from_millis(ms.into()));
            (known.base, known.answer) = (ms(server.base_ms, known.base), ms(server.answer_ms, known.answer));
            known.tokens_per_second =
                bounded("tokens_per_second", server.tokens_per_second, known.tokens_per_second, 1e9)?;
        }
        for spell in &self.spells {
            let index = at(&spell.server, &script)?;
            let second = |name, value| bounded(name, Some(value), 0.0, 86_400.0).map(Duration::from_secs_f64);
            let ms = |ms: u32| Duration::from_millis(ms.into());
            let ailment = match (spell.slow, spell.refuses_after_ms, spell.silent_ms) {
                (Some(factor), None, None) => Ailment::Slow(bounded("slow", Some(factor), 1.0, 1e4)?),
                (None, Some(after), None) => Ailment::Refuses {
                    after: ms(after),
                    retry_after: spell.retry_after.map(|seconds| Duration::from_secs(seconds.into())),
                },
                (None, None, Some(given_up)) => Ailment::Silent(ms(given_up)),
                _ => {
                    let message = "a spell has one of `slow`, `refuses_after_ms` and `silent_ms`";
                    return Err(wrong(format!("server `{}`: {message}", spell.server)));
                }
            };
            script.spells.push(Spell::new(
                index,
                second("from", spell.from)?,
                second("until", spell.until)?,
                ailment,
            ));
        }
        Ok(script)
    }
}
