use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{choices::Choices, table::Provenance};
use crate::LlmError;

/// What a file begins with; its digest follows, and in the next line what it says.
const MAGIC: &str = "refit kernels 1";

#[derive(Debug, Serialize, Deserialize)]
struct Content<'a> {
    of: Cow<'a, Provenance>,
    choices: Cow<'a, Choices>,
}

/// What a look for a file found.
#[derive(Debug)]
pub(super) enum Read {
    Nothing,
    Choices(Choices),
    /// There is one, and why it does not help.
    Unusable(String),
}

/// Where the choices of an adapter lie.
pub(super) fn path(folder: &Path, of: &Provenance) -> PathBuf {
    let name = blake3::hash(format!("{of:?}").as_bytes()).to_hex();
    folder.join(format!("{}.json", &name[..32]))
}

/// Reads the choices of an adapter.
pub(super) fn read(folder: &Path, of: &Provenance) -> Read {
    let text = match fs_err::read_to_string(path(folder, of)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Read::Nothing,
        Err(error) => return Read::Unusable(error.to_string()),
    };
    let whole = text.split_once('\n').filter(|(first, said)| *first == header(said));
    let content = whole.and_then(|(_, said)| serde_json::from_str::<Content<'_>>(said).ok());
    match content {
        Some(content) if *content.of == *of => Read::Choices(content.choices.into_owned()),
        Some(_) => Read::Unusable("it is of another adapter, driver or version".into()),
        None => Read::Unusable("it is damaged".into()),
    }
}

/// Writes the choices of an adapter down in one move, so that whoever reads meanwhile finds the old or the new ones. Of two
/// processes that write at once, the later one wins; what the other one found is tried again some time.
pub(super) fn write(folder: &Path, of: &Provenance, choices: &Choices) -> Result<(), LlmError> {
    let content = Content { of: Cow::Borrowed(of), choices: Cow::Borrowed(choices) };
    let said = serde_json::to_string(&content).map_err(io::Error::from)?;
    fs_err::create_dir_all(folder)?;
    let path = path(folder, of);
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    fs_err::write(&temporary, format!("{}\n{said}", header(&said)))?;
    fs_err::rename(temporary, path)?;
    Ok(())
}

fn header(said: &str) -> String {
    format!("{MAGIC} {}", blake3::hash(said.as_bytes()))
}
