//! What is wrong with a template or its data, and where: file, line, column.
//!
//! It names variables, helpers and partials, and never shows a value: data are a user's words.

use std::{error::Error as StdError, fmt, path::Path};

use handlebars::{RenderError, RenderErrorReason};
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

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn file(path: &Path, what: impl fmt::Display, source: std::io::Error) -> Self {
        Self::new(TemplateErrorKind::File, path.display().to_string(), what.to_string()).with_source(source)
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

    pub(crate) fn of_syntax(error: &handlebars::TemplateError, template: &str) -> Self {
        let what = error.reason().to_string();
        let error = Self::new(TemplateErrorKind::Syntax, template, what.clone()).placed(error.pos());
        // The parser tells of a place in the text of its message only.
        match (error.0.line, place_in(&what)) {
            (None, Some((line, column))) => error.at(line, column),
            _ => error,
        }
    }

    pub(crate) fn of_render(
        error: &RenderError,
        template: &str,
        exceeded: Option<TemplateErrorKind>,
    ) -> Self {
        use TemplateErrorKind as Kind;
        let name = error.template_name.clone().unwrap_or_else(|| template.to_owned());
        let place = error.line_no.zip(error.column_no);
        let (kind, what) = match (exceeded, error.reason()) {
            (Some(Kind::TooLarge), _) => {
                (Kind::TooLarge, "the prompt is longer than the limit allows".to_owned())
            }
            (Some(kind), _) => (kind, "rendering takes longer than the limit allows".to_owned()),
            (_, RenderErrorReason::MissingVariable(Some(path))) => {
                (Kind::MissingVariable, format!("the data hold no `{path}`"))
            }
            (_, RenderErrorReason::MissingVariable(None)) => {
                (Kind::MissingVariable, "the data lack a variable".to_owned())
            }
            (_, RenderErrorReason::HelperNotFound(helper)) => {
                (Kind::UnknownHelper, format!("there is no helper `{helper}`"))
            }
            (
                _,
                RenderErrorReason::PartialNotFound(partial) | RenderErrorReason::TemplateNotFound(partial),
            ) => (Kind::UnknownTemplate, format!("there is no template `{partial}`")),
            (_, RenderErrorReason::SerdeError(_)) => (Kind::Data, "the data cannot be shown".to_owned()),
            (_, reason) => (Kind::Helper, reason.to_string()),
        };
        Self::new(kind, name, what).placed(place)
    }

    pub(crate) fn renamed(mut self, shown: impl Fn(&str) -> String) -> Self {
        self.0.template = shown(&self.0.template);
        self
    }

    fn placed(self, place: Option<(usize, usize)>) -> Self {
        match place {
            Some((line, column)) => self.at(line, column),
            None => self,
        }
    }
}

/// The `--> LINE:COLUMN` of a parser's message.
fn place_in(message: &str) -> Option<(usize, usize)> {
    let (_, after) = message.split_once("--> ")?;
    let (line, rest) = after.split_once(':')?;
    let column: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((line.trim().parse().ok()?, column.parse().ok()?))
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
        Self::new(kind, error.to_string())
    }
}
