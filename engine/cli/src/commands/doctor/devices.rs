use std::{env, process::Command};

use serde::{Deserialize, Serialize};

/// What `--device` would choose.
#[derive(Debug, Serialize)]
pub(super) struct DeviceFindings {
    /// As after `--device`.
    asked: &'static str,
    found: Option<Found>,
    problem: Option<String>,
}

/// What `probe-device` prints.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    name: String,
    reason: String,
    software: bool,
}

impl DeviceFindings {
    /// Asks for the best device, and for whatever speaks wgpu, each in a process of its own: drivers crash.
    pub(super) fn look() -> Vec<Self> {
        ["auto", "wgpu"].map(Self::probe).into()
    }

    fn probe(asked: &'static str) -> Self {
        let output = env::current_exe().and_then(|refit| Command::new(refit).args(["probe-device", asked]).output());
        let (found, problem) = match output {
            Err(error) => (None, Some(error.to_string())),
            Ok(output) => match serde_json::from_slice(&output.stdout) {
                Ok(found) => (Some(found), None),
                Err(_) => (None, Some(why(&String::from_utf8_lossy(&output.stderr), &output.status.to_string()))),
            },
        };
        Self { asked, found, problem }
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

/// The sentence of the error that was shown, or else how the process ended.
fn why(said: &str, status: &str) -> String {
    let sentence = said.lines().find_map(|line| line.trim().strip_prefix("× "));
    sentence.map_or_else(|| status.to_owned(), ToOwned::to_owned)
}
