use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("`{text}` is not a digest")]
#[diagnostic(code(cache::bad_digest), help("a digest is `b3:` and 64 hexadecimal digits"))]
pub struct ParseDigestError {
    /// What was read.
    pub text: String,
}

/// How digests are written in files and on the command line.
const PREFIX: &str = "b3:";

/// Declares a type that is 32 bytes of blake3: `Display` is 64 hexadecimal digits, files hold `b3:` and the digits.
macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The value whose bytes these are.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first 12 of the 64 hexadecimal digits: enough for people.
            pub fn short(&self) -> String {
                blake3::Hash::from_bytes(self.0).to_hex()[..12].to_owned()
            }
        }

        impl From<blake3::Hash> for $name {
            fn from(hash: blake3::Hash) -> Self {
                Self(*hash.as_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            /// Reads `b3:` and 64 hexadecimal digits, or the digits alone.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                blake3::Hash::from_hex(text.strip_prefix(PREFIX).unwrap_or(text))
                    .map(Self::from)
                    .map_err(|_| ParseDigestError { text: text.to_owned() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&format_args!("{PREFIX}{self}"))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

digest_type! {
    /// The blake3 digest of a file's bytes or of a folder's sorted entries.
    Digest
}

digest_type! {
    /// What a step's result is found by: see [`StepKey::compute`].
    StepKey
}

impl Digest {
    /// The digest of some bytes: the same as that of a file holding them.
    pub fn of(bytes: &[u8]) -> Self {
        blake3::hash(bytes).into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const EMPTY: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

    #[test]
    fn text_forms_agree() {
        let digest = Digest::of(b"");
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(digest.short(), EMPTY[..12]);
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"b3:{EMPTY}\""));
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), digest);
        assert_eq!(format!("b3:{EMPTY}").parse::<Digest>().unwrap(), digest);
        assert_eq!(serde_json::from_str::<Digest>(&format!("\"b3:{EMPTY}\"")).unwrap(), digest);
        assert_eq!(StepKey::from_bytes(*digest.as_bytes()).to_string(), EMPTY);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "b3:", "b3:12", "sha256:00", &EMPTY[1..], &format!("{EMPTY}0"), &EMPTY.replace('a', "g")] {
            assert_eq!(text.parse::<Digest>(), Err(ParseDigestError { text: text.to_owned() }));
        }
    }
}
