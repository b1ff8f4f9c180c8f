//! The columns of a row, whatever its shape, become one conversation.

mod alpaca;
mod answers;
mod columns;
mod messages;
mod prompt;
mod sharegpt;
mod turns;

pub(super) use columns::shape_row;
