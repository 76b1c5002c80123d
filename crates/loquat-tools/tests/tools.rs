//! What `#[tool]` makes of a function: what the model is told, and what becomes of what it writes.

use loquat_core::{Context, ToolCall};
use loquat_tools::{Function, RunLimits, Toolbox, schemars, tool};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Celsius,
    Fahrenheit,
}

#[derive(Serialize)]
struct Weather {
    degrees: i32,
}

/// The weather at a place.
///
/// Now, not tomorrow.
#[tool]
async fn weather(
    /// The city's English name.
    city: String,
    /// Celsius if left out.
    unit: Option<Unit>,
) -> Result<Weather, String> {
    match (&*city, unit) {
        ("Atlantis", _) => Err("no such city".to_owned()),
        (_, Some(Unit::Fahrenheit)) => Ok(Weather { degrees: 68 }),
        (_, Some(Unit::Celsius) | None) => Ok(Weather { degrees: 20 }),
    }
}

/// Adds.
#[tool(name = "sum", strict)]
fn add(left: i64, #[serde(default)] right: Vec<i64>) -> i64 {
    left + right.iter().sum::<i64>()
}

/// Who asks.
#[tool]
async fn tenant(context: &Context) -> String {
    context.tenant().unwrap_or("nobody").to_owned()
}

/// Crashes.
#[tool]
async fn crash(loudly: bool) -> String {
    assert!(!loudly, "as asked");
    "quietly".to_owned()
}

/// Never ends.
#[tool]
async fn hang() -> String {
    std::future::pending().await
}

/// Long.
#[tool]
fn long() -> String {
    "é".repeat(1000)
}

fn schema(function: &impl Function) -> Value {
    serde_json::from_str(function.tool().parameters.as_str()).expect("a schema is JSON")
}

#[test]
fn the_model_is_told_what_the_code_says() {
    let told = weather.tool();
    assert_eq!(
        (&*told.name, &*told.description),
        ("weather", "The weather at a place.\n\nNow, not tomorrow.")
    );
    assert_eq!(
        schema(&weather),
        json!({
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city's English name."},
                "unit": {
                    "description": "Celsius if left out.",
                    "type": ["string", "null"],
                    "enum": ["celsius", "fahrenheit", null]
                }
            },
            "required": ["city"]
        })
    );
    assert_eq!((&*add.tool().name, add.tool().strict), ("sum", Some(true)));
    assert_eq!(schema(&add)["required"], json!(["left", "right"]));
    assert_eq!(schema(&tenant), json!({"type": "object", "properties": {}}));
}

#[test]
fn the_function_stays_one() {
    assert_eq!(add::call(1, vec![2, 3]), 6);
}

#[tokio::test(start_paused = true)]
async fn whatever_the_model_writes_has_a_result() {
    let toolbox = Toolbox::new().with(weather).with(add).with(tenant).with(crash).with(hang).with(long);
    let names: Vec<_> = toolbox.tools().into_iter().map(|tool| tool.name).collect();
    assert_eq!(
        names,
        ["crash", "hang", "long", "sum", "tenant", "weather"],
        "one order, however they were added"
    );
    let context = Context::new().with_tenant("acme");
    let mut limits = RunLimits::default();
    limits.max_result_bytes = 101;
    for (name, arguments, failed, content) in [
        ("weather", r#"{"city":"Rome"}"#, false, r#"{"degrees":20}"#),
        ("weather", r#"{"city":"Rome","unit":"fahrenheit","extra":1}"#, false, r#"{"degrees":68}"#),
        ("weather", r#"{"city":"Rome","unit":null}"#, false, r#"{"degrees":20}"#),
        ("weather", r#"{"city":"Atlantis"}"#, true, "no such city"),
        ("weather", r#"{"city":7}"#, true, "do not fit the tool's schema at `city`: invalid type"),
        ("weather", r#"{"unit":"kelvin"}"#, true, "at `unit`: unknown variant"),
        ("weather", "", true, "missing field `city`"),
        ("weather", r#"{"city":"Ro"#, true, "EOF"),
        ("weather", r#"{"city":"Rome"}{"city":"Oslo"}"#, true, "not one JSON object"),
        ("weather", "null", true, "do not fit"),
        ("sum", r#"{"left":1}"#, false, "1"),
        ("sum", r#"{"left":1,"right":[2,"x"]}"#, true, "at `right[1]`"),
        ("tenant", "", false, "acme"),
        ("crash", r#"{"loudly":true}"#, true, "the tool crashed"),
        ("crash", r#"{"loudly":false}"#, false, "quietly"),
        ("hang", "{}", true, "within 60.0 s"),
        ("long", "{}", false, "[cut: the result was 2000 bytes, at most 101 are shown]"),
        ("Weather", "{}", true, "there are: crash, hang, long, sum, tenant, weather"),
    ] {
        let result = toolbox.execute(&context, &ToolCall::new("id", name, arguments), &limits).await;
        assert_eq!(
            (result.is_error, &*result.call_id, &*result.name),
            (failed, "id", name),
            "{name} {arguments}"
        );
        assert!(result.content.contains(content), "{name} {arguments}: {}", result.content);
    }
}
