use std::collections::BTreeMap;

use super::{
    assign::{Share, Shortage, rest_of},
    row::{Part, Row},
};

/// A unit in a stratum: its hash and its rows.
type Unit = (u64, Vec<usize>);

/// Takes from every stratum, in the order of the units' hashes, the share of it that each part asks for.
pub(super) fn assign(rows: &[Row], shares: [(Part, Share); 3]) -> (Vec<Part>, Shortage) {
    let strata = strata(rows);
    let sizes: Vec<u64> = strata.iter().map(|units| units.iter().map(|(_, rows)| rows.len() as u64).sum()).collect();
    let mut parts = vec![rest_of(shares); rows.len()];
    let mut shortage = Shortage::default();
    let mut free: Vec<_> = strata.into_iter().map(|units| units.into_iter().peekable()).collect();
    for (part, share) in shares {
        let quotas: Vec<u64> = match share {
            Share::Rest => continue,
            Share::Fraction(fraction) => sizes.iter().map(|size| (*size as f64 * fraction).round() as u64).collect(),
            Share::Count(count) => apportion(count, &sizes),
        };
        let mut missing = 0;
        for (units, quota) in free.iter_mut().zip(quotas) {
            let mut taken = 0;
            while taken < quota {
                let Some((_, members)) = units.next() else { break };
                taken += members.len() as u64;
                for row in members {
                    parts[row] = part;
                }
            }
            missing += quota.saturating_sub(taken);
        }
        if missing > 0 && matches!(share, Share::Count(_)) {
            shortage.missing.push((part, missing));
        }
    }
    (parts, shortage)
}

/// The units of every stratum by hash. A unit whose rows differ in stratum belongs to the one most of them have.
fn strata(rows: &[Row]) -> Vec<Vec<Unit>> {
    let mut units: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (number, row) in rows.iter().enumerate() {
        units.entry(row.unit).or_default().push(number);
    }
    let count = rows.iter().map(|row| row.stratum as usize + 1).max().unwrap_or(0);
    let mut strata: Vec<Vec<Unit>> = vec![Vec::new(); count];
    for (hash, members) in units {
        let mut votes: BTreeMap<u32, usize> = BTreeMap::new();
        for &row in &members {
            *votes.entry(rows[row].stratum).or_default() += 1;
        }
        // Of equally many, the first: the numbers follow the order of appearance.
        let most = votes.iter().rev().max_by_key(|(_, votes)| **votes).map_or(0, |(stratum, _)| *stratum);
        strata[most as usize].push((hash, members));
    }
    strata
}

/// Divides a count in proportion to the sizes, by largest remainders.
fn apportion(count: u64, sizes: &[u64]) -> Vec<u64> {
    let total: u64 = sizes.iter().sum();
    if total == 0 {
        return vec![0; sizes.len()];
    }
    let exact = |size: &u64| u128::from(count) * u128::from(*size);
    let mut quotas: Vec<u64> = sizes.iter().map(|size| (exact(size) / u128::from(total)) as u64).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&stratum| std::cmp::Reverse(exact(&sizes[stratum]) % u128::from(total)));
    let left = count - quotas.iter().sum::<u64>();
    for stratum in order.into_iter().take(left as usize) {
        quotas[stratum] += 1;
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_divided_in_proportion() {
        assert_eq!(apportion(10, &[50, 30, 20]), [5, 3, 2]);
        assert_eq!(apportion(10, &[1, 1, 1]), [4, 3, 3]);
        assert_eq!(apportion(3, &[]), [0_u64; 0]);
    }
}
