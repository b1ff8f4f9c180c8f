use std::ops::Range;

use serde_json::{Map, Value};

use super::{bank_card, email, id_card, ip, key, phone};
use crate::clean::params::{CleanParams, PiiKind};

/// How often each kind was found, in the order of [`PiiKind::ALL`].
pub(in crate::clean) type Findings = [u64; PiiKind::ALL.len()];

impl PiiKind {
    /// The name in reports.
    pub(in crate::clean) fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Email => "email",
            Self::IdCard => "id_card",
            Self::BankCard => "bank_card",
            Self::Phone => "phone",
            Self::Ip => "ip",
        }
    }

    /// What stands in its place.
    fn placeholder(self) -> &'static str {
        match self {
            Self::Key => "[KEY]",
            Self::Email => "[EMAIL]",
            Self::IdCard => "[ID_CARD]",
            Self::BankCard => "[BANK_CARD]",
            Self::Phone => "[PHONE]",
            Self::Ip => "[IP]",
        }
    }

    /// Where it stands in a text, in order and apart from one another.
    fn find(self, text: &str) -> Vec<Range<usize>> {
        match self {
            Self::Key => key::find(text),
            Self::Email => email::find(text),
            Self::IdCard => id_card::find(text),
            Self::BankCard => bank_card::find(text),
            Self::Phone => phone::find(text),
            Self::Ip => ip::find(text),
        }
    }
}

/// Replaces personal data in texts.
pub(in crate::clean) struct Scrubber {
    kinds: Vec<PiiKind>,
    /// In lower case.
    keep: Vec<String>,
}

impl Scrubber {
    pub(in crate::clean) fn new(params: &CleanParams) -> Self {
        let kinds = PiiKind::ALL.into_iter().filter(|kind| params.pii_kinds.contains(kind)).collect();
        Self { kinds, keep: params.pii_keep.iter().map(|text| text.to_lowercase()).collect() }
    }

    /// Replaces what it finds in a text and counts it.
    pub(in crate::clean) fn scrub(&self, text: &mut String, findings: &mut Findings) {
        if !text.bytes().any(|byte| byte.is_ascii_digit() || matches!(byte, b'@' | b':' | b'-')) {
            return;
        }
        for &kind in &self.kinds {
            let mut found = kind.find(text);
            found.retain(|range| !self.keeps(&text[range.clone()]));
            if found.is_empty() {
                continue;
            }
            findings[kind as usize] += found.len() as u64;
            let mut out = String::with_capacity(text.len());
            let mut at = 0;
            for range in found {
                out.push_str(&text[at..range.start]);
                out.push_str(kind.placeholder());
                at = range.end;
            }
            out.push_str(&text[at..]);
            *text = out;
        }
    }

    /// Does the same with every text and number in the columns.
    pub(in crate::clean) fn scrub_columns(&self, columns: &mut Map<String, Value>, findings: &mut Findings) {
        for value in columns.values_mut() {
            self.scrub_value(value, findings);
        }
    }

