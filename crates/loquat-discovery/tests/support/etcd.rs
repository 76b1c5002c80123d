//! An etcd of a test's own (Debian's `etcd-server`, which `cargo xtask setup` installs), on free ports. Where there is none the test
//! fails: a source that was never asked for real is not known to work. It ends with the test.
#![allow(dead_code, unreachable_pub, reason = "each test file is a program of its own and uses its part")]

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Longest that it takes to become well, and over one answer, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// No answer of these tests is longer.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

pub struct Process {
    child: Child,
    address: String,
    peer: String,
    folder: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Process {
    /// A new one, which answers.
    pub fn start() -> Self {
        let free =
            || TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let (address, peer) = (free().to_string(), free().to_string());
        let folder = tempfile::tempdir().expect("a folder");
        let child = spawn(&address, &peer, &folder);
        let mut process = Self { child, address, peer, folder };
        process.wait_until_well();
        process
    }

    /// Ends it at once, as a lost machine would.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Starts it again with what it had, where it was.
    pub fn start_again(&mut self) {
        self.kill();
        self.child = spawn(&self.address, &self.peer, &self.folder);
        self.wait_until_well();
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn wait_until_well(&mut self) {
        let began = Instant::now();
        loop {
            let answer = self.post("/v3/maintenance/status", "{}");
            // Another one may answer at a port that it found taken.
            let ended = self.child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "etcd ended before it was well: {ended:?}");
            if answer.as_ref().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "etcd does not become well within {PATIENCE:?}: {answer:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What it answers, head and all.
    fn post(&self, path: &str, body: &str) -> io::Result<String> {
        let Self { address, .. } = self;
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// What it answers to a request that must succeed, head and all.
    pub fn told(&self, path: &str, body: &str) -> String {
        let answer = self.post(path, body).unwrap_or_else(|error| panic!("etcd, {path}: {error}"));
        assert!(answer.starts_with("HTTP/1.1 200"), "etcd, {path}: {answer}");
        answer
    }
}

fn spawn(address: &str, peer: &str, folder: &tempfile::TempDir) -> Child {
    let (url, peer) = (format!("http://{address}"), format!("http://{peer}"));
    let mut command = Command::new("etcd");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(["--name", "t", "--data-dir"]).arg(folder.path());
    command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("t={peer}")]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    child.expect("etcd is missing: `cargo xtask setup` installs it")
}
