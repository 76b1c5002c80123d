//! What can be known of templates before they are rendered: that partials exist and come to an end, that helpers exist, how deep
//! and how often a rendering can go.
//!
//! handlebars itself notices a template that includes itself directly; two that include each other overflow its stack. So every
//! name is resolved here, and a name that only the data know (`{{> (lookup …)}}`) is refused.

use std::collections::{BTreeMap, BTreeSet};

use handlebars::template::{DecoratorTemplate, HelperTemplate, Parameter, TemplateElement};
use handlebars::{Handlebars, Template};

use super::{TemplateError, TemplateErrorKind as Kind, TemplateLimits, held};

pub(super) const PARTIAL_BLOCK: &str = "@partial-block";

/// A place in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    template: String,
    line: usize,
    column: usize,
}

impl Place {
    fn error(&self, kind: Kind, what: impl Into<String>) -> TemplateError {
        TemplateError::new(kind, &self.template, what).at(self.line, self.column)
    }
}

/// Most arguments of one call. handlebars makes a copy of each where a partial sees it, before anything can count them.
const MAX_ARGUMENTS: usize = 64;

/// What a template (or an inline partial) uses.
#[derive(Debug, Default)]
struct Uses {
    partials: Vec<(String, Place)>,
    helpers: Vec<(String, Place)>,
    variables: BTreeSet<String>,
    inline: BTreeSet<String>,
    /// Nesting of blocks inside this template.
    depth: usize,
    /// `{{#> name}}…{{/name}}`.
    blocks: Vec<Place>,
    /// A call with more arguments than any may have.
    too_many_arguments: Option<Place>,
}

