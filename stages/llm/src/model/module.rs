use std::fmt;

/// The linear layers of a decoder block, in the order of computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinearModule {
    /// Query projection of the attention.
    Query,
    /// Key projection of the attention.
    Key,
    /// Value projection of the attention.
    Value,
    /// Output projection of the attention.
    Output,
    /// Gate of the feed-forward part.
    Gate,
    /// Input of the feed-forward part that the gate multiplies.
    Up,
    /// Output of the feed-forward part.
    Down,
}

impl LinearModule {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// The last part of the name Hugging Face and PEFT use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "q_proj",
            Self::Key => "k_proj",
            Self::Value => "v_proj",
            Self::Output => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// The full name in a layer: `model.layers.3.self_attn.q_proj`.
    pub fn path(self, layer: usize) -> String {
        let block = match self {
            Self::Query | Self::Key | Self::Value | Self::Output => "self_attn",
            Self::Gate | Self::Up | Self::Down => "mlp",
        };
        format!("model.layers.{layer}.{block}.{}", self.name())
    }

    /// Its place in [`LinearModule::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for LinearModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
