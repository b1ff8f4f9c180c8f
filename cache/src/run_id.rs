use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    str::FromStr,
};

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// The name of a run, such as `20261123T175301-4f2a9c`: the second it began (UTC), the fraction of that second in three
/// hexadecimal digits, and three random ones. Sorted as text, runs are sorted by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

const SECOND: &str = "%Y%m%dT%H%M%S";
const SECOND_DIGITS: usize = 15;

fn parse_second(text: &str) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(DateTime::strptime(SECOND, text).ok()?).ok()
}

/// Text that is no run's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("`{text}` is not the id of a run")]
#[diagnostic(code(cache::bad_run_id), help("it looks like 20261123T175301-4f2a9c; `refit runs` lists them"))]
pub struct ParseRunIdError {
    /// What was read.
    pub text: String,
}

impl RunId {
    /// A name for a run that begins now.
    pub fn now() -> Self {
        Self::at(Timestamp::now())
    }

    /// A name for a run that begins at a given time.
    pub fn at(begin: Timestamp) -> Self {
        // The keys of a new `RandomState` come from the system's random numbers.
        let random = RandomState::new().hash_one(std::process::id()) & 0xfff;
        let fraction = u64::from(begin.subsec_nanosecond().unsigned_abs()) * 0x1000 / 1_000_000_000;
        Self(format!("{}-{fraction:03x}{random:03x}", begin.strftime(SECOND)))
    }

    /// When the run began, to a four-thousandth of a second.
    pub fn began(&self) -> Timestamp {
        let (second, tail) = self.0.split_at(SECOND_DIGITS);
        let fraction = i64::from_str_radix(&tail[1..4], 16).unwrap_or_default();
        let began = parse_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
        began.checked_add(SignedDuration::from_nanos(fraction * 1_000_000_000 / 0x1000)).unwrap_or(began)
    }

    /// A name that sorts right after this one, for a clock that was set back.
    pub(crate) fn next(&self) -> Self {
        let began = self.began();
        Self::at(began.checked_add(SignedDuration::from_millis(1)).unwrap_or(began))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a person may mean this run: the beginning of the whole name or of the part after `-`.
    pub fn begins_with(&self, prefix: &str) -> bool {
        self.0.starts_with(prefix) || self.0.split_once('-').is_some_and(|(_, tail)| tail.starts_with(prefix))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for RunId {
    type Err = ParseRunIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = text.len() == 22
            && text.bytes().enumerate().all(|(place, byte)| match place {
                8 => byte == b'T',
                15 => byte == b'-',
                16.. => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
                _ => byte.is_ascii_digit(),
            });
        let fits = fits && parse_second(&text[..SECOND_DIGITS]).is_some();
        if fits { Ok(Self(text.to_owned())) } else { Err(ParseRunIdError { text: text.to_owned() }) }
    }
}

impl TryFrom<String> for RunId {
    type Error = ParseRunIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ids_sort_by_time_and_read_back() {
        let times =
            ["2026-11-23T17:53:01.1Z", "2026-11-23T17:53:01.2Z", "2026-11-23T17:53:02Z", "2027-01-01T00:00:00Z"];
        let ids: Vec<_> = times.iter().map(|time| RunId::at(time.parse().unwrap())).collect();
        assert!(ids.is_sorted());
        assert!(ids[0].as_str().starts_with("20261123T175301-199"));
        for (id, time) in ids.iter().zip(times) {
            let late = time.parse::<Timestamp>().unwrap().duration_since(id.began());
            assert!(late.unsigned_abs() < std::time::Duration::from_micros(250), "{late}");
            assert!(id.next() > *id);
            assert_eq!(id.as_str().parse::<RunId>().unwrap(), *id);
        }
    }

    #[test]
    fn a_prefix_of_either_part_fits() {
        let id: RunId = "20261123T175301-4f2a9c".parse().unwrap();
        assert!(id.begins_with("20261123") && id.begins_with("4f2") && id.begins_with(id.as_str()));
        assert!(!id.begins_with("T1753") && !id.begins_with("4f2b"));
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "..",
            "20261123T175301-4F2A9C",
            "20261123T175301-4f2a9",
            "20261123-175301T4f2a9c",
            "../../../../etc/passwd",
        ] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }
}