/// Refuses nesting that would overflow the parser's stack, before it is parsed.
pub(crate) fn nesting(name: &str, source: &str, limits: &TemplateLimits) -> Result<(), TemplateError> {
    if source.len() > limits.max_source_bytes {
        let (length, limit) = (source.len(), limits.max_source_bytes);
        let what = format!("a template of {length} bytes; allowed are {limit} (max_source_bytes)");
        return Err(TemplateError::new(Kind::TooLarge, name, what));
    }
    let (mut blocks, mut inside) = (0_usize, None::<usize>);
    for (number, line) in source.lines().enumerate() {
        let bytes = line.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            if rest.starts_with(b"{{") {
                let tag = rest[2..].iter().position(|byte| !matches!(byte, b'~' | b'{' | b' '));
                let tag = tag.and_then(|offset| rest.get(2 + offset..)).unwrap_or_default();
                match tag.first() {
                    Some(b'#') => blocks += 1,
                    Some(b'/') => blocks = blocks.saturating_sub(1),
                    // Each `else if` is a block inside the one before it.
                    _ if tag.starts_with(b"else ") => blocks += 1,
                    _ => {}
                }
                inside = Some(0);
                at += 2;
                continue;
            }
            if rest.starts_with(b"}}") {
                inside = None;
            } else if let Some(depth) = &mut inside {
                match rest[0] {
                    b'(' | b'[' | b'{' => *depth += 1,
                    b')' | b']' | b'}' => *depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            // An `else if` is never closed by itself: room for some on each level.
            if blocks > limits.max_depth * 4 || inside.is_some_and(|depth| depth > limits.max_depth) {
                let what = format!("nested more than {} deep (max_depth)", limits.max_depth);
                return Err(TemplateError::new(Kind::TooLarge, name, what).at(number + 1, at + 1));
            }
            at += 1;
        }
    }
    Ok(())
}

/// Looks at a whole set.
///
/// # Errors
/// The first thing that is wrong: an unknown partial or helper, a cycle, a limit.
pub(crate) fn set(
    registry: &Handlebars<'_>,
    helpers: &BTreeSet<String>,
    limits: &TemplateLimits,
) -> Result<(), TemplateError> {
    let templates = registry.get_templates();
    let names: BTreeSet<&String> = templates.keys().collect();
    let mut uses: BTreeMap<String, Uses> = BTreeMap::new();
    for name in &names {
        if let Some(template) = templates.get(*name) {
            walk(name, template, name, 1, &mut uses)?;
        }
    }
    let inline: BTreeSet<String> = uses.values().flat_map(|uses| uses.inline.iter().cloned()).collect();
    for used in uses.values() {
        if let Some(place) = &used.too_many_arguments {
            let what = format!("a call with more than {MAX_ARGUMENTS} arguments");
            return Err(place.error(Kind::TooLarge, what));
        }
        for (partial, place) in &used.partials {
            if !templates.contains_key(partial) && !inline.contains(partial) && partial != PARTIAL_BLOCK {
                return Err(place.error(Kind::UnknownTemplate, format!("there is no template `{partial}`")));
            }
        }
        for (helper, place) in &used.helpers {
            if !helpers.contains(helper) {
                return Err(place.error(Kind::UnknownHelper, format!("there is no helper `{helper}`")));
            }
        }
    }
    let mut known = BTreeMap::new();
    for name in uses.keys() {
        reach(name, &uses, &mut Vec::new(), &mut known, limits)?;
    }
    Ok(())
}

/// The variables that a template names itself, its partials apart, as paths; without what a loop or the rendering brings (`@index`,
/// `this` by itself), which no data could hold.
pub(crate) fn variables(name: &str, template: &Template) -> BTreeSet<String> {
    let mut uses = BTreeMap::new();
    let _ = walk(name, template, name, 1, &mut uses);
    let named = uses.into_values().flat_map(|uses| uses.variables);
    named
        .filter_map(|path| match path.strip_prefix("@root.") {
            Some(path) => Some(path.to_owned()),
            None => (!path.starts_with('@') && path != "this").then_some(path),
        })
        .collect()
}

/// What a rendering of one template can come to.
#[derive(Debug, Clone, Copy)]
struct Reach {
    depth: usize,
    inclusions: u64,
    has_block: bool,
}

fn reach(
    name: &str,
    uses: &BTreeMap<String, Uses>,
    path: &mut Vec<String>,
    known: &mut BTreeMap<String, Reach>,
    limits: &TemplateLimits,
) -> Result<Reach, TemplateError> {
    if let Some(reach) = known.get(name) {
        return Ok(*reach);
    }
    let Some(used) = uses.get(name) else {
        return Ok(Reach { depth: 1, inclusions: 1, has_block: false });
    };
    path.push(name.to_owned());
    let mut all = Reach { depth: used.depth, inclusions: 1, has_block: !used.blocks.is_empty() };
    for (partial, place) in &used.partials {
        if path.contains(partial) {
            let from = path.iter().position(|step| step == partial).unwrap_or(0);
            let cycle = path[from..].join(" → ");
            return Err(
                place.error(Kind::Recursive, format!("a partial that includes itself: {cycle} → {partial}"))
            );
        }
        // Also keeps this walk itself from going too deep.
        if path.len() > limits.max_depth {
            return Err(place
                .error(Kind::TooLarge, format!("nested more than {} deep (max_depth)", limits.max_depth)));
        }
        let below = reach(partial, uses, path, known, limits)?;
        all.depth = all.depth.max(used.depth.saturating_add(below.depth));
        all.inclusions = all.inclusions.saturating_add(below.inclusions);
        // What a block holds is rendered into memory before the partial writes it, once or many times: one inside another
        // could double at every level without a byte being written.
        if let (true, Some(block)) = (below.has_block, used.blocks.first()) {
            return Err(
                block.error(Kind::TooLarge, "a partial's block that includes another partial's block")
            );
        }
        if all.depth > limits.max_depth {
            return Err(place
                .error(Kind::TooLarge, format!("nested more than {} deep (max_depth)", limits.max_depth)));
        }
        if all.inclusions > limits.max_inclusions {
            let what = format!("more than {} inclusions (max_inclusions)", limits.max_inclusions);
            return Err(place.error(Kind::TooLarge, what));
        }
    }
    path.pop();
    if all.depth > limits.max_depth {
        let what = format!("nested more than {} deep (max_depth)", limits.max_depth);
        return Err(TemplateError::new(Kind::TooLarge, name, what).at(1, 1));
    }
    known.insert(name.to_owned(), all);
    Ok(all)
}

fn walk(
    file: &str,
    template: &Template,
    owner: &str,
    depth: usize,
    uses: &mut BTreeMap<String, Uses>,
) -> Result<(), TemplateError> {
    let own = uses.entry(owner.to_owned()).or_default();
    own.depth = own.depth.max(depth);
    for (index, element) in template.elements.iter().enumerate() {
        let (line, column) = template.mapping.get(index).map_or((1, 1), |place| (place.0, place.1));
        let place = Place { template: file.to_owned(), line, column };
        match element {
            TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => {
                expression(call, &place, owner, uses);
            }
            TemplateElement::HelperBlock(call) => {
                expression(call, &place, owner, uses);
                let inner_depth = if held::is_between(call) { depth } else { depth + 1 };
                for inner in [&call.template, &call.inverse].into_iter().flatten() {
                    walk(file, inner, owner, inner_depth, uses)?;
                }
            }
            TemplateElement::PartialExpression(call) | TemplateElement::PartialBlock(call) => {
                partial(file, call, &place, owner, depth, uses)?;
            }
            TemplateElement::DecoratorBlock(call) | TemplateElement::DecoratorExpression(call) => {
                inline(file, call, &place, owner, uses)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn partial(
    file: &str,
    call: &DecoratorTemplate,
    place: &Place,
    owner: &str,
    depth: usize,
    uses: &mut BTreeMap<String, Uses>,
) -> Result<(), TemplateError> {
    let name = match &call.name {
        Parameter::Literal(literal) => literal.as_str().unwrap_or_default().to_owned(),
        Parameter::Name(_) | Parameter::Path(_) => call.name.as_name().unwrap_or_default().to_owned(),
        _ => return Err(place.error(Kind::Syntax, "a partial whose name only the data know")),
    };
    for parameter in call.params.iter().chain(call.hash.values()) {
        parameters(parameter, place, owner, uses);
    }
    let own = uses.entry(owner.to_owned()).or_default();
    if call.params.len() + call.hash.len() > MAX_ARGUMENTS {
        own.too_many_arguments = Some(place.clone());
    }
    own.partials.push((name.clone(), place.clone()));
    if let Some(block) = &call.template {
        // The block of `@partial-block` is what is shown where there is none.
        if name != PARTIAL_BLOCK {
            own.blocks.push(place.clone());
        }
        walk(file, block, owner, depth + 1, uses)?;
        if name != PARTIAL_BLOCK && holds_block(block) {
            return Err(place.error(Kind::TooLarge, "a partial's block inside another one"));
        }
    }
    Ok(())
}

fn holds_block(template: &Template) -> bool {
    template.elements.iter().any(|element| match element {
        TemplateElement::PartialBlock(_) => true,
        TemplateElement::HelperBlock(call) => {
            [&call.template, &call.inverse].into_iter().flatten().any(holds_block)
        }
        _ => false,
    })
}

/// `{{#*inline "name"}}…{{/inline}}`: a template of its own, for this file.
fn inline(
    file: &str,
    call: &DecoratorTemplate,
    place: &Place,
    owner: &str,
    uses: &mut BTreeMap<String, Uses>,
) -> Result<(), TemplateError> {
    let (Some("inline"), Some(Parameter::Literal(name)), Some(body)) =
        (call.name.as_name(), call.params.first(), &call.template)
    else {
        return Err(place.error(Kind::UnknownHelper, "the only decorator is `{{#*inline \"name\"}}`"));
    };
    let name = name.as_str().unwrap_or_default().to_owned();
    if let Some(own) = uses.get_mut(owner) {
        own.inline.insert(name.clone());
    }
    walk(file, body, &name, 1, uses)
}

fn expression(call: &HelperTemplate, place: &Place, owner: &str, uses: &mut BTreeMap<String, Uses>) {
    let arguments = call.params.len() + call.hash.len();
    if let (true, Some(own)) = (arguments > MAX_ARGUMENTS, uses.get_mut(owner)) {
        own.too_many_arguments = Some(place.clone());
    }
    let is_call = call.block || arguments > 0;
    match (&call.name, is_call) {
        (name, true) => {
            if let (Some(name), Some(own)) = (name.as_name(), uses.get_mut(owner)) {
                own.helpers.push((name.to_owned(), place.clone()));
            }
        }
        (name, false) => parameters(name, place, owner, uses),
    }
    for parameter in call.params.iter().chain(call.hash.values()) {
        parameters(parameter, place, owner, uses);
    }
}

fn parameters(parameter: &Parameter, place: &Place, owner: &str, uses: &mut BTreeMap<String, Uses>) {
    match parameter {
        Parameter::Subexpression(inner) => {
            if let TemplateElement::Expression(call) = inner.as_element() {
                expression(call, place, owner, uses);
            }
        }
        Parameter::Path(_) | Parameter::Name(_) => {
            if let (Some(own), Some(name)) = (uses.get_mut(owner), parameter.as_name()) {
                own.variables.insert(name.to_owned());
            }
        }
        _ => {}
    }
}
