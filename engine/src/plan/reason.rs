use std::fmt;

use refit_cache::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::excerpts;

/// Why a step must run. Typed, so that scripts can act on it and people can be told it in one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Reason {
    /// No run of this pipeline has ever finished a stage of this name.
    NeverRan,
    /// The stage is of another kind than last time.
    KindChanged {
        /// The kind before.
        old: String,
        /// The kind now.
        new: String,
    },
    /// refit itself computes this kind differently now.
    KindVersion {
        /// Version before.
        old: u32,
        /// Version now.
        new: u32,
    },
    /// A parameter has another value than last time.
    Parameter {
        /// Dotted path below `with`.
        path: String,
        /// The value before; none if it was not there.
        old: Option<Value>,
        /// The value now; none if it is gone.
        new: Option<Value>,
    },
    /// An input has other content than last time.
    Input {
        /// The port.
        port: String,
        /// The content before; none if the port was not wired.
        old: Option<Digest>,
        /// The content now; none if the port is no longer wired.
        new: Option<Digest>,
        /// The source or `stage.port` it comes from.
        cause: Option<String>,
    },
    /// A source has other content.
    Source {
        /// The source.
        name: String,
        /// The content before; none if it was not there.
        old: Option<Digest>,
        /// The content now.
        new: Option<Digest>,
    },
    /// A port is wired to something else.
    Rewired {
        /// The port.
        port: String,
        /// What was wired to it; none if nothing was.
        old: Option<String>,
        /// What is wired to it now.
        new: Option<String>,
    },
    /// It made other bytes than last time from the same inputs.
    NotReproduced,
    /// The pipeline has no stage of this name any more.
    Removed,
    /// Not known before an earlier stage has run; if that one reproduces the same bytes, this one is not run.
    Upstream {
        /// The stages that run first.
        stages: Vec<String>,
    },
    /// The source is not here yet, so its content is not known.
    NotFetched {
        /// The sources to fetch.
        sources: Vec<String>,
    },
    /// It ran before, but the store no longer has its result.
    OutputMissing {
        /// The object that is gone, if the record of the result is still there.
        object: Option<Digest>,
    },
    /// It ran before, but its result in the store is damaged; the damaged file was set aside.
    OutputCorrupt {
        /// What is damaged and where it lies now.
        what: String,
    },
    /// A variable that counts for the stage has another value than last time.
    Variable {
        /// Its name.
        name: String,
        /// The value before; none if it was not set, or not yet declared.
        old: Option<String>,
        /// The value now; none if it is not set, or no longer declared.
        new: Option<String>,
    },
    /// A tool that counts for the stage is another one than last time.
    Tool {
        /// Its name or path.
        name: String,
        /// The content before; none if it was not declared.
        old: Option<Digest>,
        /// The content now; none if it is no longer declared.
        new: Option<Digest>,
    },
    /// The stage says `cache: false`.
    NotCached,
    /// Something that counts for the stage cannot be had.
    Unable {
        /// One sentence.
        what: String,
    },
    /// Asked for with `--force`.
    Forced,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverRan => f.write_str("never ran"),
            Self::KindChanged { old, new } => write!(f, "kind changed: {old} → {new}"),
            Self::KindVersion { old, new } => write!(f, "kind's version changed: {old} → {new}"),
            Self::Parameter { path, old, new } => {
                let [old, new] = excerpts(old.as_ref(), new.as_ref());
                write!(f, "parameter {path}: {old} → {new}")
            }
            Self::Input { port, old, new, cause } => {
                write!(f, "input {port}: {} → {}", digest(*old), digest(*new))?;
                cause.as_ref().map_or(Ok(()), |cause| write!(f, " (from {cause})"))
            }
            Self::Source { name, old, new } => write!(f, "source {name}: {} → {}", digest(*old), digest(*new)),
            Self::Rewired { port, old, new } => {
                let from = |from: &Option<String>| from.clone().unwrap_or_else(|| "nothing".into());
                write!(f, "input {port} is wired to {}, was to {}", from(new), from(old))
            }
            Self::NotReproduced => f.write_str("made other bytes from the same inputs"),
            Self::Removed => f.write_str("no longer in the pipeline"),
            Self::Upstream { stages } => write!(f, "after {}", stages.join(", ")),
            Self::NotFetched { sources } => write!(f, "source not fetched yet: {}", sources.join(", ")),
            Self::OutputMissing { object: None } => f.write_str("result no longer in the store"),
            Self::OutputMissing { object: Some(object) } => {
                write!(f, "output missing: object {} is no longer in the store", object.short())
            }
            Self::OutputCorrupt { what } => write!(f, "output corrupt: {what}"),
            Self::Variable { name, old, new } => {
                let shown = |value: &Option<String>| {
                    value.as_ref().map_or_else(|| "not set".to_owned(), |value| format!("`{value}`"))
                };
                write!(f, "variable {name}: {} → {}", shown(old), shown(new))
            }
            Self::Tool { name, old, new } => write!(f, "tool {name}: {} → {}", digest(*old), digest(*new)),
            Self::NotCached => f.write_str("never cached (`cache: false`)"),
            Self::Unable { what } => f.write_str(what),
            Self::Forced => f.write_str("forced"),
        }
    }
}

/// All reasons in one line, the nearest first.
pub fn sentence(reasons: &[Reason]) -> String {
    const SHOWN: usize = 3;
    let mut text = reasons.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if reasons.len() > SHOWN {
        text.push_str(&format!("; … and {} more", reasons.len() - SHOWN));
    }
    text
}

fn digest(digest: Option<Digest>) -> String {
    digest.map_or_else(|| "(none)".into(), |digest| digest.short())
}
