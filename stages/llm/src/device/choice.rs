use std::{fmt, str::FromStr};

use crate::LlmError;

/// Which device the user asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A hardware GPU if there is one, discrete before integrated; else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An adapter of wgpu, be it a software rasteriser: the one of that number, else the best one.
    Wgpu(Option<usize>),
}

impl FromStr for DeviceChoice {
    type Err = LlmError;

    fn from_str(text: &str) -> Result<Self, LlmError> {
        let index = text.strip_prefix("wgpu:").map(str::parse);
        match (text, index) {
            ("auto", _) => Ok(Self::Auto),
            ("cpu", _) => Ok(Self::Cpu),
            ("wgpu", _) => Ok(Self::Wgpu(None)),
            (_, Some(Ok(index))) => Ok(Self::Wgpu(Some(index))),
            _ => Err(LlmError::Device { reason: format!("`{text}` is none of `auto`, `cpu`, `wgpu`, `wgpu:N`") }),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Wgpu(None) => f.write_str("wgpu"),
            Self::Wgpu(Some(index)) => write!(f, "wgpu:{index}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_reads_as_it_is_written() {
        for text in ["auto", "cpu", "wgpu", "wgpu:0", "wgpu:3"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        for text in ["", "gpu", "wgpu:", "wgpu:x", "cuda"] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }
}
