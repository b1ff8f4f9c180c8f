use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The language whose standard metrics the short names stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// By the share of Chinese characters among the letters of the references.
    #[default]
    Auto,
    /// English, and other languages with spaces between words.
    English,
    /// Chinese.
    Chinese,
}

/// Which variants of the metrics apply to a set of references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The short names stand for the Chinese variants.
    pub chinese: bool,
    /// Both scripts occur in earnest: the other language's variants are reported too.
    pub mixed: bool,
}

/// Shares of Chinese characters between which the references count as mixed.
const MIXED: std::ops::Range<f64> = 0.1..0.9;

impl Language {
    /// The variants for these references. A chosen language is taken at its word.
    pub fn family<'a>(self, references: impl IntoIterator<Item = &'a str>) -> Family {
        match self {
            Self::English => Family { chinese: false, mixed: false },
            Self::Chinese => Family { chinese: true, mixed: false },
            Self::Auto => {
                let share = han_share(references);
                // Chinese takes far fewer characters for the same words, so a third of them is about half of the text.
                Family { chinese: share >= 0.3, mixed: MIXED.contains(&share) }
            }
        }
    }
}

/// The share of Chinese characters among all letters; 0 when there are none.
fn han_share<'a>(references: impl IntoIterator<Item = &'a str>) -> f64 {
    let (mut han, mut letters) = (0_u64, 0_u64);
    for c in references.into_iter().flat_map(str::chars).filter(|c| c.is_alphabetic()) {
        letters += 1;
        han += u64::from(is_han(c));
    }
    if letters == 0 { 0.0 } else { han as f64 / letters as f64 }
}

/// A Chinese character: the unified ideographs, their extensions and the compatibility forms.
pub(crate) fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' | '〇' | '々')
}
