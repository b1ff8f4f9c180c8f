//! Personal data in text: found, checked by its check digits where it has some, and replaced.

mod bank_card;
mod email;
mod id_card;
mod ip;
mod key;
mod phone;
mod scrubber;

pub(super) use scrubber::{Findings, Scrubber};
