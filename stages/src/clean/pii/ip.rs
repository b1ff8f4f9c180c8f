use std::{
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
    sync::LazyLock,
};

use regex::Regex;

use super::scrubber::stands_alone;

static CANDIDATE: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the pattern is a constant, compiled in every test")]
    Regex::new(r"(?-u)[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3})?")
        .expect("invariant: the pattern is valid")
});

/// IP addresses of machines, private ones included.
///
/// Not taken: loopback, the unspecified address, netmasks and what begins with 255, ranges reserved for documentation
/// (RFC 5737, RFC 3849), four numbers that a word like `version` or a `v` introduces, and of IPv6 what has neither a
/// digit nor a group of three hexadecimal digits, as `a::b` in code.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    if !text.contains('.') && !text.contains(':') {
        return Vec::new();
    }
    CANDIDATE
        .find_iter(text)
        .map(|found| found.range())
        .filter(|range| stands_alone(text, range))
        .filter(|range| {
            let found = &text[range.clone()];
            if found.contains(':') {
                found.parse().is_ok_and(|address| is_machine_v6(found, address))
            } else {
                is_whole(text, range) && !is_version(&text[..range.start]) && found.parse().is_ok_and(is_machine_v4)
            }
        })
        .collect()
}

/// Whether no fifth number follows or comes before.
fn is_whole(text: &str, range: &Range<usize>) -> bool {
    let bytes = text.as_bytes();
    let dotted = |dot: Option<&u8>, digit: Option<&u8>| dot == Some(&b'.') && digit.is_some_and(u8::is_ascii_digit);
    let back = |n: usize| range.start.checked_sub(n).and_then(|at| bytes.get(at));
    !dotted(back(1), back(2)) && !dotted(bytes.get(range.end), bytes.get(range.end + 1))
}

/// Whether the text before says that a version number follows.
fn is_version(before: &str) -> bool {
    let before = before.trim_end_matches([' ', ':', '：', '=', '"', '\'', '号', '为', '是']).to_lowercase();
    let before = before.strip_suffix('.').unwrap_or(&before);
    ["version", "ver", "release", "build", "firmware", "版本", "固件"].iter().any(|word| before.ends_with(word))
}

fn is_machine_v4(address: Ipv4Addr) -> bool {
    !(address.is_loopback() || address.is_documentation() || matches!(address.octets()[0], 0 | 255))
}

fn is_machine_v6(written: &str, address: Ipv6Addr) -> bool {
    let documentation = address.segments()[..2] == [0x2001, 0xdb8];
    let telling = written.bytes().any(|byte| byte.is_ascii_digit()) && written.split(':').any(|group| group.len() > 2);
    telling && !documentation && !address.is_loopback() && !address.is_unspecified()
}
