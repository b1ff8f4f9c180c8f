use std::{collections::BTreeSet, path::Path};

/// The index that names the shards of the weights.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
const WEIGHTS: &str = "model.safetensors";
/// PEFT's adapters, and those of the `adapters` library, which may lie beside a head of their own.
const ADAPTERS: [&str; 2] = ["adapter_model.safetensors", "adapter.safetensors"];

/// What stands beside the weights of a model or of an adapter.
const BESIDE: [&str; 14] = [
    "adapter_config.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "template.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];

/// The files a model is made of, without its weights: no second copies in other formats, no pictures, no logs.
pub(crate) fn beside(files: &[&str]) -> Vec<String> {
    files.iter().filter(|file| BESIDE.contains(file)).map(|&file| file.to_owned()).collect()
}

/// The files that hold the weights; nothing if there are none in safetensors form.
///
/// `index` is the text of [`INDEX`], if the repository has one.
pub(crate) fn weights(files: &[&str], index: Option<&str>) -> Vec<String> {
    if let Some(shards) = index.and_then(shards) {
        return std::iter::once(INDEX.to_owned()).chain(shards).collect();
    }
    for one in std::iter::once(WEIGHTS).chain(ADAPTERS) {
        if files.contains(&one) {
            return vec![one.to_owned()];
        }
    }
    let all = files.iter().filter(|file| has_ending(file, "safetensors") && !file.contains('/'));
    all.map(|&file| file.to_owned()).collect()
}

/// The files an index names.
fn shards(index: &str) -> Option<BTreeSet<String>> {
    let index: serde_json::Value = serde_json::from_str(index).ok()?;
    let map = index.get("weight_map")?.as_object()?;
    Some(map.values().filter_map(|file| Some(file.as_str()?.to_owned())).collect())
}

/// Whether a path ends in a dot and this ending, whatever its case.
pub(crate) fn has_ending(path: &str, ending: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// Whether a path of a listing or an index stays below the folder it is put in.
pub(crate) fn is_inner(path: &str) -> bool {
    !path.is_empty()
        && !path.chars().any(|c| c.is_control() || c == '\\' || c == ':')
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPO: [&str; 9] = [
        ".gitattributes",
        "README.md",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "original/consolidated.safetensors",
        "pytorch_model.bin",
        "tokenizer.json",
    ];

    #[test]
    fn a_sharded_model_is_its_index_and_the_shards_it_names() {
        let index =
            r#"{"weight_map": {"b": "model-00002-of-00002.safetensors", "a": "model-00001-of-00002.safetensors"}}"#;
        assert_eq!(
            weights(&REPO, Some(index)),
            ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
        );
        assert_eq!(beside(&REPO), ["config.json", "tokenizer.json"]);
    }

    #[test]
    fn one_file_is_preferred_to_its_copies() {
        assert_eq!(weights(&["consolidated.safetensors", "model.safetensors"], None), ["model.safetensors"]);
        assert_eq!(weights(&["adapter_model.safetensors", "x.bin"], None), ["adapter_model.safetensors"]);
        assert_eq!(weights(&["adapter.safetensors", "model_head.safetensors"], None), ["adapter.safetensors"]);
        assert_eq!(weights(&["a.safetensors", "sub/b.safetensors"], None), ["a.safetensors"]);
        assert!(weights(&["pytorch_model.bin", "model.gguf"], None).is_empty());
    }

    #[test]
    fn a_listing_cannot_lead_out_of_its_folder() {
        for path in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a\\..\\b", "c:/x", "a\n"] {
            assert!(!is_inner(path), "{path}");
        }
        assert!(is_inner("onnx/model.onnx") && is_inner("..x/y..z"));
    }
}
