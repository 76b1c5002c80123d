//! What partials hold of the data while they are under way, counted and bounded.
//!
//! handlebars copies what a partial sees each time that it is included: the data as they are there, and what it is given besides.
//! `{{> p x=this y=this}}`, one inside the other, doubles that at every level without a byte being written. What is between a partial's
//! tags is kept as a text until it is written. There is no place to refuse either; so each inclusion is compiled as three,
//! `{{hold}}{{> p x=(held a)}}{{let go}}`, and what is between the tags as a block that pays for what it writes.

use std::{collections::HashMap, io, mem};

use handlebars::template::{HelperTemplate, Parameter, Subexpression, TemplateElement};
use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError,
    RenderErrorReason, Renderable, ScopedJson, Template,
};
use serde_json::Value;

use super::budget::{self, TOO_MUCH};
use super::check::PARTIAL_BLOCK;

/// Names that no template can write.
const HOLD: &str = "hold data";
const HELD: &str = "held value";
const LET_GO: &str = "let data go";
pub(super) const BETWEEN: &str = "between tags";

/// What is given to a partial is there three times: as it was made, as a name, and among the data.
const COPIES: usize = 3;

pub(super) fn register(registry: &mut Handlebars<'_>) {
    registry.register_helper(HOLD, Box::new(Hold));
    registry.register_helper(HELD, Box::new(Held));
    registry.register_helper(LET_GO, Box::new(LetGo));
    registry.register_helper(BETWEEN, Box::new(Between));
}

/// The names that [`hold`] puts into templates.
pub(super) fn names() -> impl Iterator<Item = String> {
    [HOLD, HELD, LET_GO, BETWEEN].into_iter().map(str::to_owned)
}

/// Makes a template's partials count what they hold.
pub(super) fn hold(template: &mut Template) {
    let elements = mem::take(&mut template.elements);
    let mapping = mem::take(&mut template.mapping);
    for (index, mut element) in elements.into_iter().enumerate() {
        let mut around = None;
        match &mut element {
            TemplateElement::HelperBlock(block) => {
                for inner in [&mut block.template, &mut block.inverse].into_iter().flatten() {
                    hold(inner);
                }
            }
            TemplateElement::DecoratorBlock(call) | TemplateElement::DecoratorExpression(call) => {
                call.template.iter_mut().for_each(hold);
            }
            TemplateElement::PartialExpression(call) | TemplateElement::PartialBlock(call) => {
                call.template.iter_mut().for_each(hold);
                // It writes what has been made already.
                if call.name.as_name() != Some(PARTIAL_BLOCK) {
                    around = Some(call.params.is_empty());
                    for argument in call.params.iter_mut().chain(call.hash.values_mut()) {
                        if !matches!(argument, Parameter::Literal(_)) {
                            *argument = Parameter::Subexpression(calling(HELD, argument.clone()));
                        }
                    }
                    if let Some(body) = call.template.take() {
                        call.template = Some(between(body));
                    }
                }
            }
            _ => {}
        }
        let mut push = |element| {
            template.elements.push(element);
            template.mapping.extend(mapping.get(index).cloned());
        };
        match around {
            // Given data of its own, it sees those alone.
            Some(sees_all) => {
                push(*calling(HOLD, Parameter::Literal(sees_all.into())).element);
                push(element);
                push(*calling(LET_GO, Parameter::Literal(Value::Null)).element);
            }
            None => push(element),
        }
    }
}

fn calling(name: &str, given: Parameter) -> Subexpression {
    Subexpression::new(Parameter::Name(name.to_owned()), vec![given], HashMap::new())
}

fn between(body: Template) -> Template {
    let mut outer = Template::new();
    outer.name.clone_from(&body.name);
    outer.mapping.extend(body.mapping.first().cloned());
    if let TemplateElement::Expression(mut call) = *calling(BETWEEN, Parameter::Literal(Value::Null)).element
    {
        call.block = true;
        call.template = Some(body);
        outer.elements.push(TemplateElement::HelperBlock(call));
    }
    outer
}

/// Whether it is what [`hold`] puts around what is between a partial's tags, which is no nesting of the author's.
pub(super) fn is_between(call: &HelperTemplate) -> bool {
    call.name.as_name() == Some(BETWEEN)
}

fn too_much(_: io::Error) -> RenderError {
    RenderErrorReason::Other(TOO_MUCH.to_owned()).into()
}

/// Bytes that a value takes in memory, roughly; no more than `most`, where it stops.
pub(super) fn size(value: &Value, most: usize) -> usize {
    /// An entry of an object is a name, a hash and a place.
    const ENTRY: usize = 48;
    let mut size = size_of::<Value>();
    match value {
        Value::String(text) => size += text.len(),
        Value::Array(items) => {
            for item in items {
                if size >= most {
                    break;
                }
                size = size.saturating_add(self::size(item, most - size));
            }
        }
        Value::Object(entries) => {
            for (name, item) in entries {
                size = size.saturating_add(ENTRY + name.len());
                if size >= most {
                    break;
                }
                size = size.saturating_add(self::size(item, most - size));
            }
        }
        _ => {}
    }
    size
}

struct Hold;

impl HelperDef for Hold {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render: &mut RenderContext<'reg, 'rc>,
        _: &mut dyn Output,
    ) -> HelperResult {
        budget::step()?;
        let sees_all = helper.param(0).is_some_and(|given| given.value() == &Value::Bool(true));
        let bytes = if sees_all { size(here(context, render), budget::room()) } else { 0 };
        budget::begin_holding().and_then(|()| budget::hold(bytes)).map_err(too_much)
    }
}

/// The data as they are seen here.
fn here<'a>(context: &'a Context, render: &'a RenderContext<'_, '_>) -> &'a Value {
    let Some(block) = render.block() else { return context.data() };
    if let Some(value) = block.base_value() {
        return value;
    }
    let step = |value: &'a Value, step: &String| match value {
        Value::Array(list) => list.get(step.parse::<usize>().ok()?),
        Value::Object(object) => object.get(step),
        _ => None,
    };
    block.base_path().iter().try_fold(context.data(), step).unwrap_or(&Value::Null)
}

struct Held;

impl HelperDef for Held {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let Some(given) = helper.param(0) else { return Ok(ScopedJson::Derived(Value::Null)) };
        if given.is_value_missing() && registry.strict_mode() {
            return Err(RenderError::strict_error(given.relative_path()));
        }
        let bytes = size(given.value(), budget::room() / COPIES + 1).saturating_mul(COPIES);
        budget::hold(bytes).map_err(too_much)?;
        Ok(ScopedJson::Derived(given.value().clone()))
    }
}

struct LetGo;

impl HelperDef for LetGo {
    fn call<'reg: 'rc, 'rc>(
        &self,
        _: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        _: &mut dyn Output,
    ) -> HelperResult {
        budget::let_go();
        Ok(())
    }
}

struct Between;

impl HelperDef for Between {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let Some(body) = helper.template() else { return Ok(()) };
        body.render(registry, context, render, &mut Paying(out))
    }
}

/// Writes what is kept until it is written again.
struct Paying<'a>(&'a mut dyn Output);

impl Output for Paying<'_> {
    fn write(&mut self, text: &str) -> io::Result<()> {
        budget::step()?;
        budget::hold(text.len())?;
        self.0.write(text)
    }
}
