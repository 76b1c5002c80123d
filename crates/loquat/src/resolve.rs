//! A model's name into the model.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use loquat_client::HttpModel;
use loquat_core::{
    Answer, BoxFuture, ChatRequest, Context, Endpoint, Error, ErrorKind, Model, ModelInfo, Result,
};
use loquat_provider::{Format, Profile};

use crate::{Client, wiring::Server};

/// The names of the embedded engine.
const ENGINE: &str = "engine";

/// What a server given by its address speaks unless the model's name says otherwise.
const COMPATIBLE: &dyn Format = &loquat_provider::OPENAI_COMPATIBLE;

/// Who is meant by a name, before anybody is asked.
pub(crate) enum Asked {
    /// That model, known by its address.
    Http(Box<HttpModel>),
    /// The embedded engine.
    Engine,
    /// Whoever lists it.
    Bare,
}

impl Client {
    /// Who is meant by that name, as far as the name itself tells.
    pub(crate) fn asked(&self, name: &str) -> Result<Asked> {
        let name = name.trim();
        if let Some(server) = &self.0.server {
            let (format, name) = match provider_prefix(name) {
                Prefix::Known(profile, model) => (profile.format, model),
                _ => (COMPATIBLE, name),
            };
            return Ok(Asked::Http(Box::new(self.server_model(server, format, name)?)));
        }
        if engine_name(name).is_some() {
            return Ok(Asked::Engine);
        }
        match provider_prefix(name) {
            Prefix::Known(profile, model) => Ok(Asked::Http(Box::new(self.http_model(profile, model)?))),
            Prefix::Unknown(provider) => Err(unknown_provider(provider)),
            Prefix::Bare => Ok(Asked::Bare),
        }
    }

    /// The model of that name, and its name at the endpoint.
    ///
    /// A name without a provider costs a listing of each configured provider, asked side by side within
    /// [`GenerationLimits::listing`](loquat_client::GenerationLimits::listing); who lists it is then believed for ten minutes, or for one
    /// where another one was late or failed for a reason that may pass; of up to 256 names, and until the model that this gives is asked
    /// there and is not found.
    ///
    /// # Errors
    /// [`ErrorKind::NotConfigured`] where nothing or several things go by that name, or a key is missing; the
    /// message says what exists and how to configure it.
    pub async fn resolve(&self, context: &Context, name: &str) -> Result<(Arc<dyn Model>, String)> {
        let name = name.trim();
        match (&self.0.server, engine_name(name)) {
            (Some(server), None) => return self.at_server(context, server, name).await,
            (Some(server), _) if !server.is_default => return self.at_server(context, server, name).await,
            (_, Some(which)) => return self.engine(which).await,
            (None, None) => {}
        }
        match provider_prefix(name) {
            Prefix::Known(profile, model) => {
                let model = self.http_model(profile, model)?;
                let name = model.endpoint().model.clone();
                Ok((self.0.scheduled(model, &name), name))
            }
            Prefix::Unknown(provider) => Err(unknown_provider(provider)),
            Prefix::Bare => self.by_listing(context, name).await,
        }
    }

    /// The models that a provider (or `--base-url`'s server, for an empty name) lists.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve), and whatever kept the listing from arriving by the context's deadline or, where it has none,
    /// within 800 ms ([`GenerationLimits::listing`](loquat_client::GenerationLimits::listing)).
    pub async fn list_models(&self, context: &Context, provider: &str) -> Result<Vec<ModelInfo>> {
        let model = match &self.0.server {
            Some(server) => self.server_model(server, format_of(provider)?, "")?,
            None => {
                let profile = loquat_provider::profile(provider).ok_or_else(|| unknown_provider(provider))?;
                self.http_model(profile, "")?
            }
        };
        self.listing(context, &model).await
    }

    async fn listing(&self, context: &Context, model: &HttpModel) -> Result<Vec<ModelInfo>> {
        let list = |context: Context| async move { model.list_models(&context).await };
        self.0.call(context, self.0.limits.listing, model, "listing", true, list).await
    }

    pub(crate) fn http_model(&self, profile: &Profile, model: &str) -> Result<HttpModel> {
        self.0.model_at(profile.format, self.provider_endpoint(profile, model)?)
    }

