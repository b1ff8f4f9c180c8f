//! LoRA adapters: which layers they touch, their values, and PEFT's files; and adapters of any method.

mod any;
mod file;
mod initial;
mod merge;
mod peft;
mod pissa;
mod target;
mod template;
mod tensors;
mod trained;

pub use any::AnyAdapter;
pub use file::{CONFIG_FILE, TEMPLATE_FILE, WEIGHTS_FILE, load, save};
pub(crate) use file::{read_template, values_in, write_template};
pub(crate) use peft::ReadError;
pub use peft::{LoraConfig, LoraInit};
pub use target::TargetModules;
pub use template::AdapterTemplate;
pub use tensors::{AdaptedModule, Adapter, AdapterTensor, Part};

#[cfg(test)]
mod tests;
