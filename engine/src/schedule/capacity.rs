/// A GPU that steps can be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its number: N in `wgpu:N`.
    pub index: usize,
    /// Its memory in bytes, where that is known.
    pub memory: Option<u64>,
}

/// What there is for steps to share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Steps at a time, whatever they need.
    pub steps: usize,
    /// Processor cores.
    pub cpu: u32,
    /// Main memory in bytes; none where that is not known, which limits nothing.
    pub memory: Option<u64>,
    /// The GPUs.
    pub gpus: Vec<Gpu>,
    /// Whether what can share its work out, and says nothing of GPUs itself, has all of them (`--device wgpu:0,wgpu:1`).
    pub together: bool,
    /// Whether what can run on the cores instead of a GPU does so (`--device cpu`).
    pub on_cores: bool,
}
