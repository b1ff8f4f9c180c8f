use std::io::{self, Write};

use aho_corasick::{AhoCorasick, MatchKind};

/// What stands in the place of a secret.
const REDACTED: &[u8] = b"***";

/// Writes on what it gets, without the secrets in it, wherever the pieces begin and end.
pub(super) struct Redactor<W> {
    out: W,
    secrets: AhoCorasick,
    /// The longest secret, in bytes.
    longest: usize,
    /// What may be the beginning of a secret.
    held: Vec<u8>,
}

impl<W: Write> Redactor<W> {
    /// # Errors
    /// Secrets that are too long to look for, in all.
    pub(super) fn new(out: W, secrets: &[String]) -> io::Result<Self> {
        // A program may print a secret of several lines one by one.
        let texts: Vec<&str> = secrets
            .iter()
            .flat_map(|secret| secret.lines().chain([secret.as_str()]))
            .filter(|text| !text.trim().is_empty())
            .collect();
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(1);
        let secrets =
            AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&texts).map_err(io::Error::other)?;
        Ok(Self { out, secrets, longest, held: Vec::new() })
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.held.extend_from_slice(piece);
        // Where a secret that begins here could go on beyond what is known, nothing is decided yet.
        let decided = self.held.len().saturating_sub(self.longest - 1);
        self.pass_on(decided)
    }

    /// Writes the rest.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.pass_on(self.held.len())?;
        self.out.flush()
    }

    /// Writes everything that begins before `end`.
    fn pass_on(&mut self, end: usize) -> io::Result<()> {
        let mut written = 0;
        for found in self.secrets.find_iter(&self.held) {
            if found.start() >= end {
                break;
            }
            self.out.write_all(&self.held[written..found.start()])?;
            self.out.write_all(REDACTED)?;
            written = found.end();
        }
        if written < end {
            self.out.write_all(&self.held[written..end])?;
            written = end;
        }
        self.held.drain(..written);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing expectation is how a test fails")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redacted(secrets: &[&str], pieces: &[&[u8]]) -> String {
        let secrets: Vec<String> = secrets.iter().map(ToString::to_string).collect();
        let mut out = Vec::new();
        let mut redactor = Redactor::new(&mut out, &secrets).unwrap();
        for piece in pieces {
            redactor.write(piece).unwrap();
        }
        redactor.finish().unwrap();
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn secrets_are_found_across_pieces() {
        assert_eq!(redacted(&["hunter2"], &[b"pass hun", b"ter2 word"]), "pass *** word");
        assert_eq!(redacted(&["hunter2"], &[b"hunter2hunter2", b"hunter"]), "******hunter");
        assert_eq!(redacted(&["ab", "abcd"], &[b"xab", b"cdab"]), "x******");
        assert_eq!(redacted(&["密码"], &["我的密".as_bytes(), "码在此".as_bytes()]), "我的***在此");
        assert_eq!(redacted(&["one\ntwo"], &[b"one\ntwo, one, two"]), "***, ***, ***");
        assert_eq!(redacted(&["", " ", "\n"], &[b"as it is \n"]), "as it is \n");
    }

    proptest! {
        #[test]
        fn no_cut_lets_a_secret_through(
            text in "[ab\\n]{0,40}",
            secrets in prop::collection::vec("[ab]{1,5}", 1..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            places.extend([0, text.len()]);
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            let cut = redacted(&secrets, &pieces);
            prop_assert_eq!(&cut, &redacted(&secrets, &[text.as_bytes()]), "cuts make no difference");
            prop_assert!(secrets.iter().all(|secret| !cut.contains(secret)), "{}", cut);
        }
    }
}
