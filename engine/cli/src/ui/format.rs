//! Numbers and times for people.

use jiff::{Timestamp, tz::TimeZone};

/// Seconds as `0.42 s`, `12.3 s`, `2 min 05 s`, `1 h 02 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 0.995 => format!("{seconds:.2} s"),
        _ if seconds < 59.95 => format!("{seconds:.1} s"),
        ..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Bytes as `512 B`, `1.5 KiB`, `98.2 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// A score with as many digits as say something: `0.7123`, `55.10`, `1.2e-5`.
pub(crate) fn score(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        // Counts, as long as every whole number has a representation of its own.
        size if value.fract() == 0.0 && size < 9e15 => format!("{value}"),
        size if size < 0.001 => format!("{value:.2e}"),
        size if size < 10.0 => format!("{value:.4}"),
        _ => format!("{value:.2}"),
    }
}

/// How long ago: `just now`, `5 min ago`, `3 h ago`, `12 d ago`.
pub(crate) fn ago(then: Timestamp) -> String {
    let seconds = Timestamp::now().duration_since(then).as_secs();
    match seconds {
        ..60 => "just now".into(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86400),
    }
}

/// `2026-11-23 17:53` where the user is.
pub(crate) fn local_time(time: Timestamp) -> String {
    time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// `1 stage`, `2 stages`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            ["0.50 s", "12.3 s", "1 min 00 s", "2 min 05 s", "1 h 02 min"],
            [0.5, 12.3, 59.97, 125.0, 3720.0].map(duration)[..]
        );
        assert_eq!(["512 B", "1.5 KiB", "98.2 MiB"], [512, 1536, 102_970_163].map(bytes)[..]);
        assert_eq!(["0.7123", "55.10", "0", "1.20e-5", "-0.5000"], [0.712_34, 55.1, 0.0, 1.2e-5, -0.5].map(score)[..]);
        assert_eq!(["1 run", "0 runs"], [count(1, "run"), count(0, "run")]);
    }
}
