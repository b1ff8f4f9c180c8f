//! End-to-end tests: the real binary, real files, a real model.
#![allow(clippy::unwrap_used, reason = "a failing expectation is how a test fails")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

mod bad_input;
mod cache;
mod cli;
mod config;
mod crash;
mod damage;
mod devices;
mod evaluate;
mod exec;
mod export;
mod import;
mod kills;
mod matrix;
mod memory;
mod peers;
mod random;
mod recall;
mod remote;
mod runs;
mod schedule;
mod scores;
mod shipped;
mod store;
mod verify;
mod watch;
