use refit_engine::stage::{StageError, StepContext};
use refit_llm::{
    adapter::{self, Adapter, LoraInit},
    train::{Objective, Preference, PreferenceLoss},
};

use super::params::TrainPreferenceParams;
use crate::{
    llm_error::llm_error,
    tokens::Rows,
    training::{LoraParams, Session, TokenPart},
};

pub(super) fn run(params: &TrainPreferenceParams, step: &StepContext) -> Result<(), StageError> {
    let session = Session::open(step, params.optimizer.gradient_checkpointing)?;
    let (config, loss) = (params.training(), params.preference_loss());
    let rows = session.train_rows()?;
    let desired = preferences(rows, &loss, &session)?;
    let held_out = session.validation_rows(&config);
    let held_out = held_out.map(|rows| Ok::<_, StageError>((rows, preferences(rows, &loss, &session)?))).transpose()?;

    let given = given_adapter(&params.lora, &session, step)?;
    let models = session.models(params.optimizer.precision(), params.optimizer.quantization)?;
    let failed = |error| llm_error(&error);
    let initial = if let Some(adapter) = &given {
        adapter.clone()
    } else {
        let lora = params.lora.config(&session.checkpoint().config().name);
        Adapter::initial(lora, models.first(), params.optimizer.seed).map_err(failed)?
    };
    let models = models.map(|model| initial.residual(&model))?;
    if loss.method.needs_reference() {
        let reference = if given.is_some() { "the model with the adapter given" } else { "the model without adapter" };
        step.fact("train.reference", reference);
    }
    // What an adapter of singular values starts from has left the base: the model without it is the two together.
    let reference = given.or_else(|| (initial.config.init == LoraInit::Pissa).then(|| initial.clone()));

    let rows = TokenPart::all(rows);
    let validation_rows = held_out.as_ref().map(|(rows, _)| TokenPart::all(*rows));
    let towards = Preference::new(&rows, desired, loss.clone(), reference.clone()).map_err(failed)?;
    let validation = match (&validation_rows, held_out) {
        (Some(rows), Some((_, desired))) => Some(Preference::new(rows, desired, loss, reference).map_err(failed)?),
        _ => None,
    };
    let validation = validation.as_ref().map(Objective::Preference);
    session.train(&models, initial, Objective::Preference(&towards), validation, &config, params)
}

/// Whether each row's answer is a desired one.
fn preferences(rows: Rows<'_>, loss: &PreferenceLoss, session: &Session<'_>) -> Result<Vec<bool>, StageError> {
    let refused = |message: &str, help: &str| {
        StageError::new("train::no_preferences", message).at(session.tokens_path()).help(help)
    };
    let known = rows.preferences().ok_or_else(|| {
        refused(
            "the tokens hold one answer to each question, and do not say what it is worth",
            "give the rows of `clean` a `rejected` answer beside the chosen one, or a `kto_tag`; `train-lora` learns answers as they are",
        )
    })?;
    if loss.method.takes_pairs() && !known.are_pairs() {
        return Err(refused(
            "the tokens hold answers with a label, not pairs of a chosen and a rejected one",
            "`loss: kto` learns from such rows",
        ));
    }
    Ok(known.desired.iter().map(|desired| *desired != 0).collect())
}

/// The adapter that the training goes on from, with the dropout of the parameters.
fn given_adapter(lora: &LoraParams, session: &Session<'_>, step: &StepContext) -> Result<Option<Adapter>, StageError> {
    let Some(folder) = step.optional_input("adapter") else { return Ok(None) };
    let config = session.checkpoint().config();
    let mut adapter = adapter::load(folder, config).map_err(|error| llm_error(&error).at(folder))?;
    session.check_template(&adapter, folder)?;
    let asked = LoraParams { dropout: 0.0, base_model_name: None, ..lora.clone() };
    let wanted = lora.config(&config.name);
    let differ = wanted.rank != adapter.config.rank
        || wanted.scale().to_bits() != adapter.config.scale().to_bits()
        || wanted.target_modules != adapter.config.target_modules;
    if differ && asked != LoraParams::default() {
        step.warn(format!(
            "`rank`, `alpha` and what else an adapter is like have no effect: the one given has the rank {}, alpha {} and its own modules",
            adapter.config.rank, adapter.config.alpha
        ));
    }
    if adapter.config.dora && lora.dropout > 0.0 {
        return Err(StageError::new(
            "train::dora_dropout",
            "the adapter given is one of DoRA, which takes no `dropout`",
        )
        .at(folder)
        .help("set `dropout` to 0"));
    }
    adapter.config.dropout = lora.dropout;
    if wanted.base_model.is_some() {
        adapter.config.base_model = wanted.base_model;
    }
    Ok(Some(adapter))
}
