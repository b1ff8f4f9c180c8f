use std::path::Path;

use refit_engine::{
    graph::{Pipeline, load_text},
    spec::Override,
    stage::Registry,
};

use crate::shown;

thread_local! {
    static REGISTRY: Registry = refit_stages::registry();
}

/// Where the text is said to stand: beside the files that the fixtures name.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../engine/tests/valid/pipeline.yaml");
/// What begins a line that holds an override.
const GIVEN: &str = "# -S ";
/// Overrides beyond these are left out; each is one more walk over the tree.
const MOST_GIVEN: usize = 8;

/// Takes bytes as a pipeline file, with the overrides in its lines that begin with `# -S `.
///
/// It loads or is refused with errors that can be shown, and loading it once more does the same.
pub fn pipeline_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let overrides: Vec<Override> = text
        .lines()
        .filter_map(|line| line.strip_prefix(GIVEN))
        .take(MOST_GIVEN)
        .filter_map(|given| Override::parse(given).map_err(|error| shown(&error)).ok())
        .collect();
    let load = || REGISTRY.with(|registry| load_text(Path::new(FILE), &text, &overrides, registry));
    let (first, second) = (load(), load());
    match (&first, &second) {
        (Ok(first), Ok(second)) => {
            first.warnings.iter().for_each(|warning| drop(shown(warning)));
            assert_eq!(described(first), described(second), "loaded twice");
            assert_eq!(first.text(), text.strip_prefix('\u{feff}').unwrap_or(&text), "the text that is kept");
        }
        (Err(first), Err(second)) => {
            assert!(!first.errors().is_empty(), "refused without a reason");
            assert_eq!(shown(first), shown(second), "refused twice");
        }
        _ => panic!("it loads only once in a while"),
    }
}

/// All that a pipeline says.
fn described(pipeline: &Pipeline) -> String {
    let stages: Vec<_> = pipeline.stages.stages().collect();
    format!(
        "{:?}{:?}{:?}{:?}{:?}{:?}",
        pipeline.name, pipeline.description, pipeline.params, pipeline.sources, stages, pipeline.outputs
    )
}
