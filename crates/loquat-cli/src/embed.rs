//! `loquat embed`: vectors of texts, lines or files.

use std::{
    fs,
    io::{self, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use loquat::{
    Client, Context, Error, ErrorKind, Result,
    client::GenerationLimits,
    core::{EmbedPurpose, EmbedRequest},
};
use serde::Serialize;

use crate::{
    connect::{Connection, NetworkArgs, ServerArgs, seconds},
    console::{Console, write_out},
    exit::{EXIT_CODES, Exit},
    input,
    json::to_json,
    neutral,
};

const EXAMPLES: &str = "\
Examples:
  loquat embed -m openai:text-embedding-3-small \"a text\" \"another\"    a line of numbers for each
  loquat embed -m ollama:nomic-embed-text --json < lines.txt            each line of stdin is a text
  loquat embed -m cohere:embed-v4.0 --file a.md --file b.md --json      each file is a text";

/// Most bytes of text in all: a million lines of a search index.
const MAX_INPUT_BYTES: u64 = 256 * 1024 * 1024;

/// Turn texts into vectors, with an embedding model
///
/// Texts are the arguments, the files that --file names, or, with neither, the lines of stdin that are not blank. They are sent
/// in batches, one after the other, and printed as they come back, in their order: a line of numbers for each, or with --json an
/// object. What was printed before a failure stands.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct EmbedArgs {
    /// The texts
    texts: Vec<String>,

    /// The model, such as openai:text-embedding-3-small
    #[arg(short, long, value_name = "MODEL")]
    model: String,

    /// A file that is a text, or (-) stdin; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    file: Vec<PathBuf>,

    /// How long the vectors shall be, where the model lets one choose
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    dimensions: Option<u32>,

    /// What for, where the model makes different vectors for both
    #[arg(long, value_name = "PURPOSE")]
    purpose: Option<Purpose>,

    /// Texts in one request; providers take up to some hundred
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=2048))]
    batch: u16,

    /// Seconds that each request has [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,

    /// Print one JSON object per text: {"index":0,"embedding":[…]}, and with --file its name
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,

    #[command(flatten)]
    network: NetworkArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Purpose {
    /// Texts to be found
    Document,
    /// Texts to find with
    Query,
}

impl EmbedArgs {
    /// The environment variable that holds a key under an unusual name.
    pub(crate) fn key_variable(&self) -> Option<&str> {
        self.server.key_env.as_deref()
    }
}

/// A line of `--json`.
#[derive(Serialize)]
struct Row<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    embedding: &'a [f32],
}

/// Runs the command.
///
/// # Errors
/// What kept the texts from being read or turned into vectors.
pub(crate) fn run(args: &EmbedArgs, console: &Console) -> Result<Exit> {
    let texts = texts(args)?;
    let connection = Connection {
        network: &args.network,
        server: &args.server,
        limits: args
            .timeout
            .map_or_else(GenerationLimits::default, |limit| GenerationLimits::default().with_total(limit)),
        provider: args.model.split_once(':').map(|(provider, _)| provider),
    };
    let client = connection.client(
        #[cfg(feature = "engine")]
        None,
    )?;
    let runtime = crate::runtime()?;
    let result = runtime.block_on(embed(args, &client, &texts, console));
    runtime.shutdown_background();
    result.map(|()| Exit::Finished)
}

async fn embed(args: &EmbedArgs, client: &Client, texts: &[String], console: &Console) -> Result<()> {
    let context = Context::new();
    let (mut done, mut tokens) = (0, 0);
    for batch in texts.chunks(usize::from(args.batch)) {
        let mut request = EmbedRequest::new(batch);
        request.dimensions = args.dimensions;
        request.purpose = match args.purpose {
            None => EmbedPurpose::Unspecified,
            Some(Purpose::Document) => EmbedPurpose::Document,
            Some(Purpose::Query) => EmbedPurpose::Query,
        };
        let embeddings = client.embed_with(&context, &args.model, &request).await?;
        let mut lines = String::new();
        for (index, vector) in (done..).zip(&embeddings.vectors) {
            lines += &line(args, index, vector)?;
            lines.push('\n');
        }
        write_out(&lines)?;
        done += batch.len();
        tokens += embeddings.usage.input_tokens;
        // Who waits for many is told how far it is.
        if console.err_is_terminal && texts.len() > batch.len() {
            console.note(&format!("{done} of {} texts", texts.len()));
        }
    }
    console.detail(|| format!("{done} texts, {tokens} tokens"));
    Ok(())
}

fn line(args: &EmbedArgs, index: usize, vector: &[f32]) -> Result<String> {
    if !args.json {
        let numbers: Vec<String> = vector.iter().map(ToString::to_string).collect();
        return Ok(numbers.join(" "));
    }
    let file = args.file.get(index).map(|file| file.display().to_string());
    to_json(&Row { index, file, embedding: vector })
        .map_err(|cause| Error::new(ErrorKind::Internal, "a vector is no JSON").with_source(cause))
}

/// The texts, in order.
fn texts(args: &EmbedArgs) -> Result<Vec<String>> {
    let none = || Error::new(ErrorKind::InvalidRequest, "there is no text: see `loquat embed --help`");
    if !args.texts.is_empty() {
        return Ok(args.texts.clone());
    }
    if !args.file.is_empty() {
        let mut room = MAX_INPUT_BYTES;
        return args
            .file
            .iter()
            .map(|path| {
                let shown = neutral::line(&path.display().to_string());
                let text = if path == Path::new("-") {
                    bounded(io::stdin().lock(), &mut room, &shown)?
                } else {
                    let opened = fs::File::open(path).map_err(|cause| input::unreadable(&shown, cause))?;
                    bounded(opened, &mut room, &shown)?
                };
                if text.trim().is_empty() {
                    return Err(Error::new(ErrorKind::InvalidRequest, format!("{shown} has no text in it")));
                }
                Ok(text)
            })
            .collect();
    }
    if io::stdin().is_terminal() {
        return Err(none());
    }
    let text = bounded(io::stdin().lock(), &mut MAX_INPUT_BYTES.clone(), "stdin")?;
    let lines: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    if lines.is_empty() { Err(none()) } else { Ok(lines) }
}

/// All of it, if there is room.
fn bounded(from: impl io::Read, room: &mut u64, shown: &str) -> Result<String> {
    let wrong = |what: &str| Error::new(ErrorKind::InvalidRequest, format!("{shown}: {what}"));
    let mut bytes = Vec::new();
    let read = from.take(*room + 1).read_to_end(&mut bytes);
    let read = read.map_err(|cause| wrong("cannot be read").with_source(cause))? as u64;
    *room = room
        .checked_sub(read)
        .ok_or_else(|| wrong(&format!("the texts are longer than {MAX_INPUT_BYTES} bytes in all")))?;
    String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8"))
}
