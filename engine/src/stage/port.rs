use std::borrow::Cow;

use super::ArtifactKind;

/// A place where a stage takes an artifact in.
#[derive(Debug, Clone, Copy)]
pub struct InputPort {
    /// The name under `inputs:`.
    pub name: &'static str,
    /// Any of these kinds fits.
    pub kinds: &'static [ArtifactKind],
    /// Whether the stage cannot run without it.
    pub required: bool,
    /// Whether it takes several artifacts at once, which arrive as one folder with an entry each.
    pub many: bool,
    /// One line for the manual.
    pub doc: &'static str,
}

impl InputPort {
    /// A port that must be wired.
    pub const fn required(name: &'static str, kinds: &'static [ArtifactKind], doc: &'static str) -> Self {
        Self { name, kinds, required: true, many: false, doc }
    }

    /// A port that may be left out.
    pub const fn optional(name: &'static str, kinds: &'static [ArtifactKind], doc: &'static str) -> Self {
        Self { name, kinds, required: false, many: false, doc }
    }

    /// The same port, which also takes several artifacts at once.
    #[must_use]
    pub const fn many(mut self) -> Self {
        self.many = true;
        self
    }
}

/// What a stage hands out under one name: one file or one folder.
#[derive(Debug, Clone, Copy)]
pub struct OutputPort {
    /// The name after the dot in `stage.port`.
    pub name: &'static str,
    /// The kind of artifact.
    pub kind: ArtifactKind,
    /// One line for the manual.
    pub doc: &'static str,
}

impl OutputPort {
    /// An output; every step of the kind writes all of them.
    pub const fn new(name: &'static str, kind: ArtifactKind, doc: &'static str) -> Self {
        Self { name, kind, doc }
    }
}

/// Ports that a stage's author names: every input name may be wired, and the outputs follow from the parameters.
#[derive(Debug, Clone, Copy)]
pub struct OpenPorts {
    /// One line for the manual on what may be wired.
    pub inputs: &'static str,
    /// One line for the manual on where the outputs are declared.
    pub outputs: &'static str,
}

/// An output that a stage of a pipeline hands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputDecl {
    /// The name after the dot in `stage.port`.
    pub name: Cow<'static, str>,
    /// The kind of artifact.
    pub kind: ArtifactKind,
}

impl OutputDecl {
    /// An output that the stage's author named.
    pub fn files(name: impl Into<String>) -> Self {
        Self { name: Cow::Owned(name.into()), kind: ArtifactKind::Files }
    }
}

impl From<&OutputPort> for OutputDecl {
    fn from(port: &OutputPort) -> Self {
        Self { name: Cow::Borrowed(port.name), kind: port.kind }
    }
}

/// What a step occupies while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// One of the `-j` slots.
    Cpu,
    /// One of the `-j` slots and the accelerator, which only one step holds at a time.
    /// Without a GPU the CPU's cores are the accelerator.
    Accelerator,
    /// As before, and it shares its work out to several GPUs where `--device` names them together.
    Accelerators,
}
