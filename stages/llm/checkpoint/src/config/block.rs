use std::fmt;

use super::Rotary;

/// The linear layers of a decoder block by what they compute. A block has queries, keys and values apart or in one layer,
/// and so with gate and up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinearModule {
    /// Query projection of the attention.
    Query,
    /// Key projection of the attention.
    Key,
    /// Value projection of the attention.
    Value,
    /// Queries, keys and values in one, their features one after the other.
    QueryKeyValue,
    /// Output projection of the attention.
    Output,
    /// Gate of the feed-forward part.
    Gate,
    /// Input of the feed-forward part that the gate multiplies.
    Up,
    /// Gate and up in one, their features one after the other.
    GateUp,
    /// Output of the feed-forward part.
    Down,
}

impl LinearModule {
    /// Linear layers of a block whose parts are all apart.
    pub const COUNT: usize = 7;

    /// Its place among those of a block, below [`LinearModule::COUNT`]. A layer that holds several has the place of its first.
    pub fn index(self) -> usize {
        match self {
            Self::Query | Self::QueryKeyValue => 0,
            Self::Key => 1,
            Self::Value => 2,
            Self::Output => 3,
            Self::Gate | Self::GateUp => 4,
            Self::Up => 5,
            Self::Down => 6,
        }
    }

    /// Whether its output goes into the attention: queries, keys or values.
    pub fn is_attention_input(self) -> bool {
        self.index() < Self::Output.index()
    }

    /// Whether its output goes into the activation of the feed-forward part.
    pub fn is_feed_forward_input(self) -> bool {
        self.index() == Self::Gate.index() || self.index() == Self::Up.index()
    }
}

/// A linear layer of every block, and what the files call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearForm {
    /// What it computes.
    pub module: LinearModule,
    /// Its name within a block in Hugging Face's files: `self_attn.q_proj`.
    pub name: &'static str,
    /// The same in GGUF: `attn_q`.
    pub gguf: &'static str,
    /// Whether it adds a bias.
    pub bias: bool,
}

impl LinearForm {
    pub(crate) const fn new(module: LinearModule, name: &'static str, gguf: &'static str) -> Self {
        Self { module, name, gguf, bias: false }
    }

    /// The last part of its name, by which adapters target it: `q_proj`.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

impl fmt::Display for LinearForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short_name())
    }
}

/// Where in a block a norm stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlace {
    /// On the input of the attention.
    BeforeAttention,
    /// On each head of the queries, before they turn.
    Queries,
    /// On each head of the keys, before they turn.
    Keys,
    /// On the output of the attention, before it is added.
    AfterAttention,
    /// On the input of the feed-forward part.
    BeforeFeedForward,
    /// On the output of the feed-forward part, before it is added.
    AfterFeedForward,
}

impl NormPlace {
    /// Whether it norms heads; the others norm whole hidden states.
    pub fn is_of_heads(self) -> bool {
        matches!(self, Self::Queries | Self::Keys)
    }
}

/// A norm of every block, and what the files call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NormForm {
    /// What it norms.
    pub place: NormPlace,
    /// Its name within a block in Hugging Face's files: `input_layernorm`.
    pub name: &'static str,
    /// The same in GGUF: `attn_norm`.
    pub gguf: &'static str,
}

/// What the gate goes through before it multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x · σ(x).
    Silu,
    /// x · Φ(x), Φ by its approximation with tanh: x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))).
    GeluTanh,
}

/// How all blocks attend: softmax of the scores, which are a query times a key and what is said here.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionForm {
    /// Queries are multiplied by it.
    pub scale: f32,
    /// Scores are held in ± this: c · tanh(score / c).
    pub cap: Option<f32>,
    /// Per query head: what each token of distance takes off the score (`ALiBi`).
    pub slopes: Option<Vec<f32>>,
}

impl AttentionForm {
    /// 1 / √d and nothing else.
    pub fn plain(head_dim: usize) -> Self {
        Self { scale: 1.0 / (head_dim as f32).sqrt(), cap: None, slopes: None }
    }
}

/// In what blocks may differ from each other.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerForm {
    /// How positions enter queries and keys, if they do.
    pub rotary: Option<Rotary>,
    /// How many tokens a token sees, itself among them; all before it if absent.
    pub window: Option<usize>,
}

/// What Hugging Face's files call the parts of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartNames {
    /// The embedding: `model.embed_tokens`.
    pub embedding: &'static str,
    /// The blocks, a number and a name following: `model.layers`.
    pub layers: &'static str,
    /// The norm before the head: `model.norm`.
    pub norm: &'static str,
    /// The head: `lm_head`.
    pub head: &'static str,
}

impl PartNames {
    /// Those of Llama and most others.
    pub const LLAMA: Self =
        Self { embedding: "model.embed_tokens", layers: "model.layers", norm: "model.norm", head: "lm_head" };
}
