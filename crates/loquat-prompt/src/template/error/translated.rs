//! What handlebars and the file system say, as a [`TemplateError`].

use std::{error::Error as StdError, fmt, path::Path};

use handlebars::{RenderError, RenderErrorReason};

use super::{TemplateError, TemplateErrorKind as Kind};
use crate::template::budget::{TOO_LONG, TOO_MUCH};

impl TemplateError {
    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn file(path: &Path, what: impl fmt::Display, source: std::io::Error) -> Self {
        Self::new(Kind::File, path.display().to_string(), what.to_string()).with_source(source)
    }

    pub(crate) fn of_syntax(error: &handlebars::TemplateError, template: &str) -> Self {
        let what = error.reason().to_string();
        let error = Self::new(Kind::Syntax, template, what.clone()).placed(error.pos());
        // The parser tells of a place in the text of its message only.
        match (error.0.line, place_in(&what)) {
            (None, Some((line, column))) => error.at(line, column),
            _ => error,
        }
    }

    pub(crate) fn of_render(error: &RenderError, template: &str, exceeded: Option<Kind>) -> Self {
        let name = error.template_name.clone().unwrap_or_else(|| template.to_owned());
        let place = error.line_no.zip(error.column_no);
        let (kind, what) = match (exceeded, error.reason()) {
            (Some(Kind::TooLarge), RenderErrorReason::Other(what))
                if what.ends_with(TOO_LONG) || what.ends_with(TOO_MUCH) =>
            {
                (Kind::TooLarge, what.clone())
            }
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
