//! How much memory an evaluation will need, from what is known of its inputs before it runs.

use refit_checkpoint::ModelConfig;
use refit_engine::stage::{Foreseen, MemoryEstimate, Outlook, StageError};
use refit_llm::{
    adapter, bottleneck,
    footprint::{EvaluationSizes, Footprint, Subject},
    generate::Prompt,
    model::{OwnedRows, WeightForm},
};
use serde::Deserialize;

use super::{
    EvaluateParams,
    answer::{Question, questions},
    kind::holds_predictions,
};
use crate::{
    llm_error::llm_error,
    model_error::model_error,
    predictions::PREDICTIONS_FILE,
    records::RECORDS_FILE,
    training::{LoraParams, ModelHeaders, told, unknown},
};

/// The estimate for a CPU: rows are brought into tokens to know their lengths, and every answer is taken to be as long as
/// it may be. Nothing where predictions are only scored.
pub(super) fn memory(params: &EvaluateParams, outlook: &Outlook) -> Result<Option<MemoryEstimate>, StageError> {
    if outlook.input("model").is_none() {
        return Ok(None);
    }
    if outlook.device().starts_with("wgpu") {
        return Err(unknown("what an evaluation needs is told for a CPU".into()));
    }
    let records = match outlook.input("records") {
        Some(Foreseen::Stored(files)) if files.contains_key(PREDICTIONS_FILE) => return Ok(None),
        Some(Foreseen::Here(path)) if holds_predictions(path) => return Ok(None),
        Some(Foreseen::Elsewhere { why }) => return Err(unknown(why.clone())),
        _ => outlook.file("records", RECORDS_FILE),
    };
    let records = records.ok_or_else(|| unknown("the lengths of the rows are known once the rows are made".into()))?;
    let model = ModelHeaders::open(outlook, "model")?;
    let config = model.checkpoint.config();
    let tokenizer = model.checkpoint.tokenizer().map_err(|error| {
        unknown(format!("the rows are measured by the model's tokenizer, and that is not here: {error}"))
    })?;
    let template =
        model.checkpoint.chat_template_or(params.template.as_deref()).map_err(|error| model_error(&error))?;
    let questions = questions(&records, &tokenizer, &template)?;
    let prompts: Vec<Prompt> = questions.iter().map(Question::prompt).collect();
    let rows: OwnedRows = questions.into_iter().map(Question::into_row).collect();
    let sizes = EvaluationSizes {
        form: WeightForm {
            precision: params.precision.into(),
            tiles: true,
            quantization: params.quantization.into(),
            ..WeightForm::default()
        },
        adapter: adapter_numbers(outlook, config)?,
        prompts: &prompts,
        rows: &rows,
        batch_size: params.batch_size,
        max_new_tokens: params.max_new_tokens,
        looks_for_gpu: outlook.device() != "cpu",
    };
    Ok(Some(told(&Footprint::of_evaluation(&model.checkpoint, &sizes), true)))
}

/// Numbers of the adapter: by its file, or by what is to be trained.
fn adapter_numbers(outlook: &Outlook, config: &ModelConfig) -> Result<usize, StageError> {
    match outlook.input("adapter") {
        None => Ok(0),
        Some(Foreseen::Later { kind, with }) if kind == "train-lora" || kind == "train-preference" => {
            let lora = LoraParams::deserialize(with).map_err(|error| unknown(error.to_string()))?;
            let lora = lora.config(&config.name);
            Subject::Adapter { config: &lora, copies: 0 }.values(config).map_err(|error| llm_error(&error))
        }
        Some(Foreseen::Later { kind, .. }) => {
            Err(unknown(format!("the adapter is still to be made by a stage of the kind `{kind}`")))
        }
        Some(Foreseen::Elsewhere { why }) => Err(unknown(why.clone())),
        Some(Foreseen::Here(_) | Foreseen::Stored(_)) => {
            let file =
                [adapter::WEIGHTS_FILE, bottleneck::WEIGHTS_FILE].iter().find_map(|name| outlook.file("adapter", name));
            let file = file.ok_or_else(|| unknown("the adapter has no file of weights".into()))?;
            Ok(fs_err::metadata(file)?.len() as usize / size_of::<f32>())
        }
    }
}
