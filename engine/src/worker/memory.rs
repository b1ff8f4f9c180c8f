use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

/// Bytes of memory that a process started now could come to have, as far as the system tells: what the machine has left, or
/// less where a limit holds for this process and those it starts.
pub(crate) fn available_memory() -> Option<u64> {
    let text = fs_err::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 =
        text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    let own = [Some(kib * 1024), getrlimit(Resource::As).current];
    own.into_iter().flatten().chain(MemoryGroup::around_this().iter().filter_map(MemoryGroup::left)).min()
}

/// How often the kernel ended a process for want of memory: of those in the innermost group of this process, which its workers
/// share, or on the whole machine where no group tells. What happened in other groups says nothing about a worker.
pub(super) fn kills_for_memory() -> u64 {
    let groups = MemoryGroup::around_this();
    let of_group = groups.iter().find_map(|group| entry(&group.kills_file(), "oom_kill"));
    of_group.or_else(|| entry(Path::new("/proc/vmstat"), "oom_kill")).unwrap_or(0)
}

/// The number of a line `NAME NUMBER`.
fn entry(file: &Path, name: &str) -> Option<u64> {
    let text = fs_err::read_to_string(file).ok()?;
    let mut words = text.lines().map(str::split_whitespace);
    words.find_map(|mut line| (line.next() == Some(name)).then(|| line.next()?.parse().ok()).flatten())
}

/// A control group that counts the memory of this process, in the first or second version of the kernel's interface.
struct MemoryGroup {
    folder: PathBuf,
    names: &'static FileNames,
}

struct FileNames {
    limit: &'static str,
    used: &'static str,
    /// Of its own processes, without those of groups inside it.
    kills: &'static str,
    /// The entry of `memory.stat` for files that the kernel can drop from memory at once.
    droppable: &'static str,
}

const FIRST: FileNames = FileNames {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    kills: "memory.oom_control",
    droppable: "total_inactive_file",
};
const SECOND: FileNames =
    FileNames { limit: "memory.max", used: "memory.current", kills: "memory.events.local", droppable: "inactive_file" };

impl MemoryGroup {
    /// The groups of this process, the innermost first.
    ///
    /// A container may see another path of its group than leads there; its outermost folder is its own group then.
    fn around_this() -> Vec<Self> {
        let text = fs_err::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut groups = Vec::new();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let (root, names) = match controllers {
                "" => ("/sys/fs/cgroup", &SECOND),
                some if some.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", &FIRST),
                _ => continue,
            };
            let inner = Path::new(path.trim_start_matches('/'));
            let folders = inner.ancestors().map(|folder| Path::new(root).join(folder));
            groups.extend(folders.filter(|at| at.is_dir()).map(|folder| Self { folder, names }));
        }
        groups
    }

    /// Bytes that its processes may still take.
    fn left(&self) -> Option<u64> {
        let number = |name| fs_err::read_to_string(self.folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let droppable = entry(&self.folder.join("memory.stat"), self.names.droppable).unwrap_or(0);
        let used = number(self.names.used).unwrap_or(0).saturating_sub(droppable);
        number(self.names.limit).map(|limit| limit.saturating_sub(used))
    }

    fn kills_file(&self) -> PathBuf {
        self.folder.join(self.names.kills)
    }
}
