use std::{path::Path, sync::Arc, time::Instant};

use refit_cache::{Store, StoreLock};
use tokio::sync::watch;

use super::{
    Halt, Observer, RunError, RunEvent, RunOptions, RunReport, RunStatus, RunSummary, attempt::Attempt,
    journal::Journal, record::RunPlan, session::Session, sharing, step::Workshop, sweep::SweepRecord, verify,
};
use crate::{
    fetch::Fetch,
    graph::Pipeline,
    plan::{LockFile, Surroundings},
    program::Warden,
    recall::Finished,
};

/// What a run works with and never changes.
pub(super) struct Scene<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) workshop: Workshop<'a>,
    pub(super) fetcher: &'a dyn Fetch,
    pub(super) halt: watch::Receiver<Halt>,
    pub(super) journal: &'a Journal<'a>,
}

impl Scene<'_> {
    /// Shows and records an event.
    pub(super) fn tell(&self, event: &RunEvent) {
        self.journal.tell(event);
    }

    pub(super) fn halt(&self) -> Halt {
        *self.halt.borrow()
    }

    /// Whether nothing more is to start.
    pub(super) fn is_halted(&self) -> bool {
        self.halt() != Halt::None
    }
}

/// Runs a pipeline and returns its report; also an interrupted run and one with a failed stage has one.
///
/// `halt` tells when the user wants the run to end; what is finished is kept. The store is let go of as soon as all is on
/// record: what is still on its way to other machines then holds nobody up.
pub async fn run(
    pipeline: &Pipeline,
    store: &Store,
    lock: StoreLock,
    fetcher: &dyn Fetch,
    options: &RunOptions,
    halt: watch::Receiver<Halt>,
    observer: &dyn Observer,
) -> Result<RunReport, RunError> {
    let begun = Instant::now();
    let started = jiff::Timestamp::now();
    let selected = options.selection.stages(pipeline)?;
    let id = store.create_run(&lock)?;
    let folder = store.run_folder(&id);
    fs_err::create_dir_all(&folder)?;
    options.labels.write_any(&folder)?;
    let sweep = SweepRecord::begin(pipeline, store, &lock, options, &id, started)?;
    let plan = RunPlan::of(pipeline, options, started);
    plan.write(pipeline, &folder)?;
    let summary = RunSummary::of(Some(&plan), None, &id);
    // Of a large pipeline it is large, and nobody needs it any more.
    drop(plan);
    let journal = Journal::begin(&folder, observer)?;

    let workshop = Workshop {
        store,
        lock: &lock,
        options,
        folder: &pipeline.folder,
        surroundings: Surroundings::new(store, Some(&lock), &pipeline.folder, options.variables.clone()),
        warden: Warden::new(&options.worker, id.as_str(), store.root()),
        spares: Arc::default(),
        run: id.clone(),
    };
    let scene = Scene { pipeline, workshop, fetcher, halt: halt.clone(), journal: &journal };
    let mut session = Session::new(&scene, &selected)?;
    session.fetch_unknown()?;
    // Every time the run starts over, an input that was damaged will have been made anew. There are only so many inputs:
    // when there were more, the disk loses what is written to it.
    let mut left: usize = pipeline.stages.stages().map(|node| node.inputs.len()).sum();
    while let Some(object) = attempt(&mut session, &folder).await? {
        left = left.saturating_sub(1);
        if left == 0 {
            return Err(RunError::StoreDecays { object });
        }
        scene.tell(&RunEvent::Replanned { object });
        session.forget_unfinished();
    }
    if options.verify {
        verify::verify(&mut session).await?;
    }
    session.sketch_sources();
    let mut report = session.report(started);
    let mut exported = Ok(());
    if report.status == RunStatus::Ok {
        exported = session.export(&mut report);
        if exported.is_err() {
            report.status = RunStatus::Failed;
        }
    }
    // Also a failed run has fetched its sources; what they were must not change before the next one.
    if let Err(error) = session.sources().lock_file().write(&LockFile::path(pipeline)) {
        scene.tell(&RunEvent::Warning { stage: None, message: error.to_string() });
    }
    report.seconds = begun.elapsed().as_secs_f64();
    sweep.end(store, &mut report)?;
    // Also a run that could not copy its results out is on record, with all that it made.
    report.write(&folder)?;
    // It is only there for speed: whoever misses it reads the report.
    let summary = summary.ended(&report);
    let _ = summary.write(&folder);
    let (sources, outputs) = (session.sources(), session.outputs());
    Finished { pipeline, options, sources, outputs: &outputs, report: &report, summary }.keep(store, &lock);
    drop(session);
    drop(scene);
    drop(lock);
    if let Some(remote) = &options.remote {
        sharing::settle(remote.as_ref(), halt, &journal).await;
    }
    exported.map(|()| report)
}

/// Goes over the plan once. A run that cannot begin for want of resources leaves no record: it was none.
async fn attempt(session: &mut Session<'_>, folder: &Path) -> Result<Option<String>, RunError> {
    let result = Attempt::new(session).run().await;
    if matches!(result, Err(RunError::Shortage { .. })) && session.is_untouched() {
        fs_err::remove_dir_all(folder)?;
    }
    result
}
