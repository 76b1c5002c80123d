//! What is wrong with a template or its data, and where: file, line, column.
//!
//! It names variables, helpers and partials, and never shows a value: data are a user's words.

#[cfg(feature = "template")]
mod translated;

use std::{error::Error as StdError, fmt};

use loquat_core::{Error, ErrorKind};

/// What is wrong. Match it with a wildcard arm: kinds are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TemplateErrorKind {
    /// The source is no template.
    Syntax,
    /// A variable that the data do not hold.
    MissingVariable,
    /// A template of that name does not exist.
    UnknownTemplate,
    /// A helper of that name does not exist.
    UnknownHelper,
    /// A template that includes itself, at once or by way of others.
    Recursive,
    /// A named limit in size, depth or number was exceeded.
    TooLarge,
    /// Rendering took more steps or more time than it may.
    TooLong,
    /// A helper refused its arguments.
    Helper,
    /// The data are not what a template can show.
    Data,
    /// A file could not be read.
    File,
}

/// An error in a template, with its place.
#[derive(Debug)]
pub struct TemplateError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: TemplateErrorKind,
    what: String,
    template: String,
    line: Option<usize>,
    column: Option<usize>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl TemplateError {
    pub(crate) fn new(kind: TemplateErrorKind, template: impl Into<String>, what: impl Into<String>) -> Self {
        let (what, template) = (what.into(), template.into());
        Self(Box::new(Inner { kind, what, template, line: None, column: None, source: None }))
    }

    pub(crate) fn at(mut self, line: usize, column: usize) -> Self {
        (self.0.line, self.0.column) = (Some(line), Some(column));
        self
    }

    /// What is wrong.
    pub fn kind(&self) -> TemplateErrorKind {
        self.0.kind
    }

    /// The template's name; with a template of a directory, the file below it.
    pub fn template(&self) -> &str {
        &self.0.template
    }

    /// Where it begins, from 1.
    pub fn line(&self) -> Option<usize> {
        self.0.line
    }

    /// Where in the line, in characters from 1.
    pub fn column(&self) -> Option<usize> {
        self.0.column
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.template)?;
        if let (Some(line), Some(column)) = (self.0.line, self.0.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.0.what)
    }
}

impl StdError for TemplateError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<TemplateError> for Error {
    fn from(error: TemplateError) -> Self {
        let kind = match error.kind() {
            TemplateErrorKind::File => ErrorKind::Local,
            TemplateErrorKind::TooLarge | TemplateErrorKind::TooLong => ErrorKind::TooLarge,
            _ => ErrorKind::InvalidRequest,
        };
        let shown = Self::new(kind, error.to_string());
        match error.0.source {
            Some(cause) => shown.with_source(cause),
            None => shown,
        }
    }
}
