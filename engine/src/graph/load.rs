use std::{
    collections::HashSet,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use miette::Severity;

use super::{Pipeline, PipelineError, PipelineErrors, lower::lower, origin::Origin};
use crate::{
    source::{Mistake, Node, Shape, SourceFile, Span, Text, TextOrigin},
    spec::{self, Override},
    stage::Registry,
};

/// What a pipeline file in a folder is called.
pub const PIPELINE_FILE: &str = "pipeline.yaml";
/// More mistakes than this are counted, not shown.
const SHOWN: usize = 50;

/// Reads a pipeline: a file, or a folder that holds `pipeline.yaml`. The overrides take the place of what the file says.
///
/// # Errors
/// Every mistake in the file and in the overrides, in the order of the text.
pub fn load(file: &FilePath, overrides: &[Override], registry: &Registry) -> Result<Pipeline, PipelineErrors> {
    let file = match pipeline_file(file) {
        Ok(file) => file,
        Err(mistake) => return Err(failed(file, vec![*mistake])),
    };
    let (source, mistakes) = SourceFile::read(&file);
    lower_source(&source, mistakes, Vec::new(), overrides, registry)
}

/// The same for a text that stands for the file at `file`.
pub fn load_text(
    file: &FilePath,
    text: &str,
    overrides: &[Override],
    registry: &Registry,
) -> Result<Pipeline, PipelineErrors> {
    load_texts(file, text, Vec::new(), overrides, registry)
}

/// The same where texts also stand for the files that it imports, in the order of [`Pipeline::imports`].
pub fn load_texts(
    file: &FilePath,
    text: &str,
    imports: Vec<Arc<str>>,
    overrides: &[Override],
    registry: &Registry,
) -> Result<Pipeline, PipelineErrors> {
    let (source, mistakes) = SourceFile::parse(file, text);
    lower_source(&source, mistakes, imports, overrides, registry)
}

fn lower_source(
    source: &SourceFile,
    mut mistakes: Vec<Mistake>,
    imports: Vec<Arc<str>>,
    overrides: &[Override],
    registry: &Registry,
) -> Result<Pipeline, PipelineErrors> {
    let mut texts = vec![pipeline_text(&source.path, source.text.clone())];
    let Some(root) = source.root().filter(|root| !root.is_null()) else {
        if mistakes.is_empty() {
            let place = Span::new(0, 0..0);
            let empty = Mistake::new("pipeline::empty", "the pipeline file is empty")
                .help("`refit new DIR` writes a commented starter");
            mistakes.push(if source.text.is_empty() {
                empty
            } else {
                empty.at(place, "nothing but comments from here on")
            });
        }
        let nothing = Arc::new(Node::new(Span::default(), Shape::Scalar(serde_json::Value::Null)));
        let origin = Origin { root: nothing, texts };
        return Err(errors(&origin, mistakes));
    };
    let (mut root, written) = (root.clone(), root.clone());
    for given in overrides {
        let (changed, text) = spec::apply(&root, given, texts.len(), &mut mistakes);
        root = changed;
        texts.push(Text { name: "-S".into(), text: text.text, origin: TextOrigin::Override });
    }
    let mut origin = Origin { root, texts };
    let file = absolute(&source.path);
    let (pipeline, warnings) = lower(&mut origin, &written, imports, &file, registry, &mut mistakes);
    match pipeline {
        Some(mut pipeline) if mistakes.is_empty() => {
            pipeline.warnings = in_order(warnings).map(|warning| origin.error(warning, Severity::Warning)).collect();
            Ok(pipeline)
        }
        _ => Err(errors(&origin, mistakes)),
    }
}

/// The file meant by a path to a file or a folder. It need not be readable.
///
/// # Errors
/// The folder holds no pipeline file.
pub(crate) fn pipeline_file(given: &FilePath) -> Result<PathBuf, Box<Mistake>> {
    if !given.is_dir() {
        return Ok(given.to_owned());
    }
    let file = given.join(PIPELINE_FILE);
    if file.is_file() {
        return Ok(file);
    }
    let others: Vec<String> = fs_err::read_dir(given)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| has_yaml_extension(name))
        .collect();
    let help = match others.as_slice() {
        [only] => format!("name the file: `{}`", given.join(only).display()),
        _ => "`refit new DIR` writes a commented starter".to_owned(),
    };
    Err(Box::new(Mistake::new("pipeline::unreadable", format!("the folder holds no `{PIPELINE_FILE}`")).help(help)))
}

fn has_yaml_extension(name: &str) -> bool {
    FilePath::new(name).extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn absolute(path: &FilePath) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn failed(file: &FilePath, mistakes: Vec<Mistake>) -> PipelineErrors {
    let nothing = Arc::new(Node::new(Span::default(), Shape::Scalar(serde_json::Value::Null)));
    errors(&Origin { root: nothing, texts: vec![pipeline_text(file, "".into())] }, mistakes)
}

fn pipeline_text(file: &FilePath, text: Arc<str>) -> Text {
    Text { name: file.display().to_string().into(), text, origin: TextOrigin::Pipeline }
}

fn errors(origin: &Origin, mistakes: Vec<Mistake>) -> PipelineErrors {
    let mut errors: Vec<PipelineError> =
        in_order(mistakes).map(|mistake| origin.error(mistake, Severity::Error)).collect();
    if errors.len() > SHOWN {
        let hidden = errors.len() - SHOWN;
        errors.truncate(SHOWN);
        let more = Mistake::new("pipeline::more_mistakes", format!("{hidden} more mistakes are not shown"));
        errors.push(origin.error(more.help("they show once some of these are mended"), Severity::Error));
    }
    PipelineErrors::new(origin.name(), errors)
}

/// In the order of the texts, each once: what stands behind an anchor is looked at for every alias.
fn in_order(mut mistakes: Vec<Mistake>) -> impl Iterator<Item = Mistake> {
    mistakes.sort_by_key(|mistake| main_span(mistake).unwrap_or_default());
    // A number that was refused has no type either.
    let refused: HashSet<Span> =
        mistakes.iter().filter(|mistake| mistake.code == "pipeline::bad_number").filter_map(main_span).collect();
    let mut seen = HashSet::new();
    mistakes.into_iter().filter(move |mistake| {
        let at = main_span(mistake);
        let follows = mistake.code != "pipeline::bad_number" && at.is_some_and(|at| refused.contains(&at));
        !follows && seen.insert((at, mistake.message.clone()))
    })
}

fn main_span(mistake: &Mistake) -> Option<Span> {
    mistake.labels.first().map(|label| label.span)
}
