use std::collections::HashMap;

use super::prepare::digest;

/// Hands out ids and sees to it that each is there once, since predictions are matched by them.
///
/// It grows by a hash of 16 bytes and a counter for each row.
#[derive(Default)]
pub(super) struct Ids {
    used: HashMap<u128, u32>,
    /// Rows whose id came from the data.
    pub given: u64,
    /// Rows whose id was made from their content.
    pub made: u64,
    /// Rows whose id an earlier row had, and which got a number behind it.
    pub repeated: u64,
}

impl Ids {
    /// The row's own id, else the first 16 hexadecimal digits of a digest of its content: adding or moving rows changes
    /// no id. A second row of the same id becomes `id-2`.
    pub(super) fn next<'a>(&mut self, own: Option<String>, said: impl Iterator<Item = (&'a str, &'a str)>) -> String {
        let base = if let Some(id) = own {
            self.given += 1;
            id
        } else {
            self.made += 1;
            of_content(said)
        };
        let uses = self.uses(&base);
        *uses += 1;
        if *uses == 1 {
            return base;
        }
        self.repeated += 1;
        let mut number = *self.uses(&base);
        loop {
            let id = format!("{base}-{number}");
            let taken = self.uses(&id);
            *taken += 1;
            if *taken == 1 {
                return id;
            }
            number += 1;
        }
    }

    fn uses(&mut self, id: &str) -> &mut u32 {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&blake3::hash(id.as_bytes()).as_bytes()[..16]);
        self.used.entry(u128::from_be_bytes(bytes)).or_default()
    }
}

/// The id of a row that brings none.
pub(super) fn of_content<'a>(said: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    format!("{:016x}", (digest(said) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_handed_out_once() {
        let mut ids = Ids::default();
        let all: Vec<String> =
            ["a", "a-2", "a", "a", "b"].into_iter().map(|id| ids.next(Some(id.into()), std::iter::empty())).collect();
        assert_eq!(all, ["a", "a-2", "a-3", "a-4", "b"]);
        assert_eq!((ids.given, ids.repeated), (5, 2));
    }

    #[test]
    fn an_id_of_content_depends_on_content_alone() {
        let row = || [("user", "q"), ("assistant", "a")].into_iter();
        let mut ids = Ids::default();
        ids.next(None, std::iter::empty());
        assert_eq!(ids.next(None, row()), Ids::default().next(None, row()));
        assert_eq!(of_content(row()).len(), 16);
    }
}
