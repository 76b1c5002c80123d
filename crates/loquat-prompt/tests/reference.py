"""Encodes texts with tiktoken, Hugging Face's tokenizers or mistral-common, for tests/reference.rs.

Arguments: the folder with o200k_base.tiktoken and cl100k_base.tiktoken, and the vocabulary's name; or the path of a tokenizer.json
or tekken json in its place. Standard input: texts, each
behind its length in bytes (4 bytes, the lowest first). Standard output: for each, how many tokens, and the tokens, likewise;
0xFFFFFFFF in place of the number where tiktoken itself fails (its stack overflows on long runs).
"""

import array
import hashlib
import os
import shutil
import struct
import sys
import tempfile


def of_tiktoken(folder, name):
    with tempfile.TemporaryDirectory() as cache:
        # tiktoken downloads its ranks; in its cache they lie under the hash of their address.
        address = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
        place = os.path.join(cache, hashlib.sha1(address.encode()).hexdigest())
        shutil.copy(os.path.join(folder, f"{name}.tiktoken"), place)
        os.environ["TIKTOKEN_CACHE_DIR"] = cache
        import tiktoken

        return tiktoken.get_encoding(name).encode_ordinary


def of_hugging_face(path):
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(path)
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def of_mistral(path):
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    tokenizer = Tekkenizer.from_file(path)
    return lambda text: tokenizer.encode(text, bos=False, eos=False)


folder, name = sys.argv[1:3]
if "tekken" in os.path.basename(name):
    encode = of_mistral(name)
elif name.endswith(".json"):
    encode = of_hugging_face(name)
else:
    encode = of_tiktoken(folder, name)

while head := sys.stdin.buffer.read(4):
    text = sys.stdin.buffer.read(struct.unpack("<I", head)[0]).decode()
    try:
        tokens = array.array("I", encode(text))
        sys.stdout.buffer.write(struct.pack("<I", len(tokens)) + tokens.tobytes())
    except BaseException:
        sys.stdout.buffer.write(b"\xff\xff\xff\xff")
    sys.stdout.buffer.flush()
