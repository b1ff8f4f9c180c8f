//! Which kernels are the fastest ones on an adapter, kept from one process to the next.
//!
//! There are several kernels for a product or a sum, and the runtime tries all of them when it first meets a shape: seconds
//! for each. It remembers what it found in memory (the crate `no-database` says why), which is filled here from a file and
//! written back. A file is of one adapter, one driver and one version; another one tries again. Deleting it costs time only.

mod choices;
mod file;
mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::path::{Path, PathBuf};

use choices::Choices;
use file::{Read, path, read, write};
pub(super) use table::Table;

use super::Selected;
use crate::LlmError;

/// What earlier processes found out about the kernels of the devices of this one, and what it finds out itself.
#[derive(Debug)]
pub struct KernelMemory {
    folder: PathBuf,
    /// The runtime's table of each adapter, and what was known of it.
    tables: Vec<(Table, Choices)>,
}

/// How many choices among kernels were known, and how many had to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelsKept {
    /// Known from earlier processes, whether or not they were asked for.
    pub remembered: usize,
    /// Found by trying the kernels.
    pub tried: usize,
}

impl KernelMemory {
    /// Lets the runtime know what files of this folder say of devices that have not computed yet. Nothing if all of them are
    /// CPUs. A file that cannot be used is told of, and replaced later.
    pub fn recall(folder: &Path, devices: &[Selected], mut warn: impl FnMut(String)) -> Option<Self> {
        let recall = |table: &Table| {
            let known = match read(folder, &table.of) {
                Read::Nothing => Choices::default(),
                Read::Choices(known) => known,
                Read::Unusable(reason) => {
                    warn(format!(
                        "{} says nothing about the fastest kernels ({reason}); they are tried again, and it is replaced",
                        path(folder, &table.of).display()
                    ));
                    Choices::default()
                }
            };
            table.fill(&known);
            (table.clone(), known)
        };
        let tables: Vec<_> = devices.iter().filter_map(|device| device.kernels.as_ref()).map(recall).collect();
        (!tables.is_empty()).then(|| Self { folder: folder.to_owned(), tables })
    }

    /// Writes down what was found since.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn keep(&self) -> Result<KernelsKept, LlmError> {
        let mut kept = KernelsKept { remembered: 0, tried: 0 };
        for (table, known) in &self.tables {
            let new = table.choices().without(known);
            kept.remembered += known.len();
            kept.tried += new.len();
            if new.len() > 0 {
                // What another process has written meanwhile stays.
                let mut all = match read(&self.folder, &table.of) {
                    Read::Choices(there) => there,
                    Read::Nothing | Read::Unusable(_) => known.clone(),
                };
                all.add(new);
                write(&self.folder, &table.of, &all)?;
            }
        }
        Ok(kept)
    }
}
