use serde::Serialize;

use crate::machine::{self, FoundDevice};

/// What `--device` would choose.
#[derive(Debug, Serialize)]
pub(super) struct DeviceFindings {
    /// As after `--device`.
    asked: &'static str,
    found: Option<FoundDevice>,
    problem: Option<String>,
}

impl DeviceFindings {
    /// Asks for the best device, and for whatever speaks wgpu.
    pub(super) fn look() -> Vec<Self> {
        ["auto", "wgpu"].map(Self::probe).into()
    }

    fn probe(asked: &'static str) -> Self {
        match machine::probe(asked) {
            Ok(found) => Self { asked, found: Some(found), problem: None },
            Err(problem) => Self { asked, found: None, problem: Some(problem) },
        }
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let answer = match (&self.found, &self.problem) {
            (Some(found), _) => {
                let software = if found.software { ", computed on the CPU" } else { "" };
                format!("{}{software} ({})", found.name, found.reason)
            }
            (None, Some(problem)) => format!("none ({problem})"),
            (None, None) => "none".into(),
        };
        format!("{}: {answer}", self.asked)
    }
}
