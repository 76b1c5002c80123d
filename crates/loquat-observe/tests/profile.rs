//! A profile of this very program over the listener: read by a decoder of its own, written from the published `profile.proto`.
#![cfg(all(feature = "stack", target_os = "linux", target_arch = "x86_64"))]

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use loquat_observe::{
    Observer,
    serve::{Server, ServerConfig},
};

/// How long anything is waited for that has to come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program takes one profile at a time, so the tests of this one take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn get(address: SocketAddr, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("connects");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("writes");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let body = answer.split_off(end + 4);
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).expect("a status").to_owned();
    (status, body)
}

/// Burns processor time under a name to be found.
#[inline(never)]
fn burns_for_the_profile(over: &AtomicBool) -> u64 {
    let mut sum = 0_u64;
    while !over.load(Relaxed) {
        sum = std::hint::black_box(sum.wrapping_add(1));
    }
    sum
}

/// Sleeps under a name that must not be found.
#[inline(never)]
fn sleeps_meanwhile(over: &AtomicBool) {
    while !over.load(Relaxed) {
        thread::park_timeout(Duration::from_secs(60));
    }
}

/// The fields of a protobuf message: number, and the varint or the bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = bytes.split_first().expect("a byte");
            *bytes = rest;
            value |= u64::from(first & 127) << shift;
            if first & 128 == 0 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = varint(&mut bytes);
        match tag & 7 {
            0 => found.push((tag >> 3, value, &[][..])),
            2 => {
                let (inside, rest) = bytes.split_at(usize::try_from(value).expect("small"));
                bytes = rest;
                found.push((tag >> 3, 0, inside));
            }
            other => panic!("wire type {other}"),
        }
    }
    found
}

fn one(message: &[u8], number: u64) -> u64 {
    fields(message).iter().find(|field| field.0 == number).map_or(0, |field| field.1)
}

/// Packed numbers, as protobuf 3 writes them.
fn packed(message: &[u8], number: u64) -> Vec<u64> {
    let bytes = fields(message).into_iter().find(|field| field.0 == number).expect("the field").2;
    // Each as a field of its own, to read it by the same function.
    let mut numbers = Vec::new();
    let mut value = (0_u64, 0);
    for byte in bytes {
        value.0 |= u64::from(byte & 127) << value.1;
        value.1 += 7;
        if byte & 128 == 0 {
            numbers.push(value.0);
            value = (0, 0);
        }
    }
    numbers
}

/// The format's own reader.
#[allow(clippy::print_stderr, reason = "says what it skips")]
fn read_by_go(file: &str) {
    let Some(go) = std::env::var_os("LOQUAT_GO") else {
        return eprintln!("skipped: the format's own reader needs LOQUAT_GO, which `cargo xtask test` sets");
    };
    let mut command = std::process::Command::new(go);
    command.args(["tool", "pprof", "-top", file]).env("HOME", env!("CARGO_TARGET_TMPDIR"));
    let shown = command.output().expect("runs");
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success() && text.contains("Type: cpu"), "{shown:?}");
    assert!(text.contains("profile::burns_for_the_profile"), "{text}");
}

