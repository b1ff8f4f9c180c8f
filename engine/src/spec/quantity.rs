//! Sizes and times as people write them.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// Reads `500MB`, `20GiB`, `1.5 TB`, `1024`, in bytes; else says what a size looks like.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "it is a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, such as `4GB`".to_owned();
    let text = text.trim();
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

/// Reads `90s`, `10m`, `1h 30m`, `2 days`; else says what a time looks like.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "it is numbers with s, m, h, d or w, such as `90s`, `10m` or `1h 30m`".to_owned();
    let span: Span = text.trim().parse().map_err(|_| wrong())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_as_people_write_them() {
        assert_eq!([Ok(500_000_000), Ok(1_610_612_736), Ok(7)], ["500MB", "1.5 GiB", "7"].map(parse_size));
        let times = ["90s", "10m", "1h 30m", "2 days", "1.5h", "250ms", "1w"].map(parse_duration);
        let seconds = [90.0, 600.0, 5400.0, 172_800.0, 5400.0, 0.25, 604_800.0];
        assert_eq!(times, seconds.map(|seconds| Ok(Duration::from_secs_f64(seconds))));
        for text in ["", "MB", "5 parsecs", "-1", "1e3x", "-10m", "10m ago", "1 month", "10"] {
            assert!(text == "10" || parse_size(text).is_err(), "{text}");
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
