use serde::Serialize;

/// Why a row is left out. The names are those of the reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    InvalidJson,
    InvalidUtf8,
    OversizedRow,
    UnfinishedFile,
    NotAnObject,
    FieldCount,
    MissingColumn,
    WrongType,
    WrongRoles,
    EmptyPrompt,
    EmptyAnswer,
    NestedMarkup,
    SameAnswers,
    ExactDuplicate,
    NearDuplicate,
    PersonalData,
    ShortPrompt,
    LongPrompt,
    ShortResponse,
    LongResponse,
}

impl Reason {
    pub(super) const ALL: [Self; 20] = [
        Self::InvalidJson,
        Self::InvalidUtf8,
        Self::OversizedRow,
        Self::UnfinishedFile,
        Self::NotAnObject,
        Self::FieldCount,
        Self::MissingColumn,
        Self::WrongType,
        Self::WrongRoles,
        Self::EmptyPrompt,
        Self::EmptyAnswer,
        Self::NestedMarkup,
        Self::SameAnswers,
        Self::ExactDuplicate,
        Self::NearDuplicate,
        Self::PersonalData,
        Self::ShortPrompt,
        Self::LongPrompt,
        Self::ShortResponse,
        Self::LongResponse,
    ];

    /// Whether the row itself is broken, so that `on_error` decides, rather than left out by a rule that was asked for.
    pub(super) fn is_malformed(self) -> bool {
        self <= Self::NestedMarkup
    }

    /// The name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::OversizedRow => "oversized_row",
            Self::UnfinishedFile => "unfinished_file",
            Self::NotAnObject => "not_an_object",
            Self::FieldCount => "field_count",
            Self::MissingColumn => "missing_column",
            Self::WrongType => "wrong_type",
            Self::WrongRoles => "wrong_roles",
            Self::EmptyPrompt => "empty_prompt",
            Self::EmptyAnswer => "empty_answer",
            Self::NestedMarkup => "nested_markup",
            Self::SameAnswers => "same_answers",
            Self::ExactDuplicate => "exact_duplicate",
            Self::NearDuplicate => "near_duplicate",
            Self::PersonalData => "personal_data",
            Self::ShortPrompt => "short_prompt",
            Self::LongPrompt => "long_prompt",
            Self::ShortResponse => "short_response",
            Self::LongResponse => "long_response",
        }
    }

    /// The words for people, behind the number of rows: "12 exact duplicates".
    pub(super) fn words(self, rows: u64) -> &'static str {
        match self {
            Self::InvalidJson => "with invalid JSON",
            Self::InvalidUtf8 => "not in UTF-8",
            Self::OversizedRow => "above `max_line_bytes`",
            Self::UnfinishedFile => "cut off by the end of the file",
            Self::NotAnObject => "that are no JSON objects",
            Self::FieldCount => "with a wrong number of fields",
            Self::MissingColumn => "with a missing column",
            Self::WrongType => "with a value of the wrong type",
            Self::WrongRoles => "with roles in a wrong order",
            Self::EmptyPrompt => "with an empty prompt",
            Self::EmptyAnswer => "with an empty answer",
            Self::NestedMarkup => "with endlessly nested markup",
            Self::SameAnswers => "whose chosen and rejected answers are the same",
            Self::ExactDuplicate if rows == 1 => "exact duplicate",
            Self::ExactDuplicate => "exact duplicates",
            Self::NearDuplicate if rows == 1 => "near-duplicate",
            Self::NearDuplicate => "near-duplicates",
            Self::PersonalData => "with personal data",
            Self::ShortPrompt => "with too short a prompt",
            Self::LongPrompt => "with too long a prompt",
            Self::ShortResponse => "with too short a response",
            Self::LongResponse => "with too long a response",
        }
    }
}

/// What is wrong with one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) reason: Reason,
    /// One sentence, in lower case.
    pub(super) detail: String,
}

impl Problem {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}
