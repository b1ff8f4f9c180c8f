//! What the kinds that train take and hand out.

use refit_engine::stage::{ArtifactKind, InputPort, OutputPort};

/// The model that an adapter is for.
pub(crate) const BASE: InputPort =
    InputPort::required("model", &[ArtifactKind::Model], "the base model; it stays as it is");

pub(crate) const TOKENS: InputPort =
    InputPort::required("tokens", &[ArtifactKind::Tokens], "what `tokenize` made with this model");

pub(crate) const BEST: OutputPort = best(ArtifactKind::Adapter);

pub(crate) const LAST: OutputPort = last(ArtifactKind::Adapter);

/// The better of the two adapters that a training hands out, of the kind that it trains.
pub(crate) const fn best(kind: ArtifactKind) -> OutputPort {
    OutputPort::new(
        "adapter",
        kind,
        "the adapter with the lowest validation loss; the last one if there are no validation rows",
    )
}

/// The last one.
pub(crate) const fn last(kind: ArtifactKind) -> OutputPort {
    OutputPort::new("last", kind, "the adapter after the last step")
}

pub(crate) const HISTORY: OutputPort = OutputPort::new(
    "history",
    ArtifactKind::History,
    "`history.jsonl` (loss, validation loss, learning rate, tokens and seconds of each step), `curve.png`, `curve.svg`",
);
