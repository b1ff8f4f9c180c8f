use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Digest, StepKey, canonical::CanonicalWriter};

/// Raised when the way a key is computed changes; every result is computed anew then.
pub const KEY_FORMAT: u32 = 1;

/// Keeps keys apart from every other use of blake3.
const DOMAIN: &str = "refit 2026-11 step key";

impl StepKey {
    /// The key of a step: what it does (`kind` and its `version`), how (`params`, all defaults filled in), and on what
    /// (port → digest of the artifact wired to it). Nothing else decides a result, so nothing else is in it.
    pub fn compute(kind: &str, version: u32, params: &Value, inputs: &BTreeMap<String, Digest>) -> Self {
        let mut writer = CanonicalWriter::new();
        writer.integer(KEY_FORMAT).text(kind).integer(version).value(params).map(inputs.len());
        for (port, digest) in inputs {
            writer.text(port).bytes(digest.as_bytes());
        }
        blake3::Hasher::new_derive_key(DOMAIN).update(&writer.finish()).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inputs(pairs: &[(&str, &str)]) -> BTreeMap<String, Digest> {
        pairs.iter().map(|(port, text)| ((*port).to_owned(), Digest::of(text.as_bytes()))).collect()
    }

    /// If one of these changes, every result that anybody has is computed anew. Raise [`KEY_FORMAT`] if that is meant.
    #[test]
    fn golden_vectors() {
        let params = json!({
            "rank": 16, "alpha": 32.0, "learning_rate": 5e-4, "target_modules": ["q_proj", "v_proj"],
            "validation": null, "rslora": false, "note": "学习率",
        });
        let cases = [
            (
                StepKey::compute("clean", 1, &json!({}), &inputs(&[])),
                "6b7577c72514c8dc3b5b84c36e7a9a6ae8e594289ddd1b0a09a7b20aeebc467e",
            ),
            (
                StepKey::compute("train-lora", 3, &params, &inputs(&[("model", "m"), ("tokens", "t")])),
                "5f45bde8d2440f9068f3e574a7dd67e0dd89677ad2cd864399cb7deb64cde325",
            ),
            (
                StepKey::compute("evaluate", 1, &json!({"max_tokens": 64}), &inputs(&[("records", "")])),
                "025cc85413c42c4fa6afbf7028ebfb6baf0427cade7ba37cfeba855055223a19",
            ),
        ];
        for (key, golden) in cases {
            assert_eq!(key.to_string(), golden);
        }
    }

    #[test]
    fn everything_that_decides_a_result_is_in_the_key() {
        let base = || StepKey::compute("a", 1, &json!({"x": 1}), &inputs(&[("p", "1")]));
        assert_eq!(base(), StepKey::compute("a", 1, &json!({"x": 1.0}), &inputs(&[("p", "1")])));
        let others = [
            StepKey::compute("b", 1, &json!({"x": 1}), &inputs(&[("p", "1")])),
            StepKey::compute("a", 2, &json!({"x": 1}), &inputs(&[("p", "1")])),
            StepKey::compute("a", 1, &json!({"x": 2}), &inputs(&[("p", "1")])),
            StepKey::compute("a", 1, &json!({"x": 1, "y": null}), &inputs(&[("p", "1")])),
            StepKey::compute("a", 1, &json!({"x": 1}), &inputs(&[("p", "2")])),
            StepKey::compute("a", 1, &json!({"x": 1}), &inputs(&[("q", "1")])),
            StepKey::compute("a", 1, &json!({"x": 1}), &inputs(&[("p", "1"), ("q", "1")])),
        ];
        for other in others {
            assert_ne!(base(), other);
        }
    }
}
