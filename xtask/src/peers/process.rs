//! One background server: started detached with a pid file and a log, waited for, and stopped only if it is still ours.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{shell, term};

/// How long a server may take until it answers; loading the small model takes about two seconds.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a server may take to leave after SIGTERM before it gets SIGKILL.
const STOP_LIMIT: Duration = Duration::from_secs(5);
const POLL_EVERY: Duration = Duration::from_millis(50);

/// When a server counts as up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Readiness {
    /// `GET /health` over plain HTTP answers 200.
    Health,
    /// Its port accepts a connection.
    Connects,
}

/// A server's folder and script. The script's path in a process's command line is the proof that the process is ours.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) folder: PathBuf,
    pub(crate) script: PathBuf,
}

impl Server {
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The pid, if the process that `start` recorded still runs and is this server.
    pub(crate) fn running(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        command_line(pid)?.contains(self.script.to_str()?).then_some(pid)
    }

    /// The address that `start` was told.
    pub(crate) fn address(&self) -> Result<String> {
        fs::read_to_string(self.address_file()).context("the server's address was not recorded")
    }

    /// Starts it in a process group of its own, so that Ctrl-C in this terminal does not reach it, and waits for it.
    pub(crate) fn start(
        &self,
        mut command: Command,
        readiness: Readiness,
        address: &str,
        port: u16,
    ) -> Result<u32> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot create {}", self.folder.display()))?;
        let log = File::create(self.log())?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        term::detail(&shell::show(&command));
        let mut child =
            command.spawn().with_context(|| format!("could not start `{}`", shell::show(&command)))?;
        fs::write(self.pid_file(), child.id().to_string())?;
        fs::write(self.address_file(), address)?;
        let started = Instant::now();
        loop {
            let gone = child.try_wait()?;
            // A process that has just been started has no command line for a moment.
            if gone.is_none() && is_ready(readiness, port) && self.running().is_some() {
                return Ok(child.id());
            }
            if gone.is_some() || started.elapsed() > START_LIMIT {
                let what = gone.map_or("does not answer".to_owned(), |status| format!("ended with {status}"));
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                drop(child.kill());
                drop(child.wait());
                drop(fs::remove_file(self.pid_file()));
                bail!("the server {what}; the end of its log:\n{}", shell::tail(&log, 20));
            }
            sleep(POLL_EVERY);
        }
    }

    /// SIGTERM, then SIGKILL; a process that is not ours is left alone.
    pub(crate) fn stop(&self) -> Result<()> {
        let Some(pid) = self.running() else {
            drop(fs::remove_file(self.pid_file()));
            term::say("not running");
            return Ok(());
        };
        kill(pid, "-TERM")?;
        let asked = Instant::now();
        while self.running().is_some() {
            if asked.elapsed() > STOP_LIMIT {
                kill(pid, "-KILL")?;
                sleep(POLL_EVERY);
                break;
            }
            sleep(POLL_EVERY);
        }
        drop(fs::remove_file(self.pid_file()));
        term::say(format!("stopped pid {pid}"));
        Ok(())
    }

    fn address_file(&self) -> PathBuf {
        self.folder.join("address")
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("pid")
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?.local_addr()?.port())
}

fn kill(pid: u32, signal: &str) -> Result<()> {
    shell::read(Command::new("kill").args([signal, &pid.to_string()])).map(drop)
}

/// The command line of a live process, its words separated by spaces; `None` for a dead one or a zombie.
fn command_line(pid: u32) -> Option<String> {
    let text = if fs::exists("/proc/self").unwrap_or(false) {
        String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).ok()?).replace('\0', " ")
    } else {
        shell::read(Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()])).ok()?
    };
    (!text.trim().is_empty()).then_some(text)
}

fn is_ready(readiness: Readiness, port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
    match readiness {
        Readiness::Connects => true,
        Readiness::Health => healthy(&mut stream).unwrap_or(false),
    }
}

fn healthy(stream: &mut TcpStream) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(&head[9..] == b"200")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, script: &str) -> Server {
        let folder = std::env::temp_dir().join(format!("loquat-xtask-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Server { folder, script: PathBuf::from(script) }
    }

    #[test]
    fn a_process_that_is_not_ours_is_left_alone() {
        let server = server("foreign", "/a/script/that/this/test/does/not/run.py");
        fs::write(server.pid_file(), std::process::id().to_string()).unwrap();
        assert_eq!(server.running(), None);
        server.stop().unwrap();
        assert!(!server.pid_file().exists());
        fs::remove_dir_all(&server.folder).unwrap();
    }

    #[test]
    fn a_server_is_started_found_and_stopped() {
        let script = "/dev/null/marker-of-this-test";
        let server = server("own", script);
        // The listener stands in for the server's own port; the process only has to live and to carry the script's name.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do sleep 0.05; done", script]);
        let pid = server
            .start(command, Readiness::Connects, "here", listener.local_addr().unwrap().port())
            .unwrap();
        assert_eq!(server.running(), Some(pid));
        assert_eq!(server.address().unwrap(), "here");
        server.stop().unwrap();
        assert_eq!(server.running(), None);
        fs::remove_dir_all(&server.folder).unwrap();
    }

    #[test]
    fn a_server_that_ends_at_once_shows_its_last_words() {
        let server = server("dead", "/x");
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such model; exit 7"]);
        let error = server.start(command, Readiness::Health, "", 1).unwrap_err().to_string();
        assert!(error.contains("exit status: 7") && error.contains("no such model"), "{error}");
        fs::remove_dir_all(&server.folder).unwrap();
    }
}
