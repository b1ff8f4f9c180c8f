//! Decoder models: weights on a device, and the forward pass made of burn operations.

mod answers;
mod attention;
mod batch;
mod bottleneck;
mod decoder;
mod forward;
mod frozen;
mod head;
mod kept;
mod linear;
mod logits;
mod noise;
mod norm;
mod planes;
mod prompts;
mod rope;
mod rows;
mod sizes;
mod table;
mod weights;

pub use answers::{Agreement, Answers, Place};
pub use batch::{Batch, Row};
pub use forward::{RowLoss, SupervisedLoss};
pub use frozen::{Quantization, WeightForm};
pub use kept::WeightsKept;
pub use linear::{DoraRows, LayerLora, LoraPair, LoraWeights};
pub use refit_checkpoint::LinearModule;
pub use rows::{OwnedRows, Rows};
pub(crate) use weights::Applied;
pub use weights::Model;

pub(crate) use attention::{AttentionShape, HIDDEN, PaddedGroup, attend, bias, capped};
pub(crate) use batch::{DeviceBatch, PaddedBatch, check_prompt, check_row, common_prefix, indices};
pub(crate) use bottleneck::{Bottleneck, LayerBottlenecks};
pub(crate) use decoder::{DecoderPass, decoder_layer};
pub(crate) use forward::{TOKENS_AT_ONCE, ids, portions, values};
pub(crate) use frozen::{Frozen, takes_halves};
pub(crate) use head::{HeadOutput, LOGITS_AT_ONCE, lm_head_loss, logits, most_likely};
pub(crate) use linear::Linear;
pub(crate) use noise::{Mask, Noise, Randomness};
pub(crate) use norm::RmsNorm;
pub(crate) use prompts::PromptBatch;
pub(crate) use sizes::Sizes;
pub(crate) use table::Table;

#[cfg(test)]
pub(crate) use head::Targets;

#[cfg(test)]
mod family_tests;
#[cfg(test)]
mod gguf_tests;
#[cfg(test)]
mod llama_cpp_tests;
#[cfg(test)]
mod sizes_tests;
#[cfg(test)]
mod tests;
