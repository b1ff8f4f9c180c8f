use std::path::{Path, PathBuf};

use crate::{
    BlockFormat, ChatTemplate, CheckpointError, FloatType, HostTensor, ModelConfig, StoredTensor, Tokenizer,
    family::expected_tensors, folder::HfFolder, gguf::GgufModel, numbers::NumberFormat, template, tokenizer,
};

/// A model on disk: headers parsed, weights mapped, nothing decoded yet.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    config: ModelConfig,
    files: Files,
}

#[derive(Debug)]
pub(crate) enum Files {
    Folder(HfFolder),
    Gguf(Box<GgufModel>),
}

impl Checkpoint {
    /// Opens a Hugging Face folder, one GGUF file, or a folder with exactly one GGUF file.
    ///
    /// Every tensor the architecture needs is there afterwards and has the right shape.
    ///
    /// # Errors
    /// An unsupported architecture or format, and every kind of damage that headers show.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let metadata = fs_err::metadata(path).map_err(|cause| CheckpointError::io(path, cause))?;
        let gguf = if metadata.is_dir() { lone_gguf(path)? } else { Some(path.to_owned()) };
        let (files, config) = if let Some(file) = gguf {
            let (model, config) = GgufModel::open(&file)?;
            (Files::Gguf(Box::new(model)), config)
        } else {
            let (folder, config) = HfFolder::open(path)?;
            (Files::Folder(folder), config)
        };
        let checkpoint = Self { path: path.to_owned(), config, files };
        checkpoint.check_shapes()?;
        Ok(checkpoint)
    }

    fn check_shapes(&self) -> Result<(), CheckpointError> {
        for (name, expected) in expected_tensors(&self.config) {
            match self.tensor_shape(&name) {
                None => return Err(self.missing(&name)),
                Some(shape) if shape != expected => {
                    return Err(CheckpointError::new(
                        "weights::wrong_shape",
                        format!("the weight `{name}` has the shape {shape:?}; the configuration asks for {expected:?}"),
                    )
                    .with_help("configuration and weights belong to different models")
                    .at(&self.path));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn missing(&self, name: &str) -> CheckpointError {
        CheckpointError::new("weights::missing_tensor", format!("the weight `{name}` is not in the model"))
            .with_help("the model was not fetched whole, or its configuration belongs to another one")
            .at(&self.path)
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Decodes a tensor by its Hugging Face name, such as `model.layers.0.self_attn.q_proj.weight` (`[out, in]`),
    /// whatever the file calls it and however it packs it. `lm_head.weight` is absent in a tied model.
    ///
    /// # Errors
    /// An unknown name, and NaN or infinity among the values.
    pub fn tensor(&self, name: &str) -> Result<HostTensor, CheckpointError> {
        let tensor = match &self.files {
            Files::Folder(folder) => folder.tensor(name)?,
            Files::Gguf(model) => model.tensor(name, &self.config)?,
        };
        tensor.ok_or_else(|| self.missing(name))
    }

    /// The same tensor without decoding it, where the file packs it and it is a matrix.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    pub fn stored(&self, name: &str) -> Result<StoredTensor, CheckpointError> {
        let tensor = match &self.files {
            Files::Folder(folder) => folder.stored(name)?,
            Files::Gguf(model) => model.stored(name, &self.config)?,
        };
        tensor.ok_or_else(|| self.missing(name))
    }

    /// The type of the numbers in the model's layers; `None` if they are in blocks.
    pub fn float_type(&self) -> Option<FloatType> {
        match self.format_in_layers()? {
            NumberFormat::Blocks(_) => None,
            NumberFormat::F16 => Some(FloatType::F16),
            NumberFormat::Bf16 => Some(FloatType::Bf16),
            NumberFormat::F32 | NumberFormat::F64 => Some(FloatType::F32),
        }
    }

    /// The blocks that the model's layers are packed in, if they are.
    pub fn block_format(&self) -> Option<BlockFormat> {
        match self.format_in_layers()? {
            NumberFormat::Blocks(format) => Some(format),
            _ => None,
        }
    }

    /// The blocks that a tensor is packed in, if it is, by its Hugging Face name.
    pub fn block_format_of(&self, name: &str) -> Option<BlockFormat> {
        match self.format(name)? {
            NumberFormat::Blocks(format) => Some(format),
            _ => None,
        }
    }

    /// How the first matrix of the layers is kept.
    fn format_in_layers(&self) -> Option<NumberFormat> {
        let mut matrices = expected_tensors(&self.config)
            .filter(|(name, shape)| shape.len() == 2 && name.starts_with(self.config.names.layers));
        let (name, _) = matrices.next()?;
        self.format(&name)
    }

    fn format(&self, name: &str) -> Option<NumberFormat> {
        match &self.files {
            Files::Folder(folder) => folder.format(name),
            Files::Gguf(model) => model.format(name, &self.config),
        }
    }

    /// Whether the model has a tensor of that Hugging Face name.
    pub fn has_tensor(&self, name: &str) -> bool {
        self.tensor_shape(name).is_some()
    }

    /// The shape of a tensor by its Hugging Face name, outermost size first.
    pub fn tensor_shape(&self, name: &str) -> Option<Vec<usize>> {
        match &self.files {
            Files::Folder(folder) => folder.shape(name),
            Files::Gguf(model) => model.shape(name, &self.config),
        }
    }

    /// The model's own tokenizer.
    ///
    /// # Errors
    /// A tokenizer that is missing, damaged or of a kind that is not supported.
    pub fn tokenizer(&self) -> Result<Tokenizer, CheckpointError> {
        match &self.files {
            Files::Folder(folder) => tokenizer::from_folder(folder, &self.config),
            Files::Gguf(model) => tokenizer::from_gguf(model.file()),
        }
    }

    /// The model's own chat template.
    ///
    /// # Errors
    /// No template, or one that is not valid Jinja.
    pub fn chat_template(&self) -> Result<ChatTemplate, CheckpointError> {
        match &self.files {
            Files::Folder(folder) => template::from_folder(folder),
            Files::Gguf(model) => template::from_gguf(model.file()),
        }
        .map_err(|error| error.at(&self.path))
    }

    /// The chat template a stage asks for: the model's own for `None`, else `chatml`, `plain` or the text of a Jinja
    /// template, filled in with the model's own special tokens.
    ///
    /// # Errors
    /// As [`Checkpoint::chat_template`], and a name that is no template.
    pub fn chat_template_or(&self, wanted: Option<&str>) -> Result<ChatTemplate, CheckpointError> {
        let Some(wanted) = wanted else { return self.chat_template() };
        let specials = match &self.files {
            Files::Folder(folder) => template::specials_of_folder(folder)?,
            Files::Gguf(model) => template::specials_of_gguf(model.file())?,
        };
        ChatTemplate::named(wanted, specials)
    }
}

/// The GGUF file of a folder that has no `config.json`.
fn lone_gguf(folder: &Path) -> Result<Option<PathBuf>, CheckpointError> {
    if folder.join("config.json").exists() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder).map_err(|cause| CheckpointError::io(folder, cause))? {
        let path = entry.map_err(|cause| CheckpointError::io(folder, cause))?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            found.push(path);
        }
    }
    found.sort();
    match found.len() {
        0 => Ok(None),
        1 => Ok(found.pop()),
        several => Err(CheckpointError::new("model::several_gguf", format!("the folder holds {several} GGUF files"))
            .with_help("name one file as the source")
            .at(folder)),
    }
}
