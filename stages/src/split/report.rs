use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::{
    assign::Shortage,
    leakage::Leaks,
    params::SplitParams,
    row::{Part, Rows},
};

/// What went where. It stands beside the training rows: the other two parts have a report of their own rows only, so
/// that their bytes, and all that was computed from them, stay when only training rows change.
#[derive(Serialize)]
pub(super) struct Report {
    pub rows: u64,
    pub seed: u64,
    pub parts: BTreeMap<&'static str, PartCounts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<GroupCounts>,
    /// Rows of every stratum by part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strata: Option<BTreeMap<String, BTreeMap<&'static str, u64>>>,
    pub leakage: LeakReport,
}

/// The size of a part.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct PartCounts {
    pub rows: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<u64>,
}

/// How the rows fall into groups.
#[derive(Serialize)]
pub(super) struct GroupCounts {
    pub by: String,
    pub groups: u64,
    pub rows_without: u64,
    /// Groups with fewer rows than were asked of every group.
    pub too_small: u64,
}

/// Near-duplicates between parts, and what was asked.
#[derive(Serialize)]
pub(super) struct LeakReport {
    pub similarity: f64,
    #[serde(flatten)]
    pub leaks: Leaks,
}

impl Report {
    pub(super) fn new(rows: &Rows, parts: &[Part], shortage: &Shortage, leaks: Leaks, params: &SplitParams) -> Self {
        let mut counts: BTreeMap<&'static str, PartCounts> = BTreeMap::new();
        for part in Part::ALL {
            let members = || rows.all.iter().zip(parts).filter(move |(_, of)| **of == part).map(|(row, _)| row);
            let count = members().count() as u64;
            if count > 0 || matches!(part, Part::Train | Part::Validation | Part::Test) {
                let groups = params.group_by.is_some().then(|| {
                    let groups: HashSet<u32> = members().filter_map(|row| row.group).collect();
                    groups.len() as u64
                });
                counts.insert(part.name(), PartCounts { rows: count, groups });
            }
        }
        let strata = params.stratify_by.is_some().then(|| {
            let mut strata: BTreeMap<String, BTreeMap<&'static str, u64>> = BTreeMap::new();
            for (row, part) in rows.all.iter().zip(parts) {
                let name = rows.strata.names[row.stratum as usize].clone();
                *strata.entry(name).or_default().entry(part.name()).or_default() += 1;
            }
            strata
        });
        Self {
            rows: rows.all.len() as u64,
            seed: params.seed,
            parts: counts,
            groups: params.group_by.clone().map(|by| GroupCounts {
                by,
                groups: rows.groups.names.len() as u64,
                rows_without: rows.without_group,
                too_small: shortage.small_groups,
            }),
            strata,
            leakage: LeakReport { similarity: params.similarity, leaks },
        }
    }

    /// What a person should know, one sentence each.
    pub(super) fn warnings(&self, params: &SplitParams) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(groups) = &self.groups {
            if groups.rows_without > 0 {
                let (n, by) = (groups.rows_without, &groups.by);
                warnings.push(format!("{n} rows have no `{by}`; each of them is a group by itself"));
            }
            if groups.too_small > 0 {
                let (n, all) = (groups.too_small, groups.groups);
                warnings.push(format!("{n} of {all} groups have too few rows to give what every group should; training keeps their last row"));
            }
        }
        let missing = self.strata.as_ref().and_then(|strata| strata.get("")).map_or(0, |parts| parts.values().sum());
        if missing > 0 {
            let by = params.stratify_by.as_deref().unwrap_or_default();
            warnings.push(format!("{missing} rows have no `{by}`; they are a stratum by themselves"));
        }
        if let Some(unused) = self.parts.get(Part::Unused.name()) {
            warnings.push(format!("{} of {} rows are in no part", unused.rows, self.rows));
        }
        let leaks = &self.leakage.leaks;
        if !leaks.rows.is_empty() {
            let list: Vec<String> = leaks
                .rows
                .iter()
                .map(|(pair, count)| match pair.split_once('/') {
                    Some((part, of)) => format!("{count} {part} rows are like {of} rows"),
                    None => format!("{count} {pair}"),
                })
                .collect();
            let done = if self.parts.contains_key(Part::Leaked.name()) { "; they were left out" } else { "" };
            let first = leaks.examples.first().map_or_else(String::new, |leak| {
                format!(" (`{}` is {:.2} like `{}`)", leak.id, leak.similarity, leak.like)
            });
            warnings.push(format!("near-duplicates between parts: {}{first}{done}", list.join(", ")));
        }
        if leaks.search_cut_short > 0 {
            let n = leaks.search_cut_short;
            warnings.push(format!("for {n} rows so many others look alike that the search for leakage was cut short"));
        }
        warnings
    }
}
