//! Templates as their authors write them, right and wrong: data in, prompt or a placed error out.
#![cfg(feature = "template")]

use std::{sync::Arc, time::Duration};

use loquat_prompt::{
    template::{TemplateErrorKind as Kind, TemplateLimits, Templates, TemplatesBuilder},
    tokenizer::Bytes,
};
use serde_json::{Value, json};

fn build(sources: &[(&str, &str)]) -> TemplatesBuilder {
    sources.iter().fold(Templates::builder(), |builder, (name, source)| builder.template(*name, *source))
}

/// Renders the template `main`.
fn check(sources: &[(&str, &str)], data: &Value, expected: &str) {
    let templates = build(sources).build().unwrap_or_else(|error| panic!("{sources:?}: {error}"));
    let rendered = templates.render("main", data).unwrap_or_else(|error| panic!("{sources:?}: {error}"));
    assert_eq!(rendered, expected, "{sources:?}");
}

/// The error of compiling or rendering, as shown.
fn refused(builder: TemplatesBuilder, data: &Value) -> (Kind, String) {
    let error = match builder.build() {
        Ok(templates) => templates.render("main", data).expect_err("an error"),
        Err(error) => error,
    };
    (error.kind(), error.to_string())
}

#[test]
fn data_become_prompts() {
    let data = json!({
        "user": {"name": "Ann <&> \"Bo\"", "tags": ["a", "b"]},
        "documents": [{"title": "one", "text": " x "}, {"title": "two", "text": "y\nz"}],
        "empty": [], "nothing": null, "n": 3, "when": 951_782_400,
    });
    for (source, expected) in [
        ("Hello {{user.name}}!", "Hello Ann <&> \"Bo\"!"),
        ("{{#each documents}}{{@index}}:{{title}}{{#unless @last}}, {{/unless}}{{/each}}", "0:one, 1:two"),
        ("{{#each documents as |d i|}}{{i}}{{d.title}}/{{../n}} {{/each}}", "0one/3 1two/3 "),
        ("{{#each user}}{{@key}} {{/each}}", "name tags "),
        ("{{#each empty}}x{{else}}none{{/each}}", "none"),
        ("{{#if missing}}yes{{else}}no{{/if}}", "no"),
        ("{{#with user}}{{name}}{{/with}}", "Ann <&> \"Bo\""),
        (
            "{{json user.tags}} {{json user pretty=false}}",
            "[\"a\",\"b\"] {\"name\":\"Ann <&> \\\"Bo\\\"\",\"tags\":[\"a\",\"b\"]}",
        ),
        ("[{{trim documents.0.text}}]", "[x]"),
        ("{{join user.tags \"; \"}} {{upper \"a\"}} {{lower \"B\"}}", "a; b A b"),
        ("{{default missing \"d\"}} {{default nothing \"d\"}} {{default n 1}}", "d d 3"),
        ("{{indent documents.1.text 2}}", "y\n  z"),
        ("{{date when \"%d %B %Y\"}} {{date \"2026-11-24\"}}", "29 February 2000 2026-11-24"),
        ("{{truncate_chars \"añb\" 2}}", "añ"),
        ("{{#if (and (eq n 3) (gt n 2))}}three{{/if}}", "three"),
        ("{{len documents}} {{lookup user.tags 1}}", "2 b"),
        (
            "{{#each documents}}{{#each ../user.tags}}{{this}}{{../title}} {{/each}}{{/each}}",
            "aone bone atwo btwo ",
        ),
    ] {
        check(&[("main", source)], &data, expected);
    }
}

#[test]
fn partials_and_inline_partials() {
    let data = json!({"list": [{"x": 1}, {"x": 2}]});
    check(&[("main", "{{#each list}}{{> item}}{{/each}}"), ("item", "<{{x}}>")], &data, "<1><2>");
    check(&[("main", "{{> item x=\"y\"}}"), ("item", "<{{x}}>")], &data, "<y>");
    check(&[("main", "{{> a/b x=1}}"), ("a/b", "<{{x}}>")], &data, "<1>");
    check(&[("main", "{{#*inline \"i\"}}({{x}}){{/inline}}{{#each list}}{{> i}}{{/each}}")], &data, "(1)(2)");
    check(&[("main", "{{#> frame}}body{{/frame}}"), ("frame", "[{{> @partial-block}}]")], &data, "[body]");
}

