use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Reads rows of any of the common shapes, cleans their text and leaves out what should not be learned.
///
/// Preferences: a row with a worse answer in `rejected` beside the right one (in `chosen`, `output` or the last turn) becomes a
/// pair; one with a truth value in `kto_tag`, or in `label` beside `prompt` and `completion`, an answer to be given or avoided.
/// Everything that is done to a text is done to the rejected answer too.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CleanParams {
    /// The shape of the rows. `auto` decides for each row by its columns: `messages`, then `conversations`, then
    /// `instruction`/`output`, then `prompt` with `completion`, `chosen` or `rejected`, then `text`.
    pub format: Format,
    /// Which column plays which part, where the names differ: `{ instruction: question, output: answer }`.
    pub columns: Columns,
    /// A system prompt for rows that have none. Without it such rows stay without.
    pub system: Option<String>,
    /// Unicode: `nfc` composes characters (é as one character); full-width Chinese punctuation stays as it is.
    /// Control characters, zero-width characters and bidirectional overrides are removed either way.
    pub unicode: Unicode,
    /// HTML remnants: `strip` removes tags of known HTML elements and comments and decodes entities (`&nbsp;`), but
    /// leaves code between backticks, comparisons such as `a < b`, and placeholders such as `<user>` alone.
    pub html: Html,
    /// White space: `tidy` makes line breaks `\n`, joins runs of spaces inside a line, trims line ends and keeps one
    /// blank line at most; indentation and fenced code stay.
    pub whitespace: Whitespace,
    /// `exact` drops rows equal to an earlier one after cleaning; `near` also those that are nearly so. The first row
    /// stays. Memory: about 40 bytes a row for `exact`, about 600 more for `near`; nothing else grows with the file.
    pub dedup: Dedup,
    /// What is compared: `conversation` drops a row when its prompt **and** its response are alike an earlier row's, so
    /// questions in other words with the same answer stay; `prompt` when its prompt is alike, whatever the response.
    pub dedup_on: DedupOn,
    /// How alike near-duplicates are at least: the Jaccard index of the shingles (five letters, or two to three Chinese
    /// characters) of the lower-cased text without punctuation. Texts shorter than one shingle have to be equal.
    #[schemars(range(min = 0.3, max = 1.0))]
    pub similarity: f64,
    /// The fewest characters of all user turns together.
    pub min_prompt_chars: Option<u64>,
    /// The most characters of all user turns together.
    pub max_prompt_chars: Option<u64>,
    /// The fewest characters of all assistant turns together, with either answer of a pair; or of a text.
    pub min_response_chars: Option<u64>,
    /// The most characters of all assistant turns together, with either answer of a pair; or of a text.
    pub max_response_chars: Option<u64>,
    /// Personal data in messages and columns: `redact` replaces it by `[EMAIL]`, `[PHONE]`, `[ID_CARD]`, `[BANK_CARD]`,
    /// `[IP]` or `[KEY]`; `drop` leaves the row out; `keep` does not look.
    pub pii: Pii,
    /// The kinds of personal data that `pii` looks for; all of them by default.
    pub pii_kinds: Vec<PiiKind>,
    /// Texts that are no personal data, such as the help desk's own address. A `*` at the beginning stands for
    /// anything: `*@example.com`. Case does not count.
    pub pii_keep: Vec<String>,
    /// What a malformed row does (broken JSON, no answer, roles in a wrong order …): `fail` ends the step and names
    /// file and line; `skip` counts it and lists it in `rejected`.
    pub on_error: OnError,
    /// The longest row in bytes; a longer one is malformed. It bounds the memory a file without line breaks can take.
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub max_line_bytes: usize,
}

