"""Token ids of llama.cpp: gguf_tokens.py < files.json > ids.json

Standard input is one JSON object: GGUF files by name, of which the tokenizer alone is read. Prints one JSON object: the `texts`, and in
`ids` for each file those of every text, without what llama.cpp adds around it; null where it does not load the file.
"""
import json
import sys

from llama_cpp import Llama

from texts import texts

asked = texts(200)
found = {}
for name, path in json.load(sys.stdin).items():
    try:
        model = Llama(model_path=path, vocab_only=True, verbose=False)
    except ValueError as error:
        print(name, error, file=sys.stderr)
        found[name] = None
        continue
    found[name] = [model.tokenize(text.encode(), add_bos=False, special=True) for text in asked]
    model.close()
print(json.dumps({"texts": asked, "ids": found}))
