//! Templates that would copy, keep or make ever more without a byte being written; and that bounding them changes no prompt.
#![cfg(feature = "template")]
#![allow(clippy::unwrap_used, reason = "tests, helpers included")]

use std::time::{Duration, Instant};

use handlebars::{Handlebars, no_escape};
use loquat_prompt::template::{TemplateErrorKind as Kind, TemplateLimits, Templates, TemplatesBuilder};
use serde_json::{Value, json};

fn build(sources: &[(String, String)]) -> TemplatesBuilder {
    sources.iter().fold(Templates::builder(), |builder, (name, source)| {
        builder.template(name.as_str(), source.as_str())
    })
}

fn sources(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, source)| ((*name).to_owned(), (*source).to_owned())).collect()
}

/// `main` includes `t0`, which includes `t1` in this way (`NEXT` in it), and so on; the last one says `x`.
fn chain(way: &str, length: usize) -> Vec<(String, String)> {
    let link = |number: usize| (format!("t{number}"), way.replace("NEXT", &format!("t{}", number + 1)));
    let mut all: Vec<_> = (0..length).map(link).collect();
    all.extend([("main".to_owned(), "{{> t0}}".to_owned()), (format!("t{length}"), "x".to_owned())]);
    all
}

fn limits(change: impl FnOnce(&mut TemplateLimits)) -> TemplateLimits {
    let mut limits = TemplateLimits::default();
    change(&mut limits);
    limits
}

const TOO_MUCH: &str = "more of the data is copied at one time than the limit allows (max_held_bytes)";

#[test]
fn what_partials_are_given_does_not_double_for_ever() {
    let data = json!({"text": "word ".repeat(20)});
    for (way, helper) in [
        ("{{> NEXT x=this y=this}}", ""),
        ("{{> NEXT x=(default this 0) y=this}}", ""),
        ("{{#with this}}{{> NEXT x=this y=this}}{{/with}}", ""),
        ("{{#*inline \"iNEXT\"}}{{> NEXT x=this y=this}}{{/inline}}{{> iNEXT}}", ""),
        ("{{> NEXT (default this 0) x=this y=this}}", ""),
        ("{{> NEXT (default this this) x=this y=(default this 0)}}", "default: "),
    ] {
        // A million times the data, were it let.
        for strict in [true, false] {
            let builder =
                build(&chain(way, 20)).limits(limits(|l| l.max_held_bytes = 1 << 20)).strict(strict);
            let error = builder.build().unwrap().render("main", &data).expect_err(way);
            let shown = error.to_string();
            assert_eq!(error.kind(), Kind::TooLarge, "{way}: {shown}");
            let place = shown.strip_suffix(TOO_MUCH).unwrap_or_else(|| panic!("{way}: {shown}"));
            assert!(
                place.starts_with('t') && (place.ends_with(&format!(": {helper}")) || place.ends_with(": ")),
                "{shown}"
            );
        }
        let short = build(&chain(way, 3)).limits(limits(|l| l.max_held_bytes = 1 << 20)).build().unwrap();
        assert_eq!(short.render("main", &data).unwrap(), "x", "{way}");
    }
}

#[test]
fn what_a_partial_held_is_let_go_of() {
    let data = json!({"text": "x".repeat(100_000), "list": vec![0; 1000]});
    let all = sources(&[("main", "{{#each list}}{{> p x=@root.text}}{{/each}}"), ("p", "{{len x}}")]);
    let rendered = build(&all).limits(limits(|l| l.max_held_bytes = 1 << 20)).build().unwrap();
    assert_eq!(rendered.render("main", &data).unwrap(), "100000".repeat(1000));
    // By itself it is too much.
    let tight = build(&all).limits(limits(|l| l.max_held_bytes = 100_000)).build().unwrap();
    assert_eq!(tight.render("main", &data).unwrap_err().kind(), Kind::TooLarge);
}

