//! `cargo xtask screen`: what `loquat top` shows of a busy program, as the README and `docs/observability/top.svg` have it.
//!
//! The busy program is `crates/loquat/examples/observe.rs`: sixty callers of a server in the same process. The picture is made of the
//! text, line by line; that the two that are kept agree is a test.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{shell, term, workspace};

/// Take the screen of `loquat top` anew, for the README and its picture
///
/// Runs the example `observe` for half a minute, which listens at 127.0.0.1:9464. The figures are this machine's and this moment's: take it
/// where nothing else runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Where the example listens.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);
/// How long it runs: until all callers have had some answers, and the look.
const SECONDS: u64 = 30;
const WARM_UP: Duration = Duration::from_secs(8);
/// Between the two looks.
const EVERY: &str = "5";
/// How long its starting may take.
const MAX_START: Duration = Duration::from_secs(60);

pub(crate) fn run(_: &Args) -> Result<()> {
    for wanted in [&["loquat-cli"][..], &["loquat", "--example", "observe", "--features", "observe"]] {
        shell::run(workspace::cargo().args(["build", "--quiet", "--release", "--package"]).args(wanted))?;
    }
    if TcpStream::connect(ADDRESS).is_ok() {
        bail!("somebody listens at {ADDRESS} already");
    }
    let built = workspace::metadata("")?.target_directory.join("release");
    let mut example = Command::new(built.join("examples/observe"));
    let child = example.arg(SECONDS.to_string()).stdout(Stdio::null()).spawn();
    let mut example = Running(child.context("the example does not start")?);
    until_it_listens(&mut example.0)?;
    thread::sleep(WARM_UP);
    let mut top = Command::new(built.join("loquat"));
    let screen = shell::read(top.args(["top", "--once", "--every", EVERY, &ADDRESS.to_string()]))?;
    drop(example);
    let screen = screen.trim_end();

    let readme = readme();
    let text = workspace::text(&readme)?;
    let old = shown(&text).context("the README has no screen of `loquat top`")?;
    fs::write(&readme, text.replace(old, screen))?;
    fs::write(picture(), svg(screen))?;
    term::say(screen);
    Ok(())
}

/// A program that does not outlive this one's interest in it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until_it_listens(child: &mut Child) -> Result<()> {
    let due = Instant::now() + MAX_START;
    while TcpStream::connect(ADDRESS).is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("the example ended with {status}");
        }
        if Instant::now() > due {
            bail!("the example does not listen at {ADDRESS}");
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn readme() -> PathBuf {
    workspace::root().join("README.md")
}

fn picture() -> PathBuf {
    workspace::root().join("docs/observability/top.svg")
}

/// The screen in that text.
fn shown(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("```text\nloquat top ")?;
    let start = text.len() - rest.len() - "loquat top ".len();
    let shown = text.get(start..)?;
    shown.get(..shown.find("\n```")?)
}

/// That text as a picture of a terminal.
fn svg(screen: &str) -> String {
    const MARGIN: usize = 16;
    const LINE: usize = 18;
    const CHARACTER: usize = 8;
    let lines: Vec<&str> = screen.lines().collect();
    let columns = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let (width, height) = (columns * CHARACTER + 2 * MARGIN, lines.len() * LINE + 2 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"loquat top under load\">\n<rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#11151c\"/>\n<g \
         font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,monospace\" font-size=\"13\" fill=\"#d7dce5\" xml:space=\"preserve\">\n"
    );
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        let style = match index {
            0 => " fill=\"#7d8796\"",
            2 => " fill=\"#8fd694\" font-weight=\"bold\"",
            _ => "",
        };
        let length = line.chars().count() * CHARACTER;
        let y = MARGIN + 13 + index * LINE;
        let line = line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        out += &format!(
            "<text x=\"{MARGIN}\" y=\"{y}\" textLength=\"{length}\" style=\"white-space:pre\"{style}>{line}</text>\n"
        );
    }
    out + "</g></svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_is_what_the_readme_shows() {
        let text = fs::read_to_string(readme()).unwrap();
        let screen = shown(&text).unwrap();
        assert!(screen.lines().count() > 6 && screen.contains("TTFT P95"), "{screen}");
        assert_eq!(fs::read_to_string(picture()).unwrap(), svg(screen));
    }

    #[test]
    fn a_screen_is_found_and_its_signs_are_text() {
        let text = "x\n```text\nother\n```\n```text\nloquat top   a\n\nb\n```\ny";
        assert_eq!(shown(text), Some("loquat top   a\n\nb"));
        assert_eq!(shown("nothing"), None);
        assert!(svg("<&>").contains(">&lt;&amp;&gt;</text>"));
    }
}
