//! A Hugging Face folder: `config.json`, one or several safetensors files, tokenizer and template beside them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    BlockFormat, CheckpointError, HostTensor, ModelConfig, StoredTensor,
    config::HfConfig,
    numbers::NumberFormat,
    safetensor::{RawTensor, SafetensorFile},
};

/// A model in Hugging Face's layout.
#[derive(Debug)]
pub(crate) struct HfFolder {
    path: PathBuf,
    files: Vec<SafetensorFile>,
    /// Which of the files holds a tensor.
    tensors: BTreeMap<String, usize>,
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

impl HfFolder {
    pub(crate) fn open(path: &Path) -> Result<(Self, ModelConfig), CheckpointError> {
        let folder = Self { path: path.to_owned(), files: Vec::new(), tensors: BTreeMap::new() };
        let config_path = path.join("config.json");
        let config_text = folder.read("config.json")?.ok_or_else(|| {
            CheckpointError::new("model::no_config", "the folder holds no config.json, so it is not a model")
                .with_help(
                    "a model is a Hugging Face folder (config.json, *.safetensors, tokenizer.json) or one GGUF file",
                )
                .at(path)
        })?;
        let generation = folder.read("generation_config.json")?;
        let config = HfConfig::parse(&config_text)
            .and_then(|config| config.lower(generation.as_deref()))
            .map_err(|error| error.at(&config_path))?;
        Ok((folder.open_weights()?, config))
    }

    fn open_weights(mut self) -> Result<Self, CheckpointError> {
        let index_path = self.path.join(INDEX);
        match self.read(INDEX)? {
            Some(text) => {
                let index: ShardIndex = serde_json::from_str(&text).map_err(|cause| {
                    CheckpointError::new("safetensors::bad_index", "the index of the weight files cannot be read")
                        .caused_by(cause)
                        .at(&index_path)
                })?;
                self.open_shards(&index, &index_path)?;
            }
            None if self.path.join(SINGLE).exists() => self.add(SafetensorFile::open(&self.path.join(SINGLE))?),
            None => return Err(self.no_weights()),
        }
        Ok(self)
    }

    fn open_shards(&mut self, index: &ShardIndex, index_path: &Path) -> Result<(), CheckpointError> {
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        for name in names {
            let mut parts = Path::new(name).components();
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
                return Err(CheckpointError::new(
                    "safetensors::bad_index",
                    format!("the index names `{name}`, which is not a file of this folder"),
                )
                .at(index_path));
            }
            let shard = self.path.join(name);
            if !shard.exists() {
                return Err(CheckpointError::new(
                    "safetensors::missing_shard",
                    format!("the weight file `{name}` is missing; the index lists it"),
                )
                .with_help("fetch the missing file into the folder")
                .at(&shard));
            }
            self.add(SafetensorFile::open(&shard)?);
        }
        for (tensor, file) in &index.weight_map {
            if !self.tensors.contains_key(tensor) {
                return Err(CheckpointError::new(
                    "safetensors::bad_index",
                    format!("the index says that `{tensor}` is in `{file}`, but it is not"),
                )
                .at(index_path));
            }
        }
        Ok(())
    }

    fn add(&mut self, file: SafetensorFile) {
        let at = self.files.len();
        for name in file.names() {
            self.tensors.entry(name).or_insert(at);
        }
        self.files.push(file);
    }

    fn no_weights(&self) -> CheckpointError {
        let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json"].iter().any(|n| self.path.join(n).exists());
        let error = CheckpointError::new(
            "model::no_weights",
            format!("the folder holds no weights: neither `{SINGLE}` nor `{INDEX}`"),
        )
        .at(&self.path);
        if pickled {
            error.with_help(
                "it holds PyTorch's pickled weights, which can run code when opened and are not read; \
                 save the model once with transformers' `save_pretrained`, which writes safetensors",
            )
        } else {
            error.with_help("fetch the safetensors files into the folder")
        }
    }

    /// A text file of the folder, if it is there.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, CheckpointError> {
        let path = self.path.join(name);
        match fs_err::read(&path) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(CheckpointError::io(&path, cause)),
            Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|cause| {
                CheckpointError::new("model::not_utf8", format!("`{name}` is not UTF-8 text"))
                    .caused_by(cause)
                    .at(&path)
            }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.nf4_shape(name).or_else(|| self.files[*self.tensors.get(name)?].shape(name))
    }

    /// The bytes of a tensor.
    pub(crate) fn raw(&self, name: &str) -> Option<RawTensor<'_>> {
        self.files[*self.tensors.get(name)?].raw(name)
    }

    /// How a tensor's numbers are kept.
    pub(crate) fn format(&self, name: &str) -> Option<NumberFormat> {
        if self.nf4_shape(name).is_some() {
            return Some(NumberFormat::Blocks(BlockFormat::Nf4));
        }
        self.files[*self.tensors.get(name)?].format(name)
    }

    /// A tensor as it is kept.
    pub(crate) fn stored(&self, name: &str) -> Result<Option<StoredTensor>, CheckpointError> {
        if let Some(packed) = self.nf4(name)? {
            return packed.check_finite(name).map(Some).map_err(|error| error.at(self.path()));
        }
        let Some(at) = self.tensors.get(name) else { return Ok(None) };
        Ok(self.files[*at].tensor(name)?.map(StoredTensor::Plain))
    }

    pub(crate) fn tensor(&self, name: &str) -> Result<Option<HostTensor>, CheckpointError> {
        Ok(self.stored(name)?.map(StoredTensor::decode))
    }
}
