use refit_cache::{Digest, canonical::CanonicalWriter};

use crate::graph::InputRef;

/// Keeps the digest of collected outputs apart from that of any file or folder.
const DOMAIN: &str = "refit 2026-11 collected outputs";

/// The content of an input that comes from stages: of one output its own, of several the one of the folder they arrive
/// in, which counts its entries' names and contents. `None` while one of them is not known.
pub(crate) fn content(input: &InputRef, mut output: impl FnMut(&str, &str) -> Option<Digest>) -> Option<Digest> {
    let InputRef::Many { parts, .. } = input else {
        let (stage, port) = input.outputs().next()?;
        return output(stage, port);
    };
    let mut writer = CanonicalWriter::new();
    writer.map(parts.len());
    // They are sorted by name, whatever the order in the file.
    for part in parts {
        writer.text(&part.name).bytes(output(&part.stage, &part.port)?.as_bytes());
    }
    Some(blake3::Hasher::new_derive_key(DOMAIN).update(&writer.finish()).finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Part;

    fn many(names: &[&str]) -> InputRef {
        let part = |name: &&str| Part { name: (*name).into(), stage: (*name).into(), port: "out".into() };
        InputRef::Many { written: String::new(), parts: names.iter().map(part).collect() }
    }

    #[test]
    fn golden_collection() {
        let found = content(&many(&["a", "b"]), |stage, _| Some(Digest::of(stage.as_bytes())));
        let golden = "9ec3411aa0cc6fe6315946ed6abb0229690d93ff25be0c31e02f7062ba3e2edf";
        assert_eq!(found.map(|digest| digest.to_string()).as_deref(), Some(golden));
    }

    #[test]
    fn names_and_contents_count() {
        let of = |names: &[&str], text: &str| {
            content(&many(names), |stage, _| Some(Digest::of(format!("{stage}{text}").as_bytes())))
        };
        assert_eq!(of(&["a", "b"], ""), of(&["a", "b"], ""));
        assert_ne!(of(&["a", "b"], ""), of(&["a", "c"], ""));
        assert_ne!(of(&["a", "b"], ""), of(&["a", "b"], "x"));
        assert_ne!(of(&["a"], ""), Some(Digest::of(b"a")), "one of many is still a folder");
        assert_eq!(content(&many(&["a", "b"]), |stage, _| (stage == "a").then(|| Digest::of(b"a"))), None);
    }
}
