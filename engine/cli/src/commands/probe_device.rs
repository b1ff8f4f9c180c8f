use clap::Args;

use crate::{exit_code::ExitCode, failure::Failure, ui::Ui};

/// Arguments of `probe-device`.
#[derive(Debug, Args)]
pub(crate) struct ProbeDeviceArgs {
    /// As after `--device`.
    device: String,
}

/// Opens a device in this process and prints what it is; a driver that crashes takes no other process along.
#[cfg(feature = "llm")]
pub(crate) fn probe_device(args: &ProbeDeviceArgs, ui: Ui) -> Result<ExitCode, Failure> {
    let found = refit_stages::device::find(&args.device).map_err(|error| {
        let mut said = vec![error.message];
        said.extend(error.causes);
        let report = miette::miette!(code = "device::unusable", "{}", said.join(": "));
        Failure { code: ExitCode::Engine, report }
    })?;
    ui.data(&serde_json::to_string(&found)?)?;
    Ok(ExitCode::Ok)
}

/// A build without models opens no device.
#[cfg(not(feature = "llm"))]
pub(crate) fn probe_device(args: &ProbeDeviceArgs, _ui: Ui) -> Result<ExitCode, Failure> {
    let report =
        miette::miette!(code = "device::no_models", "this refit runs no models, so not on `{}` either", args.device);
    Err(Failure { code: ExitCode::Engine, report })
}