    /// That model at its provider's own place, with the key this client has for it.
    pub(crate) fn provider_endpoint(&self, profile: &Profile, model: &str) -> Result<Endpoint> {
        let mut endpoint = Endpoint::new(profile.name, self.0.place(profile)?, model)
            .with_plain_credential(self.0.plain_key(profile));
        let key = [Some(profile.name), profile.variant_of].into_iter().flatten();
        match (key.filter_map(|name| self.0.keys.get(name)).next(), profile.key_variable) {
            (Some(key), _) => endpoint = endpoint.with_credential(key.clone()),
            (None, Some(variable)) => return Err(missing_key(profile.name, variable, self.0.from_env)),
            (None, None) => {}
        }
        Ok(endpoint)
    }

    fn server_model(&self, server: &Server, format: &'static dyn Format, model: &str) -> Result<HttpModel> {
        self.0.model_at(format, server.endpoint(model))
    }

    /// A model of a server given by address. `anthropic:` and `ollama:` before the name choose the wire format;
    /// without a name, the server's only model is taken: its listing may take as long as a first token.
    async fn at_server(
        &self,
        context: &Context,
        server: &Server,
        name: &str,
    ) -> Result<(Arc<dyn Model>, String)> {
        let (format, name) = match provider_prefix(name) {
            Prefix::Known(profile, model) => (profile.format, model),
            _ => (COMPATIBLE, name),
        };
        if !name.is_empty() {
            let model = self.server_model(server, format, name)?;
            return Ok((self.0.scheduled(model, name), name.to_owned()));
        }
        let model = self.server_model(server, format, "")?;
        // It stands between the caller and an answer, and a server that is waking up is no quicker here than with that.
        let patient = context.clone().with_timeout(self.0.limits.first_token);
        let listed = self.listing(&patient, &model).await.map_err(|error| {
            error.map_message(|what| format!("listing models at {}: {what}", server.base_url))
        })?;
        match listed.as_slice() {
            [only] => {
                let only = only.id.clone();
                Ok((self.0.scheduled(model, &only), only))
            }
            [] => Err(Error::new(
                ErrorKind::NotConfigured,
                format!("{} lists no model: name one", server.base_url),
            )),
            several => Err(Error::new(
                ErrorKind::NotConfigured,
                format!("{} has several models, name one: {}", server.base_url, names(several)),
            )),
        }
    }

    /// That model of the provider that is believed to list it.
    fn believed(&self, model: HttpModel, name: &str) -> Arc<dyn Model> {
        let model = self.0.scheduled(model, name);
        Arc::new(Believed { model, client: self.clone(), name: name.to_owned() })
    }

    /// The one configured provider that lists a bare name. All of them are asked for their listing, side by side; who it was is believed
    /// for a while.
    async fn by_listing(&self, context: &Context, name: &str) -> Result<(Arc<dyn Model>, String)> {
        if name.is_empty() {
            return Err(Error::new(
                ErrorKind::NotConfigured,
                format!("no model was named; {}", what_exists()),
            ));
        }
        if let Some(provider) = self.0.listed.find(name, Instant::now())
            && let Some(profile) = loquat_provider::profile(&provider)
        {
            let model = self.http_model(profile, name)?;
            return Ok((self.believed(model, name), name.to_owned()));
        }
        let configured: Vec<_> = loquat_provider::profiles()
            .iter()
            .filter(|profile| profile.variant_of.is_none() && profile.lists_models)
            .filter_map(|profile| self.http_model(profile, name).ok())
            .collect();
        // The caller's deadline is that of what they will ask: one provider that is silent must not use it up.
        let context = &context.clone().with_timeout(self.0.limits.listing);
        // Most of those that are not there never are: one look each.
        let listings = join_all(configured.iter().map(|model| model.list_models(context))).await;
        let mut found: Vec<_> = configured
            .iter()
            .zip(&listings)
            .filter(|(_, listing)| listing.as_ref().is_ok_and(|models| models.iter().any(|m| m.id == name)))
            .map(|(model, _)| model)
            .collect();
        match (found.pop(), found.as_slice()) {
            (Some(model), []) => {
                // Who was merely late may list it, too.
                let all_said = listings.iter().all(|listing| listing.as_ref().err().is_none_or(is_settled));
                let life = if all_said { MAX_AGE } else { MAX_AGE_IN_DOUBT };
                self.0.listed.keep(name, &model.endpoint().provider, Instant::now() + life);
                Ok((self.believed(model.clone(), name), name.to_owned()))
            }
            (Some(last), others) => {
                let who: Vec<_> =
                    others.iter().chain([&last]).map(|m| m.endpoint().provider.as_str()).collect();
                let choose = who.iter().map(|who| format!("{who}:{name}")).collect::<Vec<_>>().join(" or ");
                Err(Error::new(
                    ErrorKind::NotConfigured,
                    format!("several providers list a model {name:?}: say {choose}"),
                ))
            }
            (None, _) => {
                let asked: Vec<_> = configured
                    .iter()
                    .zip(&listings)
                    .map(|(model, listing)| {
                        let provider = &model.endpoint().provider;
                        match listing {
                            Ok(models) => format!("{provider} ({} models)", models.len()),
                            Err(error) => format!("{provider} ({})", why_not(error)),
                        }
                    })
                    .collect();
                let asked = if asked.is_empty() { "nobody".to_owned() } else { asked.join(", ") };
                Err(Error::new(
                    ErrorKind::NotConfigured,
                    format!(
                        "no configured provider lists a model {name:?}; asked: {asked}; not asked: {}; besides there are `engine` \
                         and `provider:model`",
                        self.not_asked()
                    ),
                ))
            }
        }
    }

