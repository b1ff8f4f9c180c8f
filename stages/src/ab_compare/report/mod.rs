//! The report: what is shown, and its two forms.

mod html;
mod markdown;
mod plot;
mod view;

pub(super) use html::html;
pub(super) use markdown::markdown;
pub(super) use view::view;
