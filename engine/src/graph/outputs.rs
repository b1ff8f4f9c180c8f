//! Lowers `outputs`: what is copied out, and that it lands where it does no harm.

use std::path::{Component, Path as FilePath, PathBuf};

use super::{
    Export, InputRef, SourceUri,
    lower::{Lowering, Sources},
};
use crate::source::{Label, Mistake, Path};

impl Lowering<'_> {
    pub(super) fn outputs(&mut self, sources: &Sources) -> Vec<Export> {
        let mut exports: Vec<Export> = Vec::new();
        let mut taken: Vec<(PathBuf, Path)> = Vec::new();
        for (to, from) in self.spec.outputs.take().unwrap_or_default() {
            let path = Path::of(&["outputs", &to]);
            let place = self.output_path(&path, &to);
            if let Some(place) = &place {
                self.check_overlap(&path, place, &taken);
                self.check_sources(&path, place, sources);
                taken.push((place.clone(), path.clone()));
            }
            let Some(resolved) = self.resolve("", &path, &from, None) else { continue };
            if let InputRef::Source(name) = &resolved.from {
                let mistake = Mistake::new(
                    "pipeline::unknown_stage",
                    format!("`{name}` is a source; only what a stage hands out is copied out"),
                )
                .with_labels(self.places.value(&path, "a source"))
                .help("write `STAGE.PORT`");
                self.mistakes.push(mistake);
            } else if let Some(to) = place {
                match resolved.from {
                    InputRef::Many { parts, .. } => exports.extend(parts.into_iter().map(|part| Export {
                        to: to.join(&part.name),
                        from: InputRef::Output { stage: part.stage, port: part.port },
                    })),
                    from => exports.push(Export { to, from }),
                }
            }
        }
        exports
    }

    /// The path without `.` and `..`, if it stays inside the folder.
    fn output_path(&mut self, path: &Path, text: &str) -> Option<PathBuf> {
        let (code, message, label) = match inside(text) {
            Ok(place) => return Some(place),
            Err(Outside::Absolute) => {
                ("pipeline::absolute_output", format!("the output path `{text}` is absolute"), "absolute")
            }
            Err(Outside::Above) => (
                "pipeline::output_outside",
                format!("the output path `{text}` leaves the pipeline's folder"),
                "leaves the folder",
            ),
            Err(Outside::Itself) => (
                "pipeline::output_outside",
                format!("the output path `{text}` is the pipeline's folder itself"),
                "the folder itself",
            ),
            Err(Outside::Reserved) => {
                ("pipeline::reserved_output", format!("the output path `{text}` belongs to refit"), "reserved")
            }
        };
        let mistake = Mistake::new(code, message)
            .with_labels(self.places.key(path, label))
            .help("write a path inside the pipeline's folder, such as `out/adapter`");
        self.mistakes.push(mistake);
        None
    }

    fn check_overlap(&mut self, path: &Path, place: &FilePath, taken: &[(PathBuf, Path)]) {
        let Some((_, first)) = taken.iter().find(|(other, _)| place.starts_with(other) || other.starts_with(place))
        else {
            return;
        };
        let same = taken.iter().any(|(other, _)| other == place);
        let message = if same { "two outputs go to the same path" } else { "one output lies inside another" };
        let labels = self.places.key(path, "this one");
        let others: Vec<Label> = self.places.key(first, "the other one");
        self.mistakes.push(
            Mistake::new("pipeline::output_conflict", message)
                .with_labels(labels)
                .with_labels(others)
                .help("give each a path of its own: an output replaces what was there"),
        );
    }

    fn check_sources(&mut self, path: &Path, place: &FilePath, sources: &Sources) {
        let target: PathBuf = self.folder.join(place);
        if target == *self.file || target.is_dir() && self.file.starts_with(&target) {
            let mistake = Mistake::new("pipeline::reserved_output", "the output would replace the pipeline file")
                .with_labels(self.places.key(path, "the pipeline file"))
                .help("write another path, such as `out/adapter`");
            self.mistakes.push(mistake);
        }
        for source in sources.values() {
            let SourceUri::Path(file) = &source.uri else { continue };
            let file = plain(file);
            let message = if target.starts_with(&file) {
                format!("the output lies in the source `{}`, which it would change", source.name)
            } else if file.starts_with(&target) {
                format!("the output would replace the source `{}`", source.name)
            } else {
                continue;
            };
            let defined = self.places.span(&Path::of(&["sources", &source.name]));
            let mistake = Mistake::new("pipeline::output_in_source", message)
                .with_labels(self.places.key(path, "this output"))
                .at(defined, "this source")
                .help("write another path, such as `out/adapter`");
            self.mistakes.push(mistake);
        }
    }
}

/// Why a path is no output's.
#[derive(Debug, PartialEq, Eq)]
enum Outside {
    Absolute,
    Above,
    Itself,
    Reserved,
}

fn inside(text: &str) -> Result<PathBuf, Outside> {
    let is_drive = text.as_bytes().get(1) == Some(&b':') && text.as_bytes()[0].is_ascii_alphabetic();
    if FilePath::new(text).is_absolute() || text.starts_with(['/', '\\', '~']) || is_drive || text.contains("://") {
        return Err(Outside::Absolute);
    }
    let mut place = PathBuf::new();
    for part in FilePath::new(text.trim()).components() {
        match part {
            Component::Normal(name) => place.push(name),
            Component::CurDir => {}
            _ if place.pop() => {}
            _ => return Err(Outside::Above),
        }
    }
    match place.components().next() {
        None => Err(Outside::Itself),
        Some(first) if first.as_os_str() == ".refit" || place == FilePath::new("refit.lock") => Err(Outside::Reserved),
        Some(_) => Ok(place),
    }
}

/// A path without `.` and `..`, by its words alone.
fn plain(path: &FilePath) -> PathBuf {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                found.pop();
            }
            Component::CurDir => {}
            other => found.push(other),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_inside_the_folder_are_taken() {
        assert_eq!(inside("out/a"), Ok("out/a".into()));
        assert_eq!(inside("./out/../b/"), Ok("b".into()));
        assert_eq!(inside("输出/适配器"), Ok("输出/适配器".into()));
        for (text, why) in [
            ("/tmp/x", Outside::Absolute),
            ("C:\\x", Outside::Absolute),
            ("\\\\host\\x", Outside::Absolute),
            ("~/x", Outside::Absolute),
            ("../x", Outside::Above),
            ("a/../../x", Outside::Above),
            (".", Outside::Itself),
            ("", Outside::Itself),
            ("a/..", Outside::Itself),
            (".refit/x", Outside::Reserved),
            ("refit.lock", Outside::Reserved),
        ] {
            assert_eq!(inside(text), Err(why), "{text}");
        }
    }
}
