//! Sizes and ages as people write them.

use std::time::Duration;

/// Reads `500MB`, `20GiB`, `1.5 TB`, `1024`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "it is a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit: f64 = match text[digits..].trim().to_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        "tib" => 1_099_511_627_776.0,
        _ => return Err(wrong()),
    };
    Ok((number * unit) as u64)
}

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
    fn sizes_and_ages_are_read_as_people_write_them() {
        assert_eq!([Ok(500_000_000), Ok(1_610_612_736), Ok(7)], ["500MB", "1.5 GiB", "7"].map(size));
        assert_eq!(Ok(Duration::from_hours(30 * 24)), age("30d"));
        for text in ["", "MB", "5 parsecs", "-1", "1e3x"] {
            assert!(size(text).is_err() && age(text).is_err(), "{text}");
        }
        assert!(age("30").is_err(), "an age without a unit could mean anything");
    }
}
