use std::collections::BTreeMap;

use super::{
    params::{GroupMode, SplitParams},
    row::{Part, Row},
    strata,
};

/// How much a part gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Share {
    Fraction(f64),
    Count(u64),
    /// What the other parts leave.
    Rest,
}

impl Share {
    fn of(value: f64) -> Self {
        if value > 0.0 && value < 1.0 { Self::Fraction(value) } else { Self::Count(value as u64) }
    }

    /// Whether the part is wanted at all.
    pub(super) fn is_asked(self) -> bool {
        self != Self::Count(0)
    }
}

/// The shares of the three parts, in the order in which they take their rows.
pub(super) fn shares(params: &SplitParams) -> [(Part, Share); 3] {
    [
        (Part::Test, Share::of(params.test)),
        (Part::Validation, Share::of(params.validation)),
        (Part::Train, params.train.map_or(Share::Rest, Share::of)),
    ]
}

/// What the assignment found out beside the parts.
#[derive(Default)]
pub(super) struct Shortage {
    /// Groups with fewer rows than `group_mode: each` asks of every group.
    pub small_groups: u64,
    /// Rows that a count asked for and did not get.
    pub missing: Vec<(Part, u64)>,
}

/// Gives every row a part.
pub(super) fn assign(rows: &[Row], params: &SplitParams) -> (Vec<Part>, Shortage) {
    let shares = shares(params);
    match params.group_mode {
        GroupMode::Each if params.group_by.is_some() => in_each_group(rows, shares),
        _ if params.stratify_by.is_some() => strata::assign(rows, shares),
        _ => by_unit(rows, shares),
    }
}

/// Fractions take the units whose hash lies in an interval of their own, counts the next units by hash.
fn by_unit(rows: &[Row], shares: [(Part, Share); 3]) -> (Vec<Part>, Shortage) {
    let fractions = Intervals::new(shares);
    let rest = rest_of(shares);
    let mut parts: Vec<Part> = rows.iter().map(|row| fractions.part(row.unit).unwrap_or(rest)).collect();
    let mut free: Vec<usize> = (0..rows.len()).filter(|&row| fractions.part(rows[row].unit).is_none()).collect();
    free.sort_by_key(|&row| rows[row].unit);
    let mut shortage = Shortage::default();
    let mut free = free.into_iter().peekable();
    for (part, share) in shares {
        let Share::Count(count) = share else { continue };
        let mut taken = 0;
        while taken < count {
            let Some(row) = free.next() else { break };
            parts[row] = part;
            taken += 1;
            // The rest of the unit goes along.
            while let Some(same) = free.next_if(|&next| rows[next].unit == rows[row].unit) {
                parts[same] = part;
                taken += 1;
            }
        }
        if taken < count {
            shortage.missing.push((part, count - taken));
        }
    }
    (parts, shortage)
}

/// Counts take that many rows of every group, in the order of their hash; fractions their interval of a second,
/// independent hash of the rows left. The last of a group stays in training, and so do rows without a group.
fn in_each_group(rows: &[Row], shares: [(Part, Share); 3]) -> (Vec<Part>, Shortage) {
    let fractions = Intervals::new(shares);
    let trains = shares[2].1.is_asked();
    let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let mut parts = vec![rest_of(shares); rows.len()];
    for (number, row) in rows.iter().enumerate() {
        match row.group {
            Some(group) => groups.entry(group).or_default().push(number),
            None if trains => parts[number] = Part::Train,
            None => parts[number] = fractions.part(row.second).unwrap_or(Part::Unused),
        }
    }
    let mut shortage = Shortage::default();
    for members in groups.values_mut() {
        members.sort_by_key(|&row| rows[row].unit);
        let last = members.last().map(|&row| rows[row].unit);
        let mut free = members.iter().copied().filter(|&row| !trains || Some(rows[row].unit) != last).peekable();
        let mut short = false;
        for (part, share) in shares {
            let Share::Count(count) = share else { continue };
            // The row kept back for training counts for it.
            let mut taken = u64::from(part == Part::Train && trains);
            while taken < count {
                let Some(row) = free.next() else { break };
                parts[row] = part;
                taken += 1;
                while let Some(same) = free.next_if(|&next| rows[next].unit == rows[row].unit) {
                    parts[same] = part;
                    taken += 1;
                }
            }
            short |= taken < count;
        }
        for row in free {
            if let Some(part) = fractions.part(rows[row].second) {
                parts[row] = part;
            }
        }
        if trains {
            for &row in members.iter().filter(|&&row| Some(rows[row].unit) == last) {
                parts[row] = Part::Train;
            }
        }
        shortage.small_groups += u64::from(short);
    }
    (parts, shortage)
}

/// Where rows go that no share takes.
pub(super) fn rest_of(shares: [(Part, Share); 3]) -> Part {
    if shares[2].1 == Share::Rest { Part::Train } else { Part::Unused }
}

/// Adjacent intervals of [0, 1), one for each part with a fraction.
struct Intervals(Vec<(f64, Part)>);

impl Intervals {
    fn new(shares: [(Part, Share); 3]) -> Self {
        let mut end = 0.0;
        let mut ends = Vec::new();
        for (part, share) in shares {
            if let Share::Fraction(fraction) = share {
                end += fraction;
                ends.push((end, part));
            }
        }
        // Fractions that add up to 1 leave nothing, whatever the rounding.
        if let Some((last, _)) = ends.last_mut()
            && *last > 1.0 - 1e-9
        {
            *last = 2.0;
        }
        Self(ends)
    }

    fn part(&self, hash: u64) -> Option<Part> {
        // 53 bits fill a double's fraction exactly, so that the position is below 1.
        let position = (hash >> 11) as f64 / (1_u64 << 53) as f64;
        self.0.iter().find(|(end, _)| position < *end).map(|(_, part)| *part)
    }
}
