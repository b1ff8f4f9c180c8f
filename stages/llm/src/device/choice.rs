use std::{fmt, str::FromStr};

use crate::LlmError;

/// Which device the user asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A hardware GPU if there is one, discrete before integrated; else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// Adapters of wgpu, be they software rasterisers: those of these numbers, and the best one where there is none.
    Wgpu(Vec<Option<usize>>),
    /// Every GPU that wgpu finds.
    EveryGpu,
}

impl FromStr for DeviceChoice {
    type Err = LlmError;

    fn from_str(text: &str) -> Result<Self, LlmError> {
        match text {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            "wgpu:all" => return Ok(Self::EveryGpu),
            _ => {}
        }
        let adapter = |name: &str| match (name, name.strip_prefix("wgpu:").map(str::parse)) {
            ("wgpu", _) => Ok(None),
            (_, Some(Ok(number))) => Ok(Some(number)),
            _ => Err(LlmError::Device {
                reason: format!("`{text}` is none of `auto`, `cpu`, `wgpu`, `wgpu:N`, `wgpu:N,wgpu:M`, `wgpu:all`"),
            }),
        };
        Ok(Self::Wgpu(text.split(',').map(adapter).collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Wgpu(adapters) => {
                for (place, adapter) in adapters.iter().enumerate() {
                    f.write_str(if place > 0 { ",wgpu" } else { "wgpu" })?;
                    adapter.map_or(Ok(()), |number| write!(f, ":{number}"))?;
                }
                Ok(())
            }
            Self::EveryGpu => f.write_str("wgpu:all"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_reads_as_it_is_written() {
        for text in ["auto", "cpu", "wgpu", "wgpu:0", "wgpu:3", "wgpu:1,wgpu:0", "wgpu,wgpu:0", "wgpu:all"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        for text in ["", "gpu", "wgpu:", "wgpu:x", "cuda", "wgpu:0,", "wgpu:0,1", "wgpu:0,cpu", "wgpu:all,wgpu:0"] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }
}
