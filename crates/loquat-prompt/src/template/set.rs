//! Templates compiled together: they include each other by name, share helpers and limits, and never change. A change is a new
//! set.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::Arc,
};

use handlebars::{Context, Handlebars, Template, html_escape, no_escape};
use serde::Serialize;
use serde_json::{Map, Value};

use super::budget::{Bounded, Marks, Spending};
use super::helpers::{Body, Each, Function, built_in};
use super::strict::{self, strictly};
use super::{Rendered, TemplateError, TemplateErrorKind as Kind, TemplateLimits, check, held, words::Words};
use crate::tokenizer::Tokenizer;

/// A compiled set of templates. Cheap to clone; clones are the same set.
///
/// ```
/// use loquat_prompt::template::Templates;
/// use serde_json::json; // any data that is serde's `Serialize`
///
/// let templates = Templates::builder()
///     .template("greet", "Hello {{name}}.{{> rest}}")
///     .template("rest", "{{#each items}} {{this}}{{/each}}")
///     .build()?;
/// let text = templates.render("greet", &json!({ "name": "Ann", "items": ["a", "b"] }))?;
/// assert_eq!(text, "Hello Ann. a b");
///
/// let error = templates.render("greet", &json!({})).expect_err("strict, unless asked otherwise");
/// assert_eq!(error.to_string(), "greet:1:7: the data hold no `name`");
/// # Ok::<(), loquat_prompt::template::TemplateError>(())
/// ```
#[derive(Clone)]
pub struct Templates(Arc<Set>);

struct Set {
    registry: Handlebars<'static>,
    sources: BTreeMap<String, Source>,
    limits: TemplateLimits,
    hash: [u8; 32],
    words: Words,
}

#[derive(Clone)]
struct Source {
    text: Arc<str>,
    file: Option<PathBuf>,
}

impl Templates {
    /// A set to be put together.
    pub fn builder() -> TemplatesBuilder {
        TemplatesBuilder::default()
    }

    /// A set of one template.
    ///
    /// # Errors
    /// The source is no template, or uses what does not exist.
    pub fn one(name: impl Into<String>, source: impl Into<Arc<str>>) -> Result<Self, TemplateError> {
        Self::builder().template(name, source).build()
    }

    /// The prompt that the template makes of the data. About 10 µs for 4 KB.
    ///
    /// # Errors
    /// There is no such template, a variable is missing, or a limit is met; with the place where that happened.
    pub fn render(&self, name: &str, data: &impl Serialize) -> Result<String, TemplateError> {
        let mut prompt = String::new();
        self.render_into(name, data, &mut prompt)?;
        Ok(prompt)
    }

    /// The same, at the end of a text; as it was where rendering fails.
    ///
    /// # Errors
    /// As [`Templates::render`].
    pub fn render_into(
        &self,
        name: &str,
        data: &impl Serialize,
        to: &mut String,
    ) -> Result<(), TemplateError> {
        let Prepared(context) =
            Prepared::try_new(data).map_err(|error| error.renamed(|_| self.shown(name)))?;
        self.render_context(name, &context, to, None)
    }

    /// The same, with who wrote what: [pieces](Rendered::pieces) of which only the templates' own words may be control tokens. All else is
    /// text: data, whatever a helper gives, even of the template's own literals, and what is between a partial's tags.
    ///
    /// # Errors
    /// As [`Templates::render`].
    pub fn render_pieces(&self, name: &str, data: &impl Serialize) -> Result<Rendered, TemplateError> {
        let Prepared(context) =
            Prepared::try_new(data).map_err(|error| error.renamed(|_| self.shown(name)))?;
        let mut rendered = Rendered::default();
        self.render_context(name, &context, &mut rendered.text, Some(&mut rendered.pieces))?;
        Ok(rendered)
    }

    /// The same for data that are ready as JSON, which spares turning them into it: a third of the time.
    ///
    /// # Errors
    /// As [`Templates::render`].
    pub fn render_prepared(&self, name: &str, data: &Prepared, to: &mut String) -> Result<(), TemplateError> {
        self.render_context(name, &data.0, to, None)
    }

