//! The program on a real terminal (a pseudo-terminal), and under Ctrl-C.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use support::{OPENAI_END, Program, Server, finish, openai, stream_head, text_event};

const PATIENCE: Duration = Duration::from_secs(20);

/// Ctrl-C, to that process alone.
fn interrupt(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A terminal with the program on it.
struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl Terminal {
    fn start(program: &Program) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, Winsize { ws_row: 40, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let mut command = program.command();
        command.env("TERM", "xterm");
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        let child = command.spawn().unwrap();
        drop(command);

        let keyboard = File::from(master);
        let (mut reader, screen) = (keyboard.try_clone().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let shown = screen.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                shown.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self { keyboard, screen, child }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        let started = Instant::now();
        while !self.shown().contains(text) {
            assert!(started.elapsed() < PATIENCE, "no {text:?} on {:?}", self.shown());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for a prompt that stands after everything shown so far.
    #[track_caller]
    fn wait_for_prompt(&self, number: usize) {
        let started = Instant::now();
        // The line editor asks for bracketed paste at every prompt.
        while self.shown().matches("\u{1b}[?2004h").count() < number {
            assert!(started.elapsed() < PATIENCE, "no prompt {number} on {:?}", self.shown());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    #[track_caller]
    fn end(mut self) -> (Option<i32>, String) {
        let mut status = None;
        wait_until("the program's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        thread::sleep(Duration::from_millis(50));
        (status.unwrap().code(), self.shown())
    }
}

#[test]
fn a_terminal_is_not_obeying_the_model() {
    let hostile = ["a\u{1b}", "[2J\u{1b}]0;owned\u{7}", "\u{9b}31m", "b\r", "\nc\rd", "\u{202e}e\u{7f}"];
    let reasoning = r#"data: {"choices":[{"index":0,"delta":{"reasoning_content":"t\u001b[1mh"}}]}"#;
    let tool = r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f\u001b[5m","arguments":"{}"}}]}}]}"#;
    let events: String = hostile.iter().map(|text| text_event(text)).collect();
    let stream = format!("{}{reasoning}\n\n{events}{tool}\n\n{OPENAI_END}", stream_head("text/event-stream"));
    let server = Server::saying(stream);
    let program = Program::chat(&server, &["--stats", "hi"]).variable("NO_COLOR", "1");
    let (code, screen) = Terminal::start(&program).end();
    assert_eq!(code, Some(0), "{screen:?}");
    assert!(!screen.chars().any(|c| c.is_control() && c != '\n' && c != '\r'), "{screen:?}");
    assert!(screen.contains("a␛[2J␛]0;owned␇\\u{9b}31mb\r\nc␍d\\u{202e}e␡\r\n"), "{screen:?}");
    assert!(screen.contains("t␛[1mh") && screen.contains("f␛[5m"), "{screen:?}");
}

#[test]
fn a_terminal_is_not_obeying_what_is_rendered() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.hbs"), "Dear {{x}}\n").unwrap();
    let path = folder.path().to_str().unwrap();
    let render = Program::new(["prompt", "render", path, "a", "--set", "x=\u{1b}[31m"]);
    render.run().check(0, "Dear \u{1b}[31m\n", &[]);
    let (code, screen) = Terminal::start(&render).end();
    assert_eq!((code, screen.as_str()), (Some(0), "Dear ␛[31m\r\n"));
}

#[test]
fn an_error_of_a_peer_is_not_obeyed_either() {
    let body = "{\"error\":{\"message\":\"no \\u001b[2J way\",\"code\":\"\\u009bx\"}}";
    let server = Server::saying(support::response("400 Bad Request", "", body));
    let program = Program::chat(&server, &["hi"]).variable("NO_COLOR", "1");
    let (code, screen) = Terminal::start(&program).end();
    assert_eq!(code, Some(4), "{screen:?}");
    assert!(screen.contains("no ␛[2J way"), "{screen:?}");
    assert!(!screen.chars().any(|c| c.is_control() && c != '\n' && c != '\r'), "{screen:?}");
}

/// Says one word, then nothing, until the program hangs up.
fn stalling(hung_up: Arc<AtomicBool>) -> Server {
    Server::start(move |_, stream| {
        drop(stream.write_all((stream_head("text/event-stream") + &text_event("Begun")).as_bytes()));
        // Ends when the peer closes.
        drop(stream.read(&mut [0; 16]));
        hung_up.store(true, Ordering::SeqCst);
    })
}

#[test]
fn ctrl_c_ends_a_single_question() {
    let hung_up = Arc::new(AtomicBool::new(false));
    let server = stalling(hung_up.clone());
    for flags in [&["hi"][..], &["--json", "hi"]] {
        hung_up.store(false, Ordering::SeqCst);
        let mut child = Program::chat(&server, flags).spawn();
        let mut stdout = child.stdout.take().unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("Begun") {
            let mut byte = [0];
            stdout.read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
        interrupt(&child);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        let ran = finish(child);
        assert_eq!(ran.code, Some(130), "{ran:#?}");
        assert!(ran.stderr.contains("interrupted"), "{ran:#?}");
        assert!(rest.ends_with('\n'), "{rest:?}");
        if flags.len() == 2 {
            let end: serde_json::Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
            assert_eq!(end["error"]["kind"], "cancelled");
        }
        wait_until("the server to see the end", || hung_up.load(Ordering::SeqCst));
    }
}

#[test]
fn a_second_ctrl_c_ends_a_program_that_is_stuck() {
    let server = Server::start(|_, stream| {
        drop(stream.write_all(stream_head("text/event-stream").as_bytes()));
        let event = text_event(&"x".repeat(4096));
        while stream.write_all(event.as_bytes()).is_ok() {}
    });
    // Nobody reads: the program hangs in a write.
    let mut command = Program::chat(&server, &["hi"]).command();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    wait_until("a request", || !server.received().is_empty());
    thread::sleep(Duration::from_millis(500));
    interrupt(&child);
    thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "the first one alone does not help here");
    interrupt(&child);
    let ran = finish(child);
    drop(stdout);
    assert_eq!(ran.code, Some(130), "{ran:#?}");
}

#[test]
fn ctrl_c_ends_a_look_that_hangs() {
    // Until the program hangs up.
    let server = Server::start(|_, stream| drop(stream.read(&mut [0; 16])));
    let address = server.address.to_string();
    for (arguments, code) in [(&["top", &address][..], 0), (&["top", "--once", &address], 130)] {
        let asked = server.received().len();
        let child = Program::new(arguments).spawn();
        wait_until("the question", || server.received().len() > asked);
        interrupt(&child);
        let ran = finish(child);
        assert!(ran.took < Duration::from_secs(3), "{ran:#?}");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), ""), "{ran:#?}");
    }
    let terminal = Terminal::start(&Program::new(["top", &address]));
    wait_until("the question", || server.received().len() > 2);
    interrupt(&terminal.child);
    let (code, screen) = terminal.end();
    assert_eq!((code, screen.as_str()), (Some(0), "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?25h\u{1b}[?1049l"));
}

#[test]
fn a_conversation_is_kept_and_left() {
    let server = Server::start(|request, stream| {
        let answer = match request.json()["messages"].as_array().unwrap().len() {
            1 => "First answer.",
            _ => "Later answer.",
        };
        drop(stream.write_all(openai(&[answer]).as_bytes()));
    });
    let program = Program::chat(&server, &[]);
    let file = program.home.path().join("talk.json");
    let mut terminal = Terminal::start(&program);
    terminal.wait_for("/help lists commands");
    terminal.wait_for_prompt(1);
    terminal.type_in("hello\r");
    terminal.wait_for("First answer.");
    terminal.wait_for_prompt(2);
    terminal.type_in("/system Be brief.\r");
    terminal.wait_for_prompt(3);
    terminal.type_in("and\\\rmore\r");
    terminal.wait_for("Later answer.");
    terminal.wait_for_prompt(4);
    terminal.type_in(&format!("/save {}\r", file.display()));
    terminal.wait_for("5 messages in");
    terminal.wait_for_prompt(5);
    terminal.type_in("/sytem\r");
    terminal.wait_for("there is no /sytem");
    terminal.wait_for_prompt(6);
    terminal.type_in("/clear\r");
    terminal.wait_for_prompt(7);
    terminal.type_in("/quit\r");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen:?}");

    let received = server.received();
    assert_eq!(received.len(), 2, "{screen:?}");
    let messages = &received[1].json()["messages"];
    let said: Vec<_> = messages.as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
    assert_eq!(said, ["Be brief.", "hello", "First answer.", "and\nmore"]);
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(saved[4]["content"], "Later answer.");

    let history = program.home.path().join(".local/share/loquat/chat-history");
    assert!(std::fs::read_to_string(&history).unwrap().contains("hello"));
    assert_eq!(std::fs::metadata(&history).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_retry_that_fails_keeps_what_there_was() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_, stream| {
        let answer = match asked.fetch_add(1, Ordering::SeqCst) {
            0 => openai(&["First answer."]),
            1 => support::response("400 Bad Request", "", r#"{"error":{"message":"not now"}}"#),
            2 => openai(&["Second answer."]),
            _ => openai(&["Third answer."]),
        };
        drop(stream.write_all(answer.as_bytes()));
    });
    let mut terminal = Terminal::start(&Program::chat(&server, &[]));
    for (prompt, keys, shown) in [
        (1, "hello\r", "First answer."),
        (2, "/retry\r", "[no answer: the earlier one is kept]"),
        (3, "/retry\r", "Second answer."),
        (4, "more\r", "Third answer."),
        (5, "/quit\r", ""),
    ] {
        terminal.wait_for_prompt(prompt);
        terminal.type_in(keys);
        terminal.wait_for(shown);
    }
    assert_eq!(terminal.end().0, Some(0));
    let said = |n: usize| -> Vec<String> {
        let request = server.received()[n].json();
        let messages = request["messages"].as_array().unwrap().iter();
        messages.map(|message| message["content"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!([said(1), said(2)], [["hello"], ["hello"]]);
    assert_eq!(said(3), ["hello", "Second answer.", "more"]);
}

#[test]
fn ctrl_c_in_a_conversation_ends_the_request_alone() {
    let server = Server::start(|request, stream| {
        if request.body.contains("stall") && !request.body.contains("go on") {
            drop(stream.write_all((stream_head("text/event-stream") + &text_event("Partial")).as_bytes()));
            drop(stream.read(&mut [0; 16]));
        } else if request.body.contains("break") {
            drop(stream.write_all(support::response("500 Internal Server Error", "", "{}").as_bytes()));
        } else {
            drop(stream.write_all(openai(&["Going on."]).as_bytes()));
        }
    });
    let mut terminal = Terminal::start(&Program::chat(&server, &[]));
    terminal.wait_for_prompt(1);
    terminal.type_in("break\r");
    terminal.wait_for("500");
    terminal.wait_for_prompt(2);
    terminal.type_in("stall\r");
    terminal.wait_for("Partial");
    interrupt(&terminal.child);
    terminal.wait_for("[interrupted");
    terminal.wait_for_prompt(3);
    // At the prompt, Ctrl-C is a key.
    terminal.type_in("\u{3}");
    terminal.wait_for("to leave");
    terminal.wait_for_prompt(4);
    terminal.type_in("go on\r");
    terminal.wait_for("Going on.");
    terminal.wait_for_prompt(5);
    terminal.type_in("\u{4}");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen:?}");
    let last = server.received().pop().unwrap().json();
    let said: Vec<_> = last["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["content"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(said, ["stall", "Partial", "go on"], "what failed is not kept, what was cut is");
}
