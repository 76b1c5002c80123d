//! [`PromptTemplate`]: a template, compiled, with what counts and what remembers, as one value.

use std::{fmt, sync::Arc};

use loquat_core::{Error, Result};
use serde::Serialize;

use crate::{
    Tokenizer,
    cache::{CachedTokenizer, Shelf, ShelfKey},
    template::{Rendered, TemplateError, Templates, TemplatesBuilder},
};

/// A prompt to be made of data, again and again. Cheap to clone.
///
/// ```
/// use std::{collections::BTreeMap, sync::Arc};
///
/// use loquat_prompt::cache::{CacheLimits, TokenCache};
/// use loquat_prompt::{PromptTemplate, Tokenizer, tokenizer::Bytes};
///
/// let tokenizer: Arc<dyn Tokenizer> = Arc::new(Bytes); // with the feature `tokens`: tokenizer::o200k_base()?
/// let cache = TokenCache::new(CacheLimits::default()); // one for the program
/// let prompt = PromptTemplate::try_new("Hello {{name}}", cache.tokenizer("a tenant", &tokenizer))?;
///
/// let data = BTreeMap::from([("name", "Ann")]);
/// assert_eq!(prompt.render(&data)?, "Hello Ann");
/// assert_eq!(prompt.count(&data)?, 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct PromptTemplate {
    raw: Arc<str>,
    compiled: Arc<Templates>,
    tokenizer: CachedTokenizer,
}

/// What the one template is called.
const NAME: &str = "prompt";

impl PromptTemplate {
    /// Compiles a template, for that tokenizer and its cache. `truncate_tokens` and `count_tokens` count with it.
    ///
    /// # Errors
    /// The source is no template.
    pub fn try_new(raw: impl Into<Arc<str>>, tokenizer: CachedTokenizer) -> Result<Self, TemplateError> {
        let raw = raw.into();
        let compiled = Arc::new(builder(&raw, &tokenizer).build()?);
        Ok(Self { raw, compiled, tokenizer })
    }

    /// The same from a shelf of compiled templates: compiled only if it is not there. The version tells apart what the source
    /// does not say, such as other helpers or another tokenizer.
    ///
    /// # Errors
    /// The source is no template.
    pub fn from_shelf(
        shelf: &Shelf<Templates>,
        raw: impl Into<Arc<str>>,
        version: u64,
        tokenizer: CachedTokenizer,
    ) -> Result<Self, TemplateError> {
        let raw = raw.into();
        let key = ShelfKey::of(&raw, version);
        let compiled = shelf.find_or_make(key, || builder(&raw, &tokenizer).build())?;
        Ok(Self { raw, compiled, tokenizer })
    }

    /// The source.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The compiled template, a set of one.
    pub fn compiled(&self) -> &Templates {
        &self.compiled
    }

    /// What counts and remembers.
    pub fn tokenizer(&self) -> &CachedTokenizer {
        &self.tokenizer
    }

    /// The prompt.
    ///
    /// # Errors
    /// As [`Templates::render`].
    pub fn render(&self, data: &impl Serialize) -> Result<String, TemplateError> {
        self.compiled.render(NAME, data)
    }

    /// The prompt with who wrote what: [pieces](Rendered::pieces) of which only the template's own words may be control tokens, as
    /// [`Templates::render_pieces`] tells them.
    ///
    /// # Errors
    /// As [`Templates::render`].
    pub fn pieces(&self, data: &impl Serialize) -> Result<Rendered, TemplateError> {
        self.compiled.render_pieces(NAME, data)
    }

    /// The tokens of a prompt whose template writes control tokens (`<|im_start|>`), as a model reads it that is given nothing else. Those
    /// that the data spell are ordinary text.
    ///
    /// # Errors
    /// As [`PromptTemplate::tokens`].
    pub fn prompt_tokens(&self, data: &impl Serialize) -> Result<Vec<u32>> {
        let prompt = self.pieces(data).map_err(Error::from)?;
        let mut tokens = Vec::with_capacity(prompt.text().len() / 3);
        self.tokenizer.encode_prompt(&prompt.pieces(), &mut tokens)?;
        Ok(tokens)
    }

    /// The prompt's tokens, as ordinary text: whatever the data or the template say, there is no control token in it. For a
    /// prompt that goes into a message.
    ///
    /// # Errors
    /// As [`Templates::render`] and [`Tokenizer::encode`].
    pub fn tokens(&self, data: &impl Serialize) -> Result<Vec<u32>> {
        let prompt = self.render(data).map_err(Error::from)?;
        let mut tokens = Vec::with_capacity(prompt.len() / 3);
        self.tokenizer.encode(&prompt, &mut tokens)?;
        Ok(tokens)
    }

    /// How many tokens the prompt has.
    ///
    /// # Errors
    /// As [`PromptTemplate::tokens`].
    pub fn count(&self, data: &impl Serialize) -> Result<usize> {
        self.tokenizer.count(&self.render(data).map_err(Error::from)?)
    }
}

fn builder(raw: &Arc<str>, tokenizer: &CachedTokenizer) -> TemplatesBuilder {
    // Without the cache: what a helper cuts is seldom seen twice, and the shelf outlives a tenant.
    Templates::builder().template(NAME, Arc::clone(raw)).tokenizer(Arc::clone(tokenizer.inner()))
}

impl fmt::Debug for PromptTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PromptTemplate")
            .field("raw_bytes", &self.raw.len())
            .field("tokenizer", &self.tokenizer)
            .finish_non_exhaustive()
    }
}
