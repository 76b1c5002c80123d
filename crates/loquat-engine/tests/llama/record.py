"""Records llama.cpp's own greedy answers: prompts, their token ids, and the ids it generated.

    pip install --only-binary :all: xllamacpp==2026.10.11549
    python record.py MODEL.gguf > greedy.json

The engine's tests feed these ids to the engine and compare its most likely next token at every position.
"""

import json
import sys
import urllib.request

import xllamacpp

TOKENS = 64
QUESTIONS = [
    "Write one sentence about loquats.",
    "What is the capital of France?",
    "Explain how a bicycle stays upright.",
    "List three uses of a paper clip.",
    "Translate 'good morning' into Spanish, Italian and German.",
    "Write a Python function that reverses a string.",
    "Who wrote Don Quixote, and when?",
    "What is 17 plus 25?",
    "Tell me a short story about a lighthouse keeper.",
    "Why is the sky blue?",
    "Give me a recipe for pancakes.",
    "Summarize the water cycle in two sentences.",
    "What does the HTTP status code 404 mean?",
    "Write a haiku about winter.",
    "How do vaccines work?",
    "Name five countries in South America.",
    "What is the difference between a list and a tuple in Python?",
    "Describe the taste of a lemon to someone who never had one.",
    "Was ist die Hauptstadt von Österreich? Antworte auf Deutsch. 😀",
    "Fix the grammar:  \"He go to   school 123 times,\n\nand she don't.\"",
]


def main() -> None:
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx = 2048
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.n_gpu_layers = 0
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    server = xllamacpp.Server(params)

    def ask(path: str, body: dict) -> dict:
        request = urllib.request.Request(
            server.listening_address + path, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    records = []
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        prompt = ask("/apply-template", {"messages": messages})["prompt"]
        prompt_ids = ask("/tokenize", {"content": prompt, "parse_special": True})["tokens"]
        answer = ask(
            "/completion",
            {"prompt": prompt_ids, "n_predict": TOKENS, "temperature": 0, "ignore_eos": True,
             "return_tokens": True, "cache_prompt": False},
        )
        records.append({"question": question, "prompt_ids": prompt_ids, "answer_ids": answer["tokens"]})
        print(question, "->", answer["content"][:60].replace("\n", " "), file=sys.stderr)
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    print("[\n" + lines + "\n]")


main()
