//! `loquat route simulate`: the real router on a virtual clock.

use std::{fs, path::PathBuf, time::Duration};

use clap::Args;
use loquat::{
    Error, ErrorKind, Result,
    router::{
        config::{ScriptConfig, Syntax},
        simulate::{Chooser, Line, Ours, Report, run as live},
    },
};

use super::{
    file::{RouteFile, contents},
    nowhere, plot,
};
use crate::{
    console::{Console, write_out},
    input, neutral,
};

/// What is simulated.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// The routes: TOML, or YAML by the name's end; - for stdin, as TOML
    file: PathBuf,
    /// Traffic, servers and what happens to them, in the same forms; without it, twenty requests a second for two minutes
    #[arg(long)]
    script: Option<PathBuf>,
    /// Write an SVG plot there: each endpoint's share, and the callers' P95, second by second
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

pub(crate) fn run(args: &SimulateArgs, console: &Console) -> Result<()> {
    let file = RouteFile::read(&args.file)?;
    let plan = file.plan()?;
    let router = file.of(nowhere(&plan))?;
    let (text, syntax) = match &args.script {
        Some(path) => contents(path)?,
        None => (String::new(), Syntax::Toml),
    };
    // Without a script there is nothing but the routes that could be wrong.
    let unusable = |error: Error| match &args.script {
        Some(path) => input::unusable(&neutral::line(&path.display().to_string()), &error),
        None => file.unusable(&error),
    };
    let config = ScriptConfig::parse(&text, syntax).map_err(unusable)?;
    let table = router.table();
    let route = config.route.as_deref().or_else(|| table.route_names().next());
    let route = route
        .ok_or_else(|| file.unusable(&Error::new(ErrorKind::NotConfigured, "there is no route in it")))?;
    let route = route.to_owned();
    let ours = Ours::new(&router, &route).ok_or_else(|| {
        unusable(Error::new(ErrorKind::NotConfigured, format!("there is no route `{route}`")))
    })?;
    let script =
        config.script(plan.endpoints.iter().map(|endpoint| endpoint.name.as_str())).map_err(unusable)?;
    let report = live(&script, &mut [Box::new(ours) as Box<dyn Chooser>], router.epoch());
    write_out(&shown(&report))?;
    if let Some(path) = &args.plot {
        fs::write(path, plot::svg(&report, &route, script.duration)).map_err(|cause| {
            Error::new(ErrorKind::Local, format!("cannot write {}", path.display())).with_source(cause)
        })?;
        console.detail(|| format!("written to {}", path.display()));
    }
    Ok(())
}

fn shown(report: &Report) -> String {
    let total: u32 = report.servers.iter().map(|line| line.asked).sum();
    let names: Vec<_> = report.servers.iter().map(|line| neutral::line(&line.name)).collect();
    let width = names.iter().map(|name| name.chars().count()).chain([8]).max().unwrap_or(8);
    let mut text = format!(
        "{:width$}  {:>6}  {:>8}  {:>8}  {:>8}  {:>7}\n",
        "endpoint", "share", "P50", "P95", "P99", "errors"
    );
    for (name, line) in names.iter().zip(&report.servers) {
        let share = 100.0 * f64::from(line.asked) / f64::from(total.max(1));
        let [p50, p95, p99] = [50.0, 95.0, 99.0].map(|percent| time(Line::percentile(line, percent)));
        text += &format!("{name:width$}  {share:>5.1}%  {p50:>8}  {p95:>8}  {p99:>8}  {:>7}\n", line.failed);
    }
    let [p50, p95, p99] = [50.0, 95.0, 99.0].map(|percent| time(report.percentile(percent)));
    text += &format!("{:width$}  {:>6}  {p50:>8}  {p95:>8}  {p99:>8}  {:>7}\n", "callers", "", report.lost);
    text + &format!(
        "{} answered, {} lost, {} further attempts; times to first token\n",
        report.first_tokens.len(),
        report.lost,
        report.retries
    )
}

fn time(duration: Option<Duration>) -> String {
    match duration {
        Some(duration) if duration >= Duration::from_secs(10) => format!("{:.1} s", duration.as_secs_f64()),
        Some(duration) => format!("{} ms", duration.as_millis()),
        None => "–".to_owned(),
    }
}
