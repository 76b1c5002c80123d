//! What templates themselves say, told from what they show by where it lies in memory.
//!
//! handlebars writes a template's own words as slices of the compiled template, and all else as texts made for the occasion. A
//! compiled set never changes and lives as long as a rendering of it, so that nothing else can lie where its words do. Whatever is
//! not found there counts as a stranger's.

use handlebars::{
    Template,
    template::{DecoratorTemplate, HelperTemplate, TemplateElement},
};

/// The words of a set: where each lies, ascending, and how long it is.
#[derive(Default)]
pub(crate) struct Words(Vec<(usize, usize)>);

impl Words {
    /// Of templates that are in their place and stay there.
    pub(super) fn of<'a>(templates: impl Iterator<Item = &'a Template>) -> Self {
        let mut words = Self::default();
        templates.for_each(|template| words.add(template));
        words.0.sort_unstable();
        words
    }

    fn add(&mut self, template: &Template) {
        for element in &template.elements {
            match element {
                TemplateElement::RawString(text) if !text.is_empty() => {
                    self.0.push((text.as_ptr().addr(), text.len()));
                }
                TemplateElement::HelperBlock(call) => {
                    let HelperTemplate { template, inverse, .. } = &**call;
                    [template, inverse].into_iter().flatten().for_each(|inner| self.add(inner));
                }
                TemplateElement::DecoratorExpression(call)
                | TemplateElement::DecoratorBlock(call)
                | TemplateElement::PartialExpression(call)
                | TemplateElement::PartialBlock(call) => {
                    let DecoratorTemplate { template, .. } = &**call;
                    template.iter().for_each(|inner| self.add(inner));
                }
                _ => {}
            }
        }
    }

    /// Whether these very bytes are some of them, or a part of some.
    pub(crate) fn hold(&self, bytes: &[u8]) -> bool {
        let start = bytes.as_ptr().addr();
        let after = self.0.partition_point(|(from, _)| *from <= start);
        let before = after.checked_sub(1).and_then(|index| self.0.get(index));
        before.is_some_and(|(from, length)| start - from + bytes.len() <= *length)
    }
}
