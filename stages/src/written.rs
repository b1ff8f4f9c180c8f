//! Models that stages write for other tools: what they are made of, and the proof that they answer as before.

use std::path::Path;

use refit_checkpoint::{Checkpoint, CheckpointError, FloatType, GgufType, HostTensor, Message, conversation};
use refit_engine::stage::{Progress, StageError, StepContext};
use refit_llm::{
    Device, Model,
    adapter::Adapter,
    model::{Answers, Quantization, WeightForm},
};

use crate::{
    device::{self, Devices},
    llm_error::llm_error,
    model_error::{model_error, open_model},
};

/// What a written model is asked.
const QUESTIONS: [&str; 4] = [
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Count from one to ten.",
    "用一句话介绍你自己。",
];

/// Tokens of an answer that are compared.
const ANSWER: usize = 16;

/// A weight of the base with the adapter's update added.
pub(crate) fn merged(
    checkpoint: &Checkpoint,
    adapter: Option<&Adapter>,
    name: &str,
) -> Result<HostTensor, CheckpointError> {
    let mut weight = checkpoint.tensor(name)?;
    if let Some(adapter) = adapter {
        adapter.merge_into(name, &mut weight);
    }
    Ok(weight)
}

/// Refuses to merge into a quantised base unless that was asked for.
pub(crate) fn refuse_blocks(checkpoint: &Checkpoint, dequantize: bool) -> Result<(), StageError> {
    let Some(format) = checkpoint.block_format().filter(|_| !dequantize) else { return Ok(()) };
    Err(StageError::new(
        "merge::quantized_base",
        format!("the base is quantised ({format}): an adapter cannot be added to its blocks without rounding most of it away"),
    )
    .help(
        "`dequantize: true` makes floats of the base first; or keep base and adapter apart, which loses nothing: the stage `export` \
         with `format: gguf-lora` writes what llama.cpp loads beside the base",
    ))
}

/// How exactly a model was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exactness {
    name: &'static str,
    /// The largest difference of logits that is rounding, as a share of their spread.
    bound: f64,
}

impl From<FloatType> for Exactness {
    fn from(stored: FloatType) -> Self {
        // Of SmolLM2-135M-Instruct written as GGUF, 0, 1.5e-3 and 9e-3 were found, and with blocks of eight and four bits 4.1e-2 and
        // 5.4e-1 (a test of `tests/it/export.rs` finds the last two again); as a folder up to 4e-3 and 3e-2. Two models that have
        // nothing to do with each other are off by 1.4.
        match stored {
            FloatType::F32 => Self { name: "f32", bound: 1e-3 },
            FloatType::F16 => Self { name: "f16", bound: 1e-2 },
            FloatType::Bf16 => Self { name: "bf16", bound: 8e-2 },
        }
    }
}

impl From<GgufType> for Exactness {
    fn from(kept: GgufType) -> Self {
        match kept {
            GgufType::Float(stored) => stored.into(),
            GgufType::Q8_0 => Self { name: "q8_0", bound: 0.15 },
            GgufType::Q4_0 => Self { name: "q4_0", bound: 1.0 },
        }
    }
}

/// What a base, with its adapter, answers.
pub(crate) struct Proof<'a> {
    answers: Answers,
    prompts: Vec<Vec<u32>>,
    devices: Devices<'a>,
}

impl<'a> Proof<'a> {
    /// Lets the model answer.
    pub(crate) fn of(
        checkpoint: &Checkpoint,
        adapter: Option<&Adapter>,
        step: &'a StepContext,
    ) -> Result<Self, StageError> {
        let devices = device::select(step)?;
        tell(step, 0, "answering before");
        let prompts = prompts(checkpoint)?;
        let mut model = load(checkpoint, devices.first())?;
        if let Some(adapter) = adapter {
            model = model.with(adapter).map_err(|error| llm_error(&error))?;
        }
        let answers = Answers::of(&model, &prompts, ANSWER).map_err(|error| llm_error(&error))?;
        tell(step, 1, "writing");
        Ok(Self { answers, prompts, devices })
    }

    /// Lets what was written answer the same and compares.
    pub(crate) fn hold_against(
        &self,
        written: &Path,
        exactness: Exactness,
        step: &StepContext,
    ) -> Result<(), StageError> {
        tell(step, 2, "answering after");
        let written = open_model(written)?;
        if let Some(question) = prompts(&written)?.iter().zip(&self.prompts).position(|(found, before)| found != before)
        {
            return Err(StageError::new(
                "written::other_tokens",
                format!("the tokenizer that was written cuts \"{}\" into other tokens", QUESTIONS[question]),
            )
            .help("this format cannot say how this tokenizer works: try `format: huggingface`; nothing was kept"));
        }
        let found = load(&written, self.devices.first())?;
        let Exactness { name, bound } = exactness;
        let agreement = self.answers.compare(&found).map_err(|error| llm_error(&error))?;
        step.fact("written.type", name);
        step.fact("written.logit_difference", agreement.difference);
        step.fact("written.same_tokens", format!("{} of {}", agreement.same, agreement.places));
        tell(step, 3, "compared");
        let differs = |what: String| {
            StageError::new(
                "written::answers_differently",
                format!("the model that was written answers differently: {what}"),
            )
            .help("this is a defect, or the type is too coarse for this model: try `type: f32`; nothing was kept")
        };
        if agreement.difference.is_nan() || agreement.difference > bound {
            return Err(differs(format!(
                "its logits are off by {:.2e} of their spread, and {name} explains {bound:.0e}",
                agreement.difference
            )));
        }
        match agreement.contradiction {
            None => Ok(()),
            Some(place) => Err(differs(format!(
                "token {} of the answer to \"{}\" is another one, which is not explained by the difference of the logits",
                place.token + 1,
                QUESTIONS[place.prompt]
            ))),
        }
    }
}

/// The questions in the model's own template, if it has one.
fn prompts(checkpoint: &Checkpoint) -> Result<Vec<Vec<u32>>, StageError> {
    let tokenizer = checkpoint.tokenizer().map_err(|error| model_error(&error))?;
    let template = checkpoint.chat_template().ok();
    let prompt = |question: &&str| match &template {
        Some(template) => conversation::prompt(&tokenizer, template, &[Message::new("user", question)]),
        None => tokenizer.encode(question),
    };
    let prompts = QUESTIONS.iter().map(prompt).collect::<Result<Vec<_>, _>>();
    prompts.map_err(|error| model_error(&error))
}

fn load(checkpoint: &Checkpoint, device: &Device) -> Result<Model, StageError> {
    let form = WeightForm { quantization: Quantization::Keep, ..WeightForm::default() };
    Model::load_as(checkpoint, device, form).map_err(|error| llm_error(&error))
}

fn tell(step: &StepContext, done: u64, note: &str) {
    step.progress(Progress { done, total: 3, unit: "parts".into(), note: Some(note.into()), ..Progress::default() });
}
