//! What a command left in its working folder, and what of it was declared.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};
use refit_cache::{Store, StoreError, StoreLock, Taken};
use walkdir::WalkDir;

use super::ProgramFolder;
use crate::stage::{OutputPlace, Program, StageError};

/// What became of the working folder.
#[derive(Debug)]
pub(crate) struct Collected {
    /// The outputs by port.
    pub(crate) outputs: BTreeMap<String, Taken>,
    /// Files that no output covers, by their paths in the working folder.
    pub(crate) undeclared: Vec<String>,
}

/// Names in a message; the rest is counted.
const SHOWN: usize = 6;

/// Takes the declared outputs into the store. While one is missing or wrong, all stay where they are.
pub(crate) fn collect(
    store: &Store,
    lock: &StoreLock,
    program: &Program,
    folder: &ProgramFolder,
) -> Result<Collected, StageError> {
    let mut taken = BTreeSet::new();
    let mut found = Vec::new();
    for (port, place) in &program.outputs {
        found.push((port, find(port, place, program, &folder.work, &mut taken)?));
    }
    let mut outputs = BTreeMap::new();
    for (port, found) in found {
        let path = match found {
            Found::Path(path) => path,
            Found::Matches { base, files } => gather(port, &base, &files, &folder.matches)?,
        };
        let taken = store.take_in(lock, &path).map_err(|error| refused(port, &error))?;
        outputs.insert(port.clone(), taken);
    }
    Ok(Collected { outputs, undeclared: files(program, &folder.work) })
}

/// Where an output lies.
enum Found {
    Path(PathBuf),
    Matches { base: PathBuf, files: Vec<String> },
}

fn find(
    port: &str,
    place: &OutputPlace,
    program: &Program,
    work: &Path,
    taken: &mut BTreeSet<String>,
) -> Result<Found, StageError> {
    let missing = |what: String| {
        let error = StageError::new("program::missing_output", what);
        error.help(match files(program, work).as_slice() {
            [] => format!("the command left no file in its folder; it writes to `${}`", port.replace('-', "_")),
            there => format!("in its folder are {}", some_of(there)),
        })
    };
    match place {
        OutputPlace::Path(path) => {
            let at = work.join(path);
            if at.symlink_metadata().is_err() {
                return Err(missing(format!(
                    "the command ended well but made no `{}` for its output `{port}`",
                    path.display()
                )));
            }
            Ok(Found::Path(at))
        }
        OutputPlace::Folder(path) => {
            let at = work.join(path);
            let is_empty = fs_err::read_dir(&at).map_or(true, |mut entries| entries.next().is_none());
            if is_empty {
                let what =
                    if at.is_dir() || at.symlink_metadata().is_err() { "left nothing in" } else { "made no folder of" };
                return Err(missing(format!(
                    "the command ended well but {what} `{}/` for its output `{port}`",
                    path.display()
                )));
            }
            Ok(Found::Path(at))
        }
        OutputPlace::Matches { base, pattern } => {
            let matcher = matcher(pattern).map_err(|what| {
                StageError::new("program::bad_pattern", format!("the pattern of the output `{port}` is none: {what}"))
            })?;
            let matching: Vec<String> =
                files(program, work).into_iter().filter(|file| is_match(&matcher, file)).collect();
            if matching.is_empty() {
                return Err(missing(format!("no file that the command made matches `{pattern}`, its output `{port}`")));
            }
            if let Some(twice) = matching.iter().find(|file| is_taken(file, program, taken)) {
                return Err(StageError::new(
                    "program::claimed_twice",
                    format!("the file `{twice}` belongs to two outputs, one of them `{port}`"),
                )
                .help("write patterns and paths that do not overlap"));
            }
            taken.extend(matching.iter().cloned());
            Ok(Found::Matches { base: base.clone(), files: matching })
        }
    }
}

/// What matches a pattern of files, or why it is none. `*` stays within one folder, `**` does not.
pub(crate) fn matcher(pattern: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| error.kind().to_string())
}

/// A pattern that matches a folder takes all in it.
fn is_match(matcher: &GlobMatcher, file: &str) -> bool {
    Path::new(file).ancestors().any(|path| !path.as_os_str().is_empty() && matcher.is_match(path))
}

fn is_taken(file: &str, program: &Program, taken: &BTreeSet<String>) -> bool {
    let by_path = program.outputs.iter().any(|(_, place)| match place {
        OutputPlace::Path(path) | OutputPlace::Folder(path) => Path::new(file).starts_with(path),
        OutputPlace::Matches { .. } => false,
    });
    by_path || taken.contains(file)
}