    /// The providers that a bare name is not looked for at, and what each lacks.
    fn not_asked(&self) -> String {
        let lacking: Vec<_> = loquat_provider::profiles()
            .iter()
            .filter(|profile| profile.variant_of.is_none())
            .filter_map(|profile| match self.http_model(profile, "") {
                Err(error) => Some((profile, Some(error))),
                Ok(_) => (!profile.lists_models).then_some((profile, None)),
            })
            .map(|(&Profile { name, key_variable, .. }, error)| {
                let Some(error) = error else { return format!("{name} (lists nothing: say {name}:NAME)") };
                let key_variable = key_variable.filter(|_| !self.0.keys.contains_key(name));
                match (key_variable, self.0.from_env) {
                    (Some(variable), true) => format!("{name} (set {variable})"),
                    (Some(_), false) => format!("{name} (`.key(\"{name}\", …)`)"),
                    (None, _) => format!("{name} ({})", error.message()),
                }
            })
            .collect();
        if lacking.is_empty() { "nobody".to_owned() } else { lacking.join(", ") }
    }

    #[cfg(feature = "engine")]
    async fn engine(&self, which: &str) -> Result<(Arc<dyn Model>, String)> {
        let engine = self.0.engines.load(which).await?;
        #[cfg(feature = "observe")]
        if let Some(observer) = &self.0.observer {
            return Ok((crate::observing::wrap_engine(observer, engine, which), which.to_owned()));
        }
        Ok((Arc::new(engine), which.to_owned()))
    }

    #[cfg(not(feature = "engine"))]
    #[allow(clippy::unused_async, reason = "the same signature as with the engine")]
    async fn engine(&self, _which: &str) -> Result<(Arc<dyn Model>, String)> {
        Err(Error::new(
            ErrorKind::NotConfigured,
            "this build has no embedded engine: build with the feature `engine`, or name a provider's model",
        ))
    }
}

/// A model that was found by a bare name. Where it is not there after all, the next one to ask for that name looks again.
struct Believed {
    model: Arc<dyn Model>,
    client: Client,
    name: String,
}

impl Model for Believed {
    fn infer<'a>(&'a self, context: &'a Context, request: Arc<ChatRequest>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move {
            let begun = self.model.infer(context, request).await;
            if begun.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                self.client.0.listed.forget(&self.name);
            }
            begun
        })
    }
}

/// Which provider lists a bare name, and until when that is believed.
#[derive(Debug, Default)]
pub(crate) struct Listed(Mutex<HashMap<String, (String, Instant)>>);

/// Most names that are kept: more models than any program asks, in some ten KiB.
const MAX_LISTED: usize = 256;
/// The longest name that is kept, in bytes; no model's is as long.
const MAX_NAME_BYTES: usize = 256;
/// How long a listing is believed: models come and go by the week, and who moved one will not wait longer.
const MAX_AGE: Duration = Duration::from_secs(600);
/// How long it is where somebody did not say whether they list it, too: one that is always late costs its wait once a minute.
const MAX_AGE_IN_DOUBT: Duration = Duration::from_secs(60);

impl Listed {
    fn find(&self, name: &str, now: Instant) -> Option<String> {
        let listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (provider, until) = listed.get(name)?;
        (now < *until).then(|| provider.clone())
    }

