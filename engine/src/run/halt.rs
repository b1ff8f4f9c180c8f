/// Whether a run is to end before it is done. Watched by everything that waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Halt {
    /// It goes on.
    #[default]
    None,
    /// What runs is finished; nothing else starts.
    Drain,
    /// What runs is stopped as well.
    Stop,
}
