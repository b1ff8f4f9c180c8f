//! Rows out of files, one at a time, with the place of each; nothing here knows what a row means.

mod csv;
mod files;
mod json;
mod jsonl;
mod row;
mod source;

pub(super) use files::Sources;
pub(super) use row::RawRow;
pub(super) use source::RowReader;
