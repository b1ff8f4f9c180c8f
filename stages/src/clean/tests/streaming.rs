use std::io::Write;

use serde_json::json;

use super::*;

/// Peak resident memory of this process in bytes; `None` where the system does not say.
fn peak_memory() -> Option<u64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Run by itself, since other tests of the process take memory, too:
/// `cargo test --release -p refit-stages -- --ignored --exact clean::tests::streaming::memory_does_not_grow_with_the_file`.
#[test]
#[ignore = "takes a minute and measures the memory of its own process"]
fn memory_does_not_grow_with_the_file() {
    let sandbox = Sandbox::new();
    let mut before = None;
    for (megabytes, array) in [(20_u64, false), (200, false), (200, true)] {
        let file = sandbox.path().join(if array { "rows.json" } else { "rows.jsonl" });
        let mut out = std::io::BufWriter::new(fs_err::File::create(&file).unwrap());
        let mut written = 0;
        let mut number = 0_u64;
        out.write_all(if array { b"[" } else { b"" }).unwrap();
        while written < megabytes << 20 {
            number += 1;
            let line = row(
                &format!("Question {number} of {}?", number * 7919),
                &format!("<p>Answer {number}.</p> {}", "It is long. ".repeat(80)),
            );
            written += line.len() as u64;
            let comma: &[u8] = if array && number > 1 { b"," } else { b"" };
            out.write_all(comma).unwrap();
            // The array is one line.
            out.write_all(if array { line.trim_end().as_bytes() } else { line.as_bytes() }).unwrap();
        }
        out.write_all(if array { b"]" } else { b"" }).unwrap();
        out.flush().unwrap();
        let cleaned = sandbox.clean(&file, json!({"dedup": "none"})).unwrap();
        assert_eq!(cleaned.report()["rows_kept"].as_u64(), Some(number));
        let Some(peak) = peak_memory() else { return };
        let allowed = before.map_or(u64::MAX, |before: u64| before + (48 << 20));
        assert!(peak < allowed, "{peak} bytes for {megabytes} MB, {before:?} for 20");
        before = before.or(Some(peak));
    }
}
