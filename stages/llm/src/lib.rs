//! Language models on burn: families, LoRA, training, generation.
