"""Writes sentencepiece.json: a tiny SentencePiece BPE vocabulary with byte fallback, trained here on a few sentences of
our own, and the ids the sentencepiece library gives for strings.

    python sentencepiece_bpe.py > sentencepiece.json
"""

import io
import json
import sys

import sentencepiece as spm

from texts import texts

SENTENCES = [
    "the quick brown fox jumps over the lazy dog", "reset your password in the settings of your account",
    "the printer on the third floor prints two pages at once", "open the settings, choose security and change the password",
    "打印机在三楼", "请在设置中修改密码", "what is the password of the printer", "there is no such server; try the other one",
] * 20
model = io.BytesIO()
spm.SentencePieceTrainer.train(
    sentence_iterator=iter(SENTENCES), model_writer=model, vocab_size=420, model_type="bpe", byte_fallback=True,
    normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True, character_coverage=1.0,
    split_digits=True, allow_whitespace_only_pieces=True, minloglevel=2,
)
processor = spm.SentencePieceProcessor(model_proto=model.getvalue())


def kind(i):
    """Values of tokenizer.ggml.token_type."""
    return 2 if processor.is_unknown(i) else 3 if processor.is_control(i) else 6 if processor.is_byte(i) else 1


# A NUL ends sentencepiece's own spelling of a text, and markers of other tokenizers are plain text here.
sample = [t for t in texts(200) if "\0" not in t]
json.dump(
    {
        "tokens": [processor.id_to_piece(i) for i in range(len(processor))],
        "scores": [processor.get_score(i) for i in range(len(processor))],
        "types": [kind(i) for i in range(len(processor))],
        "texts": [{"text": t, "ids": processor.encode(t)} for t in sample],
    },
    sys.stdout,
    separators=(",", ":"),
)
print()
