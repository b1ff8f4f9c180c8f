use std::{collections::BTreeMap, path::PathBuf};

use refit_cache::{Content, Store, Tree};

use super::{Plan, Sources};
use crate::{
    graph::{InputRef, Pipeline, StageNode},
    stage::{Foreseen, Outlook},
};

impl Plan {
    /// What is known of the inputs of a stage's step before it runs. Of a source that is not here, `fetch` may know a part.
    pub fn outlook(
        &self,
        node: &StageNode,
        (pipeline, sources, store): (&Pipeline, &Sources, &Store),
        device: &str,
        fetch: &mut dyn FnMut(&str) -> Foreseen,
    ) -> Outlook {
        let mut inputs = BTreeMap::new();
        for (port, input) in &node.inputs {
            let foreseen = match input {
                InputRef::Source(name) => {
                    Some(sources.path(name).map_or_else(|| fetch(name), |path| Foreseen::Here(path.to_owned())))
                }
                InputRef::Output { stage, port } => self.foreseen(pipeline, store, stage, port),
                InputRef::Many { .. } => None,
            };
            inputs.extend(foreseen.map(|foreseen| (port.clone(), foreseen)));
        }
        Outlook::new(inputs, device)
    }

    fn foreseen(&self, pipeline: &Pipeline, store: &Store, stage: &str, port: &str) -> Option<Foreseen> {
        let step = self.step(stage)?;
        if let Some(tree) = step.outputs.get(port) {
            return Some(Foreseen::Stored(files(tree, store)));
        }
        let node = pipeline.stages.get(stage)?;
        Some(Foreseen::Later { kind: step.kind.to_owned(), with: node.params() })
    }
}

/// Where each file of a result lies; of a result that is one file, its name is empty.
pub(crate) fn files(tree: &Tree, store: &Store) -> BTreeMap<String, PathBuf> {
    match &tree.content {
        Content::File(digest) | Content::Executable(digest) => {
            BTreeMap::from([(String::new(), store.object_path(digest))])
        }
        Content::Folder(entries) => {
            entries.iter().map(|entry| (entry.path.clone(), store.object_path(&entry.digest))).collect()
        }
    }
}
