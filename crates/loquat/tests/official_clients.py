"""What the official Python clients send, as their documentation says to call them: one request a case, to the server at argv[1].

The server records the requests; official_clients.rs compares them with ours. Answers are of no interest.
"""

import sys

import anthropic
import openai
import pydantic

base = sys.argv[1]
api = openai.OpenAI(base_url=f"{base}/v1", api_key="key", max_retries=0)
claude = anthropic.Anthropic(base_url=base, api_key="key", max_retries=0)

PIXEL = "iVBORw0KGgo="
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": PARAMETERS}}
TOOL = {"name": "weather", "description": "The weather.", "input_schema": PARAMETERS}


class Place(pydantic.BaseModel):
    name: str
    people: int


def chat(**more):
    api.chat.completions.create(model="m", **more)


def respond(**more):
    api.responses.create(model="m", **more)


def message(**more):
    claude.messages.create(model="m", max_tokens=100, **more)


def user(*content):
    return {"role": "user", "content": list(content)}


def text(text):
    return {"type": "text", "text": text}


CASES = {
    "chat-plain": lambda: chat(
        messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
        temperature=0.5,
        top_p=0.25,
        max_completion_tokens=9,
        stop=["a", "b"],
        seed=7,
        n=2,
        logprobs=True,
        top_logprobs=3,
        reasoning_effort="low",
        prompt_cache_key="k",
        stream=False,
    ),
    "chat-stream": lambda: list(
        api.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    ),
    "chat-tools": lambda: chat(
        messages=[
            {"role": "user", "content": "weather?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
                    {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
            {"role": "tool", "tool_call_id": "c2", "content": "sun"},
        ],
        tools=[FUNCTION],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=True,
        stream=False,
    ),
    "chat-image": lambda: chat(
        messages=[
            user(
                text("what is this?"),
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            )
        ],
        stream=False,
    ),
    # Its schema is made from a type, by the client.
    "chat-structured": lambda: api.chat.completions.parse(
        model="m", messages=[{"role": "user", "content": "where?"}], response_format=Place
    ),
    "responses-plain": lambda: respond(
        input=[{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
        temperature=0.5,
        max_output_tokens=20,
        reasoning={"effort": "low"},
        stream=False,
    ),
    "responses-tools": lambda: respond(
        input=[
            {"role": "user", "content": "weather?"},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Oslo"}'},
            {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        ],
        tools=[
            {"type": "function", "name": "weather", "description": "The weather.", "parameters": PARAMETERS, "strict": True}
        ],
        tool_choice="required",
        stream=False,
    ),
    "messages-plain": lambda: message(
        system=[text("be brief")],
        messages=[user(text("hi"))],
        stop_sequences=["a"],
        stream=False,
        # Not among its arguments any more; the API takes them as before.
        extra_body={"temperature": 0.5, "top_p": 0.25},
    ),
    "messages-tools": lambda: message(
        messages=[
            user(text("weather?")),
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "seal"},
                    {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}},
                ],
            },
            user({"type": "tool_result", "tool_use_id": "c1", "content": "rain"}),
        ],
        tools=[TOOL],
        tool_choice={"type": "tool", "name": "weather"},
        stream=False,
    ),
    "messages-image": lambda: message(
        messages=[
            user(
                text("what is this?"),
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            )
        ],
        stream=False,
    ),
    "messages-count": lambda: claude.messages.count_tokens(model="m", system=[text("be brief")], messages=[user(text("hi"))]),
    "embeddings": lambda: api.embeddings.create(model="m", input=["a", "b"], encoding_format="float"),
    "files": lambda: api.files.create(file=("a.txt", b"abc", "text/plain"), purpose="user_data"),
    "batch": lambda: api.batches.create(
        input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h"
    ),
    "messages-batch": lambda: claude.messages.batches.create(
        requests=[
            {"custom_id": "one", "params": {"model": "m", "max_tokens": 5, "messages": [user(text("hi"))], "stream": False}}
        ]
    ),
}

for name, case in CASES.items():
    try:
        case()
    except Exception as error:  # an answer that is none; what was sent is what counts
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
print("\n".join(CASES))
