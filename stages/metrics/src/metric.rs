/// What a person needs to know of a metric to read its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name in files and reports.
    pub name: &'static str,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Whether the corpus value is computed from counts summed over the rows instead of being their mean.
    pub summed: bool,
    /// One line.
    pub summary: &'static str,
}

const fn mean(name: &'static str, summary: &'static str) -> Metric {
    Metric { name, higher_is_better: true, summed: false, summary }
}

const fn summed(name: &'static str, summary: &'static str) -> Metric {
    Metric { name, higher_is_better: true, summed: true, summary }
}

/// Every metric this crate computes; the short names first, in the order people read them.
pub const METRICS: [Metric; 19] = [
    mean("rouge_l", "longest common subsequence of words, 0–1"),
    mean("rouge_1", "shared words, 0–1"),
    mean("rouge_2", "shared pairs of words, 0–1"),
    summed("bleu", "n-gram precision over all rows, 0–100"),
    mean("token_f1", "shared tokens whatever their order, 0–1"),
    mean("exact_match", "share of rows that are the reference to the letter, 0–1"),
    summed("bleu:sacrebleu-13a", "sacrebleu with tokenizer 13a, 0–100"),
    summed("bleu:sacrebleu-zh", "sacrebleu with tokenizer zh, 0–100"),
    mean("bleu:lf-char", "LLaMA-Factory's BLEU-4 over characters, mean over rows, 0–100"),
    mean("rouge:rouge1", "rouge_score's rouge1 F, no stemmer, 0–1"),
    mean("rouge:rouge2", "rouge_score's rouge2 F, no stemmer, 0–1"),
    mean("rouge:rougeL", "rouge_score's rougeL F, no stemmer, 0–1"),
    mean("rouge:rougeLsum", "rouge_score's rougeLsum F, no stemmer, 0–1"),
    mean("rouge:lf-1", "LLaMA-Factory's rouge-1 F on jieba's words, 0–100"),
    mean("rouge:lf-2", "LLaMA-Factory's rouge-2 F on jieba's words, 0–100"),
    mean("rouge:lf-l", "LLaMA-Factory's rouge-l F on jieba's words, 0–100"),
    mean("token_f1:squad", "SQuAD's F1, 0–1"),
    mean("token_f1:char", "F1 over Chinese characters, 0–1"),
    Metric {
        name: "loss",
        higher_is_better: false,
        summed: false,
        summary: "mean negative log-likelihood of the reference's tokens, computed by the model",
    },
];

/// The metric of that name.
pub fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}
