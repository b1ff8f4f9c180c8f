use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// Between asking a process group to end and ending it, unless the stage says otherwise.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// All processes that a step's process started, unless they left the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ProcessGroup(Pid);

impl ProcessGroup {
    /// The group that a process leads.
    pub(crate) fn led_by(process: u32) -> Option<Self> {
        // The numbers 0 and 1 would mean other processes than those of a step.
        Pid::from_raw(process.cast_signed()).filter(|pid| pid.as_raw_nonzero().get() > 1).map(Self)
    }

    /// The number of the process that leads it.
    pub(crate) fn number(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    /// Asks all of them to end.
    pub(crate) fn ask_to_end(self) {
        self.signal(Signal::TERM);
    }

    /// Ends all of them.
    pub(crate) fn end(self) {
        self.signal(Signal::KILL);
    }

    fn signal(self, signal: Signal) {
        // It may have ended by itself in the meantime.
        let _ = kill_process_group(self.0, signal);
    }
}