impl Default for CleanParams {
    fn default() -> Self {
        Self {
            format: Format::Auto,
            columns: Columns::default(),
            system: None,
            unicode: Unicode::Nfc,
            html: Html::Strip,
            whitespace: Whitespace::Tidy,
            dedup: Dedup::Exact,
            dedup_on: DedupOn::Conversation,
            similarity: 0.85,
            min_prompt_chars: None,
            max_prompt_chars: None,
            min_response_chars: None,
            max_response_chars: None,
            pii: Pii::Keep,
            pii_kinds: PiiKind::ALL.to_vec(),
            pii_keep: Vec::new(),
            on_error: OnError::Fail,
            max_line_bytes: 16 << 20,
        }
    }
}

/// The shape of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Decided for each row by its columns.
    Auto,
    /// `instruction`, `input`, `output`, `history`, `system`; the prompt is instruction, line break, input.
    Alpaca,
    /// `conversations` of `from` and `value`: `human`/`observation` and `gpt`/`function_call` in turn.
    ShareGpt,
    /// `messages` of `role` and `content`, as chat interfaces have them.
    Messages,
    /// `prompt` with `completion`, or with `chosen` and `rejected`, as TRL has them: texts, or lists of turns. Without
    /// `prompt`, it is what the two conversations begin with.
    Prompt,
    /// `text`: no conversation, for continued pre-training.
    Text,
}

/// The names of the columns in the data, where they are not the usual ones. Columns without a part go into `meta`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// Stays with the row as its id; without such a column the id is made from the content.
    pub id: Option<String>,
    /// The question or task (`instruction`).
    pub instruction: Option<String>,
    /// What the task is about (`input`).
    pub input: Option<String>,
    /// The answer (`output`).
    pub output: Option<String>,
    /// Earlier pairs of question and answer (`history`).
    pub history: Option<String>,
    /// The system prompt (`system`).
    pub system: Option<String>,
    /// The turns of a `ShareGPT` row (`conversations`).
    pub conversations: Option<String>,
    /// The turns of a row in the `messages` shape.
    pub messages: Option<String>,
    /// The question of a row in the `prompt` shape.
    pub prompt: Option<String>,
    /// Its answer (`completion`).
    pub completion: Option<String>,
    /// The better of two answers (`chosen`), in any shape.
    pub chosen: Option<String>,
    /// The worse one (`rejected`).
    pub rejected: Option<String>,
    /// Whether the answer is to be given (true) or avoided (`kto_tag`, and `label` in the `prompt` shape).
    pub label: Option<String>,
    /// A text that is no conversation (`text`).
    pub text: Option<String>,
}

/// Whether characters are composed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unicode {
    /// Canonical composition (Unicode normalisation form C).
    Nfc,
    /// As they are.
    Keep,
}

/// What happens to HTML remnants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Html {
    /// Tags are removed, entities decoded.
    Strip,
    /// They stay.
    Keep,
}

/// What happens to white space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Whitespace {
    /// It is made regular.
    Tidy,
    /// It stays.
    Keep,
}

/// Which duplicates are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dedup {
    /// None.
    None,
    /// Equal rows.
    Exact,
    /// Equal and nearly equal rows.
    Near,
}

/// What two rows are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DedupOn {
    /// Prompt and response, each by itself; both have to be alike.
    Conversation,
    /// The prompt alone.
    Prompt,
}

/// What happens to personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pii {
    /// It is not looked for.
    Keep,
    /// It is replaced.
    Redact,
    /// The row is left out.
    Drop,
}

/// A kind of personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PiiKind {
    /// Keys, tokens and private key blocks.
    Key,
    /// Mail addresses.
    Email,
    /// Chinese ID cards (GB 11643, with their check digit).
    IdCard,
    /// Bank cards (with their Luhn check digit).
    BankCard,
    /// Phone numbers: international, Chinese, North American.
    Phone,
    /// IPv4 and IPv6 addresses, except loopback, masks and the ranges reserved for documentation.
    Ip,
}

impl PiiKind {
    /// All kinds, in the order they are looked for.
    pub const ALL: [Self; 6] = [Self::Key, Self::Email, Self::IdCard, Self::BankCard, Self::Phone, Self::Ip];
}

/// What a malformed row does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It ends the step.
    Fail,
    /// It is counted and left out.
    Skip,
}
