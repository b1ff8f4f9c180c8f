use refit_checkpoint::conversation::Encoded;
use serde::Serialize;

use crate::tokens::TokenFacts;

/// What `report.json` says.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    #[serde(flatten)]
    pub(super) facts: &'a TokenFacts,
    /// The tokens at which generation ends.
    pub(super) stop_tokens: Vec<String>,
    pub(super) train: PartReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) validation: Option<PartReport>,
}

/// What became of one part. Lengths are in tokens.
#[derive(Debug, Default, Serialize)]
pub(super) struct PartReport {
    pub(super) rows_in: u64,
    pub(super) rows: u64,
    pub(super) tokens: u64,
    pub(super) supervised_tokens: u64,
    pub(super) supervised_share: f64,
    pub(super) longest: usize,
    /// The longest row before anything was dropped or cut.
    pub(super) longest_before: usize,
    pub(super) mean_length: f64,
    pub(super) median_length: usize,
    pub(super) p95_length: usize,
    /// Rows above `max_length`.
    pub(super) overlong_rows: u64,
    pub(super) dropped_rows: u64,
    /// Of the dropped rows, those that truncation would have left without an answer.
    pub(super) dropped_all_prompt: u64,
    pub(super) truncated_rows: u64,
    pub(super) lost_tokens: u64,
    /// Turns after the last answer, which nothing can be learnt from.
    pub(super) dropped_turns: u64,
    /// Rows whose template prints no end-of-turn token, so that the end-of-text token was added.
    pub(super) added_ends: u64,
    /// Rows with a message that spells out a special token, which is then taken for that token.
    pub(super) special_texts: u64,
    /// Pairs of a chosen and a rejected answer: two rows each.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) pairs: u64,
    /// Answers with a label.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) labelled: u64,
    /// Texts that are no conversation: one row each, or several.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) texts: u64,
    /// Tokens that every row begins with, such as a system prompt.
    pub(super) shared_prefix: usize,
    pub(super) histogram: Vec<Bin>,
    #[serde(skip)]
    lengths: Vec<usize>,
    #[serde(skip)]
    prefix: Option<Vec<u32>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Rows of up to so many tokens, and more than the bin before.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Bin {
    pub(super) up_to: usize,
    pub(super) rows: u64,
}

/// The first bin of the histogram; each next one is twice as wide.
const FIRST_BIN: usize = 16;

impl PartReport {
    /// Counts a row that is kept.
    pub(super) fn add(&mut self, row: &Encoded) {
        self.rows += 1;
        self.tokens += row.ids.len() as u64;
        self.supervised_tokens += row.supervised() as u64;
        self.dropped_turns += row.dropped_turns as u64;
        self.added_ends += u64::from(row.added_end);
        self.lengths.push(row.ids.len());
        match &mut self.prefix {
            None => self.prefix = Some(row.ids.clone()),
            Some(prefix) => {
                let shared = prefix.iter().zip(&row.ids).take_while(|(a, b)| a == b).count();
                prefix.truncate(shared);
            }
        }
    }

    /// Works out what needs all rows.
    pub(super) fn finish(&mut self) {
        self.lengths.sort_unstable();
        let Some(longest) = self.lengths.last().copied() else { return };
        let at = |share: f64| self.lengths[((self.lengths.len() - 1) as f64 * share).round() as usize];
        (self.longest, self.median_length, self.p95_length) = (longest, at(0.5), at(0.95));
        self.mean_length = self.tokens as f64 / self.rows as f64;
        self.supervised_share = self.supervised_tokens as f64 / self.tokens as f64;
        self.shared_prefix = self.prefix.as_ref().map_or(0, Vec::len);
        let bound = |length: usize| length.next_power_of_two().max(FIRST_BIN);
        let mut up_to = FIRST_BIN;
        while up_to <= bound(longest) {
            let rows = self.lengths.iter().filter(|length| bound(**length) == up_to).count() as u64;
            self.histogram.push(Bin { up_to, rows });
            up_to *= 2;
        }
    }

    /// What a person should know about this part, if anything.
    pub(super) fn warnings(&self, part: &str, max_length: usize) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.dropped_rows > 0 {
            warnings.push(format!(
                "{part}: {} of {} rows are longer than {max_length} tokens and were dropped (the longest has {})",
                self.dropped_rows, self.rows_in, self.longest_before
            ));
        }
        if self.truncated_rows > 0 {
            warnings.push(format!(
                "{part}: {} of {} rows were cut to {max_length} tokens; {} tokens are lost",
                self.truncated_rows, self.rows_in, self.lost_tokens
            ));
        }
        if self.dropped_turns > 0 {
            warnings.push(format!(
                "{part}: {} turns after the last answer of their row were left out; nothing can be learnt from them",
                self.dropped_turns
            ));
        }
        if self.added_ends > 0 {
            warnings.push(format!(
                "{part}: the chat template prints no token that ends a turn; the end-of-text token was added to {} rows",
                self.added_ends
            ));
        }
        if self.special_texts > 0 {
            warnings.push(format!(
                "{part}: {} rows hold the text of a special token inside a message; the model takes it for that token",
                self.special_texts
            ));
        }
        warnings
    }
}