    fn scrub_value(&self, value: &mut Value, findings: &mut Findings) {
        match value {
            Value::String(text) => self.scrub(text, findings),
            Value::Number(number) => {
                let before = number.to_string();
                let mut text = before.clone();
                self.scrub(&mut text, findings);
                if text != before {
                    *value = Value::String(text);
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.scrub_value(value, findings)),
            Value::Object(columns) => self.scrub_columns(columns, findings),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn keeps(&self, found: &str) -> bool {
        let found = found.to_lowercase();
        self.keep.iter().any(|keep| match keep.strip_prefix('*') {
            Some(end) => found.ends_with(end),
            None => found == *keep,
        })
    }
}

/// Whether a match stands by itself: no letter of the ASCII alphabet and no digit right beside it. Chinese text needs
/// no space around a number.
pub(super) fn stands_alone(text: &str, range: &Range<usize>) -> bool {
    let outside = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    let bytes = text.as_bytes();
    outside(range.start.checked_sub(1).and_then(|before| bytes.get(before))) && outside(bytes.get(range.end))
}

/// The digits of a match.
pub(super) fn digits(text: &str) -> Vec<u8> {
    text.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect()
}

/// Whether a match is not a piece of a longer number, such as `3.14159` or `1-2345-…`.
pub(super) fn is_whole_number(text: &str, range: &Range<usize>) -> bool {
    let bytes = text.as_bytes();
    let joined = |mark: Option<&u8>, digit: Option<&u8>| {
        mark.is_some_and(|mark| matches!(mark, b'.' | b'-' | b',')) && digit.is_some_and(u8::is_ascii_digit)
    };
    let back = |n: usize| range.start.checked_sub(n).and_then(|at| bytes.get(at));
    !joined(back(1), back(2)) && !joined(bytes.get(range.end), bytes.get(range.end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubbed(text: &str) -> String {
        let mut text = text.to_owned();
        Scrubber::new(&CleanParams::default()).scrub(&mut text, &mut Findings::default());
        text
    }

    #[test]
    fn personal_data_is_replaced() {
        for (text, expected) in [
            ("write to Jo.Doe+x@mail.example.co.uk.", "write to [EMAIL]."),
            ("邮箱zhang_san@example.com，谢谢", "邮箱[EMAIL]，谢谢"),
            ("call 13812345678 now", "call [PHONE] now"),
            ("手机号138-1234-5678。", "手机号[PHONE]。"),
            ("电话：+86 138 1234 5678", "电话：[PHONE]"),
            ("座机 010-62345678", "座机 [PHONE]"),
            ("座机 (0571) 8765 4321", "座机 [PHONE]"),
            ("(415) 555-2671 or 415-555-2671 or +1 415.555.2671", "[PHONE] or [PHONE] or [PHONE]"),
            ("ring +44 20 7946 0958, +49 (0)30 901820", "ring [PHONE], [PHONE]"),
            ("身份证11010519491231002X，", "身份证[ID_CARD]，"),
            ("ID 440308199901010012", "ID [ID_CARD]"),
            ("card 4111 1111 1111 1111 exp", "card [BANK_CARD] exp"),
            ("5500-0000-0000-0004, 378282246310005", "[BANK_CARD], [BANK_CARD]"),
            ("卡号6222021234567890128", "卡号[BANK_CARD]"),
            ("host 8.8.8.8:53 and 192.168.10.20", "host [IP]:53 and [IP]"),
            ("fe80::1ff:fe23:4567:890a%eth0 or 2a00:1450:4001:81b::200e", "[IP]%eth0 or [IP]"),
            ("key AKIAIOSFODNN7EXAMPLE", "key [KEY]"),
            ("OPENAI_API_KEY=sk-abcdEFGH1234567890abcdEFGH", "OPENAI_API_KEY=[KEY]"),
            ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "[KEY]"),
            ("api_key: \"9f86d081884c7d659a2feaa0c55ad015\"", "api_key: \"[KEY]\""),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----", "[KEY]"),
        ] {
            assert_eq!(scrubbed(text), expected, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for text in [
            "@home and user@ and @example.com",
            "a@b",
            "order 12345678901",
            "1381234567 has ten digits, 138123456789 twelve",
            "11010519491231002 and 110105194912310021",
            "110105194913310025",
            "4111 1111 1111 1112",
            "0000 0000 0000 0000",
            "version 10.2.3.4, v1.2.3.4, 版本 5.4.3.2, 10.2.3",
            "127.0.0.1, 255.255.255.0, 0.0.0.0, 192.0.2.7, 300.1.2.3, 1.2.3.4.5",
            "std::vector, a::b, 12:30:45, ::1, 2001:db8::1, 00:1a:2b:3c:4d:5e",
            "sk-short, AKIA, key=value, password: hunter2",
            "2024-01-15 10:30, 3.14159265358979, 1,234,567,890",
            "ticket 555-1234, room 1-234, ISBN 978-3-16-148410-0",
            "dial 1001 or star 61, code BAT-9",
        ] {
            assert_eq!(scrubbed(text), text);
        }
    }

    #[test]
    fn the_allow_list_and_the_kinds_decide() {
        let params = CleanParams {
            pii_keep: vec!["HELP@example.com".into(), "*@corp.example".into()],
            pii_kinds: vec![PiiKind::Email],
            ..CleanParams::default()
        };
        let mut text = "help@example.com a@corp.example x@example.com 13812345678".to_owned();
        let mut findings = Findings::default();
        Scrubber::new(&params).scrub(&mut text, &mut findings);
        assert_eq!(text, "help@example.com a@corp.example [EMAIL] 13812345678");
        assert_eq!(findings[PiiKind::Email as usize], 1);
    }

    #[test]
    fn columns_are_searched_to_the_bottom() {
        let mut columns = serde_json::json!({"phone": 13_812_345_678_u64, "by": {"mail": ["a@b.example"]}, "n": 5});
        let mut findings = Findings::default();
        if let Value::Object(columns) = &mut columns {
            Scrubber::new(&CleanParams::default()).scrub_columns(columns, &mut findings);
        }
        assert_eq!(columns, serde_json::json!({"phone": "[PHONE]", "by": {"mail": ["[EMAIL]"]}, "n": 5}));
    }
}
