use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// A control group whose processes get so much memory and no more, removed at the end.
#[derive(Debug)]
pub struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// Makes one, in the first or second version of the kernel's interface.
    ///
    /// # Errors
    /// Why this machine does not let it.
    pub fn make(mebibytes: u64) -> Result<Self, String> {
        let bytes = (mebibytes << 20).to_string();
        // What is too much would go to swap, where there is any.
        let first = Self::limited(
            Path::new("/sys/fs/cgroup/memory"),
            ("memory.limit_in_bytes", &bytes),
            ("memory.memsw.limit_in_bytes", &bytes),
        );
        first.or_else(|first| {
            let second = Self::limited(Path::new("/sys/fs/cgroup"), ("memory.max", &bytes), ("memory.swap.max", "0"));
            second.map_err(|second| format!("{first}; {second}"))
        })
    }

    fn limited(root: &Path, memory: (&str, &str), swap: (&str, &str)) -> io::Result<Self> {
        let folder = root.join(format!("refit-test-{}", std::process::id()));
        fs_err::create_dir(&folder)?;
        let group = Self(folder);
        // A file that is not there must not be made: then this is a plain folder.
        let write = |(name, text): (&str, &str)| {
            fs_err::OpenOptions::new().write(true).open(group.0.join(name))?.write_all(text.as_bytes())
        };
        write(memory)?;
        match write(swap) {
            // A kernel without swap.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        Ok(group)
    }

    /// A command that moves into the group and becomes `program`.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.0.join("cgroup.procs")).arg(program);
        command
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // It stays until its last process has quite ended.
        for _ in 0..50 {
            if fs_err::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = writeln!(io::stderr(), "{} is left behind", self.0.display());
    }
}
