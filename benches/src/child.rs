//! The other end of a bench: this very program once more, as a process of its own on a core of its own, so that its work is
//! in nobody's figure.

use std::{
    io::{BufRead, BufReader, Lines},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::machine;

/// The argument that makes a bench's program its server.
const ARGUMENT: &str = "--serve";

/// Whether this process is to be the server.
pub fn is_server() -> bool {
    std::env::args().any(|argument| argument == ARGUMENT)
}

/// A server says where it listens, and ends when its parent does.
pub fn announce(addresses: &[SocketAddr]) {
    addresses.iter().for_each(|address| println!("{address}"));
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
}

/// A running server; ended with this.
pub struct Server {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Server {
    /// This program, serving.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments.
    pub fn start_with(arguments: &[String]) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let cores: Vec<String> = machine::cores().iter().map(ToString::to_string).collect();
        let mut child = Command::new(program)
            .arg(ARGUMENT)
            .args(arguments)
            .env(machine::CORES, cores.join(","))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    /// The next address it announces.
    ///
    /// # Panics
    /// Where it shares this thread's core although there are others: every figure would be of something else.
    pub fn address(&mut self) -> SocketAddr {
        let address = self.lines.next().expect("a line").expect("text").parse().expect("an address");
        assert!(machine::is_apart_from(self.pid()), "the server has a core of its own");
        address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
