#![allow(clippy::unwrap_used)]

mod hub;
mod server;
mod web;
mod wheel;

use std::{path::Path, time::Duration};

use miette::Diagnostic;

use refit_engine::fetch::FetchError;

use crate::{FetchOptions, HubOptions, Retry};

/// Options for a cache in a temporary folder, without pauses.
fn options(cache: &Path) -> FetchOptions {
    let retry = Retry { attempts: 3, pause: Duration::ZERO, longest: Duration::ZERO };
    // A port on which nobody listens, so that nothing here can ever reach the real hub.
    let hub = HubOptions { endpoint: "http://127.0.0.1:9".into(), ..HubOptions::default() };
    FetchOptions { cache: cache.to_owned(), retry, hub, ..FetchOptions::default() }
}

/// An error as people see it: code, message, causes, help. Ports and folders are replaced.
fn shown(error: &FetchError, cache: &Path) -> String {
    let mut text = format!("{}: {error}\n", error.code());
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = text + "cause: " + &cause.to_string() + "\n";
        next = cause.source();
    }
    if let Some(help) = error.help() {
        text = text + "help: " + &help.to_string() + "\n";
    }
    let text = text.replace(&*cache.to_string_lossy(), "CACHE");
    let text = without_folder_digest(&text);
    let mut pieces = text.split("127.0.0.1:");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out += "HOST";
        out += piece.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out
}

/// The folder of an address in the cache is named by its digest, which the port is part of.
fn without_folder_digest(text: &str) -> String {
    let mut pieces = text.split("CACHE/https/");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out += "CACHE/https/DIGEST";
        out += piece.trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    out
}

/// All files below a folder, relative, sorted.
fn files(folder: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| !entry.file_type().is_dir());
    files.map(|entry| entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned()).collect()
}
