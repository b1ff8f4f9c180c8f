use std::path::PathBuf;

use refit_engine::fetch::{FetchError, FetchProgress, Fetched};

use crate::{
    FetchOptions,
    address::Address,
    download::Download,
    http::Client,
    place::{lock, with_suffix},
};

/// One file at an `https://` address.
///
/// It lies in the cache in a folder named by the digest of its address, under its own name: what a file is, is told by
/// its ending.
pub(crate) struct Web<'a> {
    text: &'a str,
    folder: PathBuf,
}

impl<'a> Web<'a> {
    pub(crate) fn new(options: &FetchOptions, text: &'a str) -> Self {
        let digest = blake3::hash(text.as_bytes()).to_hex();
        Self { text, folder: options.cache.join("https").join(&digest[..32]) }
    }

    fn place(&self) -> Result<(Address, PathBuf), FetchError> {
        let address = Address::parse(self.text)?;
        let place = self.folder.join(address.file_name());
        Ok((address, place))
    }

    pub(crate) fn cached(&self) -> Option<Fetched> {
        let (_, path) = self.place().ok()?;
        path.is_file().then_some(Fetched { path, revision: None })
    }

    pub(crate) fn offline(&self) -> Result<Fetched, FetchError> {
        let (address, path) = self.place()?;
        let message = format!("{address} is not on this machine, and no network may be used");
        Err(FetchError::new("fetch::offline", message).help(by_hand(&address, &path)))
    }

    pub(crate) fn fetch(
        &self,
        client: &Client,
        on_progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<Fetched, FetchError> {
        let (address, path) = self.place()?;
        let by_hand = by_hand(&address, &path);
        let _locked = lock(&with_suffix(&self.folder, ".lock"))?;
        // Another process may have fetched it while this one waited.
        if !path.is_file() {
            let part = with_suffix(&path, ".part");
            let download =
                Download { from: &address, to: &path, part: &part, size: None, known: None, by_hand: &by_hand };
            download
                .run(client, &mut |done, total| on_progress(FetchProgress { done, total }))
                .map_err(|error| error.explain(&by_hand))?;
        }
        Ok(Fetched { path, revision: None })
    }
}

/// How to get it without this machine's network.
fn by_hand(address: &Address, path: &std::path::Path) -> String {
    format!(
        "download {address} on a machine with network and save it as {}; or name a local copy by its path",
        path.display()
    )
}
