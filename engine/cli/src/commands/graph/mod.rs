//! The stages and what flows between them, drawn.

mod ascii;
mod dot;
mod flow;
mod mermaid;

use clap::{Args, ValueEnum};

use self::flow::Flow;
use super::open;
use crate::{args::PipelineArgs, exit_code::ExitCode, failure::Failure, ui::Ui};

/// Arguments of `graph`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit graph pipelines/helpdesk
  refit graph --format mermaid >> README.md
  refit graph --format dot | dot -Tsvg > pipeline.svg")]
pub(crate) struct GraphArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// How to draw.
    #[arg(long, value_enum, default_value_t = Format::Ascii)]
    format: Format,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For the terminal.
    Ascii,
    /// For Markdown: a fence of its own is put around it by whoever embeds it.
    Mermaid,
    /// For Graphviz.
    Dot,
    /// For scripts.
    Json,
}

/// Draws a pipeline.
pub(crate) fn graph(args: &GraphArgs, ui: Ui) -> Result<ExitCode, Failure> {
    let pipeline = open::pipeline(&args.pipeline, ui)?;
    let flow = Flow::of(&pipeline);
    let format = if args.json { Format::Json } else { args.format };
    let drawn = match format {
        Format::Ascii => ascii::draw(&flow, |text, color| ui.paint_data(text, color)),
        Format::Mermaid => mermaid::draw(&flow),
        Format::Dot => dot::draw(&flow),
        Format::Json => serde_json::to_string(&flow)?,
    };
    ui.data(drawn.trim_end())?;
    Ok(ExitCode::Ok)
}

#[cfg(test)]
mod tests;
