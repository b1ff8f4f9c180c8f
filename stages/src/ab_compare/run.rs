use refit_engine::stage::{StageError, StepContext};

use super::{
    compare::compare,
    pairing::{read_pairs, refuse_identical},
    params::AbCompareParams,
    report::{html, markdown, view},
};

pub(super) fn run(params: &AbCompareParams, step: &StepContext) -> Result<(), StageError> {
    let mut notes = Vec::new();
    let pairs = read_pairs(step, &mut notes)?;
    if !params.allow_identical {
        refuse_identical(&pairs)?;
    }
    for note in &notes {
        step.warn(note);
    }
    let compared = compare(&pairs, params, notes, step)?;
    let view = view(&compared, &pairs, params.top_rows);

    let folder = step.output_folder("comparison")?;
    let mut json = serde_json::to_vec_pretty(&compared.comparison).map_err(std::io::Error::from)?;
    json.push(b'\n');
    fs_err::write(folder.join("comparison.json"), json)?;
    fs_err::write(folder.join("report.md"), markdown(&view))?;
    let page = html(&view);
    fs_err::write(folder.join("report.html"), &page)?;
    fs_err::write(step.output("report"), page)?;

    step.fact("verdict", serde_json::to_value(compared.comparison.verdict).map_err(std::io::Error::from)?);
    Ok(())
}
