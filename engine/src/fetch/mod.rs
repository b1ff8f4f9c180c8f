//! Brings sources from elsewhere to this machine.
//!
//! The engine calls [`Fetcher::cached`], which touches no network, and [`Fetcher::resolve`]. What was fetched once stays
//! in the download cache and is never asked for again.

mod address;
mod download;
mod error;
mod fetcher;
mod heads;
mod http;
mod hub;
mod hub_cache;
mod listing;
mod near;
mod options;
mod place;
mod selection;
mod unpack;
mod web;
mod wheel;

#[cfg(test)]
mod tests;

pub use self::{
    error::FetchError,
    fetcher::{FetchProgress, Fetched, Fetcher},
    options::{FetchOptions, HubOptions, Retry, Token},
};
