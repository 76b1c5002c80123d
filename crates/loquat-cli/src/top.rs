//! `loquat top`: what a program does right now, on a screen that is drawn anew.

use std::{
    io::{self, Write},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use loquat::{
    Error, ErrorKind, Result, Secret,
    core::CancellationToken,
    observe::top::{Address, Look, fetch},
};

use crate::{
    connect::seconds,
    console::{Console, write_out},
    exit::{EXIT_CODES, Exit},
    interrupt::Interrupts,
};

const EXAMPLES: &str = "\
Examples:
  loquat top                              the program that serves at 127.0.0.1:9464
  loquat top unix:/run/gateway.sock
  loquat top --once 10.0.0.7:9464         one table, of the next two seconds, for a script
  loquat chat --diagnostics 127.0.0.1:9464    something to look at, from another terminal";

/// Watch what a program does: requests, first tokens, errors, per endpoint
///
/// It reads the metrics that the program serves, twice, and shows what happened between. On a terminal the screen is drawn
/// anew until Ctrl-C; into a pipe or file one table follows the other.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct TopArgs {
    /// Where the program serves its metrics: HOST:PORT, http://HOST:PORT or unix:PATH
    #[arg(default_value = "127.0.0.1:9464")]
    address: String,

    /// Between two looks
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "2")]
    every: Duration,

    /// Print one table and end
    #[arg(long)]
    once: bool,

    /// The environment variable that holds the token which the program wants
    #[arg(long, value_name = "VARIABLE")]
    token_env: Option<String>,
}

impl TopArgs {
    /// The environment variable that holds a token.
    pub(crate) fn key_variable(&self) -> Option<&str> {
        self.token_env.as_deref()
    }

    fn token(&self) -> Result<Option<Secret>> {
        let Some(name) = &self.token_env else { return Ok(None) };
        let token = std::env::var(name).ok().filter(|token| !token.is_empty());
        token.map(|token| Some(Secret::new(token))).ok_or_else(|| {
            Error::new(ErrorKind::NotConfigured, "the environment variable named by --token-env is not set")
        })
    }
}

/// Runs the command.
///
/// # Errors
/// Nobody serves metrics there, or they cannot be shown.
pub(crate) fn run(args: &TopArgs, console: &Console) -> Result<Exit> {
    let address: Address = args.address.parse()?;
    let token = args.token()?;
    let ended = CancellationToken::new();
    Interrupts::listen()?.cancel(&ended);
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(110);
    let screen =
        (console.out_is_terminal && !args.once).then(Screen::open).transpose().map_err(unwritable)?;

    let look = || look(&address, token.as_ref(), &ended);
    // What was to be seen until Ctrl-C has been seen; a table that was asked for has not.
    let interrupted = if args.once { Exit::Interrupted } else { Exit::Finished };
    let Some(mut before) = look()? else { return Ok(interrupted) };
    let mut since = Instant::now();
    loop {
        let due = Instant::now() + args.every;
        while !ended.is_cancelled() && Instant::now() < due {
            thread::sleep(TICK.min(args.every));
        }
        let Some(now) = look()? else { return Ok(interrupted) };
        let table = now.since(&before, since.elapsed(), columns);
        (before, since) = (now, Instant::now());
        let title = format!("loquat top   {address}   every {:.1} s", args.every.as_secs_f64());
        match &screen {
            Some(screen) => screen.draw(&format!("{title}   Ctrl-C ends\n\n{table}")).map_err(unwritable)?,
            None => write_out(&format!("{title}\n\n{table}\n"))?,
        }
        if args.once {
            return Ok(Exit::Finished);
        }
    }
}

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often Ctrl-C is looked for: sooner than a person notices.
const TICK: Duration = Duration::from_millis(50);

/// One look; `None` after Ctrl-C. It is had by a thread of its own: a name server or a program that hangs would hold this one, and
/// with it the screen that has to be left.
fn look(address: &Address, token: Option<&Secret>, ended: &CancellationToken) -> Result<Option<Look>> {
    let (sender, page) = mpsc::channel();
    let (address, token) = (address.clone(), token.cloned());
    thread::Builder::new()
        .spawn(move || drop(sender.send(fetch(&address, "/metrics", token.as_ref(), PATIENCE))))
        .map_err(|cause| Error::new(ErrorKind::Local, "cannot start a thread").with_source(cause))?;
    while !ended.is_cancelled() {
        match page.recv_timeout(TICK) {
            Ok(page) => return page.map(|page| Some(Look::parse(&page))),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::new(ErrorKind::Internal, "the thread that looks is gone"));
            }
        }
    }
    Ok(None)
}

fn unwritable(cause: io::Error) -> Error {
    Error::new(ErrorKind::Local, "cannot write to the terminal").with_source(cause)
}

/// The terminal's other screen, so that what stood on the first is there again afterwards.
struct Screen;

impl Screen {
    fn open() -> io::Result<Self> {
        Self::write("\x1b[?1049h\x1b[?25l")?;
        Ok(Self)
    }

    /// From the top, each line to its end: nothing flickers.
    fn draw(&self, text: &str) -> io::Result<()> {
        let lines: String = text.lines().map(|line| format!("{line}\x1b[K\r\n")).collect();
        Self::write(&format!("\x1b[H{lines}\x1b[J"))
    }

    fn write(text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The program ends: there is nobody to tell.
        let _ = Self::write("\x1b[?25h\x1b[?1049l");
    }
}
