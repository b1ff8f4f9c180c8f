use rustix::process::{Resource, getrlimit};

/// Bytes of memory that a process started now could come to have, as far as the system tells: what the machine has left, or
/// less where a limit holds for this process and those it starts.
pub(crate) fn available_memory() -> Option<u64> {
    let text = fs_err::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 =
        text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    let of_group =
        |name: &str| -> Option<u64> { fs_err::read_to_string(own_group()?.join(name)).ok()?.trim().parse().ok() };
    let group = of_group("memory.max").map(|limit| limit.saturating_sub(of_group("memory.current").unwrap_or(0)));
    [Some(kib * 1024), group, getrlimit(Resource::As).current].into_iter().flatten().min()
}

/// How often the kernel ended a process for want of memory, as far as each place tells: on the machine, in this process's
/// group.
pub(super) fn kills_for_memory() -> Vec<u64> {
    let group = own_group().map(|group| group.join("memory.events"));
    let places = [Some("/proc/vmstat".into()), group];
    let count = |path: std::path::PathBuf| -> Option<u64> {
        let text = fs_err::read_to_string(path).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
    };
    places.into_iter().map(|place| place.and_then(count).unwrap_or(0)).collect()
}

/// The folder of this process's control group.
fn own_group() -> Option<std::path::PathBuf> {
    let groups = fs_err::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(std::path::Path::new("/sys/fs/cgroup").join(own))
}
