use std::path::Path;

/// A small file system of its own, unmounted at the end. None where that is not allowed.
#[derive(Debug)]
pub struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// Mounts it at a folder, which is made.
    pub fn mount(at: &'a Path, size: &str) -> Option<Self> {
        fs_err::create_dir_all(at).unwrap();
        let option = format!("size={size}");
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &option, "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }

    /// Changes it: `size=1m`, `ro`.
    pub fn remount(&self, how: &str) {
        let option = format!("remount,{how}");
        let output = std::process::Command::new("mount").args(["-o", &option]).arg(self.0).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0).output();
    }
}
