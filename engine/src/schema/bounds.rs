use serde_json::Value;

/// `schemars` names the width of an integer as its format; this says it as a range, which every validator checks.
pub(crate) fn bound_integers(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let bounds = fields.get("format").and_then(Value::as_str).and_then(|format| match format {
                "uint8" => Some((0, u64::from(u8::MAX))),
                "uint16" => Some((0, u64::from(u16::MAX))),
                "uint32" => Some((0, u64::from(u32::MAX))),
                "uint64" | "uint" => Some((0, u64::MAX)),
                "int32" => Some((i64::from(i32::MIN), i32::MAX as u64)),
                "int64" | "int" => Some((i64::MIN, i64::MAX as u64)),
                _ => None,
            });
            if let Some((low, high)) = bounds {
                if !fields.contains_key("exclusiveMinimum") {
                    fields.entry("minimum").or_insert_with(|| low.into());
                }
                if !fields.contains_key("exclusiveMaximum") {
                    fields.entry("maximum").or_insert_with(|| high.into());
                }
            }
            fields.values_mut().for_each(bound_integers);
        }
        Value::Array(items) => items.iter_mut().for_each(bound_integers),
        _ => {}
    }
}