#[test]
fn errors_say_where() {
    let data = json!({"user": {"name": "secret-value"}, "list": [1, 2], "name": "main"});
    for (sources, kind, shown) in [
        (
            vec![("main", "line\n {{user.nam}}")],
            Kind::MissingVariable,
            "main:2:2: the data hold no `user.nam`",
        ),
        (
            vec![("main", "{{#each lists}}{{/each}}")],
            Kind::MissingVariable,
            "main:1:1: the data hold no `lists`",
        ),
        (vec![("main", "{{trim nam}}")], Kind::MissingVariable, "main:1:1: the data hold no `nam`"),
        (
            vec![("main", "a\n{{> p}}"), ("p", "b\n\n{{nam}}")],
            Kind::MissingVariable,
            "p:3:1: the data hold no `nam`",
        ),
        (vec![("main", "a\n{{> q}}")], Kind::UnknownTemplate, "main:2:1: there is no template `q`"),
        (vec![("main", "a\n{{trimm name}}")], Kind::UnknownHelper, "main:2:1: there is no helper `trimm`"),
        (vec![("main", "{{#trimm}}{{/trimm}}")], Kind::UnknownHelper, "main:1:1: there is no helper `trimm`"),
        (
            vec![("main", "{{> main}}")],
            Kind::Recursive,
            "main:1:1: a partial that includes itself: main → main",
        ),
        (
            vec![("main", "{{> a}}"), ("a", "\n  {{> b}}"), ("b", "{{#if x}}{{> a}}{{/if}}")],
            Kind::Recursive,
            "b:1:10: a partial that includes itself: a → b → a",
        ),
        (
            vec![("main", "{{#*inline \"i\"}}{{> i}}{{/inline}}{{> i}}")],
            Kind::Recursive,
            "main:1:17: a partial that includes itself: i → i",
        ),
        (
            vec![("main", "{{> (lookup this \"name\")}}")],
            Kind::Syntax,
            "main:1:1: a partial whose name only the data know",
        ),
        (vec![("main", "{{upper list}}")], Kind::Helper, "main:1:1: upper: argument 1 is a list, not a text"),
        (
            vec![("main", "{{date \"no\"}}")],
            Kind::Helper,
            "main:1:1: date: argument 1 is neither Unix seconds nor an RFC 3339 time",
        ),
    ] {
        assert_eq!(refused(build(&sources), &data), (kind, shown.to_owned()), "{sources:?}");
    }
    for source in ["{{#if x}}", "{{", "{{/if}}", "a\n{{#if x}}{{/each}}", "{{{{raw}}}}"] {
        let (kind, shown) = refused(build(&[("main", source)]), &data);
        assert_eq!(kind, Kind::Syntax, "{source}: {shown}");
        assert!(shown.starts_with("main:"), "{shown}");
        assert!(!shown.contains("secret-value"), "{shown}");
    }
}

