use std::{ops::Range, sync::LazyLock};

use regex::Regex;

static KNOWN: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?x-u)
        -----BEGIN\x20(?:[A-Z0-9]+\x20)*PRIVATE\x20KEY-----[A-Za-z0-9+/=\s:,.-]*?-----END\x20(?:[A-Z0-9]+\x20)*PRIVATE\x20KEY-----
      | -----BEGIN\x20(?:[A-Z0-9]+\x20)*PRIVATE\x20KEY-----[A-Za-z0-9+/=\s]*   # cut off
      | \b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b                              # AWS
      | \bAIza[A-Za-z0-9_-]{35}                                            # Google
      | \bgh[pousr]_[A-Za-z0-9]{36,}                                       # GitHub
      | \bgithub_pat_[A-Za-z0-9_]{22,}
      | \bglpat-[A-Za-z0-9_-]{20,}                                         # GitLab
      | \bxox[abeoprs]-[A-Za-z0-9-]{10,}                                   # Slack
      | \bhf_[A-Za-z0-9]{30,}                                              # Hugging Face
      | \bsk-[A-Za-z0-9_-]{20,}                                            # OpenAI and others
      | \b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}                             # Stripe
      | \beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}    # JSON web token
    ";
    #[expect(clippy::expect_used, reason = "the pattern is a constant, compiled in every test")]
    Regex::new(pattern).expect("invariant: the pattern is valid")
});

static ASSIGNED: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r#"(?ix)
        (?: key | secret | token | passw(?:or)?d | pwd | credentials? | 密钥 | 秘钥 | 令牌 | 密码 | 口令 )
        ["']? \s* (?: [:=：＝] | \bis\b | 是 | 为 ) \s* ["'“]?
        (?P<value> [A-Za-z0-9+/_=.~-]{20,} )
    "#;
    #[expect(clippy::expect_used, reason = "the pattern is a constant, compiled in every test")]
    Regex::new(pattern).expect("invariant: the pattern is valid")
});

/// Keys of well-known services by their form, private key blocks, and long random values after a name such as
/// `api_key=`, `密钥：`. Short passwords cannot be told from words and stay.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = KNOWN.find_iter(text).map(|found| found.range()).collect();
    for assigned in ASSIGNED.captures_iter(text) {
        let Some(value) = assigned.name("value") else { continue };
        if is_random(value.as_str())
            && found.iter().all(|known| known.end <= value.start() || value.end() <= known.start)
        {
            found.push(value.range());
        }
    }
    found.sort_unstable_by_key(|range| range.start);
    found
}

/// Whether a value mixes letters and digits as keys do.
fn is_random(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    digits >= 3 && letters >= 3
}
