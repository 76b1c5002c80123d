//! The examples, run as programs: each says what it is there to show.

#[path = "../../loquat/tests/support/example.rs"]
mod example;

#[track_caller]
fn printed(name: &str) -> String {
    let ran = example::program(name).output().expect("it starts");
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stdout).expect("text")
}

/// A flood of one tenant's and a few of another's: they take turns.
#[test]
fn a_flood_delays_the_other_tenant_by_one() {
    let says = printed("admission");
    let lines: Vec<_> = says.lines().collect();
    assert_eq!(lines[..6], ["flood 1", "flood 2", "small 1", "flood 3", "small 2", "flood 4"], "{says}");
    assert!(lines[6].contains("in_flight: 0, waiting: 0"), "{says}");
}

#[test]
fn three_timeouts_open_the_breaker_and_a_probe_closes_it() {
    let says = printed("breaker");
    let is_said = |second: &str, what: &str, standing: &str| {
        says.lines().any(|line| {
            line.trim_start().starts_with(second) && line.contains(what) && line.ends_with(standing)
        })
    };
    assert!(is_said("2 s", "attempt: Timeout", "available"), "{says}");
    assert!(is_said("3 s", "attempt: Timeout", "ejected"), "{says}");
    assert!(is_said("4 s", "rejected for 4s", "ejected"), "{says}");
    assert!(is_said("8 s", "probe: Limited", "ejected"), "{says}");
    assert!(is_said("19 s", "attempt: Success", "available"), "{says}");
}

/// How long an answer takes depends on the machine; that somebody else is asked for the slow ones does not.
#[test]
fn a_hedge_is_sent_after_what_is_usual() {
    let says = printed("hedge");
    assert!(says.contains("hedged after Some("), "{says}");
    let asked = says.split("asked ").nth(1).and_then(|asked| asked.split(' ').next()).map(str::parse::<u32>);
    assert!(matches!(asked, Some(Ok(101..=200))), "{says}");
}

#[test]
fn a_mute_server_is_given_up() {
    let says = printed("limits");
    assert!(says.contains("no token came within the first-token limit of 0.3 s"), "{says}");
}

#[test]
fn a_busy_server_is_asked_again_while_there_is_time() {
    let says = printed("retry");
    let [first, second] = says.lines().collect::<Vec<_>>()[..] else { panic!("{says}") };
    assert!(first.ends_with(r#"Some("hello")"#), "{says}");
    assert!(second.contains("not tried again"), "{says}");
}

#[test]
fn all_layers_together_answer() {
    let says = printed("stack");
    assert!(says.starts_with("1: hello\n2: hello\n"), "{says}");
    assert!(says.contains(r#"state: "available""#) && says.contains("in_flight: 0, waiting: 0"), "{says}");
}