    fn render_context(
        &self,
        name: &str,
        context: &Context,
        to: &mut String,
        pieces: Option<&mut Vec<(usize, bool)>>,
    ) -> Result<(), TemplateError> {
        let Some(source) = self.0.sources.get(name) else {
            return Err(TemplateError::new(Kind::UnknownTemplate, name, "there is no such template"));
        };
        let spending = Spending::begin(&self.0.limits);
        let mut bytes = Vec::with_capacity(source.text.len());
        let marks = pieces.map(|pieces| Marks { words: &self.0.words, pieces });
        let out = Bounded { to: &mut bytes, marks };
        let rendered = self.0.registry.render_with_context_to_write(name, context, out);
        rendered.map_err(|error| {
            TemplateError::of_render(&error, name, spending.exceeded()).renamed(|n| self.shown(n))
        })?;
        // Pieces are texts: the whole is one.
        let prompt = String::from_utf8(bytes).map_err(|error| {
            TemplateError::new(Kind::Data, name, "the prompt is no text").with_source(error)
        })?;
        if to.is_empty() {
            *to = prompt;
        } else {
            to.push_str(&prompt);
        }
        Ok(())
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.sources.keys().map(String::as_str)
    }

    /// A template's source.
    pub fn source(&self, name: &str) -> Option<&str> {
        self.0.sources.get(name).map(|source| &*source.text)
    }

    /// The variables that a template names itself, as paths; those of its partials are theirs. Within a loop they are as it is written
    /// there: of an item, unless they begin with `../`.
    pub fn variables(&self, name: &str) -> BTreeSet<String> {
        self.0
            .registry
            .get_template(name)
            .map(|template| check::variables(name, template))
            .unwrap_or_default()
    }

    /// BLAKE3 over names and sources: the same for the same set, on every machine. What a compiled set is kept under.
    pub fn hash(&self) -> [u8; 32] {
        self.0.hash
    }

    /// Bytes of all sources.
    pub fn source_bytes(&self) -> usize {
        self.0.sources.values().map(|source| source.text.len()).sum()
    }

    /// As it is named to people: the file, where it came from one.
    fn shown(&self, name: &str) -> String {
        let file = self.0.sources.get(name).and_then(|source| source.file.as_ref());
        file.map_or_else(|| name.to_owned(), |file| file.display().to_string())
    }
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Data in the form that templates read.
#[derive(Clone)]
pub struct Prepared(Context);

impl Prepared {
    /// # Errors
    /// The data have no JSON form.
    pub fn try_new(data: &impl Serialize) -> Result<Self, TemplateError> {
        let context = Context::wraps(data);
        context.map(Self).map_err(|error| {
            TemplateError::new(Kind::Data, "data", "the data cannot be shown").with_source(error)
        })
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prepared")
    }
}

/// What a set is made of.
#[derive(Clone)]
#[must_use]
pub struct TemplatesBuilder {
    sources: BTreeMap<String, Source>,
    helpers: BTreeMap<String, Body>,
    tokenizer: Option<Arc<dyn Tokenizer>>,
    limits: TemplateLimits,
    strict: bool,
    escapes_html: bool,
}

impl Default for TemplatesBuilder {
    fn default() -> Self {
        Self {
            sources: BTreeMap::new(),
            helpers: BTreeMap::new(),
            tokenizer: None,
            limits: TemplateLimits::default(),
            strict: true,
            escapes_html: false,
        }
    }
}

impl TemplatesBuilder {
    /// One more template; one of the same name is replaced.
    pub fn template(mut self, name: impl Into<String>, source: impl Into<Arc<str>>) -> Self {
        self.sources.insert(name.into(), Source { text: source.into(), file: None });
        self
    }

    pub(super) fn file(mut self, name: String, source: String, file: PathBuf) -> Self {
        self.sources.insert(name, Source { text: source.into(), file: Some(file) });
        self
    }

