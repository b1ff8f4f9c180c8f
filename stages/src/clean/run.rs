use std::path::Path;

use rayon::prelude::*;
use refit_engine::stage::{
    ArtifactKind, InputPort, OutputPort, ParamProblem, Progress, Stage, StageError, StepContext,
};
use serde_json::json;

use super::{
    dedup::KeptRows,
    ids::{Ids, of_content},
    params::{CleanParams, OnError},
    prepare::{Candidate, Outcome, Preparation, Prepared, rejected},
    problem::{Problem, Reason},
    read::{RawRow, RowReader, Sources},
    report::{FileCounts, Report},
};
use crate::records::{Record, RecordWriter, RecordsAt, write_report};

/// Raw rows of any common shape become records.
pub struct Clean;

impl Stage for Clean {
    type Params = CleanParams;
    const KIND: &'static str = "clean";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Reads alpaca, ShareGPT, messages, preference or text rows, cleans their text, drops duplicates and removes personal data";
    const INPUTS: &'static [InputPort] = &[InputPort::required(
        "records",
        &[ArtifactKind::Records],
        "a .jsonl, .json, .csv or .tsv file, a folder of such files, or records of another stage",
    )];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort::new("records", ArtifactKind::Records, "the rows that are kept, with `report.json`"),
        OutputPort::new(
            "rejected",
            ArtifactKind::Records,
            "the rows that are left out: `meta` says `reason`, `detail`, `file`, `line`, and `raw` text or `columns`",
        ),
    ];

    fn check(params: &CleanParams) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        for (name, least, most) in [
            ("prompt", params.min_prompt_chars, params.max_prompt_chars),
            ("response", params.min_response_chars, params.max_response_chars),
        ] {
            if let (Some(least), Some(most)) = (least, most)
                && least > most
            {
                let message = format!("no {name} has at least {least} and at most {most} characters");
                problems.push(ParamProblem::new(&format!("min_{name}_chars"), message));
            }
        }
        if params.system.as_ref().is_some_and(|system| system.trim().is_empty()) {
            problems.push(ParamProblem::new("system", "the system prompt is empty").help("leave `system` out instead"));
        }
        if params.pii_keep.iter().any(|keep| keep.trim_start_matches('*').is_empty()) {
            let problem = ParamProblem::new("pii_keep", "an entry without text would keep everything");
            problems.push(problem.help("use `pii: keep` to keep everything"));
        }
        problems
    }

    fn run(params: CleanParams, step: &StepContext) -> Result<(), StageError> {
        let sources = Sources::find(step.input("records")?)?;
        let threads = step.settings().threads.max(1);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|error| {
            StageError::new("clean::no_threads", format!("{threads} threads cannot be started")).caused_by(&error)
        })?;
        let mut cleaning = Cleaning::begin(params, &sources, step)?;
        let mut done = 0;
        for (number, file) in sources.files.iter().enumerate() {
            let mut rows = RowReader::open(file, number, cleaning.params.max_line_bytes)?;
            loop {
                let batch = next_batch(&mut rows)?;
                if batch.is_empty() {
                    break;
                }
                let preparation = &cleaning.preparation;
                let prepared: Vec<Prepared> =
                    pool.install(|| batch.into_par_iter().map(|raw| preparation.prepare(raw)).collect());
                for row in prepared {
                    cleaning.take(row)?;
                }
                step.progress(Progress {
                    done: done + rows.consumed(),
                    total: sources.bytes(),
                    unit: "bytes".into(),
                    note: Some(format!("{} rows", cleaning.report.rows_read)),
                    ..Progress::default()
                });
            }
            cleaning.report.files[number].unread_bytes = file.bytes.saturating_sub(rows.consumed());
            done += file.bytes;
        }
        cleaning.end(step)
    }
}

/// Rows are prepared side by side in batches of this many rows, or bytes.
const BATCH_ROWS: usize = 1024;
const BATCH_BYTES: usize = 4 << 20;

fn next_batch(rows: &mut RowReader<'_>) -> Result<Vec<RawRow>, StageError> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < BATCH_ROWS && bytes < BATCH_BYTES {
        let Some(row) = rows.next()? else { break };
        bytes += row.body.size();
        batch.push(row);
    }
    Ok(batch)
}

/// The state of a run: everything that depends on the order of the rows.
struct Cleaning<'a> {
    params: CleanParams,
    sources: &'a Sources,
    preparation: Preparation,
    kept: KeptRows,
    ids: Ids,
    report: Report,
    records: RecordWriter,
    back: RecordsAt,
    rejected: RecordWriter,
    malformed: Vec<(usize, u64, Problem)>,
}

/// How many malformed rows an error lists.
const LISTED: usize = 10;

impl<'a> Cleaning<'a> {
    fn begin(params: CleanParams, sources: &'a Sources, step: &StepContext) -> Result<Self, StageError> {
        let kept = KeptRows::new(&params);
        let folder = step.output_folder("records")?;
        let files = sources.files.iter().map(|file| FileCounts { file: file.name.clone(), ..FileCounts::default() });
        Ok(Self {
            preparation: Preparation::new(&params, kept.banding()),
            kept,
            ids: Ids::default(),
            report: Report { files: files.collect(), ignored_files: sources.ignored.clone(), ..Report::default() },
            records: RecordWriter::create(&folder)?,
            back: RecordsAt::open(&folder)?,
            rejected: RecordWriter::create(&step.output_folder("rejected")?)?,
            malformed: Vec::new(),
            params,
            sources,
        })
    }

