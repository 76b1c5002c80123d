//! What strict means: a variable that the data lack is an error which names it, wherever its value is used.
//!
//! Whether there is one may be asked: `if`, `unless`, `and`, `or`, `not` take a missing variable as false, `default` gives the other
//! value, and `{{#each}}` and `{{#with}}` show their `{{else}}`. What is there and empty (`null`, `{}`, `[]`) is not missing.
//!
//! handlebars itself notices a missing variable where it is written out, and in helpers that look. It renders a partial's
//! missing argument as nothing, and comparisons say which of their arguments is missing, not its name. So, where templates are
//! strict, each such argument is compiled as if it were the result of a helper that lets through what is there: `{{len a.b}}`
//! as `{{len (given a.b)}}`. Partials' arguments are always such results ([`held`](super::held)).

use std::collections::HashMap;

use handlebars::template::{HelperTemplate, Parameter, Subexpression, TemplateElement};
use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, JsonRender, Output, RenderContext, RenderError,
    RenderErrorReason, ScopedJson, Template,
};
use serde_json::Value;

/// Names that no template can write.
pub(super) const GIVEN: &str = "given value";
const PERHAPS: &str = "value or null";
const DEMANDED: &str = "demanded value";

pub(super) fn register(registry: &mut Handlebars<'_>) {
    registry.register_helper(GIVEN, Box::new(Given));
    registry.register_helper(PERHAPS, Box::new(Perhaps));
    registry.register_helper(DEMANDED, Box::new(Demanded));
    registry.register_helper("lookup", Box::new(Lookup));
}

/// The names that [`strictly`] puts into templates.
pub(super) fn names() -> impl Iterator<Item = String> {
    [GIVEN, PERHAPS, DEMANDED].into_iter().map(str::to_owned)
}

/// Makes a template strict.
pub(super) fn strictly(template: &mut Template) {
    let mut at = 0;
    while let Some(element) = template.elements.get_mut(at) {
        match element {
            TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => expression(call),
            TemplateElement::HelperBlock(block) => {
                expression(block);
                for inner in [&mut block.template, &mut block.inverse].into_iter().flatten() {
                    strictly(inner);
                }
                // `with` takes what is empty for what is missing.
                if block.name.as_name() == Some("with")
                    && let (None, Some(value)) = (&block.inverse, block.params.first())
                {
                    let demand = call(DEMANDED, value.clone());
                    block.inverse = Some(Template::new());
                    template.elements.insert(at, *demand.element);
                    if let Some(place) = template.mapping.get(at).cloned() {
                        template.mapping.insert(at, place);
                    }
                    at += 1;
                }
            }
            TemplateElement::PartialExpression(call) | TemplateElement::PartialBlock(call) => {
                // What they are given themselves is looked at where it is held (`held`).
                for argument in call.params.iter_mut().chain(call.hash.values_mut()) {
                    parameter(argument, None);
                }
                if let Some(block) = &mut call.template {
                    strictly(block);
                }
            }
            TemplateElement::DecoratorBlock(call) | TemplateElement::DecoratorExpression(call) => {
                if let Some(body) = &mut call.template {
                    strictly(body);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

fn expression(call: &mut HelperTemplate) {
    let by = match call.name.as_name() {
        Some("eq" | "ne" | "gt" | "gte" | "lt" | "lte" | "len") => Some(GIVEN),
        Some("not") => Some(PERHAPS),
        _ => None,
    };
    for argument in call.params.iter_mut().chain(call.hash.values_mut()) {
        parameter(argument, by);
    }
}

fn parameter(given: &mut Parameter, by: Option<&'static str>) {
    match (&mut *given, by) {
        (Parameter::Subexpression(inner), _) => {
            if let TemplateElement::Expression(call) = &mut *inner.element {
                expression(call);
            }
        }
        (Parameter::Path(_), Some(by)) => {
            *given = Parameter::Subexpression(call(by, given.clone()));
        }
        _ => {}
    }
}

fn call(name: &str, given: Parameter) -> Subexpression {
    Subexpression::new(Parameter::Name(name.to_owned()), vec![given], HashMap::new())
}

struct Given;

impl HelperDef for Given {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        match helper.param(0) {
            Some(given) if given.is_value_missing() => Err(RenderError::strict_error(given.relative_path())),
            given => Ok(ScopedJson::Derived(given.map_or(Value::Null, |given| given.value().clone()))),
        }
    }
}

struct Perhaps;

impl HelperDef for Perhaps {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        Ok(ScopedJson::Derived(helper.param(0).map_or(Value::Null, |given| given.value().clone())))
    }
}

/// Shows nothing.
struct Demanded;

impl HelperDef for Demanded {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render: &mut RenderContext<'reg, 'rc>,
        _: &mut dyn Output,
    ) -> HelperResult {
        Given.call_inner(helper, registry, context, render).map(drop)
    }
}

/// `lookup` as handlebars has it, with the name of what is missing.
struct Lookup;

impl HelperDef for Lookup {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let (Some(held), Some(key)) = (helper.param(0), helper.param(1)) else {
            let what = "lookup: a list or an object and what to look up in it are wanted";
            return Err(RenderErrorReason::Other(what.to_owned()).into());
        };
        for given in [held, key] {
            if given.is_value_missing() && registry.strict_mode() {
                return Err(RenderError::strict_error(given.relative_path()));
            }
        }
        let found = match held.value() {
            Value::Array(list) => {
                key.value().as_u64().and_then(|place| list.get(usize::try_from(place).ok()?))
            }
            Value::Object(object) => key.value().as_str().and_then(|key| object.get(key)),
            _ => None,
        };
        match found {
            Some(value) => Ok(ScopedJson::Derived(value.clone())),
            None if registry.strict_mode() => {
                // The key's value could be a user's word; its name is the template's.
                let key = key.relative_path().map_or_else(
                    || key.try_get_constant_value().map_or("…".to_owned(), JsonRender::render),
                    |name| format!("[{name}]"),
                );
                let held = held.relative_path().map_or("…", String::as_str);
                Err(RenderError::strict_error(Some(&format!("{held}.{key}"))))
            }
            None => Ok(ScopedJson::Derived(Value::Null)),
        }
    }
}
