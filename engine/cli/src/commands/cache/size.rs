//! Ages as people write them.

use std::time::Duration;

/// Reads `30d`, `12h`, `2w`, `90 min`.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    let wrong = || "it is a number with min, h, d or w, such as `30d`".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let seconds: u64 = match text[digits..].trim() {
        "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_as_people_write_them() {
        assert_eq!(Ok(Duration::from_hours(30 * 24)), age("30d"));
        for text in ["", "MB", "5 parsecs", "-1", "1e3x"] {
            assert!(age(text).is_err(), "{text}");
        }
        assert!(age("30").is_err(), "an age without a unit could mean anything");
    }
}
