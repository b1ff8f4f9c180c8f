//! Mistakes in the parameters of a command that a schema cannot express.

use std::collections::BTreeMap;

use refit_engine::{
    source::{did_you_mean, list},
    spec::is_name,
    stage::{OutputPlace, ParamProblem},
};

use super::{
    command::{Piece, pieces},
    environment::{GIVEN, OWN, is_variable, variable},
    params::{Command, ExecParams},
};

/// The variable that leads to the pipeline's folder.
const FOLDER: &str = "REFIT_FOLDER";

/// All of them.
pub(super) fn check(params: &ExecParams, inputs: &[&str]) -> Vec<ParamProblem> {
    let mut problems = Vec::new();
    outputs(params, &mut problems);
    places(params, inputs, &mut problems);
    let variables = variables(params, inputs, &mut problems);
    command(params, &variables, &mut problems);
    unseen(params, &mut problems);
    for (at, tool) in params.tools.iter().enumerate().filter(|(_, tool)| tool.is_empty()) {
        problems.push(ParamProblem::new("tools", format!("`{tool}` is no tool's name")).below(at.to_string()));
    }
    problems
}

/// What a command reads beside its inputs changes no key unless it is a tool.
fn unseen(params: &ExecParams, problems: &mut Vec<ParamProblem>) {
    let names_folder = match &params.run {
        Command::Shell(text) => text.contains(FOLDER),
        Command::Arguments(arguments) => arguments.iter().any(|argument| argument.contains(FOLDER)),
    };
    if names_folder && !params.tools.iter().any(|tool| tool.contains('/')) {
        let message =
            format!("files that the command reaches by `${FOLDER}` may change and its result is still the old one");
        problems.push(
            ParamProblem::warning("run", message)
                .help("name a script under `tools: [./script.py]`, and data as a source and an input"),
        );
    }
}

/// Every output has a place of its own.
fn outputs(params: &ExecParams, problems: &mut Vec<ParamProblem>) {
    let mut taken: Vec<(&str, OutputPlace)> = Vec::new();
    for (port, text) in &params.outputs {
        let problem = |message: String| ParamProblem::new("outputs", message).below(port);
        let place = match OutputPlace::parse(text) {
            Ok(place) => place,
            Err(message) => {
                problems.push(problem(message).help(
                    "write a path in the command's folder: `out.txt`, `parts/`, or a pattern such as `**/*.csv`",
                ));
                continue;
            }
        };
        let is_path = |place: &OutputPlace| !matches!(place, OutputPlace::Matches { .. });
        let other = taken
            .iter()
            .filter(|(_, other)| is_path(other) && is_path(&place))
            .find(|(_, other)| other.path().starts_with(place.path()) || place.path().starts_with(other.path()));
        if let Some((other, _)) = other {
            problems.push(
                problem(format!("the outputs `{other}` and `{port}` lie in each other"))
                    .help("give each a path of its own: a file belongs to one output"),
            );
        }
        taken.push((port, place));
    }
}

/// An input that has a fixed place is wired, and its place is free.
fn places(params: &ExecParams, inputs: &[&str], problems: &mut Vec<ParamProblem>) {
    let mut taken: Vec<(&str, OutputPlace)> = Vec::new();
    for (port, text) in &params.place {
        let problem = |message: String| ParamProblem::new("place", message).below(port);
        if !inputs.contains(&port.as_str()) {
            let help = did_you_mean(port, inputs.iter().copied()).unwrap_or_else(|| match inputs {
                [] => "wire it under `inputs`".to_owned(),
                some => format!("its inputs are {}", list(some.iter().copied())),
            });
            problems.push(problem(format!("the stage has no input `{port}`")).help(help));
        }
        match OutputPlace::parse(text) {
            Ok(place @ (OutputPlace::Path(_) | OutputPlace::Folder(_))) => {
                let inside = |other: &OutputPlace| {
                    other.path().starts_with(place.path()) || place.path().starts_with(other.path())
                };
                if let Some((other, _)) = taken.iter().find(|(_, other)| inside(other)) {
                    problems.push(problem(format!("the inputs `{other}` and `{port}` would lie in each other")));
                }
                let declared = params.outputs.iter().find(|(_, text)| {
                    matches!(OutputPlace::parse(text), Ok(output @ (OutputPlace::Path(_) | OutputPlace::Folder(_))) if inside(&output))
                });
                if let Some((output, _)) = declared {
                    problems
                        .push(problem(format!("the input `{port}` would lie where the output `{output}` is expected")));
                }
                taken.push((port, place));
            }
            Ok(OutputPlace::Matches { .. }) => problems.push(problem(format!("`{text}` is a pattern, not a path"))),
            Err(message) => {
                problems.push(problem(message).help("write a path in the command's folder: `data/rows.csv`"));
            }
        }
    }
}

