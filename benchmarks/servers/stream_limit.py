"""The limit of streams: a bare ASGI application on uvicorn that yields chunks which are ready, or dumps each with pydantic."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import uvicorn
from pydantic import BaseModel, TypeAdapter

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Document(BaseModel):
    """Three plain fields."""

    text: str
    count: int
    score: float


class Arguments(BaseModel):
    """The body of a call."""

    count: int


DOCUMENT = Document(text="The quick brown fox jumps over the lazy dog.", count=42, score=0.875)
DUMP = TypeAdapter(Document).dump_json
JSON = DUMP(DOCUMENT)
CHUNKS = {
    "/words": b'"token"\n',
    "/texts": b'{"kind":"text","value":"token"}\n',
    "/documents": JSON + b"\n",
    "/events": b"data: " + JSON + b"\n\n",
    "/frames": b"\x00" + len(JSON).to_bytes(4, "big") + JSON,
}
LINES = b"application/x-ndjson"


async def ready(chunk: bytes, count: int) -> AsyncIterator[bytes]:
    """Yield what was made before."""
    for _ in range(count):
        yield chunk


async def dumped(count: int) -> AsyncIterator[bytes]:
    """Yield lines, each made from its document."""
    for _ in range(count):
        yield DUMP(DOCUMENT) + b"\n"


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer one request."""
    count = Arguments.model_validate_json((await receive())["body"]).count
    chunk = CHUNKS.get(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", LINES)]})
    async for data in dumped(count) if chunk is None else ready(chunk, count):
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        http="httptools",
        loop="uvloop",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
