use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use refit_engine::run::Halt;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::exit_code::ExitCode;

/// Listens for Ctrl-C and TERM as long as the process lives.
pub(super) struct Signals {
    runtime: Runtime,
    halt: Arc<watch::Sender<Halt>>,
}

/// `timeout` and some shells send the same signal twice at once; only what comes later than this is a second one.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

impl Signals {
    /// The first signal ends a run in order; a second one ends the process at once, and with it its workers. When nothing
    /// runs, the first one does.
    pub(super) fn listen() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let halt = Arc::new(watch::Sender::new(Halt::None));
        let (mut ctrl_c, mut term) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let told = Arc::clone(&halt);
        runtime.spawn(async move {
            let mut first: Option<Instant> = None;
            loop {
                tokio::select! { _ = ctrl_c.recv() => {}, _ = term.recv() => {} }
                match first {
                    None if told.send(Halt::Stop).is_ok() => first = Some(Instant::now()),
                    Some(first) if first.elapsed() < SAME_SIGNAL => {}
                    None | Some(_) => std::process::exit(ExitCode::Interrupted as i32),
                }
            }
        });
        Ok(Self { runtime, halt })
    }

    /// What a run is carried out in.
    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Tells a run when it is to end.
    pub(super) fn halted(&self) -> watch::Receiver<Halt> {
        self.halt.subscribe()
    }

    /// Whether a signal came while something ran.
    pub(super) fn came(&self) -> bool {
        *self.halt.borrow() != Halt::None
    }
}
