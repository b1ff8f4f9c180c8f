//! sled panics where others return an error. What happens inside it must stop at the index, and print nothing.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
    thread,
};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// sled's own threads bear this name; their panics reach the caller as errors.
const SLED_THREAD: &str = "sled-";

/// Runs `f`; a panic in it becomes an error and is not printed.
pub(crate) fn quietly<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = QUIET.get() || thread::current().name().is_some_and(|name| name.starts_with(SLED_THREAD));
            if !ours {
                before(info);
            }
        }));
    });
    let outer = QUIET.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(f));
    QUIET.set(outer);
    outcome.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
        text.unwrap_or("it gave up").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::quietly;

    #[test]
    fn a_panic_becomes_an_error() {
        assert_eq!(quietly(|| 7), Ok(7));
        assert_eq!(quietly(|| -> u8 { panic!("no {}", 1) }), Err("no 1".to_owned()));
        assert_eq!(quietly(|| -> u8 { panic!("no") }), Err("no".to_owned()));
    }
}
