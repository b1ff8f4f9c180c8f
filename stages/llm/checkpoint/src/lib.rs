//! Models as they lie on disk: configuration, weights (safetensors, GGUF), tokenizer, chat template.
