//! Real Redis servers: on free ports, in folders of their own, ended by their process id when dropped.
//!
//! Debian's `redis-tools` holds the server under the name of its file checker, without a service that would start by itself; a
//! `redis-server` is taken where there is one. `cargo xtask setup` installs it.

// Each test is a program of its own and uses a part of this.
#![allow(dead_code)]

use std::{
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

pub(crate) struct RedisServer {
    pub(crate) port: u16,
    child: Child,
    folder: tempfile::TempDir,
}

/// Longest that anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn program() -> Command {
    let on_path = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    };
    let found = on_path("redis-server").or_else(|| on_path("redis-check-rdb"));
    let found = found.expect("a Redis server: `cargo xtask setup` installs it");
    let mut command = Command::new(found);
    // The program is told by its name what it is.
    command.arg0("redis-server");
    command
}

/// A port that is free now and that nobody else in this process is given. Below the ports that the system gives to clients, so that
/// no connection takes it meanwhile.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let offset = process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Relaxed));
        let port = 20_000 + u16::try_from(offset % 12_000).unwrap_or_default();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl RedisServer {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(|_, _| Vec::new(), arguments)
    }

    /// With arguments that depend on folder and port.
    pub(crate) fn start_with(more: impl Fn(&Path, u16) -> Vec<String>, arguments: &[&str]) -> Self {
        // Another process may take the port between our look and the server's.
        for _ in 0..5 {
            let folder = tempfile::tempdir().expect("a folder");
            let port = free_port();
            let mut command = program();
            command
                .args([
                    "--port",
                    &port.to_string(),
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                ])
                .arg("--dir")
                .arg(folder.path())
                .args(more(folder.path(), port))
                .args(arguments);
            let mut server = Self::spawn(command, port, folder);
            let end = Instant::now() + PATIENCE;
            while server.child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < end {
                let answers = TcpStream::connect(("127.0.0.1", port)).is_ok();
                thread::sleep(Duration::from_millis(10));
                // It may be somebody else who answers: then ours has ended.
                if answers && server.child.try_wait().is_ok_and(|ended| ended.is_none()) {
                    return server;
                }
            }
        }
        panic!("no Redis server starts");
    }

    pub(crate) fn sentinel(configuration: impl Fn(u16) -> String) -> Self {
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let file = folder.path().join("sentinel.conf");
        std::fs::write(&file, configuration(port)).expect("the configuration");
        let mut command = program();
        command.arg(file).arg("--sentinel");
        let server = Self::spawn(command, port, folder);
        until("the sentinel answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        server
    }

    fn spawn(mut command: Command, port: u16, folder: tempfile::TempDir) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn();
        Self { port, child: child.expect("the server starts"), folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One command through `redis-cli`.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{name}");
    }

    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
