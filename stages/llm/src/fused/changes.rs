use super::lora::Lora;
use crate::adapter::Adapter;

/// What the fused pass does otherwise than the model alone.
pub struct Changes<'a> {
    pub(super) lora: Lora<'a>,
}

impl<'a> Changes<'a> {
    /// Those of an adapter of a model with so many layers.
    pub(crate) fn of_adapter(adapter: &'a Adapter, layers: usize) -> Self {
        Self { lora: Lora::new(adapter, layers) }
    }
}
