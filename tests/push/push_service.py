"""A push service as a process on a socket: `python -m tests.push.push_service`.

It prints its port. A POST is answered as the first part of its path says: a status (`/201/...`),
`hang`, `huge` (a gigabyte), `slow` (a byte in 5 ms), `drop` (hangs up), `once` (503, then 201).
`GET /received` has every message so far, and `GET /open` how many requests wait for an answer.
"""

import asyncio
import base64
import contextlib
import json
import sys
from collections import Counter

_CHUNK = b"x" * 65_536
_GIGABYTE = 1_000_000_000
_messages: list[dict[str, object]] = []
_seen: Counter[str] = Counter()
_open = 0


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            pairs = (line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            if method == "GET":
                shown = _messages if path == "/received" else {"open": _open}
                await answer(writer, 200, json.dumps(shown).encode())
            else:
                encoded = base64.b64encode(body).decode()
                _messages.append({"path": path, "headers": headers, "body": encoded})
                await accept(writer, path)
    writer.close()


async def accept(writer: asyncio.StreamWriter, path: str) -> None:
    global _open  # noqa: PLW0603 - one service a process
    word = path.split("/")[1]
    _seen[path] += 1
    _open += 1
    try:
        match word:
            case "hang":
                await asyncio.Event().wait()
            case "drop":
                raise OSError
            case "huge":
                writer.write(b"HTTP/1.1 201 X\r\nContent-Encoding: identity\r\n\r\n")
                for _ in range(_GIGABYTE // len(_CHUNK)):
                    writer.write(_CHUNK)
                    await writer.drain()
                raise OSError
            case "slow":
                for byte in b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n":
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.005)
            case "once":
                await answer(writer, 503 if _seen[path] == 1 else 201)
            case "wait":
                await answer(writer, 429, retry_after="120")
            case _:
                await answer(writer, int(word))
    finally:
        _open -= 1


async def answer(
    writer: asyncio.StreamWriter, status: int, body: bytes = b"", retry_after: str = ""
) -> None:
    later = f"Retry-After: {retry_after}\r\n" if retry_after else ""
    head = f"HTTP/1.1 {status} X\r\n{later}Content-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
