//! The store as others use it: real folders, real processes, real damage.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed; children talk by stdout"
)]

mod children;
mod damage;
mod exports;
mod fixture;
mod flow;
mod gc;
mod index;
mod kill;
mod locking;
mod read_only;
mod runs;
mod sources;
