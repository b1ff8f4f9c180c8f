//! The store as others use it: real folders, real processes, real damage.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed; children talk by stdout"
)]

mod bundles;
mod children;
mod damage;
mod exports;
mod fixture;
mod flow;
mod gc;
mod groups;
mod index;
mod kill;
mod large;
mod locking;
mod read_only;
mod runs;
mod sources;
