use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

/// What the system says about a file without reading it. Two equal ones, old enough, mean an unchanged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: i64,
    /// Nanoseconds since 1970; no program can set it.
    pub(crate) changed: i64,
}

/// A clock may tick this coarsely: a file can change twice within it and bear the same time.
const TICK: Duration = Duration::from_secs(2);

impl Stat {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Where the file is stored, whatever it is called.
    pub(crate) fn place(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Whether the file was touched so shortly before `now` that it could change again and bear the same times. A time
    /// in the future counts as that: either clock may be wrong.
    pub(crate) fn is_racy(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let settled = i64::try_from(now.saturating_sub(TICK).as_nanos()).unwrap_or(i64::MAX);
        self.modified.max(self.changed) >= settled
    }
}

/// Whether so long ago something became what it is. A time in the future, from a clock that was set back, is not long ago.
pub(crate) fn is_older(time: SystemTime, than: Duration) -> bool {
    SystemTime::now().duration_since(time).is_ok_and(|age| age >= than)
}

/// When the file system last noted a change: no program can set it.
pub(crate) fn changed(metadata: &Metadata) -> Option<SystemTime> {
    let seconds = u64::try_from(metadata.ctime()).ok()?;
    let nanoseconds = u32::try_from(metadata.ctime_nsec()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_that_are_well_past_are_trusted() {
        let second = 1_000_000_000;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let racy = |modified: i64, changed: i64| {
            let stat = Stat { device: 1, inode: 2, size: 3, modified: modified * second, changed: changed * second };
            stat.is_racy(now)
        };
        assert!(!racy(0, 0) && !racy(997, 997) && !racy(-5, 10));
        assert!(racy(998, 0) && racy(0, 998) && racy(1000, 1000));
        // A clock that was set back since, or a time that somebody set.
        assert!(racy(5000, 0) && racy(0, 5000));
    }
}