#[test]
fn partials_that_write_nothing_come_to_an_end_in_time() {
    let data = json!({"list": vec!["a word"; 20_000]});
    // 4,096 times a copy of all of it.
    let mut all = chain("{{> NEXT}}{{> NEXT}}", 12);
    all.last_mut().unwrap().1.clear();
    let in_time = build(&all).limits(limits(|l| l.max_time = Duration::from_millis(50))).build().unwrap();
    let began = Instant::now();
    let error = in_time.render("main", &data).unwrap_err();
    assert_eq!(error.kind(), Kind::TooLong, "{error}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn what_is_between_a_partials_tags_is_bounded() {
    let data = json!({"list": vec![0; 1000]});
    let body = "{{#each list}}{{#each ../list}}0123456789{{/each}}{{/each}}";
    // Ten megabytes that nobody shows.
    let all = sources(&[("main", &format!("{{{{#> frame}}}}{body}{{{{/frame}}}}")), ("frame", "")]);
    let error = build(&all).limits(limits(|l| l.max_held_bytes = 1 << 20)).build().unwrap();
    let error = error.render("main", &data).unwrap_err();
    assert_eq!(error.kind(), Kind::TooLarge, "{error}");
    let steps = build(&all).limits(limits(|l| l.max_steps = 1000)).build().unwrap();
    assert_eq!(steps.render("main", &data).unwrap_err().kind(), Kind::TooLong);
}

#[test]
fn arguments_and_results_are_bounded() {
    let data = json!({"list": vec!["a word"; 10_000]});
    let many = |count: usize| format!("{{{{len (json {})}}}}", vec!["list"; count].join(" "));
    for (main, kind, what) in [
        (many(65), Kind::TooLarge, "main:1:1: a call with more than 64 arguments".to_owned()),
        (
            format!("{{{{> p {}}}}}", (0..65).map(|n| format!("a{n}=1")).collect::<Vec<_>>().join(" ")),
            Kind::TooLarge,
            "main:1:1: a call with more than 64 arguments".to_owned(),
        ),
        (many(60), Kind::TooLarge, format!("main:1:1: json: {TOO_MUCH}")),
        (
            format!("{{{{len {}1{}}}}}", "(pair ".repeat(30), ")".repeat(30)),
            Kind::TooLarge,
            format!("main:1:1: pair: {TOO_MUCH}"),
        ),
    ] {
        let all = sources(&[("main", &main), ("p", "")]);
        let builder = build(&all).limits(limits(|l| l.max_held_bytes = 1 << 20));
        let builder = builder.helper("pair", |given, _| Ok(json!([given[0], given[0]])));
        let error = builder.build().and_then(|templates| templates.render("main", &data)).expect_err(&main);
        assert_eq!((error.kind(), error.to_string()), (kind, what), "{main}");
    }
    let few = build(&sources(&[("main", &many(1))])).limits(limits(|l| l.max_held_bytes = 1 << 20));
    assert_eq!(few.build().unwrap().render("main", &data).unwrap(), "90001");
}

/// By handlebars itself, without our bounds.
fn plain(all: &[(String, String)], data: &Value) -> String {
    let mut registry = Handlebars::new();
    registry.register_escape_fn(no_escape);
    for (name, source) in all {
        registry.register_template_string(name, source).unwrap();
    }
    registry.render("main", data).unwrap()
}

#[test]
fn prompts_are_what_handlebars_makes() {
    let data = json!({"a": {"b": "x\ny\n"}, "list": [{"k": "1\n2"}, {"k": ""}], "s": "end\n", "n": null, "deep": {"list": [[1, 2], [3]]}});
    for all in [
        sources(&[("main", "one\n  {{> p a}}\ntwo"), ("p", "{{b}}{{s}}\nthree\n")]),
        sources(&[
            ("main", "one\n  {{> p}}\n\n{{> p}}two"),
            ("p", "{{#each list}}\n  {{> q}}\n{{/each}}\n"),
            ("q", "- {{k}}\n  {{> r x=k}}\n"),
            ("r", "[{{x}}]\n{{../s}}"),
        ]),
        sources(&[
            ("main", " {{#> f x=s}}\n  body {{a.b}} {{s}}\n {{/f}}\n."),
            ("f", "<\n {{> @partial-block}}\n{{x}}>"),
        ]),
        sources(&[
            ("main", "{{#> f}}\n{{#*inline \"nav\"}}\n nav {{s}}\n{{/inline}}\n{{/f}}"),
            ("f", "<\n  {{> nav}}\n>"),
        ]),
        sources(&[
            ("main", "{{#each list}}{{> p this i=@index}}{{> p i=k}}{{/each}}"),
            ("p", "{{i}}{{k}}{{@index}}{{@last}},"),
        ]),
        sources(&[
            ("main", "{{> p deep z=n}}{{> p deep.list.0 z=1}}{{> p \"text\" w=1}}"),
            ("p", "({{0}}{{z}}{{w}}{{#each list}}{{#each this}}{{this}}{{/each}}{{/each}})"),
        ]),
        sources(&[("main", "a\n\t{{#if s}}\n\t{{> p}}\n\t{{/if}}\nb"), ("p", "\n\nx\n\n")]),
        sources(&[("main", "{{#with a}}{{> p}}{{> p ../deep}}{{/with}}"), ("p", "{{b}}{{len list}};")]),
    ] {
        let ours = build(&all).strict(false).build().unwrap();
        let rendered = ours.render("main", &data).unwrap();
        assert_eq!(rendered, plain(&all, &data), "{all:?}");
        assert_eq!(ours.render_pieces("main", &data).unwrap().text(), rendered, "{all:?}");
    }
}
