use std::str::FromStr;

use refit_engine::{schedule::Gpu, spec::parse_size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// GPUs as a person names them: `0,1`, or with their memory `0:24GB,1:8GB`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub(crate) struct Gpus {
    text: String,
    list: Vec<Gpu>,
}

impl Gpus {
    /// Each once, in the order of their numbers.
    pub(crate) fn into_list(self) -> Vec<Gpu> {
        self.list
    }
}

impl FromStr for Gpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let gpu = |text: &str| {
            let (index, memory) = text.split_once(':').map_or((text, None), |(index, memory)| (index, Some(memory)));
            let wrong = |_| "it is numbers as in `0,1`, or numbers and sizes as in `0:24GB,1:8GB`".to_owned();
            let index = index.trim().parse().map_err(wrong)?;
            Ok(Gpu { index, memory: memory.map(parse_size).transpose()? })
        };
        let mut list = text.split(',').map(gpu).collect::<Result<Vec<_>, String>>()?;
        list.sort_by_key(|gpu| gpu.index);
        list.dedup_by_key(|gpu| gpu.index);
        Ok(Self { text: text.to_owned(), list })
    }
}

impl TryFrom<String> for Gpus {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Gpus> for String {
    fn from(gpus: Gpus) -> Self {
        gpus.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_numbers_with_or_without_a_size() {
        let gpus = |text: &str| text.parse().map(Gpus::into_list);
        let gpu = |index, memory| Gpu { index, memory };
        assert_eq!(gpus("2, 0"), Ok(vec![gpu(0, None), gpu(2, None)]));
        assert_eq!(gpus("0:24GB,1:8GiB"), Ok(vec![gpu(0, Some(24_000_000_000)), gpu(1, Some(8 << 30))]));
        for text in ["", "a", "0:", "0:many", "-1", "0,,1"] {
            assert!(gpus(text).is_err(), "{text}");
        }
    }
}
