//! `ab-compare`: which of two sets of answers to the same questions is better, and how sure that is.

mod compare;
mod comparison;
mod number;
mod pairing;
mod params;
mod report;
mod run;
mod summary;

pub use comparison::{Comparison, MetricComparison};
pub use params::AbCompareParams;
use refit_engine::stage::{ArtifactKind, InputPort, OutputPort, ParamProblem, Stage, StageError, StepContext};

/// The stage kind.
pub struct AbCompare;

impl Stage for AbCompare {
    type Params = AbCompareParams;

    const KIND: &'static str = "ab-compare";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "Compares two sets of predictions on the same rows: differences with intervals, tests, a verdict, a report.";
    const INPUTS: &'static [InputPort] = &[
        InputPort::required(
            "a",
            &[ArtifactKind::Predictions],
            "the predictions to compare with, such as the base model's",
        ),
        InputPort::required(
            "b",
            &[ArtifactKind::Predictions],
            "the predictions in question, such as the tuned model's",
        ),
    ];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort::new(
            "comparison",
            ArtifactKind::Comparison,
            "folder: `comparison.json`, `report.html`, `report.md`",
        ),
        OutputPort::new("report", ArtifactKind::Report, "the HTML page by itself; opens offline"),
    ];

    fn check(params: &Self::Params) -> Vec<ParamProblem> {
        params.problems()
    }

    fn run(params: Self::Params, step: &StepContext) -> Result<(), StageError> {
        run::run(&params, step)
    }
}

#[cfg(test)]
mod tests;
