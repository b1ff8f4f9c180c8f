use super::lora::Lora;
use crate::{LlmError, Model, adapter::Adapter};

/// What the fused pass does otherwise than the model alone.
pub struct Changes<'a> {
    pub(super) lora: Lora<'a>,
}

impl<'a> Changes<'a> {
    /// Those of an adapter.
    pub(crate) fn of_adapter(adapter: &'a Adapter, model: &Model) -> Result<Self, LlmError> {
        Ok(Self { lora: Lora::new(adapter, model.fused()?) })
    }
}
