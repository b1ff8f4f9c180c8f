use std::collections::HashMap;

use refit_engine::stage::StageError;
use serde_json::Value;

use super::params::SplitParams;
use crate::records::{Message, Record};

/// Where a row goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    Test,
    Validation,
    Train,
    /// No part takes it.
    Unused,
    /// It was left out of its part because a row of another part is like it.
    Leaked,
}

impl Part {
    pub(super) const ALL: [Self; 5] = [Self::Train, Self::Validation, Self::Test, Self::Unused, Self::Leaked];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Validation => "validation",
            Self::Train => "train",
            Self::Unused => "unused",
            Self::Leaked => "leaked",
        }
    }
}

/// What is remembered of a row: some 40 bytes, and the names of groups and strata once.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// What is put into one part as a whole: the hash of the group with `together`, else of the messages. Evenly spread,
    /// it is the unit's rank as well.
    pub unit: u64,
    /// A second, independent rank of the messages.
    pub second: u64,
    /// Which group; rows without one have none.
    pub group: Option<u32>,
    /// Which stratum.
    pub stratum: u32,
    /// Where the row begins in the file.
    pub offset: u64,
}

/// The names of groups or strata, numbered in the order they appear.
#[derive(Default)]
pub(super) struct Names {
    numbers: HashMap<String, u32>,
    pub names: Vec<String>,
}

impl Names {
    fn number(&mut self, name: String) -> u32 {
        let next = self.names.len() as u32;
        *self.numbers.entry(name).or_insert_with_key(|name| {
            self.names.push(name.clone());
            next
        })
    }
}

/// Reads what the split depends on out of records.
pub(super) struct Rows {
    seed: u64,
    group_by: Option<String>,
    together: bool,
    stratify_by: Option<String>,
    pub all: Vec<Row>,
    pub groups: Names,
    pub strata: Names,
    pub without_group: u64,
    pub without_stratum: u64,
    /// The columns seen, for the error about one that is not there.
    columns: Vec<String>,
}

/// The stratum of rows that lack the column.
const NO_STRATUM: &str = "";

impl Rows {
    pub(super) fn new(params: &SplitParams) -> Self {
        Self {
            seed: params.seed,
            group_by: params.group_by.clone(),
            together: params.group_mode == super::GroupMode::Together,
            stratify_by: params.stratify_by.clone(),
            all: Vec::new(),
            groups: Names::default(),
            strata: Names::default(),
            without_group: 0,
            without_stratum: 0,
            columns: Vec::new(),
        }
    }

    /// Takes a row in.
    pub(super) fn add(&mut self, record: &Record, offset: u64) {
        if self.columns.len() < 40 {
            for name in record.meta.keys() {
                if !self.columns.contains(name) {
                    self.columns.push(name.clone());
                }
            }
        }
        let value = |key: &Option<String>| {
            let value = record.meta.get(key.as_ref()?)?;
            match value {
                Value::Null => None,
                Value::String(text) if text.trim().is_empty() => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            }
        };
        let (group, stratum) = (value(&self.group_by), value(&self.stratify_by));
        self.without_group += u64::from(self.group_by.is_some() && group.is_none());
        self.without_stratum += u64::from(self.stratify_by.is_some() && stratum.is_none());
        let unit = match &group {
            Some(group) if self.together => self.hash("group", |hasher| {
                hasher.update(group.as_bytes());
            }),
            _ => self.hash("row", |hasher| update(hasher, &record.messages)),
        };
        let second = self.hash("second", |hasher| update(hasher, &record.messages));
        let group = group.map(|name| self.groups.number(name));
        let stratum = self.strata.number(stratum.unwrap_or_else(|| NO_STRATUM.to_owned()));
        self.all.push(Row { unit, second, group, stratum, offset });
    }

    /// An error when a column that the parameters name is in no row.
    pub(super) fn check_columns(&self) -> Result<(), StageError> {
        let all = self.all.len() as u64;
        for (parameter, column, without) in
            [("group_by", &self.group_by, self.without_group), ("stratify_by", &self.stratify_by, self.without_stratum)]
        {
            let Some(column) = column else { continue };
            if without < all || all == 0 {
                continue;
            }
            let likely = self
                .columns
                .iter()
                .map(|name| (strsim::jaro_winkler(name, column), name))
                .filter(|(alike, _)| *alike > 0.8)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let message = format!("`{parameter}: {column}`: no row has a column `{column}`");
            return Err(StageError::new("split::missing_column", message).help(match likely {
                Some((_, name)) => format!("did you mean `{name}`?"),
                None if self.columns.is_empty() => "the rows have no columns beside the conversation".to_owned(),
                None => format!("the rows have the columns {}", self.columns.join(", ")),
            }));
        }
        Ok(())
    }

    fn hash(&self, purpose: &str, update: impl FnOnce(&mut blake3::Hasher)) -> u64 {
        let mut hasher = blake3::Hasher::new_derive_key("refit split 1");
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&[purpose.len() as u8]);
        hasher.update(purpose.as_bytes());
        update(&mut hasher);
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_be_bytes(bytes)
    }
}

fn update(hasher: &mut blake3::Hasher, messages: &[Message]) {
    for message in messages {
        for text in [&message.role, &message.content] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
}
