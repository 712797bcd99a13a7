"""Documents on their way: what is done before a frame is written and after it is read (design: payloads).

A local ref never leaves the process: its content goes inline instead. What a peer's frame brings is marked. Within a process
the marks go beside the frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from xooai.codec import Codec, invalid
from xooai.doc import Doc, arriving, is_wire, mark_wire
from xooai.driver import MESSAGE_LIMIT
from xooai.errors import Internal, InvalidArgument, ResourceExhausted, too_large
from xooai.lazy import lazy
from xooai.redact import redact
from xooai.schema import Schema
from xooai.walk import documents, has_ref, replaced

if TYPE_CHECKING:
    from xooai import ref as refs
else:
    refs = lazy("xooai.ref")

__all__ = ["from_here", "from_peer", "here", "hidden", "leaves", "marks_of", "stays", "to_peer", "typed", "unfit"]


def leaves(doc: Doc) -> bool:
    """Whether a document goes as it is: its content is inline, its ref is remote, or it came from a peer."""
    return doc.value is not None or is_wire(doc) or not refs.is_local(doc.ref or "")


def _inlined(doc: Doc, limit: int) -> Doc:
    if leaves(doc):
        return doc
    ref = doc.ref or ""
    size = refs.size_of(ref)
    if size is not None and size > limit:
        raise _needs_store(ref, size, limit)
    try:
        content = doc._here()
        content = doc._fetch(limit) if content is None else content
    except ResourceExhausted as error:
        raise _needs_store(ref, None, limit) from error
    return doc.model_copy(update={"value": content, "ref": None})


def _needs_store(ref: str, size: int | None, limit: int) -> ResourceExhausted:
    error = too_large(size, limit, f"the file {redact(ref)!r}")
    return ResourceExhausted(f"{error.message} for content that travels inline", reason="size")


def here(value: Any, limit: int = MESSAGE_LIMIT) -> Any:
    """The value as it may leave this process: contents of local refs inline. Reads files; NotFound for one that is missing."""
    return replaced(value, lambda doc: _inlined(doc, limit))


def stays(value: Any) -> bool:
    """Whether a value may leave this process as it is: no file has to be read."""
    return all(leaves(doc) for doc in documents(value))


def typed(schema: Schema, value: Any) -> Any:
    """The value with documents in place of the dicts that stand for them, so that their refs are seen. Raises InvalidArgument."""
    if not has_ref(value):
        return value
    try:
        return schema.validator.validate_python(value)
    except ValidationError as error:
        raise invalid(error) from None


def hidden(schema: Schema, value: Any) -> str | None:
    """A local ref in a dict that stands for a document. Whose it is nobody knows: it may have come from a peer."""
    if not has_ref(value):
        return None
    try:
        found = schema.validator.validate_python(value)
    except ValidationError:
        return None  # is refused anyway
    known = {id(doc) for doc in documents(value)}
    return next((doc.ref for doc in documents(found) if id(doc) not in known and not leaves(doc)), None)


async def to_peer(schema: Schema, value: Any, limit: int = MESSAGE_LIMIT) -> Any:
    """As `here`, off the loop where files have to be read."""
    if not schema.facts.documents or stays(value):
        return value
    return await asyncio.to_thread(here, value, limit)


def marks_of(schema: Schema, value: Any) -> Collection[str | None]:
    """The refs in a value that came from a peer; None stands for documents without one."""
    if not schema.facts.documents:
        return ()
    return [doc.ref for doc in documents(value) if is_wire(doc)]


def from_peer(schema: Schema, codec: Codec, frame: bytes) -> Any:
    """Read a peer's frame; its documents are marked. Raises InvalidArgument."""
    if not schema.facts.documents:
        return codec.decode(schema, frame)
    arriving.now = True
    try:
        return codec.decode(schema, frame)
    finally:
        arriving.now = False


def from_here(schema: Schema, codec: Codec, frame: bytes, marks: Collection[str | None]) -> Any:
    """Read a frame that this process wrote, with the marks that stood beside it."""
    value = codec.decode(schema, frame, True)
    if marks:  # by ref, not by place: a validator of the user's may have changed the order
        for doc in documents(value):
            if doc.ref in marks:
                mark_wire(doc)
    return value


def unfit(path: str, error: InvalidArgument) -> Internal:
    """The error for whoever asked, where a reply is not of the type that was promised: the mistake is not theirs."""
    return Internal(f"{path} answered with what it does not return: {error.message}")
