"""The limit: a bare ASGI application on uvicorn that validates and dumps with pydantic, and nothing else."""

import functools
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import uvicorn
from pydantic import BaseModel, ConfigDict, TypeAdapter

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
JSON, PNG = b"application/json", b"image/png"


class Document(BaseModel):
    """Three plain fields."""

    text: str
    count: int
    score: float


class Leaf(BaseModel):
    """The fields that a leaf document has on the wire."""

    model_config = ConfigDict(extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    ref: str | None = None
    signature: str | None = None
    media_type: str | None = None
    size: int | None = None


class Text(Leaf):
    """What xooai.Text is on the wire, without its class."""

    kind: Literal["text"] = "text"
    value: str | None = None


class Image(Leaf):
    """What xooai.Image is on the wire, without its class: bytes as base64."""

    kind: Literal["image"] = "image"
    value: bytes | None = None


class Arguments(BaseModel):
    """The body of a call: its arguments by name."""

    model_config = ConfigDict(extra="forbid")


class DocumentArguments(Arguments):
    """A document of three fields."""

    doc: Document


class BothArguments(Arguments):
    """Two documents."""

    left: Document
    right: Document


class TextArguments(Arguments):
    """A text."""

    doc: Text


class ImageArguments(Arguments):
    """A picture."""

    doc: Image


JOIN, DUMP = TypeAdapter(BothArguments).validate_json, TypeAdapter(Document).dump_json


def echo(arguments: type[BaseModel], document: type[BaseModel]) -> Callable[[bytes], bytes]:
    """Return what validates a body and dumps the document in it; a leaf without its empty fields, as xooai does."""
    validate, dump = TypeAdapter(arguments).validate_json, TypeAdapter(document).dump_json
    if issubclass(document, Leaf):
        dump = functools.partial(dump, exclude_none=True)
    return lambda body: dump(validate(body).doc)  # type: ignore[attr-defined]


def join(body: bytes) -> bytes:
    """Answer two documents by one."""
    left, right = (both := JOIN(body)).left, both.right
    return DUMP(Document(text=left.text, count=left.count + right.count, score=right.score))


def same(body: bytes) -> bytes:
    """Answer a raw body by itself."""
    return body


ROUTES: dict[str, tuple[Callable[[bytes], bytes], bytes]] = {
    "/combo": (echo(DocumentArguments, Document), JSON),
    "/join": (join, JSON),
    "/text": (echo(TextArguments, Text), JSON),
    "/picture": (echo(ImageArguments, Image), JSON),
    "/raw": (same, PNG),
}


async def read(receive: Receive) -> bytes:
    """Return the whole body; most come in one message."""
    message = await receive()
    if not message.get("more_body"):
        return bytes(message["body"])
    parts = [message["body"]]
    while message.get("more_body"):
        message = await receive()
        parts.append(message["body"])
    return b"".join(parts)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer one request."""
    answer, media_type = ROUTES[scope["path"]]
    reply = answer(await read(receive))
    headers = [(b"content-type", media_type), (b"content-length", b"%d" % len(reply))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": reply})


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
