"""Replies as people read them: text as text, records as an outline, media described."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import indent
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json, to_jsonable_python

from xooai.doc import Doc
from xooai.docs import Tensor, Text
from xooai.redact import redact
from xooai.store_ref import is_store_ref

__all__ = ["content_of", "outline"]

_COLLECTIONS = (list, tuple, set, frozenset)


def outline(value: Any) -> str:
    """The value in lines: fields as `name: value`, items behind a dash, what is inside indented."""
    return "\n".join(_lines(value))


def _lines(value: Any) -> Iterator[str]:
    fields = _fields(value)
    if fields is not None:
        yield from (line for name, inner in fields.items() for line in _named(f"{name}:", inner))
    elif isinstance(value, _COLLECTIONS):
        if not value:
            yield "[]"
        elif all(_is_plain(item) for item in value):
            yield f"[{', '.join(_plain(item) for item in value)}]"
        else:
            yield from (line for item in value for line in _item(item))
    else:
        yield from _plain(value).split("\n")


def _fields(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, BaseModel) and not isinstance(value, Doc):
        return {**value.__dict__, **(value.__pydantic_extra__ or {})}
    return value if isinstance(value, Mapping) and value else None


def _named(name: str, value: Any) -> Iterator[str]:
    lines = list(_lines(value))
    is_nested = _fields(value) is not None or (isinstance(value, _COLLECTIONS) and not _is_plain(value))
    if len(lines) == 1 and not is_nested:
        yield f"{name} {lines[0]}".rstrip()
    else:
        yield name
        yield from (indent(line, "  ") for line in lines)


def _item(value: Any) -> Iterator[str]:
    first, *rest = list(_lines(value)) or [""]
    yield f"- {first}"
    yield from (indent(line, "  ") for line in rest)


def _is_plain(value: Any) -> bool:
    """Whether a value is one short word of its own: a number, or a list of numbers such as a corner of a box."""
    if isinstance(value, _COLLECTIONS):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float)


def _plain(value: Any) -> str:
    if isinstance(value, Doc):
        return _document(value)
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, _COLLECTIONS):
        return f"[{', '.join(_plain(item) for item in value)}]"
    written = to_jsonable_python(value, inf_nan_mode="strings", fallback=repr)
    return written if isinstance(written, str) else to_json(written).decode()


def _document(doc: Doc) -> str:
    if isinstance(doc, Text) and (doc.value is not None or is_store_ref(doc.ref)):
        return str(doc.read())
    about = [type(doc).__name__]
    if isinstance(doc, Tensor):
        about.append(f"{doc.dtype}{list(doc.shape)}")
    elif doc.media_type:
        about.append(doc.media_type)
    about.append(f"at {redact(doc.ref or '')}" if doc.value is None else f"{len(doc.value):,} bytes")
    return f"<{' '.join(about)}>"


def content_of(reply: Any) -> bytes | None:
    """The bytes of a reply that is one document, bytes or text; None for all others. Raises as `Doc.read`."""
    content = reply.read() if isinstance(reply, Doc) else reply
    if isinstance(content, str):
        return content.encode()
    return content if isinstance(content, bytes) else None
