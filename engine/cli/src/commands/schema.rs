use clap::Args;
use miette::miette;
use refit_engine::schema;

use crate::{exit_code::ExitCode, failure::Failure, ui::Ui};

/// Arguments of `schema`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit schema > pipeline.schema.json      editors then complete and check pipeline files that begin with
                                           # yaml-language-server: $schema=pipeline.schema.json
  refit schema --kind train-lora           the parameters of one kind
  refit schema --table                     all kinds, as Markdown")]
pub(crate) struct SchemaArgs {
    /// Only the parameters of this stage kind.
    #[arg(long, value_name = "KIND", conflicts_with = "table")]
    kind: Option<String>,
    /// The stage kinds as a Markdown table.
    #[arg(long)]
    table: bool,
}

/// Prints the schema or the manual.
pub(crate) fn schema(args: &SchemaArgs, ui: Ui) -> Result<ExitCode, Failure> {
    let registry = refit_stages::registry();
    let text = if let Some(name) = &args.kind {
        let kind = registry.get(name).ok_or_else(|| {
            let known: Vec<&str> = registry.kinds().iter().map(|kind| kind.name).collect();
            let help = format!("the kinds: {}", known.join(", "));
            Failure::usage(miette!(code = "schema::unknown_kind", help = help, "there is no stage kind `{name}`"))
        })?;
        serde_json::to_string_pretty(&kind.schema())?
    } else if args.table {
        schema::kinds_table(&registry)
    } else {
        serde_json::to_string_pretty(&schema::pipeline_schema(&registry))?
    };
    ui.data(text.trim_end())?;
    Ok(ExitCode::Ok)
}
