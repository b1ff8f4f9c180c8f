use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use refit_cache::canonical::canonical;

use super::{AxisValue, Combination, Selector};
use crate::source::Span;

/// One copy of a stage with a matrix.
#[derive(Debug)]
pub(in crate::graph) struct StageCopy {
    /// The stage it is a copy of.
    pub(in crate::graph) template: Arc<str>,
    /// `train[rank=8,lr=1e-4]`.
    pub(in crate::graph) name: String,
    pub(in crate::graph) values: Combination,
}

impl StageCopy {
    pub(in crate::graph) fn new(template: &Arc<str>, values: Combination) -> Self {
        let mut name = template.to_string();
        let mut before = '[';
        for (axis, value) in &values {
            name.push(before);
            name.push_str(axis);
            name.push('=');
            name.push_str(&value.label);
            before = ',';
        }
        name.push(']');
        Self { template: template.clone(), name, values }
    }

    pub(in crate::graph) fn value(&self, axis: &str) -> Option<&AxisValue> {
        self.values.iter().find(|(name, _)| **name == *axis).map(|(_, value)| value.as_ref())
    }

    /// `rank=8,lr=0.0001`: the same for every spelling of the values.
    pub(in crate::graph) fn plain(&self) -> String {
        self.values.iter().map(|(axis, value)| format!("{axis}={}", value.plain)).collect::<Vec<_>>().join(",")
    }
}

/// A stage with a matrix and its copies.
#[derive(Debug)]
pub(in crate::graph) struct Template {
    /// Where its matrix is written.
    pub(in crate::graph) at: Span,
    /// The axes of all copies, in the order of the first copy that has them.
    pub(in crate::graph) axes: Vec<Arc<str>>,
    pub(in crate::graph) copies: Vec<Arc<StageCopy>>,
    /// For every set of axes that was asked for, the copies by their values on it.
    found: Mutex<HashMap<Vec<String>, ByValues>>,
}

/// Copies by the canonical form of their values on a fixed set of axes.
type ByValues = HashMap<Vec<u8>, Vec<usize>>;

/// What a reference to a stage with a matrix leads to.
#[derive(Debug)]
pub(in crate::graph) enum Choice<'t> {
    One(&'t StageCopy),
    /// All that were asked for with `*`; at least one.
    Many(Vec<&'t StageCopy>),
    /// No copy has these values.
    None,
    /// More copies than one have these values, and only one was asked for.
    Several(usize),
    /// The selector names something that is no axis.
    UnknownAxis(String),
}

impl Template {
    pub(in crate::graph) fn new(at: Span, copies: Vec<Arc<StageCopy>>) -> Self {
        let mut axes: Vec<Arc<str>> = Vec::new();
        for copy in &copies {
            for (axis, _) in &copy.values {
                if !axes.contains(axis) {
                    axes.push(axis.clone());
                }
            }
        }
        Self { at, axes, copies, found: Mutex::default() }
    }

    /// The copies that a selector chooses. What it leaves open follows the values of `own`, the copy that asks.
    pub(in crate::graph) fn choose(&self, selector: &Selector, own: Option<&StageCopy>) -> Choice<'_> {
        let has = |name: &str| self.axes.iter().any(|axis| **axis == *name);
        let named = || selector.values.keys().chain(&selector.open);
        if let Some(unknown) = named().find(|name| !has(name)) {
            return Choice::UnknownAxis(unknown.clone());
        }
        let mut wanted: Vec<(String, Vec<u8>)> =
            selector.values.iter().map(|(axis, value)| (axis.clone(), canonical(value))).collect();
        if let Some(own) = own.filter(|_| !selector.all) {
            let left = own.values.iter().filter(|(axis, _)| has(axis) && named().all(|name| **name != **axis));
            wanted.extend(left.map(|(axis, value)| (axis.to_string(), value.bytes.clone())));
        }
        wanted.sort_unstable();
        let axes = wanted.iter().map(|(axis, _)| axis.clone()).collect();
        let values = wanted.into_iter().flat_map(|(_, bytes)| bytes).collect::<Vec<u8>>();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let by_values = found.entry(axes).or_insert_with_key(|axes| self.by_values(axes));
        let places = by_values.get(&values).map(Vec::as_slice).unwrap_or_default();
        let copies = || places.iter().map(|&place| self.copies[place].as_ref());
        match places {
            [] => Choice::None,
            _ if selector.takes_many() => Choice::Many(copies().collect()),
            [only] => Choice::One(&self.copies[*only]),
            several => Choice::Several(several.len()),
        }
    }

    fn by_values(&self, axes: &[String]) -> ByValues {
        let mut found = ByValues::new();
        for (place, copy) in self.copies.iter().enumerate() {
            let values: Option<Vec<&AxisValue>> = axes.iter().map(|axis| copy.value(axis)).collect();
            if let Some(values) = values {
                let key = values.into_iter().flat_map(|value| value.bytes.iter().copied()).collect();
                found.entry(key).or_default().push(place);
            }
        }
        found
    }

    /// Names of copies for a message: of many the first ones.
    pub(in crate::graph) fn names(&self) -> impl Iterator<Item = &str> {
        self.copies.iter().map(|copy| copy.name.as_str())
    }
}

/// Every stage with a matrix, by its name.
#[derive(Debug, Default)]
pub(in crate::graph) struct Copies {
    templates: HashMap<Arc<str>, Template>,
}

impl Copies {
    pub(in crate::graph) fn insert(&mut self, name: Arc<str>, template: Template) {
        self.templates.insert(name, template);
    }

    pub(in crate::graph) fn get(&self, name: &str) -> Option<&Template> {
        self.templates.get(name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::{
        super::{Axis, combine},
        *,
    };
    use crate::source::Node;

    /// What this thread has computed so far; nothing where the system does not tell.
    fn computed() -> Duration {
        let told = fs_err::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        Duration::from_nanos(told.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0))
    }

    fn axis(name: &str, values: u32) -> Axis {
        let value = |value| {
            let node = Arc::new(Node::from_value(json!(value), Span::default()));
            Arc::new(AxisValue::new(&node, &[]))
        };
        Axis { name: name.into(), key: Span::default(), values: (0..values).map(value).collect() }
    }

    #[test]
    fn ten_thousand_copies_are_made_and_found_at_once() {
        let axes = [axis("a", 10), axis("b", 10), axis("c", 100)];
        let begun = computed();
        let combined = combine(&axes, &[], &[]);
        let name: Arc<str> = "train".into();
        let copies = combined.combinations.into_iter().map(|values| Arc::new(StageCopy::new(&name, values))).collect();
        let template = Template::new(Span::default(), copies);
        assert_eq!(template.copies.len(), 10_000);
        assert_eq!(template.copies[1234].name, "train[a=1,b=2,c=34]");
        let made = computed().saturating_sub(begun);
        assert!(made < Duration::from_millis(50), "{made:?}");
        for copy in &template.copies {
            let Choice::One(same) = template.choose(&Selector::default(), Some(copy)) else { panic!("{}", copy.name) };
            assert_eq!(same.name, copy.name);
        }
        let found = computed().saturating_sub(begun + made);
        assert!(found < Duration::from_millis(200), "{found:?}");
    }
}