    /// Nobody is believed to have it any more.
    fn forget(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn keep(&self, name: &str, provider: &str, until: Instant) {
        if name.len() > MAX_NAME_BYTES {
            return;
        }
        let mut listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if listed.len() >= MAX_LISTED && !listed.contains_key(name) {
            listed.clear(); // what is forgotten is asked for again
        }
        listed.insert(name.to_owned(), (provider.to_owned(), until));
    }
}

/// What stands before the first colon of a model's name.
enum Prefix<'a> {
    /// A provider, and the model's name at it.
    Known(&'static Profile, &'a str),
    /// A word that looks like a provider and is none.
    Unknown(&'a str),
    /// No provider: `gpt-4o`, or Ollama's `llama3.2:3b`, whose colon belongs to the name.
    Bare,
}

fn provider_prefix(name: &str) -> Prefix<'_> {
    match name.split_once(':') {
        None => Prefix::Bare,
        Some((prefix, model)) => match loquat_provider::profile(prefix) {
            Some(profile) => Prefix::Known(profile, model),
            // Ollama's tags follow a model's name, which has a digit, a dash or a dot more often than not.
            None if prefix.contains(|c: char| c.is_ascii_digit() || "-./_".contains(c)) => Prefix::Bare,
            None => Prefix::Unknown(prefix),
        },
    }
}

/// The part after `engine:`, empty for `engine` alone; a path that ends in `.gguf` needs no prefix.
fn engine_name(name: &str) -> Option<&str> {
    match name.split_once(':') {
        Some((ENGINE, which)) => Some(which),
        _ if name == ENGINE => Some(""),
        _ if name.ends_with(".gguf") => Some(name),
        _ => None,
    }
}

fn format_of(provider: &str) -> Result<&'static dyn Format> {
    if provider.is_empty() {
        return Ok(COMPATIBLE);
    }
    loquat_provider::profile(provider).map(|p| p.format).ok_or_else(|| unknown_provider(provider))
}

fn names(models: &[ModelInfo]) -> String {
    const SHOWN: usize = 20;
    let mut shown: Vec<_> = models.iter().take(SHOWN).map(|model| model.id.as_str()).collect();
    if models.len() > SHOWN {
        shown.push("…");
    }
    shown.join(", ")
}

fn what_exists() -> String {
    let known: Vec<_> = loquat_provider::profiles().iter().map(|profile| profile.name).collect();
    format!("models are named `engine` or `provider:model`, with these providers: {}", known.join(", "))
}

pub(crate) fn unknown_provider(name: &str) -> Error {
    let hint = nearest(name).map_or_else(what_exists, |profile| {
        let key =
            profile.key_variable.map(|variable| format!(" (its key is in {variable})")).unwrap_or_default();
        format!("did you mean {:?}{key}? Besides providers there is `engine`", profile.name)
    });
    Error::new(ErrorKind::NotConfigured, format!("no provider is called {name:?}; {hint}"))
}

/// The provider whose name this is but for a slip or two.
fn nearest(name: &str) -> Option<&'static Profile> {
    /// No provider's name is longer; neither is what is compared, which may be anything.
    const MAX_BYTES: usize = 32;
    let name = (name.len() <= MAX_BYTES).then(|| name.to_lowercase())?;
    let slips = |profile: &&Profile| strsim::damerau_levenshtein(&name, profile.name);
    let profile = loquat_provider::profiles().iter().min_by_key(slips)?;
    (slips(&profile) <= 2 && slips(&profile) < profile.name.len() / 2).then_some(profile)
}

/// Whether who did not list will not do so in a minute either: nobody is there, or who is there has no listing for us.
fn is_settled(error: &Error) -> bool {
    use ErrorKind as K;
    matches!(
        error.kind(),
        K::Connect | K::Authentication | K::Permission | K::NotFound | K::Unsupported | K::Protocol
    )
}

/// Why there is no listing, in a few words: of most servers on this machine that they are not running.
fn why_not(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Connect => "no connection".to_owned(),
        ErrorKind::Timeout => "no listing in time".to_owned(),
        _ => format!("no listing: {}", error.message()),
    }
}

