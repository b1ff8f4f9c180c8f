use refit_cache::Store;
use refit_engine::run::{StageReport, history_at};
use serde_json::{Map, Value};

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// The run as it was asked for, and the stage.
    pub(super) name: String,
    /// Step and value, at least one.
    pub(super) points: Vec<(f64, f64)>,
}

/// A row of a history.
pub(super) type Row = Map<String, Value>;

/// The histories that a stage of a run made, as far as the store still holds them. A line that is no JSON ends one: the
/// training was killed while it wrote.
pub(super) fn histories(store: &Store, stage: &StageReport) -> Vec<Vec<Row>> {
    let manifest = stage.result(store).ok().flatten();
    let outputs = manifest.into_iter().flat_map(|manifest| manifest.outputs);
    let files =
        outputs.filter_map(|(port, tree)| fs_err::read_to_string(store.object_path(&history_at(&port, &tree)?)).ok());
    files.map(|text| text.lines().map_while(|line| serde_json::from_str(line).ok()).collect()).collect()
}

/// What can be plotted of a history.
pub(super) fn numbers(rows: &[Row]) -> impl Iterator<Item = String> {
    let named = rows.iter().flat_map(|row| row.iter().filter(|(_, value)| value.is_number()));
    named.map(|(name, _)| name.clone()).filter(|name| name != "step")
}

impl Series {
    /// The values of a number over the steps; none if no row has it.
    pub(super) fn of(name: String, rows: &[Row], metric: &str) -> Option<Self> {
        let number = |row: &Row, name: &str| row.get(name).and_then(Value::as_f64);
        let points = rows
            .iter()
            .enumerate()
            .filter_map(|(place, row)| Some((number(row, "step").unwrap_or(place as f64), number(row, metric)?)));
        let points: Vec<(f64, f64)> = points.collect();
        (!points.is_empty()).then_some(Self { name, points })
    }

    pub(super) fn first(&self) -> f64 {
        self.points.first().map_or(f64::NAN, |(_, value)| *value)
    }

    pub(super) fn last(&self) -> f64 {
        self.points.last().map_or(f64::NAN, |(_, value)| *value)
    }

    pub(super) fn least(&self) -> f64 {
        self.points.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min)
    }
}

/// The least and greatest step and value of all curves: x, then y. Never empty: equal ends are moved apart.
pub(super) fn bounds(all: &[Series]) -> [(f64, f64); 2] {
    let of = |pick: fn(&(f64, f64)) -> f64| {
        let values = all.iter().flat_map(|series| &series.points).map(pick);
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if high > low { (low, high) } else { (low - 0.5, high + 0.5) }
    };
    [of(|point| point.0), of(|point| point.1)]
}
