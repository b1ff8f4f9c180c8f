use serde::Serialize;

/// Something of a dvc.yaml that is not carried over as it stands.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Remark {
    /// Where it stands, from 1.
    pub(super) line: usize,
    /// What it is.
    pub(super) what: String,
    /// Why, and what to do.
    pub(super) why: String,
}
