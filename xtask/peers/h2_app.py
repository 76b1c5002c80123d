"""An OpenAI-compatible streaming endpoint on a real HTTP/2 server (hypercorn), with TLS by a CA made on the spot.

    python h2_app.py FOLDER PORT LIFETIME_SECONDS

FOLDER receives ca.pem, the certificate that clients must trust. A chat request streams `max_tokens` chunks (20 unless
said) with `x-pause-ms` milliseconds between them (100 unless said; a request header); `"stream": false` answers at once.
Every request logs its start and its end with the HTTP version and the client's port, which names the connection: two
streams on one connection show as two starts with one port before the first end.
"""

import asyncio
import itertools
import json
import signal
import sys
import time
from pathlib import Path

import trustme
from hypercorn.asyncio import serve
from hypercorn.config import Config

NUMBERS = itertools.count(1)
# Requests now open per client port: the evidence of multiplexing.
OPEN: dict[int, int] = {}
MOST_CHUNKS = 100_000
MOST_BODY_BYTES = 1 << 20


def log(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}.{int(time.time() * 1000) % 1000:03d} {text}", flush=True)


async def read_body(receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("client left before its request was complete")
        body += message.get("body", b"")
        if len(body) > MOST_BODY_BYTES:
            raise ValueError("request body too large")
        if not message.get("more_body"):
            return body


async def answer(send, status: int, value: dict) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


def chunk(number: int, delta: dict, finish: str | None) -> bytes:
    value = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "h2",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(value).encode() + b"\n\n"


async def stream(number: int, chunks: int, pause: float, receive, send) -> str:
    left = asyncio.create_task(receive())
    headers = [(b"content-type", b"text/event-stream"), (b"x-request-id", f"req-{number}".encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    try:
        for index in range(chunks):
            body = chunk(number, {"content": f"word{index} "}, None)
            await send({"type": "http.response.body", "body": body, "more_body": True})
            done, _ = await asyncio.wait({left}, timeout=pause)
            if done:
                return f"cancelled by the client after {index + 1} chunks"
        body = chunk(number, {}, "stop") + b"data: [DONE]\n\n"
        await send({"type": "http.response.body", "body": body})
        return f"complete, {chunks} chunks"
    finally:
        left.cancel()


async def chat(number: int, scope, receive, send) -> str:
    try:
        request = json.loads(await read_body(receive))
        chunks = min(int(request.get("max_tokens") or request.get("max_completion_tokens") or 20), MOST_CHUNKS)
        pause = int(dict(scope["headers"]).get(b"x-pause-ms", b"100")) / 1000
    except (ValueError, AttributeError) as error:
        await answer(send, 400, {"error": {"message": str(error), "type": "invalid_request_error"}})
        return "refused"
    if request.get("stream"):
        return await stream(number, chunks, pause, receive, send)
    message = {"role": "assistant", "content": "".join(f"word{index} " for index in range(chunks))}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": chunks, "total_tokens": chunks + 1}
    await answer(send, 200, {"id": f"chatcmpl-{number}", "model": "h2", "choices": [choice], "usage": usage})
    return "complete, not streamed"


async def route(number: int, scope, receive, send) -> str:
    wanted = (scope["method"], scope["path"])
    if wanted == ("POST", "/v1/chat/completions"):
        return await chat(number, scope, receive, send)
    if wanted == ("GET", "/v1/models"):
        await answer(send, 200, {"object": "list", "data": [{"id": "h2", "object": "model"}]})
    elif wanted == ("GET", "/health"):
        await answer(send, 200, {"status": "ok"})
    else:
        await answer(send, 404, {"error": {"message": "no such path", "type": "not_found"}})
    return "complete"


async def lifespan(receive, send) -> None:
    while True:
        phase = (await receive())["type"]
        await send({"type": f"{phase}.complete"})
        if phase == "lifespan.shutdown":
            return


async def app(scope, receive, send) -> None:
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    number = next(NUMBERS)
    port = scope["client"][1]
    OPEN[port] = OPEN.get(port, 0) + 1
    where = f"request={number} http/{scope['http_version']} connection={port}"
    log(f"start {where} open-on-connection={OPEN[port]} {scope['method']} {scope['path']}")
    outcome = "failed"
    try:
        outcome = await route(number, scope, receive, send)
    except ConnectionResetError as error:
        outcome = str(error)
    finally:
        OPEN[port] -= 1
        if OPEN[port] == 0:
            del OPEN[port]
        log(f"end   {where} {outcome}")


def main() -> None:
    folder, port, lifetime = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    # The kernel ends the process at that time, whatever it is doing.
    signal.alarm(lifetime)
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    chain, key = folder / "server.pem", folder / "server.key"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    key.touch(mode=0o600)
    key.write_bytes(certificate.private_key_pem.bytes())
    authority.cert_pem.write_to_path(folder / "ca.pem")

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.certfile, config.keyfile = str(chain), str(key)
    config.alpn_protocols = ["h2", "http/1.1"]
    config.errorlog = "-"
    asyncio.run(serve(app, config))


main()
