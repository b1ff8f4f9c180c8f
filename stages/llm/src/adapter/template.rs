use serde::{Deserialize, Serialize};

/// The chat template an adapter was trained with. Another template at evaluation makes a tuned model look broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterTemplate {
    /// The Jinja text.
    pub chat_template: String,
    /// Its digest, as the tokens artifact states it.
    pub digest: String,
}
