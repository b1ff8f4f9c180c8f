"""Strings that tokenizers disagree on: shared by the generators beside this file."""

import random

FIXED = [
    "", " ", "  ", "   \n", "\n", "\n\n", "\n\n\n1. one\n\n2. two", "\t\tif x:\n\t\t\treturn 10\n", "a", "A b", " leading", "trailing ",
    "Hello world", "Hello, world! How's it going? I'll be there; they've left, we're done, don't.", "HELLO'S WE'LL",
    "How do I reset my password?", "Press Ctrl+Alt+Del, then choose 'Change a password'.",
    "The printer on floor 3 (room 3.14) prints 1,024 pages/day at 99.5 %.", "2024-07-26T12:34:56Z", "+1 (555) 010-9999",
    "x = 12345678901234567890", "  42", "   7 apples", "\n\n3", "\t5", "v1.2.3-rc4", "٣٤٥ and ４５ and ½ and Ⅷ",
    "如何重置我的密码？", "请在\u201c设置\u201d中选择\u201c安全\u201d，然后点击\u201c修改密码\u201d。", "打印机在3楼。 价格：￥99", "中文和English混合text，好的。",
    "こんにちは世界", "안녕하세요 세계", "Привет, мир!", "Γειά σου Κόσμε", "مرحبا بالعالم", "नमस्ते दुनिया", "שלום עולם",
    "café naïve Zürich", "cafe\u0301 nai\u0308ve", "ﬁne ﬂow", "e\u0301e\u0301", "\u00a0nbsp\u00a0", "zero\u200bwidth", "soft\u00adhyphen",
    "🙂", "👍🏽", "👨‍👩‍👧‍👦 family", "🇩🇪🇨🇳", "text🙂text 🙂 text", "❤️", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "def f(x):\n    return [i ** 2 for i in range(x) if i % 2 == 0]\n", "SELECT * FROM t WHERE a<>'b';", "{\"a\": [1, 2.5e-3, null]}",
    "<html><body class=\"x\">&amp;</body></html>", "https://example.org/a/b?c=d&e=%20f#g", "C:\\Users\\me\\file.txt", "user@example.org",
    "a  b   c    d     e", "a\n b\n  c\n   d", "line one\r\nline two\r\n", "\r\r\n\n", "tab\tseparated\tvalues", "   \n   \n   ", "...", "?!?!", "---", "====",
    "snake_case camelCase PascalCase SCREAMING_CASE", "aaaaaaaaaaaaaaaaaaaaaaaa", "abababababababab", "\u0000null", "\u0007bell", "del\u007f",
    "<|im_start|>user\nhi<|im_end|>\n", "before<|im_end|>after", " <|im_end|> ", "<|endoftext|>", "<|im_start|><|im_start|>", "<|im_start", "<repo_name>x<file_sep>y",
    "<|not_a_token|>", "▁spelled▁", "ĠĊ", "'s 't 're 've 'm 'll 'd 'S 'T", "it''s", "“quotes” ‘single’", "1st 2nd 3rd", "½ cup", "10×20", "€5 £6 ¥7",
]
WORDS = ("the reset password VPN printer server 2FA token login e-mail 邮箱 密码 打印机 服务器 naïve 🙂 x=1 foo_bar <b> 3.14 2024 don't it's "
         "https://a.b/c \n \n\n \t    .  ,  ;  : ! ? ( ) [ ] { } \" ' <|im_end|> 100 7 0 Ω д ы é").split(" ")


def texts(count, seed=7):
    """The fixed strings, then random ones up to `count`."""
    rng = random.Random(seed)
    out = list(FIXED)
    while len(out) < count:
        out.append("".join(rng.choice(WORDS) + rng.choice(["", " ", " ", "  ", "\n"]) for _ in range(rng.randint(1, 14))))
    return out
