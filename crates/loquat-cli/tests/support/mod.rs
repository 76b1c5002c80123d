//! A scripted server on loopback, and the real program run against it in a home of its own.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Longest any run of the program may take here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Received {
    /// The request line's path.
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Answers each connection's one request by a function.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Received, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (received.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                thread::spawn(move || {
                    let mut stream = stream;
                    let Some(request) = read_request(&mut stream) else { return };
                    log.lock().unwrap().push(request.clone());
                    answer(&request, &mut stream);
                });
            }
        });
        Self { address, received }
    }

    /// One that sends the same bytes to everybody.
    pub(crate) fn saying(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::start(move |_, stream| drop(stream.write_all(&response)))
    }

    /// Its address with the path that OpenAI-compatible servers have.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

fn read_request(stream: &mut TcpStream) -> Option<Received> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(Received { head: head.to_owned(), body: body.to_owned() });
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

/// The head of a streamed 200 answer, which ends with the connection.
pub(crate) fn stream_head(media_type: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\nx-request-id: req_test\r\nconnection: close\r\n\r\n"
    )
}

/// A whole response.
pub(crate) fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// One event of an OpenAI stream with that text.
pub(crate) fn text_event(text: &str) -> String {
    let delta = serde_json::json!({
        "id": "chatcmpl-1", "model": "test-model",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}],
    });
    format!("data: {delta}\n\n")
}

/// The end of an OpenAI stream: finish reason, usage, `[DONE]`.
pub(crate) const OPENAI_END: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5,\"total_tokens\":12}}\n\n\
data: [DONE]\n\n";

/// A whole OpenAI stream of these texts.
pub(crate) fn openai(texts: &[&str]) -> String {
    let events: String = texts.iter().map(|text| text_event(text)).collect();
    stream_head("text/event-stream") + &events + OPENAI_END
}

/// A run of the program being prepared, in an environment with nothing but a home.
pub(crate) struct Program {
    pub(crate) home: Arc<TempDir>,
    arguments: Vec<OsString>,
    variables: Vec<(String, String)>,
    stdin: Option<Vec<u8>>,
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
    /// The most memory it held, where the system tells.
    pub(crate) peak_kib: Option<u64>,
}

impl Program {
    pub(crate) fn new<S: Into<OsString>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self {
            home: Arc::new(tempfile::tempdir().unwrap()),
            arguments: arguments.into_iter().map(Into::into).collect(),
            variables: Vec::new(),
            stdin: None,
        }
    }

    /// `chat` with the server's only format in question, and more arguments.
    pub(crate) fn chat(server: &Server, arguments: &[&str]) -> Self {
        let url = server.url();
        Self::new(["chat", "--base-url", &url, "-m", "test-model"].iter().chain(arguments).copied())
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(text.into());
        self
    }

    /// The command, with nothing of this process's environment but PATH.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loquat"));
        command.args(&self.arguments).env_clear().env("HOME", self.home.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it with all three streams piped.
    pub(crate) fn spawn(&self) -> Child {
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().unwrap();
        if let Some(text) = self.stdin.clone() {
            let mut stdin = child.stdin.take().unwrap();
            thread::spawn(move || drop(stdin.write_all(&text)));
        }
        child
    }

    /// Starts it for what it prints, line by line.
    pub(crate) fn lines(&self) -> Lines {
        let mut child = self.spawn();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Lines { child, lines }
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> Ran {
        finish(self.spawn())
    }
}

/// A running program's lines. It is killed with them.
pub(crate) struct Lines {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Lines {
    /// The next, which must come.
    pub(crate) fn next(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("one more line of the program")
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads one line of its output, goes away, as `head -1` does, and waits for its end.
pub(crate) fn after_a_line(mut child: Child) -> Ran {
    let mut byte = [0];
    let mut stdout = child.stdout.take().unwrap();
    while byte != *b"\n" {
        stdout.read_exact(&mut byte).unwrap();
    }
    drop(stdout);
    finish(child)
}

/// Waits for the program's end.
pub(crate) fn finish(mut child: Child) -> Ran {
    let started = Instant::now();
    let reader = |mut stream: Box<dyn std::io::Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            drop(stream.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = child.stdout.take().map(|stream| reader(Box::new(stream)));
    let stderr = child.stderr.take().map(|stream| reader(Box::new(stream)));
    let mut peak_kib = None;
    let status = loop {
        peak_kib = peak_memory_kib(child.id()).max(peak_kib);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the program did not end within {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(5));
    };
    let joined =
        |thread: Option<thread::JoinHandle<String>>| thread.map_or_else(String::new, |t| t.join().unwrap());
    let (stdout, stderr) = (joined(stdout), joined(stderr));
    // Looked through after the whole suite, for what was planted; what the program answers is a model's.
    let left = format!("{}/cli-{}.txt", env!("CARGO_TARGET_TMPDIR"), child.id());
    std::fs::write(left, &stderr).unwrap();
    Ran { code: status.code(), stdout, stderr, took: started.elapsed(), peak_kib }
}

/// The most memory that process has held (Linux).
fn peak_memory_kib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok())
}

impl Ran {
    /// Checks code, stdout and words on stderr at once, and shows everything where one is wrong.
    #[track_caller]
    pub(crate) fn check(&self, code: i32, stdout: &str, on_stderr: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert_eq!(self.stdout, stdout, "{self:#?}");
        for words in on_stderr {
            assert!(self.stderr.contains(words), "no {words:?} in {self:#?}");
        }
        self
    }
}
