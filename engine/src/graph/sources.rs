//! Lowers `sources`.

use std::path::{Path as FilePath, PathBuf};

use refit_cache::Digest;

use super::{
    SCHEMES, SourceRef, SourceUri, UriError,
    lower::{Lowering, Sources},
};
use crate::{
    source::{Mistake, Path, TextOrigin, nearest},
    spec::SourceSpec,
};

impl Lowering<'_> {
    pub(super) fn sources(&mut self) -> Sources {
        let mut sources = Sources::new();
        for (name, spec) in std::mem::take(&mut self.source_specs) {
            let path = Path::of(&["sources", &name]);
            let from = match &spec {
                SourceSpec::From(_) => path.clone(),
                SourceSpec::Pinned(_) => path.join("from"),
            };
            let digest = spec.digest().and_then(|text| self.digest(&path.join("digest"), text));
            if self.refuse_reference(&from, spec.from()) {
                continue;
            }
            if let Some(uri) = self.uri(&from, spec.from()) {
                sources.insert(name.clone(), SourceRef { name, uri, digest });
            }
        }
        sources
    }

    fn digest(&mut self, path: &Path, text: &str) -> Option<Digest> {
        let digest = text.starts_with("b3:").then(|| text.parse().ok()).flatten();
        if digest.is_none() {
            let mistake = Mistake::new("pipeline::bad_digest", format!("`{text}` is not a digest"))
                .with_labels(self.places.value(path, "no digest"))
                .help("a digest is `b3:` and 64 hexadecimal digits; `refit.lock` holds the one of each source after its first use");
            self.mistakes.push(mistake);
        }
        digest
    }

    fn uri(&mut self, path: &Path, text: &str) -> Option<SourceUri> {
        let error = match text.parse::<SourceUri>() {
            Ok(uri) => {
                let uri = uri.resolved(&self.folder_of(path));
                if let SourceUri::Path(file) = &uri {
                    self.check_file(path, text, file);
                }
                return Some(uri);
            }
            Err(error) => error,
        };
        let (label, help) = match &error {
            UriError::Empty => ("nothing is written here", "name a file beside the pipeline, or an address".to_owned()),
            UriError::Scheme(scheme) => (
                "unknown scheme",
                match (scheme.as_str(), nearest(scheme, SCHEMES)) {
                    ("http", _) => "only `https://` is taken; download the file and name its path otherwise".to_owned(),
                    ("file", _) => "write the path without `file://`".to_owned(),
                    (_, Some(meant)) => format!("did you mean `{meant}://`?"),
                    _ => "a source is a path, `hf://`, `wheel://` or `https://`".to_owned(),
                },
            ),
            UriError::Shape { form, .. } => ("no such address", format!("it looks like `{form}`")),
        };
        let mistake = Mistake::new("pipeline::bad_source", format!("{error}"))
            .with_labels(self.places.value(path, label))
            .help(help);
        self.mistakes.push(mistake);
        None
    }

    /// Where a path that is written at `path` starts: at the folder of the file it is written in.
    fn folder_of(&self, path: &Path) -> PathBuf {
        let text = self.places.texts.get(self.places.span(path).text);
        match text.map(|text| &text.origin) {
            Some(TextOrigin::Import(file)) => file.parent().unwrap_or(FilePath::new("")).to_owned(),
            _ => self.folder.clone(),
        }
    }

    fn check_file(&mut self, path: &Path, text: &str, file: &FilePath) {
        let problem = match fs_err::metadata(file) {
            Ok(_) => return,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                format!("there is no file or folder `{text}`")
            }
            Err(error) => format!("`{text}` cannot be read: {}", error.kind()),
        };
        let mistake = Mistake::new("pipeline::missing_source", problem)
            .with_labels(self.places.value(path, "not found"))
            .help(suggestion(text, file));
        self.mistakes.push(mistake);
    }
}

/// A neighbour with a similar name, or where the path was looked up.
fn suggestion(text: &str, file: &FilePath) -> String {
    if text.starts_with('~') {
        return "`~` is not replaced; write the path in full".to_owned();
    }
    if text.contains(['*', '?']) {
        return "a source is one file or one folder; patterns are not replaced".to_owned();
    }
    if text.starts_with("hf:") || text.starts_with("http") || text.starts_with("wheel:") {
        return "an address has `://` after its scheme".to_owned();
    }
    let neighbours: Vec<String> = file
        .parent()
        .and_then(|folder| fs_err::read_dir(folder).ok())
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match nearest(&name, neighbours.iter().map(String::as_str)) {
        Some(neighbour) => {
            let written = FilePath::new(text).with_file_name(neighbour);
            format!("did you mean `{}`?", written.display())
        }
        None => "paths start at the folder of the file they are written in".to_owned(),
    }
}
