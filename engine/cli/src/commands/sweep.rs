use refit_engine::{
    graph::Pipeline,
    run::{RunReport, RunStatus},
};
use serde_json::Value;

use crate::ui::{Table, Ui, count};

/// Says how the runs of a sweep ended, one a line.
pub(super) fn tell(pipeline: &Pipeline, report: &RunReport, ui: Ui) {
    let Some(first) = report.sweep.first() else { return };
    let mut table = Table::new();
    table.row(["run", "status"].into_iter().map(str::to_owned).chain(first.values.keys().cloned()));
    for run in &report.sweep {
        let status = match run.status {
            RunStatus::Ok => ui.paint("ok", "32"),
            RunStatus::Failed => ui.paint("failed", "31"),
            RunStatus::Interrupted => ui.paint("not finished", "33"),
        };
        table.row([run.run.to_string(), status].into_iter().chain(run.values.values().map(shown)));
    }
    for line in table.lines() {
        ui.say(&line);
    }
    let each: usize = pipeline.variants.iter().map(|variant| variant.names.len()).sum();
    let saved = each.saturating_sub(pipeline.stages.len());
    if saved > 0 {
        ui.say(&format!(
            "{} in common: {} instead of {each}",
            count(report.sweep.len(), "run"),
            count(pipeline.stages.len(), "stage")
        ));
    }
    if pipeline.variants.iter().any(|variant| !variant.pipeline.outputs.is_empty()) {
        ui.say("a sweep copies nothing out; run the chosen values by themselves for that, everything is cached");
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