#[test]
fn strict_templates_name_what_is_missing_wherever_it_is_used() {
    let data =
        json!({"user": {}, "tags": {"k": 1}, "list": [1], "nothing": null, "text": "secret-value", "n": 3});
    for (source, name) in [
        ("{{> p x=usr.nam}}", "usr.nam"),
        ("{{> p usr}}", "usr"),
        ("{{> p x=(upper usr)}}", "usr"),
        ("{{#> p x=usr}}{{/p}}", "usr"),
        ("{{#*inline \"i\"}}{{> p x=usr}}{{/inline}}{{> i}}", "usr"),
        ("{{#if (eq n usr)}}{{/if}}", "usr"),
        ("{{#if (and n (ne usr.nam 1))}}{{/if}}", "usr.nam"),
        ("{{#if nothing}}{{else if (gt usr 1)}}{{/if}}", "usr"),
        ("{{#eq usr 1}}{{/eq}}", "usr"),
        ("{{len usr}}", "usr"),
        ("{{json (lte 1 usr)}}", "usr"),
        ("{{#each list}}{{#if (eq this ../usr)}}{{/if}}{{/each}}", "../usr"),
        ("{{lookup usr 1}}", "usr"),
        ("{{lookup list usr}}", "usr"),
        ("{{lookup list 1}}", "list.1"),
        ("{{lookup tags \"x\"}}", "tags.x"),
        ("{{lookup tags text}}", "tags.[text]"),
        ("{{#with usr}}{{/with}}", "usr"),
        ("{{#if n}}{{#with usr.nam}}{{/with}}{{/if}}", "usr.nam"),
        ("{{#each usr}}{{/each}}", "usr"),
        ("{{#with user}}{{name}}{{else}}{{usr}}{{/with}}", "usr"),
    ] {
        let main = format!("\n {source}");
        let sources = [("main", main.as_str()), ("p", "{{x}}")];
        let (kind, shown) = refused(build(&sources), &data);
        assert_eq!(kind, Kind::MissingVariable, "{source}: {shown}");
        let column = shown.strip_prefix("main:2:").and_then(|rest| rest.split_once(": "));
        assert_eq!(
            column.map(|(_, what)| what),
            Some(&*format!("the data hold no `{name}`")),
            "{source}: {shown}"
        );
        // `upper` wants a text, and null is none.
        let lenient = build(&sources).strict(false).build().unwrap();
        assert_eq!(lenient.render("main", &data).is_ok(), !source.contains("upper"), "{source}");
    }
    // Whether there is one may be asked; what is empty is there.
    for (source, expected) in [
        ("{{#if (or usr n)}}yes{{/if}}{{#if (and n usr)}}no{{/if}}", "yes"),
        ("{{#if (not usr)}}yes{{/if}}{{#unless usr}}yes{{/unless}}", "yesyes"),
        ("{{#if (not (and usr n))}}yes{{/if}}{{not usr}}", "yestrue"),
        ("{{default usr \"x\"}}", "x"),
        ("{{#with user}}{{name}}{{/with}}{{#with nothing}}{{name}}{{/with}}.", "."),
        ("{{#with usr}}{{else}}none{{/with}}{{#each usr}}{{else}}none{{/each}}", "nonenone"),
        ("{{#each nothing}}{{/each}}{{#each user}}{{/each}}.", "."),
        ("{{#with tags}}{{k}}{{../n}}{{/with}}{{#with tags as |t|}}{{t.k}}{{/with}}", "131"),
        ("{{> p x=nothing}}{{> p x=n}}{{#with tags}}{{> p x=../n}}{{/with}}", "33"),
        ("{{lookup tags \"k\"}}{{lookup list 0}}{{#if (eq nothing null)}}yes{{/if}}{{len text}}", "11yes12"),
        (
            "{{#eq n 3}}yes{{else}}no{{/eq}} {{#each list}}{{#with ../tags}}{{@index}}{{k}}{{/with}}{{/each}}",
            "yes 01",
        ),
    ] {
        check(&[("main", source), ("p", "{{x}}")], &data, expected);
    }
    assert_eq!(
        refused(build(&[("main", "{{#each text}}{{/each}}")]), &data),
        (Kind::Helper, "main:1:1: each: argument 1 is a text, not a list or an object".to_owned())
    );
    let names = build(&[("main", "{{#if (eq a 1)}}{{> p x=b.c}}{{/if}}{{#with d}}{{/with}}"), ("p", "")])
        .build()
        .unwrap();
    assert_eq!(names.variables("main").into_iter().collect::<Vec<_>>(), ["a", "b.c", "d"]);
}