/// The names of all variables, each of which means one thing.
fn variables(params: &ExecParams, inputs: &[&str], problems: &mut Vec<ParamProblem>) -> BTreeMap<String, String> {
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let mut add = |name: String, what: String, problem: &dyn Fn(String) -> ParamProblem| {
        let own = GIVEN.contains(&name.as_str()) || name.starts_with(OWN);
        let may_replace = what.starts_with("the variable") && !name.starts_with(OWN);
        if !is_variable(&name) {
            let help = "letters of the English alphabet, digits, `-` and `_` may be in it, and no digit comes first";
            problems.push(problem(format!("{what} cannot be a variable")).help(help));
        } else if own && !may_replace {
            problems.push(
                problem(format!("{what} would take the place of refit's own variable `{name}`"))
                    .help("choose another name"),
            );
        } else if let Some(other) = taken.get(&name) {
            problems.push(
                problem(format!("{what} and {other} would be the same variable `{name}`")).help("rename one of them"),
            );
        }
        taken.entry(name).or_insert(what);
    };
    // What is no name at all is said to be none by the engine.
    for &port in inputs.iter().filter(|port| is_name(port)) {
        add(variable(port), format!("the input `{port}`"), &|message| ParamProblem::input(port, message));
    }
    for port in params.outputs.keys() {
        add(variable(port), format!("the output `{port}`"), &|message| {
            ParamProblem::new("outputs", message).below(port)
        });
    }
    for (name, _, at) in params.env.entries() {
        add(name.to_owned(), format!("the variable `{name}`"), &|message| ParamProblem::new("env", message).below(&at));
    }
    for (at, name) in params.secrets.iter().enumerate() {
        add(name.clone(), format!("the secret `{name}`"), &|message| {
            ParamProblem::new("secrets", message).below(at.to_string())
        });
    }
    for name in GIVEN {
        taken.entry(name.to_owned()).or_default();
    }
    taken
}

/// A shell says itself which variables it lacks.
fn command(params: &ExecParams, variables: &BTreeMap<String, String>, problems: &mut Vec<ParamProblem>) {
    let Command::Arguments(arguments) = &params.run else {
        if let Command::Shell(script) = &params.run
            && script.contains('\0')
        {
            problems.push(ParamProblem::new("run", "the command holds a NUL"));
        }
        return;
    };
    for (at, argument) in arguments.iter().enumerate() {
        let problem = |message: String| ParamProblem::new("run", message).below(at.to_string());
        if argument.contains('\0') {
            problems.push(problem("the argument holds a NUL".to_owned()));
        }
        for piece in pieces(argument) {
            let Piece::Variable(name) = piece else { continue };
            if params.secrets.iter().any(|secret| secret == name) {
                problems.push(
                    problem(format!("the secret `{name}` would show in the list of processes"))
                        .help("let the program read the variable itself"),
                );
            } else if !variables.contains_key(name) {
                let meant = did_you_mean(
                    &format!("${name}"),
                    variables.keys().map(|name| format!("${name}")).collect::<Vec<_>>().iter().map(String::as_str),
                );
                let help = meant.unwrap_or_else(|| {
                    format!("wire it, or declare it under `env`; for a plain dollar sign write `$${name}`")
                });
                problems.push(problem(format!("there is no variable `{name}`")).help(help));
            }
        }
    }
}