/// Moves what matches into a folder of its own.
fn gather(port: &str, base: &Path, files: &[String], matches: &Path) -> Result<PathBuf, StageError> {
    let folder = matches.join(port);
    fs_err::create_dir_all(&folder)?;
    let work = matches.with_file_name("work");
    for file in files {
        let from = work.join(file);
        let to = folder.join(Path::new(file).strip_prefix(base).unwrap_or(Path::new(file)));
        if let Some(above) = to.parent() {
            fs_err::create_dir_all(above)?;
        }
        if from.is_symlink() {
            // Elsewhere it would lead somewhere else; what it leads to now is what was meant.
            copy_of_link(port, &from, &to, &work)?;
        } else {
            fs_err::rename(&from, &to)?;
        }
    }
    Ok(folder)
}

fn copy_of_link(port: &str, link: &Path, to: &Path, work: &Path) -> Result<(), StageError> {
    let target = link.canonicalize().map_err(|_| refused(port, &StoreError::BrokenLink { link: link.to_owned() }))?;
    if !target.starts_with(work.canonicalize()?) {
        return Err(refused(port, &StoreError::LinkLeavesOutput { link: link.to_owned(), target }));
    }
    if target.is_dir() {
        let name = link.file_name().unwrap_or(link.as_os_str()).display();
        return Err(StageError::new(
            "program::bad_output",
            format!("the link `{name}` matches the output `{port}`, but leads to a folder"),
        )
        .help("copy the folder instead of linking it (`cp -rL`)"));
    }
    fs_err::copy(&target, to)?;
    Ok(())
}

/// All that is no folder below the working folder, but for the links that were made for the command. Sorted.
fn files(program: &Program, work: &Path) -> Vec<String> {
    let walk = WalkDir::new(work).min_depth(1).sort_by_file_name().into_iter();
    walk.filter_map(Result::ok)
        .filter(|entry| !entry.file_type().is_dir())
        .filter_map(|entry| entry.path().strip_prefix(work).ok().map(Path::to_owned))
        .filter(|path| !program.links.iter().any(|(link, _)| link == path))
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

/// `a`, `b` and 3 more.
pub(crate) fn some_of(files: &[String]) -> String {
    let shown: Vec<String> = files.iter().take(SHOWN).map(|file| format!("`{file}`")).collect();
    match files.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", shown.join(", ")),
        _ => shown.join(", "),
    }
}

/// What the store says of an output that it cannot keep, as the author of the command needs to hear it.
fn refused(port: &str, error: &StoreError) -> StageError {
    let wrong = |what: String, help: &str| StageError::new("program::bad_output", what).help(help);
    let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).display().to_string();
    match error {
        StoreError::LinkLeavesOutput { link, target } => wrong(
            format!("the link `{}` in the output `{port}` leads out of it, to {}", name(link), target.display()),
            "an output holds its own files: copy the file instead of linking it (`cp -L`)",
        ),
        StoreError::BrokenLink { link } => wrong(
            format!("the link `{}` in the output `{port}` leads nowhere or in a circle", name(link)),
            "remove it, or copy the file it was meant for",
        ),
        StoreError::NotAFile { path } => wrong(
            format!(
                "`{}` in the output `{port}` is a pipe, a socket or a device, which has no content to keep",
                name(path)
            ),
            "remove it before the command ends, or write it to `$TMPDIR`",
        ),
        StoreError::NameNotUtf8 { path } => {
            wrong(format!("the name of `{}` in the output `{port}` is not UTF-8", name(path)), "rename the file")
        }
        StoreError::PermissionDenied { path, .. } => wrong(
            format!("`{}` in the output `{port}` cannot be read", name(path)),
            "let the command make its files readable (`chmod u+r`)",
        ),
        error => in_store(error),
    }
}

/// A failure of the store while a step is carried out.
pub(crate) fn in_store(error: &StoreError) -> StageError {
    let mut made = StageError::new("cache::failed", "the store could not take or give an artifact").caused_by(error);
    made.help = miette::Diagnostic::help(error).map(|help| help.to_string());
    made
}

impl ProgramFolder {
    /// Makes what a command needs in its working folder: folders to write to, and links.
    pub(crate) fn furnish(&self, program: &Program) -> io::Result<()> {
        let make = |path: Option<&Path>| match path {
            Some(path) if !path.as_os_str().is_empty() => fs_err::create_dir_all(self.work.join(path)),
            _ => Ok(()),
        };
        for (_, place) in &program.outputs {
            make(match place {
                OutputPlace::Path(path) => path.parent(),
                OutputPlace::Folder(path) | OutputPlace::Matches { base: path, .. } => Some(path),
            })?;
        }
        for (link, to) in &program.links {
            make(link.parent())?;
            fs_err::os::unix::fs::symlink(to, self.work.join(link))?;
        }
        Ok(())
    }
}
