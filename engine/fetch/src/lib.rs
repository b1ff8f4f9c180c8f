//! Brings sources from elsewhere to this machine.
//!
//! [`Fetcher`] is what the engine knows as [`Fetch`](refit_engine::fetch::Fetch).

mod address;
mod download;
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
    fetcher::Fetcher,
    options::{FetchOptions, HubOptions, Retry, Token},
};
