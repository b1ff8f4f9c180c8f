use std::fmt;

use serde::{Deserialize, Serialize};

/// What a port carries. Checked on every edge before anything runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactKind {
    /// `records.jsonl`: one conversation a line, with `report.json` beside it.
    Records,
    /// `tokens.safetensors`: ids, loss mask and row offsets of each part, with `report.json` beside it.
    Tokens,
    /// A Hugging Face folder or one GGUF file.
    Model,
    /// A LoRA adapter: `adapter_config.json`, `adapter_model.safetensors` (PEFT's names), `template.json`.
    Adapter,
    /// A bottleneck adapter, which no weights can take in: `adapter_config.json`, `adapter.safetensors` (names of the `adapters`
    /// library), `template.json`.
    Bottleneck,
    /// `metrics.json` and `signatures.json`.
    Metrics,
    /// `predictions.jsonl`: prompt, reference, prediction, loss and scores of each row.
    Predictions,
    /// `comparison.json`, `report.html`, `report.md`.
    Comparison,
    /// `history.jsonl`, `curve.png`, `curve.svg`.
    History,
    /// One file or folder for people to read.
    Report,
    /// What a command made: a file or a folder of any kind. It fits every port, as a source does.
    Files,
}

impl ArtifactKind {
    /// Whether it may be wired to a port that takes these kinds.
    pub fn fits(self, wanted: &[Self]) -> bool {
        self == Self::Files || wanted.contains(&self)
    }

    /// The name used in messages and schemas.
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Tokens => "tokens",
            Self::Model => "model",
            Self::Adapter => "adapter",
            Self::Bottleneck => "bottleneck",
            Self::Metrics => "metrics",
            Self::Predictions => "predictions",
            Self::Comparison => "comparison",
            Self::History => "history",
            Self::Report => "report",
            Self::Files => "files",
        }
    }
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
