"""Encodes texts with tiktoken for tests/reference.rs.

Arguments: the folder with o200k_base.tiktoken and cl100k_base.tiktoken, and the vocabulary's name. Standard input: texts, each
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

folder, name = sys.argv[1:3]
with tempfile.TemporaryDirectory() as cache:
    # tiktoken downloads its ranks; in its cache they lie under the hash of their address.
    address = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
    shutil.copy(os.path.join(folder, f"{name}.tiktoken"), os.path.join(cache, hashlib.sha1(address.encode()).hexdigest()))
    os.environ["TIKTOKEN_CACHE_DIR"] = cache
    import tiktoken

    encoding = tiktoken.get_encoding(name)

while head := sys.stdin.buffer.read(4):
    text = sys.stdin.buffer.read(struct.unpack("<I", head)[0]).decode()
    try:
        tokens = array.array("I", encoding.encode_ordinary(text))
        sys.stdout.buffer.write(struct.pack("<I", len(tokens)) + tokens.tobytes())
    except BaseException:
        sys.stdout.buffer.write(b"\xff\xff\xff\xff")
    sys.stdout.buffer.flush()