fn missing_key(provider: &str, variable: &str, from_env: bool) -> Error {
    let what = if from_env {
        format!("set the environment variable {variable}")
    } else {
        format!("give it by `.key(\"{provider}\", …)`, or read {variable} by `.env()`")
    };
    Error::new(ErrorKind::NotConfigured, format!("{provider} needs a key: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(name: &str) -> String {
        if let Some(which) = engine_name(name) {
            return format!("engine {which}");
        }
        match provider_prefix(name) {
            Prefix::Known(profile, model) => format!("{} {model}", profile.name),
            Prefix::Unknown(provider) => format!("unknown {provider}"),
            Prefix::Bare => format!("bare {name}"),
        }
    }

    /// Every provider is asked where its profile says, with its own key or the key of the one it is a variant of.
    #[test]
    fn every_profile_makes_a_model() {
        for profile in loquat_provider::profiles() {
            let owner = profile.variant_of.unwrap_or(profile.name);
            let (builder, place) = match profile.base_url {
                "" => (
                    Client::builder().provider_url(profile.name, "https://own.example"),
                    "https://own.example",
                ),
                known => (Client::builder(), known),
            };
            let client = builder.key(owner, "k").build().expect("a client");
            let model = client.http_model(profile, "m").expect(profile.name);
            let endpoint = model.endpoint();
            assert_eq!((endpoint.base_url.as_str(), endpoint.model.as_str()), (place, "m"));
            assert!(endpoint.credential.is_some(), "{}", profile.name);
        }
        let client = Client::builder().key("openai", "k").build().expect("a client");
        let groq = loquat_provider::profile("groq").expect("known");
        let refused = client.http_model(groq, "m").map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::NotConfigured), "a key goes to its own provider only");
    }

    #[test]
    fn a_missing_key_is_asked_for_where_the_others_come_from() {
        let openai = loquat_provider::profile("openai").expect("known");
        let refused = |from_env: bool| {
            let builder = Client::builder();
            let builder = if from_env { builder.env() } else { builder };
            let client = builder.build_in(|_| None).expect("a client");
            client.http_model(openai, "m").map(drop).expect_err("no key").to_string()
        };
        assert!(refused(false).ends_with("`.key(\"openai\", …)`, or read OPENAI_API_KEY by `.env()`"));
        assert!(refused(true).ends_with("set the environment variable OPENAI_API_KEY"));
    }

    #[test]
    fn who_is_not_asked_is_told_with_the_reason() {
        let variables = [("OPENAI_BASE_URL", "http://litellm:4000/v1"), ("OPENAI_API_KEY", "planted")];
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let client = Client::builder().env().build_in(variable).expect("a client");
        let not_asked = client.not_asked();
        assert!(
            not_asked.starts_with("openai (refusing to send a credential over plain HTTP"),
            "{not_asked}"
        );
        assert!(not_asked.contains("anthropic (set ANTHROPIC_API_KEY)") && !not_asked.contains("planted"));
        assert!(!not_asked.contains("vllm"), "{not_asked}");
    }

    #[test]
    fn a_listing_is_believed_for_a_while_and_boundedly() {
        let (listed, now) = (Listed::default(), Instant::now());
        assert_eq!(listed.find("gpt-4o", now), None);
        listed.keep("gpt-4o", "openai", now + MAX_AGE);
        assert_eq!(listed.find("gpt-4o", now + Duration::from_secs(599)).as_deref(), Some("openai"));
        assert_eq!(listed.find("gpt-4o", now + Duration::from_secs(600)), None);
        listed.forget("gpt-4o");
        assert_eq!(listed.find("gpt-4o", now), None);
        listed.keep(&"x".repeat(257), "openai", now + MAX_AGE);
        for n in 0..1000 {
            listed.keep(&n.to_string(), "openai", now + MAX_AGE);
        }
        assert!(listed.0.lock().expect("not poisoned").len() <= MAX_LISTED);
        assert_eq!(listed.find(&"x".repeat(257), now), None);
    }

    #[test]
    fn a_slip_is_told_from_another_name() {
        for (name, meant) in [
            ("opneai", Some("openai")),
            ("OpenAI", Some("openai")),
            ("antropic", Some("anthropic")),
            ("ollma", Some("ollama")),
            ("grok", Some("groq")),
            ("xi", None),
            ("acme", None),
            ("", None),
            (&"openai".repeat(100_000), None),
        ] {
            assert_eq!(nearest(name).map(|profile| profile.name), meant, "{}", name.len());
        }
    }

    #[test]
    fn names_are_read() {
        for (name, kind) in [
            ("engine", "engine "),
            ("engine:/tmp/m.gguf", "engine /tmp/m.gguf"),
            ("./m.gguf", "engine ./m.gguf"),
            ("openai:gpt-4o", "openai gpt-4o"),
            ("ollama:llama3.2:3b", "ollama llama3.2:3b"),
            ("llama3.2:3b", "bare llama3.2:3b"),
            ("gpt-4o", "bare gpt-4o"),
            ("opneai:gpt-4o", "unknown opneai"),
            ("groq:llama-3.3-70b-versatile", "groq llama-3.3-70b-versatile"),
            ("openai-responses:gpt-5", "openai-responses gpt-5"),
            ("bedrock:us.amazon.nova-lite-v1:0", "bedrock us.amazon.nova-lite-v1:0"),
        ] {
            assert_eq!(kind_of(name), kind, "{name}");
        }
    }
}