#[test]
fn what_helpers_make_is_bounded_too() {
    let text = "\\\n".repeat(1000);
    let data = json!({"text": text, "list": vec![&text; 100]});
    let limits = |bytes: usize| {
        let mut limits = TemplateLimits::default();
        limits.max_output_bytes = bytes;
        limits
    };
    let nested = |times: usize| format!("{{{{len {}text{}}}}}", "(json ".repeat(times), ")".repeat(times));
    for (helper, source) in [
        ("json", nested(30).as_str()),
        ("json", "{{len (json list pretty=true)}}"),
        ("join", "{{len (join list text)}}"),
        ("join", "{{len (join list)}}"),
        ("indent", "{{len (indent text 256)}}"),
        ("upper", format!("{{{{len (upper \"{}\")}}}}", "x".repeat(30_000)).as_str()),
        ("own", "{{len (own 1)}}"),
    ] {
        let builder = build(&[("main", source)]).helper("own", |_, _| Ok("x".repeat(30_000).into()));
        let (kind, shown) = refused(builder.limits(limits(20_000)), &data);
        let what = "its result is longer than the limit allows (max_output_bytes)";
        assert_eq!((kind, shown), (Kind::TooLarge, format!("main:1:1: {helper}: {what}")), "{source}");
    }
    // Each is short enough, all of them together are not.
    let many = "{{len (json text)}}".repeat(100);
    let result = build(&[("main", &many)]).limits(limits(20_000)).build().unwrap().render("main", &data);
    assert_eq!(result.unwrap_err().kind(), Kind::TooLarge);
    let few = build(&[("main", &nested(2))]).limits(limits(20_000)).build().unwrap();
    assert!(few.render("main", &data).is_ok());
}

#[test]
fn what_would_never_end_ends() {
    let list: Vec<u32> = (0..1000).collect();
    let data = json!({"list": list});
    let loops = "{{#each list}}{{#each ../list}}{{#each ../../list}}{{/each}}{{/each}}{{/each}}";
    let limits = |change: fn(&mut TemplateLimits)| {
        let mut limits = TemplateLimits::default();
        change(&mut limits);
        limits
    };
    let (kind, shown) = refused(build(&[("main", loops)]).limits(limits(|l| l.max_steps = 10_000)), &data);
    assert_eq!(
        (kind, shown.as_str()),
        (Kind::TooLong, "main:1:32: rendering takes longer than the limit allows")
    );
    let in_time = limits(|l| (l.max_steps, l.max_time) = (u64::MAX, Duration::from_millis(20)));
    assert_eq!(refused(build(&[("main", loops)]).limits(in_time), &data).0, Kind::TooLong);
    let long = "{{#each list}}{{#each ../list}}0123456789{{/each}}{{/each}}";
    let (kind, shown) =
        refused(build(&[("main", long)]).limits(limits(|l| l.max_output_bytes = 5000)), &data);
    assert_eq!(
        (kind, shown.as_str()),
        (Kind::TooLarge, "main:1:32: the prompt is longer than the limit allows")
    );

    let slow = build(&[("main", "a\n{{slow}}{{slow 1}}")]).helper("slow", |_, _| {
        std::thread::sleep(Duration::from_millis(30));
        Ok(Value::Null)
    });
    let (kind, shown) = refused(slow.limits(limits(|l| l.max_time = Duration::from_millis(5))), &data);
    assert_eq!(
        (kind, shown.as_str()),
        (Kind::TooLong, "main:2:1: rendering takes longer than the limit allows")
    );

    // Each includes the next one twice: 2^30 inclusions.
    let names: Vec<(String, String)> =
        (0..30).map(|n| (format!("t{n}"), format!("{{{{> t{0}}}}}{{{{> t{0}}}}}", n + 1))).collect();
    let bomb = names.iter().fold(build(&[("main", "{{> t0}}"), ("t30", "")]), |b, (name, source)| {
        b.template(name.clone(), source.clone())
    });
    assert_eq!(refused(bomb, &data).0, Kind::TooLarge);
}