    fn take(&mut self, row: Prepared) -> Result<(), StageError> {
        self.report.rows_read += 1;
        self.report.files[row.file].rows += 1;
        if let Some(shape) = row.shape {
            *self.report.shapes.entry(shape).or_default() += 1;
        }
        let place = (row.file, row.line);
        match row.outcome {
            Outcome::Bad(problem, candidate, raw) => {
                if problem.reason == Reason::PersonalData {
                    self.report.count_changes(row.changes, &row.findings);
                }
                self.reject(problem, place, candidate.map(|row| *row), raw)
            }
            Outcome::Good(candidate) => {
                if let Some(original) = self.kept.find(&candidate, &mut self.records, &mut self.back)? {
                    let of = original.row.map_or_else(|| original.id.clone(), |row| format!("row {row}"));
                    let problem = match original.similarity {
                        None => Problem::new(Reason::ExactDuplicate, format!("the same as {of}")),
                        Some(alike) => Problem::new(Reason::NearDuplicate, format!("{alike:.3} like {of}")),
                    };
                    return self.reject(problem, place, Some(*candidate), String::new());
                }
                self.report.count_changes(row.changes, &row.findings);
                self.keep(*candidate, row.file, row.row)
            }
        }
    }

    fn keep(&mut self, mut row: Candidate, file: usize, number: u64) -> Result<(), StageError> {
        self.kept.keep(&row, self.records.position());
        // Another system prompt for all rows leaves their ids, by which predictions are matched.
        let own = row.id.take();
        let id = self.ids.next(own, row.said());
        // Records of another stage say themselves where they come from.
        if !row.meta.contains_key("row") {
            if self.sources.many {
                row.meta.entry("file").or_insert_with(|| self.sources.files[file].name.clone().into());
            }
            row.meta.insert("row".into(), json!(number));
        }
        self.report.count_kept(file, &row);
        self.report.system_added += u64::from(row.system_added);
        let Candidate { messages, rejected, desirable, meta, .. } = row;
        self.records.write(&Record { id, messages, rejected, desirable, meta })
    }

    fn reject(
        &mut self,
        problem: Problem,
        (file, line): (usize, u64),
        row: Option<Candidate>,
        raw: String,
    ) -> Result<(), StageError> {
        self.report.count_out(problem.reason);
        let name = &self.sources.files[file].name;
        let id = match &row {
            None => format!("{:.16}", blake3::hash(raw.as_bytes()).to_hex()),
            Some(row) => row.id.clone().unwrap_or_else(|| of_content(row.said())),
        };
        self.rejected.write(&rejected(&problem, (name, line), id, row, raw))?;
        if problem.reason.is_malformed() && self.malformed.len() < LISTED {
            self.malformed.push((file, line, problem));
        }
        Ok(())
    }

    fn end(mut self, step: &StepContext) -> Result<(), StageError> {
        let input = step.input("records")?;
        if self.params.on_error == OnError::Fail
            && let Some(error) = self.malformed_error()
        {
            return Err(error);
        }
        if self.report.rows_read == 0 {
            return Err(StageError::new("clean::no_rows", "there are no rows here")
                .at(input)
                .help("the file is empty, or holds nothing but blank lines or a header"));
        }
        self.report.take_ids(&self.ids);
        self.report.near_search_cut_short = self.kept.cut_short();
        let warnings = self.report.warnings(self.params.pii);
        if self.report.rows_kept == 0 {
            return Err(self.nothing_left(input, &warnings));
        }
        for warning in warnings {
            step.warn(warning);
        }
        step.fact("clean.rows_read", self.report.rows_read);
        step.fact("clean.rows_kept", self.report.rows_kept);
        let out = json!({
            "rows": self.report.rows_read - self.report.rows_kept,
            "malformed": self.report.malformed,
            "dropped": self.report.dropped,
        });
        write_report(&step.output("records"), &self.report)?;
        write_report(&step.output("rejected"), &out)?;
        self.records.finish()?;
        self.rejected.finish()
    }

    /// The error for the first malformed row, with the next ones listed and all counted.
    fn malformed_error(&self) -> Option<StageError> {
        let (file, line, problem) = self.malformed.first()?;
        let total: u64 = self.report.malformed.values().sum();
        let more = match total - 1 {
            0 => String::new(),
            1 => "; one more row is malformed".to_owned(),
            more => format!("; {more} more rows are malformed"),
        };
        let mut error = StageError::new("clean::malformed_row", format!("{}{more}", problem.detail))
            .at_line(&self.sources.files[*file].path, *line)
            .help(format!(
                "mend the {}, or set `on_error: skip` to leave malformed rows out (they are counted and listed in `rejected`)",
                if total == 1 { "row" } else { "rows" }
            ));
        error.causes = self.malformed[1..]
            .iter()
            .map(|(file, line, problem)| format!("{}, line {line}: {}", self.sources.files[*file].name, problem.detail))
            .collect();
        Some(error)
    }

    fn nothing_left(&self, input: &Path, warnings: &[String]) -> StageError {
        let mut error = StageError::new("clean::nothing_left", "no row is left after cleaning").at(input);
        error.causes = warnings.to_vec();
        if let Some((_, line, problem)) = self.malformed.first() {
            error = error.help(format!("the first malformed row, line {line}: {}", problem.detail));
        }
        error
    }
}
