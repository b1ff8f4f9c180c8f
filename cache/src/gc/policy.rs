use std::time::Duration;

/// What `gc` keeps: what is pinned and the results of the newest runs always, others for a time and while there is room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcPolicy {
    /// The newest runs, whose results all stay.
    pub keep_runs: usize,
    /// Of the other runs and results, those used longer ago than this go. `None`: all of them go.
    pub older_than: Option<Duration>,
    /// If the objects still take more bytes, the least recently used of the other results go until they do not.
    pub max_size: Option<u64>,
    /// Objects and temporary files that belong to no result stay this long: whoever made them may be about to make the
    /// result, or may make it again soon and find them.
    pub grace: Duration,
    /// The folder of a killed step may hold hours of training; damaged files are evidence. Neither goes before this.
    pub forget_after: Duration,
    /// Only says what would go.
    pub dry_run: bool,
}

impl Default for GcPolicy {
    /// Keeps the results of the last 20 runs, and whatever was used in the last 30 days.
    fn default() -> Self {
        Self {
            keep_runs: 20,
            older_than: Some(Duration::from_hours(30 * 24)),
            max_size: None,
            grace: Duration::from_hours(1),
            forget_after: Duration::from_hours(7 * 24),
            dry_run: false,
        }
    }
}
