use serde_json::{Value, json};

use super::{
    Definition, Family, GgufDefinition, GgufFactors, GgufRows,
    parts::{in_turn, interval},
};
use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig, LayerForm},
    write::GgufKeys,
};

pub(super) const DEFINITION: Definition = Definition {
    name: "smollm3",
    class: "SmolLM3ForCausalLM",
    read_hf,
    own_keys,
    gguf: GgufDefinition {
        name: "smollm3",
        read: read_gguf,
        write: write_gguf,
        rows: GgufRows::RotaryPairs,
        factors: GgufFactors::None,
    },
};

/// Every so many layers there is one without positions.
const INTERVAL: usize = 4;

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    if config.flag("use_sliding_window")? {
        return Err(CheckpointError::new(
            "config::unsupported",
            "`use_sliding_window: true` is not supported for `smollm3` models",
        ));
    }
    let mut model = config.like_llama(Family::SmolLm3, 32_768)?;
    if !config.has("tie_word_embeddings") {
        model.tied_head = true;
    }
    let turns: Vec<bool> = match config.sizes("no_rope_layers")? {
        // Its name says the contrary: 1 stands for a layer with positions.
        Some(listed) if listed.len() >= model.layers => {
            listed[..model.layers].iter().map(|turns| *turns != 0).collect()
        }
        Some(listed) => {
            return Err(CheckpointError::new(
                "config::bad_value",
                format!("`no_rope_layers` has {} entries for {} layers", listed.len(), model.layers),
            ));
        }
        None => interval(config.size("no_rope_layer_interval")?.unwrap_or(INTERVAL)),
    };
    Ok(with_turns(model, &turns))
}

fn read_gguf(config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
    Ok(with_turns(config.like_llama(Family::SmolLm3)?, &interval(INTERVAL)))
}

fn write_gguf(config: &ModelConfig, keys: &mut GgufKeys<'_>) -> Result<(), CheckpointError> {
    keys.whole_heads_turn(config)?;
    let turns = interval(INTERVAL);
    let as_there = |layer| config.layer_form(layer).rotary.is_some() == turns[layer % INTERVAL];
    keys.need((0..config.layers).all(as_there), "other layers than every fourth are without positions")?;
    keys.like_llama(config)
}

fn with_turns(mut model: ModelConfig, turns: &[bool]) -> ModelConfig {
    let turned = model.layer_forms.remove(0);
    model.layer_forms = in_turn(turns, &turned, &LayerForm { rotary: None, window: None });
    model
}

fn own_keys(model: &ModelConfig) -> Value {
    let turns = |layer| u8::from(model.layer_form(layer).rotary.is_some());
    json!({ "no_rope_layers": (0..model.layers).map(turns).collect::<Vec<_>>() })
}
