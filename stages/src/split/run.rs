use std::collections::BTreeMap;

use refit_engine::stage::{
    ArtifactKind, InputPort, OutputPort, ParamProblem, Progress, Stage, StageError, StepContext,
};
use serde_json::json;

use super::{
    assign::{Share, Shortage, assign, shares},
    leakage::{self, Leaks},
    params::{GroupMode, Leakage, SplitParams},
    report::Report,
    row::{Part, Rows},
};
use crate::records::{RecordReader, RecordWriter, write_report};

/// Records become training, validation and test rows.
pub struct Split;

impl Stage for Split {
    type Params = SplitParams;
    const KIND: &'static str = "split";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "Divides records into train, validation and test, so that adding rows moves no others, and reports leakage";
    const INPUTS: &'static [InputPort] =
        &[InputPort::required("records", &[ArtifactKind::Records], "the records to divide")];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort::new("train", ArtifactKind::Records, "rows to learn from; its `report.json` is about all parts"),
        OutputPort::new("validation", ArtifactKind::Records, "rows to watch training with"),
        OutputPort::new("test", ArtifactKind::Records, "rows that training never sees"),
    ];

    fn check(params: &SplitParams) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        let given = [("train", params.train.unwrap_or(0.0)), ("validation", params.validation), ("test", params.test)];
        for (name, share) in given {
            if !share.is_finite() || share < 0.0 || (share > 1.0 && share.fract() != 0.0) {
                problems.push(
                    ParamProblem::new(name, format!("{share} is neither a fraction nor a count"))
                        .help("a fraction lies between 0 and 1, a count is a whole number"),
                );
            }
        }
        let fractions: f64 = given.iter().map(|(_, share)| *share).filter(|share| *share < 1.0).sum();
        if fractions > 1.0 + 1e-9 {
            let message = format!("the fractions add up to {fractions}, more than 1");
            problems.push(ParamProblem::new("test", message));
        }
        if params.train == Some(0.0) && params.validation == 0.0 && params.test == 0.0 {
            problems.push(ParamProblem::new("train", "no part gets any row"));
        }
        if params.group_mode == GroupMode::Each {
            if params.group_by.is_none() {
                let problem = ParamProblem::new("group_mode", "`each` divides groups, but `group_by` names none");
                problems.push(problem.help("name the column that groups the rows: `group_by: fact`"));
            } else if params.stratify_by.is_some() {
                let problem = ParamProblem::new("stratify_by", "`group_mode: each` already takes rows of every group");
                problems.push(problem.help("leave `stratify_by` out"));
            }
        }
        problems
    }

    fn run(params: SplitParams, step: &StepContext) -> Result<(), StageError> {
        let input = step.input("records")?;
        let mut rows = Rows::new(&params);
        let mut reader = RecordReader::open(input)?;
        while let Some(record) = reader.next() {
            rows.add(&record?, reader.offset());
        }
        if rows.all.is_empty() {
            return Err(StageError::new("split::no_rows", "there are no records to divide").at(reader.path()));
        }
        rows.check_columns().map_err(|error| error.at(reader.path()))?;
        let (mut parts, shortage) = assign(&rows.all, &params);
        check_sizes(&parts, &shortage, &params)?;
        let leaks = leakage::find(input, &rows.all, &parts, &params, step)?;
        if params.leakage == Leakage::Fail && !leaks.found.is_empty() {
            return Err(leaked(&leaks));
        }
        if params.leakage == Leakage::Drop {
            for &row in &leaks.found {
                parts[row] = Part::Leaked;
            }
            check_sizes(&parts, &Shortage::default(), &params)?;
        }
        let report = Report::new(&rows, &parts, &shortage, leaks, &params);
        for warning in report.warnings(&params) {
            step.warn(warning);
        }
        write(step, &parts, &report)
    }
}

/// An error when a part that was asked for is empty or too small.
fn check_sizes(parts: &[Part], shortage: &Shortage, params: &SplitParams) -> Result<(), StageError> {
    if let Some((part, missing)) = shortage.missing.first() {
        let message = format!(
            "`{}` asks for more rows than there are: {missing} are missing, {} are there in all",
            part.name(),
            parts.len()
        );
        return Err(
            StageError::new("split::too_few_rows", message).help("ask for fewer, or give a fraction such as 0.1")
        );
    }
    for (part, share) in shares(params) {
        if share.is_asked() && !parts.contains(&part) {
            let rows = parts.len();
            let message = match share {
                Share::Rest => format!("no row of {rows} is left for `train`"),
                _ => format!("`{}` came out empty: no row of {rows} fell into it", part.name()),
            };
            let name = part.name();
            return Err(StageError::new("split::empty_part", message).help(match share {
                Share::Rest => "ask less of the other parts".to_owned(),
                Share::Fraction(_) => format!(
                    "with few rows or groups give a count (`{name}: 1`), try another `seed`, or do without it (`{name}: 0`)"
                ),
                Share::Count(_) => format!("every row belongs to another part; do without it (`{name}: 0`)"),
            }));
        }
    }
    Ok(())
}

fn leaked(leaks: &Leaks) -> StageError {
    let count: u64 = leaks.rows.values().sum();
    let mut error =
        StageError::new("split::leakage", format!("{count} rows are near-duplicates of rows in another part")).help(
            "`leakage: drop` leaves them out, `dedup: near` in `clean` drops them, `group_by` keeps them together",
        );
    error.causes = leaks
        .examples
        .iter()
        .map(|leak| format!("{} `{}` is {:.3} like {} `{}`", leak.part, leak.id, leak.similarity, leak.of, leak.like))
        .collect();
    error
}

fn write(step: &StepContext, parts: &[Part], report: &Report) -> Result<(), StageError> {
    let mut writers = BTreeMap::new();
    for part in [Part::Train, Part::Validation, Part::Test] {
        let folder = step.output_folder(part.name())?;
        writers.insert(part, RecordWriter::create(&folder)?);
        match part {
            Part::Train => write_report(&folder, report)?,
            _ => write_report(&folder, &json!({ "part": part.name(), "counts": report.parts[part.name()] }))?,
        }
    }
    let input = step.input("records")?;
    for (number, (record, part)) in RecordReader::open(input)?.zip(parts).enumerate() {
        if let Some(writer) = writers.get_mut(part) {
            writer.write(&record?)?;
        }
        step.progress(Progress {
            done: number as u64 + 1,
            total: parts.len() as u64,
            unit: "rows".into(),
            note: Some("writing".into()),
            ..Progress::default()
        });
    }
    writers.into_values().try_for_each(RecordWriter::finish)
}
