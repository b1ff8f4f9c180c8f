//! LoRA adapters: which layers they touch, their values, and PEFT's files.

mod file;
mod initial;
mod merge;
mod peft;
mod pissa;
mod target;
mod template;
mod tensors;
mod trained;

pub use file::{CONFIG_FILE, TEMPLATE_FILE, WEIGHTS_FILE, load, save};
pub use peft::{LoraConfig, LoraInit};
pub use target::TargetModules;
pub use template::AdapterTemplate;
pub use tensors::{AdaptedModule, Adapter, AdapterTensor, Part};

#[cfg(test)]
mod tests;
