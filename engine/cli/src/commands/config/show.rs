use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    config::{Origin, keys, names_of},
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Table, Ui},
};

/// Arguments of `config show`.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The pipeline, or any folder, whose settings are meant.
    #[arg(long, value_name = "PATH", default_value = ".", value_hint = clap::ValueHint::AnyPath)]
    of: PathBuf,
    /// Also say what each setting means and which variables set it.
    #[arg(long)]
    explain: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Shows every setting and where it comes from.
pub(super) fn show(args: &ShowArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let found = keys().iter().map(|key| (key, environment.find(&key.name)));
    if args.json {
        let all: Map<String, Value> = found
            .map(|(key, found)| {
                let (value, origin) = found
                    .map_or((Value::Null, json!({ "layer": "default" })), |(value, origin)| (value, as_json(&origin)));
                let variables: Vec<_> = names_of(&key.name).collect();
                let entry = json!({ "value": value, "from": origin, "meaning": key.meaning, "variables": variables });
                (key.name.clone(), entry)
            })
            .collect();
        ui.data(&Value::Object(all).to_string())?;
        return Ok(ExitCode::Ok);
    }
    let mut table = Table::new();
    for (key, found) in found {
        let (value, origin) = found.map_or_else(
            || (ui.paint_data("not set", "2"), String::new()),
            |(value, origin)| (plain(&value), sentence(&origin)),
        );
        table.row([key.name.clone(), value, ui.paint_data(&origin, "2")]);
    }
    ui.data(&table.text())?;
    if args.explain {
        for key in keys() {
            let variables = names_of(&key.name).collect::<Vec<_>>().join(", ");
            ui.data(&format!("\n{}\n  {}\n  {variables}", key.name, key.meaning))?;
        }
    }
    Ok(ExitCode::Ok)
}

/// A value as it is written on the command line.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn sentence(origin: &Origin) -> String {
    match origin {
        Origin::Default => "default".into(),
        Origin::Flag => "flag".into(),
        Origin::Variable(name) => format!("variable {name}"),
        Origin::File { path, line: Some(line), .. } => format!("{}:{line}", path.display()),
        Origin::File { path, line: None, .. } => path.display().to_string(),
    }
}

fn as_json(origin: &Origin) -> Value {
    match origin {
        Origin::Default => json!({ "layer": "default" }),
        Origin::Flag => json!({ "layer": "flag" }),
        Origin::Variable(name) => json!({ "layer": "variable", "variable": name }),
        Origin::File { scope, path, line } => json!({ "layer": scope.name(), "file": path, "line": line }),
    }
}
