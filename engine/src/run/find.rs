use refit_cache::{RunId, Store, StoreError};

use super::{Labels, sweep::runs};

/// The run that a person means: `latest`, `latest~1` for the one before, a name, an id, or any beginning of an id or of
/// the part after `-` that no other run has.
///
/// A name wins over the beginning of an id, and of several runs with that name the newest is meant.
///
/// # Errors
/// No run or several fit.
pub fn find_run(store: &Store, text: &str) -> Result<RunId, StoreError> {
    let unknown = || StoreError::UnknownRun { wanted: text.to_owned() };
    if let Some(back) = steps_back(text) {
        return runs(store)?.into_iter().nth(back).ok_or_else(unknown);
    }
    let runs = store.runs()?;
    if let Some(id) = text.parse::<RunId>().ok().filter(|id| runs.binary_search_by(|run| id.cmp(run)).is_ok()) {
        return Ok(id);
    }
    if Labels::checked(text).is_ok() {
        let named = |id: &&RunId| Labels::read(&store.run_folder(id)).name.as_deref() == Some(text);
        if let Some(id) = runs.iter().find(named) {
            return Ok(id.clone());
        }
    }
    store.find_run(text)
}

/// How many runs before the newest one `latest~N` means.
fn steps_back(text: &str) -> Option<usize> {
    let rest = text.strip_prefix(Labels::LATEST)?;
    if rest.is_empty() {
        return Some(0);
    }
    rest.strip_prefix('~')?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use refit_cache::Wait;

    use super::*;

    #[test]
    fn a_run_is_found_by_id_beginning_name_and_place() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join(".refit")).unwrap();
        let lock = store.lock("a test", Wait::Fail).unwrap();
        let runs: Vec<RunId> = (0..3).map(|_| store.create_run(&lock).unwrap()).collect();
        let name = |run: &RunId, name: &str| {
            let labels = Labels { name: Some(name.to_owned()), ..Labels::default() };
            labels.write(&store.run_folder(run)).unwrap();
        };
        name(&runs[0], "baseline");
        name(&runs[1], "baseline");
        // A name may look like the beginning of another run's id.
        let (_, tail) = runs[2].as_str().split_once('-').unwrap();
        name(&runs[0], &tail[..4]);
        assert_eq!(find_run(&store, "latest").unwrap(), runs[2]);
        assert_eq!(find_run(&store, "latest~2").unwrap(), runs[0]);
        assert_eq!(find_run(&store, "baseline").unwrap(), runs[1]);
        assert_eq!(find_run(&store, &tail[..4]).unwrap(), runs[0]);
        assert_eq!(find_run(&store, tail).unwrap(), runs[2]);
        assert_eq!(find_run(&store, runs[1].as_str()).unwrap(), runs[1]);
        for wrong in ["latest~3", "latest~x", "nobody", ""] {
            assert!(find_run(&store, wrong).is_err(), "{wrong}");
        }
    }
}