#[test]
fn deep_and_large_sources_are_refused_before_they_are_parsed() {
    let deep = |open: &str, close: &str, times: usize| open.repeat(times) + &close.repeat(times);
    for source in [
        deep("{{#if x}}", "{{/if}}", 100_000),
        format!("{{{{#if x}}}}{}{{{{/if}}}}", "{{else if y}}".repeat(100_000)),
        format!("{{{{{}x{}}}}}", "(not ".repeat(100_000), ")".repeat(100_000)),
        format!("{{{{json {}}}}}", deep("[", "]", 50_000)),
        "{{#if x}}".repeat(20_000),
        "x".repeat(300_000),
        // Within the first look's bounds, beyond the second's.
        deep("{{#if x}}", "{{/if}}", 100),
    ] {
        let (kind, shown) = refused(build(&[("main", &source)]), &json!({"x": 1}));
        assert_eq!(kind, Kind::TooLarge, "{} bytes: {shown}", source.len());
    }
    check(&[("main", &deep("{{#if x}}", "{{/if}}", 50))], &json!({"x": 1}), "");
}

#[test]
fn html_is_escaped_where_it_is_asked_for() {
    let templates = build(&[("main", "{{x}} {{{x}}}")]).escape_html(true).build().unwrap();
    assert_eq!(templates.render("main", &json!({"x": "<"})).unwrap(), "&lt; <");
    let lenient = build(&[("main", "[{{x}}]")]).strict(false).build().unwrap();
    assert_eq!(lenient.render("main", &json!({})).unwrap(), "[]");
}

#[test]
fn variables_are_what_data_can_hold() {
    let source = "{{user.name}} {{@root.title}} {{#each list}}{{@index}}{{this}}{{this.x}}{{../y}}{{#if @last}}{{/if}}{{/each}}\
        {{upper z}}{{> p}}";
    let templates = build(&[("main", source), ("p", "{{q}}")]).build().unwrap();
    let variables = templates.variables("main");
    assert_eq!(
        variables.iter().map(String::as_str).collect::<Vec<_>>(),
        ["../y", "list", "this.x", "title", "user.name", "z"]
    );
}

/// With a tokenizer of which each byte is a token, so that anybody can count them.
#[test]
fn helpers_count_and_cut_tokens() {
    let data = json!({"text": "añb", "number": 3});
    let with = |source: &str| build(&[("main", source)]).tokenizer(Arc::new(Bytes));
    for (source, expected) in [
        ("{{count_tokens text}} {{count_tokens \"\"}}", "4 0"),
        (
            "[{{truncate_tokens text 4}}][{{truncate_tokens text 3}}][{{truncate_tokens text 0}}]",
            "[añb][añ][]",
        ),
        // Half a character is none.
        ("[{{truncate_tokens text 2}}][{{truncate_tokens text 2 from=\"tail\"}}]", "[a][a]"),
        ("[{{truncate_tokens text 2 from=\"head\"}}][{{truncate_tokens text 1 from=\"head\"}}]", "[b][b]"),
    ] {
        let templates = with(source).build().unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(templates.render("main", &data).unwrap(), expected, "{source}");
    }
    for (source, shown) in [
        (
            "{{truncate_tokens text 2 from=\"middle\"}}",
            "main:1:1: truncate_tokens: `from` is \"head\" or \"tail\"",
        ),
        ("{{truncate_tokens text}}", "main:1:1: truncate_tokens: argument 2 is missing"),
        ("{{truncate_tokens text -1}}", "main:1:1: truncate_tokens: argument 2 is not a whole number"),
        ("\n{{count_tokens number}}", "main:2:1: count_tokens: argument 1 is a number, not a text"),
    ] {
        assert_eq!(refused(with(source), &data), (Kind::Helper, shown.to_owned()), "{source}");
    }
    // Without something to count with they do not exist.
    assert_eq!(refused(build(&[("main", "{{count_tokens text}}")]), &data).0, Kind::UnknownHelper);
}
