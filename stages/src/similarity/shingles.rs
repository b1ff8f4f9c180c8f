use std::hash::Hasher;

/// The width of a shingle in half letters: five letters of an alphabet, or two Chinese characters and a half.
const WIDTH: usize = 10;

/// Brings a text to what the comparison looks at: letters and digits in lower case, words of an alphabet one space
/// apart.
///
/// Case, punctuation, the width of Latin letters and spacing do not make two texts different. A text without any letter
/// or digit is kept as it is.
pub fn letters(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut gap, mut after_script) = (false, false);
    for c in text.chars() {
        let c = match c {
            // Full-width forms of ASCII, common in Chinese typing.
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
            _ => c,
        };
        if !c.is_alphanumeric() {
            gap = true;
            continue;
        }
        let script = is_ideograph_or_syllable(c);
        // Chinese writes words without spaces; one beside an ideograph is typography.
        if std::mem::take(&mut gap) && !out.is_empty() && !script && !after_script {
            out.push(' ');
        }
        after_script = script;
        out.extend(c.to_lowercase());
    }
    if out.is_empty() { text.trim().to_owned() } else { out }
}

/// Whether one character of the script carries about as much as a short word.
fn is_ideograph_or_syllable(c: char) -> bool {
    matches!(c,
        '\u{3040}'..='\u{30ff}'     // kana
        | '\u{3400}'..='\u{4dbf}'   // Han, extension A
        | '\u{4e00}'..='\u{9fff}'   // Han
        | '\u{ac00}'..='\u{d7af}'   // hangul
        | '\u{f900}'..='\u{faff}'   // Han, compatibility
        | '\u{20000}'..='\u{323af}' // Han, extensions B to H
    )
}

/// The set of shingles of a text, as hashes.
///
/// A shingle begins at every letter and is five letters wide, where a Chinese, Japanese or Korean character counts two
/// and a half: character 5-grams for English, 2- and 3-grams for Chinese. The rule looks at nothing but the letters
/// themselves, so that a short and a long text, or a mixed one, stay comparable. A text narrower than one shingle is
/// one shingle, which makes short texts alike only when they are equal: `PIN 1` and `PIN 2` are two questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shingles(Vec<u64>);

impl Shingles {
    /// The shingles of a text.
    pub fn of(text: &str) -> Self {
        let letters: Vec<char> = letters(text).chars().collect();
        let widths: Vec<usize> = letters.iter().map(|&c| if is_ideograph_or_syllable(c) { 5 } else { 2 }).collect();
        let mut hashes = Vec::with_capacity(letters.len());
        let (mut end, mut width) = (0, 0);
        for start in 0..letters.len() {
            while width < WIDTH && end < letters.len() {
                width += widths[end];
                end += 1;
            }
            if width < WIDTH && start > 0 {
                break;
            }
            hashes.push(hash(&letters[start..end]));
            width -= widths[start];
        }
        hashes.sort_unstable();
        hashes.dedup();
        Self(hashes)
    }

    /// The hashes, in ascending order.
    pub fn hashes(&self) -> &[u64] {
        &self.0
    }

    /// The Jaccard index `|A ∩ B| / |A ∪ B|`; two empty texts are alike.
    pub fn jaccard(&self, other: &Self) -> f64 {
        let (a, b) = (&self.0, &other.0);
        if a.is_empty() && b.is_empty() {
            return 1.0;
        }
        let (mut i, mut j, mut shared) = (0, 0, 0_usize);
        while i < a.len() && j < b.len() {
            match a[i].cmp(&b[j]) {
                std::cmp::Ordering::Less => i += 1,
                std::cmp::Ordering::Greater => j += 1,
                std::cmp::Ordering::Equal => {
                    shared += 1;
                    i += 1;
                    j += 1;
                }
            }
        }
        shared as f64 / (a.len() + b.len() - shared) as f64
    }
}

/// FNV-1a over the scalar values, then mixed so that all bits of the result depend on all letters.
fn hash(shingle: &[char]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &c in shingle {
        hash = (hash ^ u64::from(c as u32)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(hash)
}

/// The finaliser of `SplitMix64`.
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Passes hashes through: they are mixed already.
#[derive(Default, Clone, Copy)]
pub(super) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = mix(self.0 ^ u64::from(byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        // The table takes its bucket from the low bits and its tag from the high ones.
        self.0 = u64::from(value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jaccard(a: &str, b: &str) -> f64 {
        Shingles::of(a).jaccard(&Shingles::of(b))
    }

    #[test]
    fn english_is_cut_into_five_letters_and_chinese_into_two_or_three() {
        assert_eq!(Shingles::of("abcdefg").hashes().len(), 3);
        assert_eq!(Shingles::of("如何重置密码").hashes().len(), 5);
        assert_eq!(Shingles::of("VPN").hashes().len(), 1);
        assert_eq!(Shingles::of("").hashes().len(), 0);
    }

    #[test]
    fn case_punctuation_and_spacing_do_not_count() {
        assert!((jaccard("How do I reset my PASSWORD?", "how do i  reset my password") - 1.0).abs() < 1e-12);
        assert!((jaccard("如何重置密码？", "如何，重置 密码") - 1.0).abs() < 1e-12);
        assert!((jaccard("ＶＰＮ连接失败！", "vpn连接失败") - 1.0).abs() < 1e-12);
    }

    #[test]
    fn short_texts_are_alike_only_when_equal() {
        assert!(jaccard("PIN 1", "PIN 2") < 0.01);
        assert!(jaccard("三楼", "四楼") < 0.01);
    }

    #[test]
    fn a_small_change_in_a_long_text_keeps_it_alike() {
        let a = "我的电脑无法连接到公司的虚拟专用网络，每次输入用户名和密码以后都提示连接超时，请问应该怎样处理";
        assert!(jaccard(a, &a.replace("请问", "请")) > 0.85, "{}", jaccard(a, &a.replace("请问", "请")));
        assert!(jaccard(a, "打印机卡纸了，应该怎样处理") < 0.3);
    }
}
