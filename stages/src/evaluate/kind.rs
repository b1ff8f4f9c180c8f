use std::path::Path;

use refit_engine::stage::{
    ArtifactKind::{Adapter, Bottleneck, Metrics, Model, Predictions, Records},
    InputPort, MemoryEstimate, Outlook, OutputPort, ParamProblem, Resource, Stage, StageError, StepContext,
};

use super::{EvaluateParams, answer, foresight, score};
use crate::predictions::{PREDICTIONS_FILE, PredictionReader};

/// The stage kind `evaluate`.
pub struct Evaluate;

impl Stage for Evaluate {
    type Params = EvaluateParams;
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 7;
    const SUMMARY: &'static str = "Lets a model answer, scores the answers, and measures the loss of the right ones";
    const INPUTS: &'static [InputPort] = &[
        InputPort::required(
            "records",
            &[Records, Predictions],
            "the questions and right answers; predictions of another tool are only scored",
        ),
        InputPort::optional("model", &[Model], "who answers; not needed for predictions"),
        InputPort::optional(
            "adapter",
            &[Adapter, Bottleneck],
            "an adapter applied to the model: of `train-lora`, `train-preference`, `train-adapter`, PEFT, or the `adapters` library",
        ),
    ];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort::new("predictions", Predictions, "question, right answer, answer, loss and scores of every row"),
        OutputPort::new("metrics", Metrics, "every metric over all rows, and how it was computed"),
    ];
    const RESOURCE: Resource = Resource::Accelerator;

    fn check(params: &EvaluateParams) -> Vec<ParamProblem> {
        params.problems()
    }

    fn memory(params: &EvaluateParams, outlook: &Outlook) -> Result<Option<MemoryEstimate>, StageError> {
        foresight::memory(params, outlook)
    }

    fn run(params: EvaluateParams, step: &StepContext) -> Result<(), StageError> {
        let records = step.input("records")?;
        let answered = if holds_predictions(records) {
            answer::read_predictions(records, step)?
        } else {
            answer::answer(&params, records, step)?
        };
        score::score(answered, params.language, step)
    }
}

/// Whether the rows already hold answers: by the artifact's file, or by what a file's first row looks like.
pub(super) fn holds_predictions(input: &Path) -> bool {
    if input.is_dir() {
        return input.join(PREDICTIONS_FILE).exists();
    }
    PredictionReader::open(input).ok().and_then(|mut rows| rows.next()).is_some_and(|row| row.is_ok())
}
