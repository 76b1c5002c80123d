//! `loquat prompt`: a folder of templates, looked at, checked, rendered.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Subcommand};
use loquat::{
    Error, ErrorKind, Result,
    prompt::{
        count::Counter,
        template::{TemplateDirectory, TemplateErrorKind, Templates},
    },
};
use serde_json::Value;

use crate::{
    console::{Console, write_out},
    exit::{EXIT_CODES, Exit},
    input,
    json::to_json,
    neutral,
};

/// Longest data that are read, bytes.
const MAX_DATA_BYTES: u64 = 64 << 20;

const EXAMPLES: &str = "\
Examples:
  loquat prompt lint prompts/                                 all is there, and compiles
  loquat prompt list prompts/                                 names and the variables they want
  loquat prompt render prompts/ greet --set name=Ann          one, as the model would read it
  loquat prompt render prompts/ answer --data request.json    with data from a file (- for stdin)";

/// Render, check or list the handlebars templates of a folder
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct PromptArgs {
    #[command(subcommand)]
    command: PromptCommand,
}

#[derive(Debug, Subcommand)]
enum PromptCommand {
    /// Print the prompt that a template makes of data
    ///
    /// On a terminal, control characters are shown instead of obeyed; into a file or pipe it goes as it is.
    Render {
        /// The folder of `.hbs` files
        directory: PathBuf,
        /// The template: its file below the folder, without `.hbs`
        template: String,
        /// Data as a JSON object, from a file or (-) stdin
        #[arg(long, value_name = "FILE")]
        data: Option<PathBuf>,
        /// One more variable, a text; may be repeated
        #[arg(long, value_name = "NAME=TEXT", value_parser = pair)]
        set: Vec<(String, String)>,
        /// The model whose tokens `truncate_tokens` and `count_tokens` count
        #[arg(long, short, default_value = "gpt-4o")]
        model: String,
    },
    /// Check that everything compiles and everything that is named exists
    Lint {
        /// The folder of `.hbs` files
        directory: PathBuf,
    },
    /// Name the templates and the variables they want
    List {
        /// The folder of `.hbs` files
        directory: PathBuf,
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=TEXT is wanted")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs the command.
///
/// # Errors
/// A template that is wrong, with file, line and column; data that cannot be read.
pub(crate) fn run(args: &PromptArgs, console: &Console) -> Result<Exit> {
    match &args.command {
        PromptCommand::Render { directory, template, data, set, model } => {
            let data = read(data.as_deref(), set)?;
            let text = open(directory, model)?.render(template, &data)?;
            write_out(&if console.out_is_terminal { neutral::text(&text) } else { text })?;
        }
        PromptCommand::Lint { directory } => {
            let templates = open(directory, "gpt-4o")?;
            console.note(&format!("{} templates, nothing wrong", templates.names().count()));
        }
        PromptCommand::List { directory, json } => {
            let templates = open(directory, "gpt-4o")?;
            for name in templates.names() {
                let variables: Vec<String> = templates.variables(name).into_iter().collect();
                let line = if *json {
                    let no_json =
                        |cause| Error::new(ErrorKind::Internal, "a template is no JSON").with_source(cause);
                    to_json(&serde_json::json!({"name": name, "variables": variables})).map_err(no_json)?
                } else {
                    neutral::line(format!("{name}  {}", variables.join(", ")).trim_end())
                };
                write_out(&format!("{line}\n"))?;
            }
        }
    }
    Ok(Exit::Finished)
}

fn open(directory: &Path, model: &str) -> Result<Arc<Templates>> {
    let tokenizer = Arc::clone(Counter::for_model(model)?.tokenizer());
    let opened = TemplateDirectory::open(directory, Templates::builder().tokenizer(tokenizer));
    let opened = opened.map_err(|error| match error.kind() {
        TemplateErrorKind::File => input::unreadable("the templates", error),
        _ => error.into(),
    });
    Ok(opened?.current())
}

fn read(data: Option<&Path>, set: &[(String, String)]) -> Result<Value> {
    let text = data.map_or_else(|| Ok("{}".to_owned()), |path| input::text(Some(path), MAX_DATA_BYTES))?;
    let no_object = || Error::new(ErrorKind::InvalidRequest, "the data are no JSON object");
    // Two steps: what serde says of a value that is no object repeats it.
    let data: Value = serde_json::from_str(&text).map_err(|cause| no_object().with_source(cause))?;
    let Value::Object(mut data) = data else { return Err(no_object()) };
    data.extend(set.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))));
    Ok(Value::Object(data))
}