    /// A helper of your own, a function of the arguments and the named arguments; one of the same name is replaced. It cannot
    /// be interrupted: when it comes back too late, rendering ends there.
    pub fn helper(
        mut self,
        name: impl Into<String>,
        body: impl Fn(&[Value], &Map<String, Value>) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        self.helpers.insert(name.into(), Arc::new(body));
        self
    }

    /// What counts tokens: brings the helpers `truncate_tokens` and `count_tokens`.
    pub fn tokenizer(mut self, tokenizer: Arc<dyn Tokenizer>) -> Self {
        self.tokenizer = Some(tokenizer);
        self
    }

    /// Other limits.
    pub fn limits(mut self, limits: TemplateLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether a variable that the data lack is an error. Default: it is. `if`, `unless`, `and`, `or`, `not` and `default` may ask for a
    /// missing one all the same, and so may `{{#each}}` and `{{#with}}` that have an `{{else}}`; what is there and empty is not
    /// missing.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Whether `{{x}}` escapes HTML, as a web page needs it and a prompt never does. Default: it does not.
    pub fn escape_html(mut self, escapes_html: bool) -> Self {
        self.escapes_html = escapes_html;
        self
    }

    pub(super) fn limits_now(&self) -> &TemplateLimits {
        &self.limits
    }

    /// Compiles the set. Some 30 µs a template.
    ///
    /// # Errors
    /// A source is no template, uses what does not exist, includes itself, or a limit is met: with file, line and column.
    pub fn build(self) -> Result<Templates, TemplateError> {
        if self.sources.len() > self.limits.max_templates {
            let what = format!("{} templates; allowed are {}", self.sources.len(), self.limits.max_templates);
            return Err(TemplateError::new(Kind::TooLarge, "templates", what));
        }
        let mut registry = Handlebars::new();
        registry.set_strict_mode(self.strict);
        registry.register_escape_fn(if self.escapes_html { html_escape } else { no_escape });
        // Writes to the program's log, which is no business of a template's.
        registry.unregister_helper("log");
        registry.register_helper("each", Box::new(Each));
        strict::register(&mut registry);
        held::register(&mut registry);
        let mut helpers: BTreeSet<String> = HANDLEBARS_OWN.iter().map(|name| (*name).to_owned()).collect();
        for (name, function) in built_in(self.tokenizer) {
            registry.register_helper(name, Box::new(function));
            helpers.insert(name.to_owned());
        }
        helpers.extend(strict::names().chain(held::names()));
        for (name, body) in self.helpers {
            registry.register_helper(&name, Box::new(Function { body, takes_missing: false, pays: false }));
            helpers.insert(name);
        }
        let sources = self.sources;
        let mut hasher = blake3::Hasher::new();
        let shown = |name: &str| {
            let file = sources.get(name).and_then(|source| source.file.as_ref());
            file.map_or_else(|| name.to_owned(), |file| file.display().to_string())
        };
        for (name, source) in &sources {
            for part in [name.as_bytes(), source.text.as_bytes()] {
                hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
            }
            check::nesting(&shown(name), &source.text, &self.limits)?;
            let mut template = Template::compile_with_name(&source.text, name.clone())
                .map_err(|error| TemplateError::of_syntax(&error, &shown(name)))?;
            if self.strict {
                strictly(&mut template);
            }
            held::hold(&mut template);
            registry.register_template(name, template);
        }
        check::set(&registry, &helpers, &self.limits).map_err(|error| error.renamed(shown))?;
        let hash = *hasher.finalize().as_bytes();
        let words = Words::of(registry.get_templates().values());
        Ok(Templates(Arc::new(Set { registry, sources, limits: self.limits, hash, words })))
    }
}

/// What handlebars brings itself.
const HANDLEBARS_OWN: [&str; 16] = [
    "if", "unless", "each", "with", "lookup", "raw", "eq", "ne", "gt", "gte", "lt", "lte", "and", "or",
    "not", "len",
];

impl fmt::Debug for TemplatesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemplatesBuilder")
            .field("templates", &self.sources.keys())
            .field("helpers", &self.helpers.keys())
            .field("strict", &self.strict)
            .finish_non_exhaustive()
    }
}