#[test]
fn a_profile_names_who_burns_and_not_who_sleeps() {
    let _turn = turn();
    let server =
        Server::bind(&Observer::new(), ([127, 0, 0, 1], 0).into(), ServerConfig::default().with_debug());
    let server = server.expect("listens");
    let address = server.address().expect("an address");
    let over = Arc::new(AtomicBool::new(false));
    let threads = {
        let (burning, sleeping) = (over.clone(), over.clone());
        [
            thread::spawn(move || {
                std::hint::black_box(burns_for_the_profile(&burning));
            }),
            thread::spawn(move || sleeps_meanwhile(&sleeping)),
        ]
    };

    for query in ["seconds=61", "seconds=0", "hz=1000", "hz=no"] {
        assert_eq!(get(address, &format!("/debug/pprof/profile?{query}")).0, "400", "{query}");
    }
    let first = thread::spawn(move || get(address, "/debug/pprof/profile?seconds=3&hz=200"));
    // One at a time: while the first is at it, others are refused.
    let due = Instant::now() + Duration::from_secs(3);
    let refused = (0..).map_while(|_| {
        (Instant::now() < due).then(|| {
            thread::sleep(Duration::from_millis(300));
            get(address, "/debug/pprof/profile?seconds=1&hz=1").0
        })
    });
    assert!(refused.into_iter().any(|status| status == "429"));
    let (status, body) = first.join().expect("no panic");
    let again = Instant::now() + Duration::from_secs(30);
    let folded = loop {
        // The one that was to be refused may have come before the first.
        let (status, body) = get(address, "/debug/pprof/profile?seconds=1&format=folded");
        if status == "200" {
            break String::from_utf8(body).expect("text");
        }
        assert!(Instant::now() < again, "{status}");
    };
    let (_, picture) = get(address, "/debug/pprof/profile?seconds=1&format=svg");
    let picture = String::from_utf8(picture).expect("text");
    let (status, body) =
        if status == "200" { (status, body) } else { get(address, "/debug/pprof/profile?seconds=3&hz=200") };
    over.store(true, Relaxed);
    for thread in threads {
        thread.thread().unpark();
        thread.join().expect("no panic");
    }
    assert_eq!(status, "200");
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/profile.pb");
    std::fs::write(file, &body).expect("writes");
    read_by_go(file);

    let profile = fields(&body);
    let of = |number: u64| profile.iter().filter(move |field| field.0 == number).map(|field| field.2);
    let strings: Vec<String> = of(6).map(|bytes| String::from_utf8(bytes.to_vec()).expect("text")).collect();
    let word = |index: u64| strings[usize::try_from(index).expect("small")].as_str();
    assert_eq!(strings[0], "");
    let types: Vec<(&str, &str)> = of(1).map(|kind| (word(one(kind, 1)), word(one(kind, 2)))).collect();
    assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
    assert_eq!(one(&body, 12), 5_000_000, "the period of 200 Hz");
    assert!(one(&body, 10) >= 3_000_000_000);
    let functions: HashMap<u64, &str> =
        of(5).map(|function| (one(function, 1), word(one(function, 2)))).collect();
    let locations: HashMap<u64, &str> = of(4)
        .map(|location| {
            let line = fields(location).into_iter().find(|field| field.0 == 4).expect("a line").2;
            (one(location, 1), functions[&one(line, 1)])
        })
        .collect();
    let (mut all, mut burnt) = (0, 0);
    for sample in of(2) {
        let stack: Vec<&str> = packed(sample, 1).iter().map(|id| locations[id]).collect();
        let values = packed(sample, 2);
        assert_eq!(values[1], values[0] * 5_000_000);
        all += values[0];
        if stack.iter().any(|name| name.contains("burns_for_the_profile")) {
            burnt += values[0];
            // Innermost first: who burns comes before the thread's beginning.
            assert!(!stack.last().expect("a frame").contains("burns_for_the_profile"), "{stack:?}");
        }
        assert!(!stack.iter().any(|name| name.contains("sleeps_meanwhile")), "{stack:?}");
    }
    // A machine that is busy with others gives fewer turns than 600; half of what ran here was who burns, at least.
    assert!(burnt >= 10 && burnt * 2 >= all, "{burnt} of {all}");
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/profile.svg"), &picture).expect("writes");
    assert!(picture.starts_with("<?xml") && picture.ends_with("</svg>\n"), "{picture}");
    assert!(picture.contains("burns_for_the_profile") && !picture.contains("sleeps_meanwhile"), "{picture}");
    let line = folded.lines().find(|line| line.contains("burns_for_the_profile")).expect("a line of it");
    assert!(line.rsplit_once(' ').expect("a count").1.parse::<u64>().expect("a number") > 0);
    assert!(line.contains(';') && !folded.contains("sleeps_meanwhile"), "{folded}");
}

#[test]
fn a_heap_profile_names_who_asked_and_is_one_at_a_time() {
    use loquat_observe::HeapStack;
    use std::sync::mpsc;

    let _turn = turn();
    let observer = Observer::new();
    let server = Server::bind(&observer, ([127, 0, 0, 1], 0).into(), ServerConfig::default().with_debug());
    let server = server.expect("listens");
    let address = server.address().expect("an address");
    let page = |query: &str| {
        let (status, body) = get(address, &format!("/debug/pprof/heap{query}"));
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    let (status, why) = page("");
    assert!(status == "404" && why.contains("not built with jemalloc"), "{status} {why}");

    // Whoever is asked waits until it is let go on; the second time it fails.
    let (asked, has_begun) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<bool>();
    let wait = Mutex::new(wait);
    let at = burns_for_the_profile as fn(&AtomicBool) -> u64 as usize + 1;
    observer.watch_heap(move || {
        asked.send(()).expect("a test that listens");
        if !wait.lock().expect("not poisoned").recv_timeout(PATIENCE).expect("a test that tells") {
            return Err(loquat_core::Error::new(loquat_core::ErrorKind::NotConfigured, "start it otherwise"));
        }
        Ok(vec![
            HeapStack::new(vec![at, at + 1], 3000),
            HeapStack::new(vec![1], 500),
            HeapStack::new(Vec::new(), 7),
            HeapStack::new(vec![usize::MAX; 5000], 1),
        ])
    });
    thread::scope(|scope| {
        let folded = scope.spawn(|| page("?format=folded"));
        has_begun.recv_timeout(PATIENCE).expect("asked");
        for path in ["/debug/pprof/heap", "/debug/pprof/profile?seconds=1"] {
            assert_eq!(get(address, path).0, "429", "{path}");
        }
        go_on.send(true).expect("it waits");
        let (status, folded) = folded.join().expect("no panic");
        assert_eq!(status, "200", "{folded}");
        let lines: Vec<&str> = folded.lines().collect();
        let named = lines.iter().find(|line| line.contains("burns_for_the_profile")).expect("a name");
        assert!(named.ends_with(" 3000") && named.matches("burns_for_the_profile").count() == 2, "{named}");
        assert!(lines.contains(&"0x0 500") && lines.len() == 3, "{folded}");
        assert_eq!(folded.matches(';').count(), 1 + 127, "a bounded stack");
    });
    go_on.send(true).expect("it waits");
    let (_, picture) = page("?format=svg");
    assert!(picture.contains("(3000 bytes, 85."), "{picture}");
    go_on.send(false).expect("it waits");
    let (status, why) = page("");
    assert!(status == "503" && why.contains("start it otherwise"), "{status} {why}");
}
