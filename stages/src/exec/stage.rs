use refit_engine::stage::{
    OpenPorts, OutputDecl, OutputPlace, Outside, ParamProblem, Program, ProgramContext, ProgramStage, StageError,
};

use super::{
    check::check,
    command::arguments,
    environment::{environment, secrets},
    params::ExecParams,
};

/// Any command, with declared inputs and outputs.
pub struct Exec;

impl ProgramStage for Exec {
    type Params = ExecParams;
    const KIND: &'static str = "exec";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str =
        "Runs any command on declared inputs, and keeps its declared outputs and what it printed";
    const PORTS: OpenPorts = OpenPorts {
        inputs: "any names (any artifact); each is a variable that holds its path",
        outputs: "those of `outputs` (fit every input)",
    };

    fn check(params: &ExecParams, inputs: &[&str]) -> Vec<ParamProblem> {
        check(params, inputs)
    }

    fn outputs(params: &ExecParams) -> Vec<OutputDecl> {
        params.outputs.keys().map(OutputDecl::files).collect()
    }

    fn outside(params: &ExecParams) -> Outside {
        let passed = params.env.entries().into_iter().filter(|(_, value, _)| value.is_none());
        Outside { variables: passed.map(|(name, ..)| name.to_owned()).collect(), tools: params.all_tools() }
    }

    fn program(params: ExecParams, step: &ProgramContext<'_>) -> Result<Program, StageError> {
        let outputs: Vec<(String, OutputPlace)> = params
            .outputs
            .iter()
            .map(|(port, text)| Ok((port.clone(), OutputPlace::parse(text)?)))
            .collect::<Result<_, String>>()
            .map_err(|problem| StageError::new("exec::bad_output", problem))?;
        let mut environment = environment(&params, &outputs, step);
        let arguments = arguments(&params.run, &environment, step.folder);
        let secrets = secrets(&params, step)?;
        let links = params.place.iter().filter_map(|(port, at)| Some((at.into(), step.inputs.get(port)?.clone())));
        let links = links.collect();
        let hidden = secrets.values().map(|value| value.to_string_lossy().into_owned()).collect();
        environment.extend(secrets);
        Ok(Program { arguments, environment, secrets: hidden, outputs, links })
    }
}
