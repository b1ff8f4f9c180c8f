use crate::text::strip;

/// 1 when prediction and reference are equal but for white space around them, else 0.
///
/// Nothing else is normalised: case, punctuation and inner white space count. [`crate::squad_f1`] is the lenient one.
pub fn exact_match(prediction: &str, reference: &str) -> f64 {
    f64::from(u8::from(strip(prediction) == strip(reference)))
}
