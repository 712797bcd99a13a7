"""The limit for large contents: a bare ASGI application that writes what comes to a file, and hashes it on the way."""

import asyncio
import hashlib
import sys
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any, BinaryIO

import uvicorn

STEP = 1024 * 1024  # bytes that are hashed and written by a thread at once


async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """Answer the signature of the body."""
    assert scope["type"] == "http"
    hasher, held, is_more = hashlib.sha256(), bytearray(), True
    writing: asyncio.Future[None] | None = None
    with tempfile.TemporaryFile() as file:
        while is_more:
            message = await receive()
            held += message.get("body", b"")
            is_more = message.get("more_body", False)
            if len(held) >= STEP or not is_more:
                if writing is not None:
                    await writing
                writing = asyncio.ensure_future(asyncio.to_thread(_written, file, hasher, bytes(held)))
                held.clear()
        if writing is not None:
            await writing
    body = hasher.hexdigest().encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _written(file: BinaryIO, hasher: Any, data: bytes) -> None:
    hasher.update(data)
    file.write(data)


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off", access_log=False
    )
