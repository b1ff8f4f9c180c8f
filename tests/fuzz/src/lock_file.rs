use std::path::Path;

use refit_engine::plan::LockFile;

use crate::shown;

/// Takes bytes as a `refit.lock`.
///
/// It is refused with an error that can be shown, or what was read is written as a text that reads the same.
pub fn lock_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let path = Path::new(LockFile::NAME);
    let read = match LockFile::parse(path, &text) {
        Ok(read) => read,
        Err(error) => {
            shown(&error);
            return;
        }
    };
    let written = read.text().unwrap_or_else(|error| panic!("it cannot be written: {error}"));
    match LockFile::parse(path, &written) {
        Ok(again) => assert_eq!(again, read, "another one was written"),
        Err(error) => panic!("what was written is refused: {}", shown(&error)),
    }
}
