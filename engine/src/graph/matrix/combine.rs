//! The combinations of a matrix, as in GitHub Actions.

use std::{collections::HashSet, sync::Arc};

use super::{Axis, AxisValue};
use crate::source::Span;

/// The values of one copy by axis, in the order of the axes; what `include` brought comes last.
pub(in crate::graph) type Combination = Vec<(Arc<str>, Arc<AxisValue>)>;

/// An item of `include` or `exclude`.
#[derive(Debug, Clone)]
pub(in crate::graph) struct Item {
    /// Where it is written.
    pub(in crate::graph) span: Span,
    pub(in crate::graph) values: Combination,
}

/// What a matrix comes to.
#[derive(Debug, Default)]
pub(in crate::graph) struct Combined {
    pub(in crate::graph) combinations: Vec<Combination>,
    /// The items of `exclude` that left nothing out.
    pub(in crate::graph) idle: Vec<Span>,
    /// The items of `include` that came to a combination that was there already.
    pub(in crate::graph) repeated: Vec<Span>,
}

/// An item as it is held against combinations: which values of which axes it names, and what else.
struct Pattern<'a> {
    item: &'a Item,
    /// Number of an axis, and for each of its values whether it is the one named.
    wanted: Vec<(usize, Vec<bool>)>,
    further: Vec<(Arc<str>, Arc<AxisValue>)>,
}

impl<'a> Pattern<'a> {
    fn new(item: &'a Item, axes: &[Axis]) -> Self {
        let (mut wanted, mut further) = (Vec::new(), Vec::new());
        for (name, value) in &item.values {
            match axes.iter().position(|axis| axis.name == *name) {
                Some(at) => wanted.push((at, axes[at].values.iter().map(|own| own.bytes == value.bytes).collect())),
                None => further.push((name.clone(), value.clone())),
            }
        }
        Self { item, wanted, further }
    }

    fn fits(&self, places: &[usize]) -> bool {
        self.wanted.iter().all(|(axis, values)| values[places[*axis]])
    }
}

/// Every combination of the axes' values, the last axis turning fastest; without those that an item of `exclude` fits,
/// and with what `include` adds. The order follows from what is written, so it is always the same.
pub(in crate::graph) fn combine(axes: &[Axis], exclude: &[Item], include: &[Item]) -> Combined {
    let exclude: Vec<_> = exclude.iter().map(|item| Pattern::new(item, axes)).collect();
    let include: Vec<_> = include.iter().map(|item| Pattern::new(item, axes)).collect();
    let (mut excluded, mut included) = (vec![false; exclude.len()], vec![false; include.len()]);
    let mut combinations = Vec::new();
    let mut places = vec![0; axes.len()];
    let mut more = !axes.is_empty() && axes.iter().all(|axis| !axis.values.is_empty());
    while more {
        let mut left_out = false;
        for (pattern, used) in exclude.iter().zip(&mut excluded) {
            if pattern.fits(&places) {
                (*used, left_out) = (true, true);
            }
        }
        if !left_out {
            let own = axes.iter().zip(&places).map(|(axis, &place)| (axis.name.clone(), axis.values[place].clone()));
            let mut combination: Combination = own.collect();
            for (pattern, used) in include.iter().zip(&mut included).filter(|(pattern, _)| pattern.fits(&places)) {
                *used = true;
                for (name, value) in &pattern.further {
                    match combination[axes.len()..].iter_mut().find(|(known, _)| known == name) {
                        Some((_, known)) => *known = value.clone(),
                        None => combination.push((name.clone(), value.clone())),
                    }
                }
            }
            combinations.push(combination);
        }
        more = next(&mut places, axes);
    }
    let mut repeated = Vec::new();
    let mut seen = HashSet::new();
    for (pattern, _) in include.iter().zip(&included).filter(|(_, used)| !**used) {
        let mut ordered: Vec<_> = pattern.item.values.clone();
        // The same values in another order are the same copy, and axes come first.
        ordered.sort_by_key(|(name, _)| axes.iter().position(|axis| axis.name == *name).unwrap_or(axes.len()));
        let mut identity: Vec<_> = ordered.iter().map(|(name, value)| (name.clone(), value.bytes.clone())).collect();
        identity.sort_unstable();
        if seen.insert(identity) { combinations.push(ordered) } else { repeated.push(pattern.item.span) }
    }
    let idle = exclude.iter().zip(excluded).filter(|(_, used)| !used).map(|(pattern, _)| pattern.item.span);
    Combined { combinations, idle: idle.collect(), repeated }
}

/// Turns the last place that can be turned, and begins those after it anew.
fn next(places: &mut [usize], axes: &[Axis]) -> bool {
    for (place, axis) in places.iter_mut().zip(axes).rev() {
        *place += 1;
        if *place < axis.values.len() {
            return true;
        }
        *place = 0;
    }
    false
}
