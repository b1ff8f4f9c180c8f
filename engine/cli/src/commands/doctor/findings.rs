use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use refit_cache::{Store, StoreError};
use refit_fetch::FetchOptions;
use serde::Serialize;

use super::{devices::DeviceFindings, links::Links};
use crate::{environment::Environment, failure::Failure, ui::bytes};

/// What refit finds on this machine.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    version: &'static str,
    platform: String,
    cores: usize,
    devices: Vec<DeviceFindings>,
    store: StoreFindings,
    downloads: PathBuf,
    pip: Tool,
    hub: HubFindings,
    offline: bool,
}

#[derive(Debug, Serialize)]
struct StoreFindings {
    root: PathBuf,
    exists: bool,
    /// Who commits to it now.
    holder: Option<String>,
    links: Links,
    /// How results are copied out to the pipeline's folder.
    output_links: Links,
    free_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct HubFindings {
    endpoint: String,
    cache: Option<PathBuf>,
    /// Whether there is one; never the token itself.
    token: bool,
}

/// A program that refit calls.
#[derive(Debug, Serialize)]
struct Tool {
    command: String,
    /// What it says of itself.
    version: Option<String>,
    problem: Option<String>,
}

impl Findings {
    pub(super) fn look(root: &Path, outputs: &Path, environment: &Environment) -> Result<Self, Failure> {
        let fetch = environment.fetch_options();
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cores: thread::available_parallelism().map_or(1, usize::from),
            devices: DeviceFindings::look(),
            store: StoreFindings::look(root, outputs)?,
            downloads: fetch.cache.clone(),
            pip: Tool::pip(&fetch),
            hub: HubFindings { endpoint: fetch.hub.endpoint, cache: fetch.hub.cache, token: fetch.hub.token.is_some() },
            offline: fetch.offline,
        })
    }

    /// For people: what, and what was found.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let store = &self.store;
        let state = match (&store.holder, store.exists) {
            (Some(holder), _) => format!("in use by {holder}"),
            (None, true) => "free".into(),
            (None, false) => "not made yet".into(),
        };
        let free = store.free_bytes.map_or_else(|| "unknown".into(), bytes);
        let mut lines = vec![("refit", format!("{} on {}, {} cores", self.version, self.platform, self.cores))];
        lines.extend(self.devices.iter().map(|device| ("device", device.line())));
        lines.extend([
            ("store", format!("{} ({state})", store.root.display())),
            ("disk", format!("{free} free, {}", store.links.inputs_meaning())),
            ("outputs", store.output_links.outputs_meaning().into()),
            ("downloads", self.downloads.display().to_string()),
            ("pip", self.pip.line()),
            ("hub", format!("{} ({})", self.hub.endpoint, if self.hub.token { "with a token" } else { "no token" })),
            ("hub cache", self.hub.cache.as_ref().map(|cache| cache.display().to_string()).unwrap_or_default()),
            ("network", if self.offline { "offline: nothing is fetched" } else { "used to fetch sources" }.into()),
        ]);
        lines
    }
}

impl StoreFindings {
    fn look(root: &Path, outputs: &Path) -> Result<Self, Failure> {
        let store = match Store::open_existing(root) {
            Ok(store) => Some(store),
            Err(StoreError::NoStore { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let holder = store.as_ref().map(Store::holder).transpose()?.flatten().map(|holder| holder.to_string());
        // Where the store would be made, the folder above tells.
        let folder = root.ancestors().find(|folder| folder.is_dir()).unwrap_or(root);
        let free = rustix::fs::statvfs(folder).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        Ok(Self {
            root: root.to_owned(),
            exists: store.is_some(),
            holder,
            links: Links::of_inputs(folder),
            output_links: Links::of_outputs(folder, outputs),
            free_bytes: free,
        })
    }
}

impl Tool {
    /// What fetches wheels.
    fn pip(fetch: &FetchOptions) -> Self {
        let command = fetch.pip.join(" ");
        let Some((program, first)) = fetch.pip.split_first() else {
            return Self { command, version: None, problem: Some("no command is set".into()) };
        };
        match Command::new(program).args(first).arg("--version").output() {
            Ok(output) if output.status.success() => {
                let said = String::from_utf8_lossy(&output.stdout);
                // `pip 26.0 from /usr/lib/… (python 3.11)`
                let version = said.split(" from ").next().unwrap_or(&said).trim().to_owned();
                Self { command, version: Some(version), problem: None }
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                Self { command, version: None, problem: Some(said.lines().last().unwrap_or("it fails").to_owned()) }
            }
            Err(error) => Self { command, version: None, problem: Some(error.to_string()) },
        }
    }

    fn line(&self) -> String {
        match (&self.version, &self.problem) {
            (Some(version), _) => format!("{version} (`{}`)", self.command),
            (None, problem) => {
                let problem = problem.as_deref().unwrap_or("unknown");
                format!("`{}` does not work ({problem}): wheel:// sources cannot be fetched", self.command)
            }
        }
    }
}
