"""Handlers: any method as a service. Reads the arguments, runs it on the loop or in a thread, writes the reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xooai import body
from xooai.accept import Form, form_of
from xooai.call import Call, Service
from xooai.codec import CODECS, JSON, MSGPACK
from xooai.doc import Doc, arriving
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument
from xooai.payload import from_here, from_peer, marks_of, to_peer
from xooai.threads import Threads

__all__ = ["handler"]

_BY_MEDIA_TYPE = {**CODECS, JSON.media_type: JSON, MSGPACK.media_type: MSGPACK, "application/x-msgpack": MSGPACK, "application/vnd.msgpack": MSGPACK}


def handler(endpoint: Endpoint, function: Callable[..., Any], threads: Threads) -> Service:
    """The service that answers calls to `endpoint` by calling `function` with the arguments by name."""
    result_type = _checked(endpoint.result.annotation)
    is_async, result_documents = endpoint.is_async, endpoint.result.facts.documents

    async def handle(call: Call) -> None:
        arguments = _arguments(endpoint, call, await call.receive())
        if is_async:
            result = await function(**arguments)
        elif call.inline:
            result = function(**arguments)
        else:
            result = await threads.run(function, arguments)
        if result_type is not None and not isinstance(result, result_type):
            raise TypeError(f"{endpoint.owner}.{endpoint.name} returned {type(result).__name__}, expected {_name(result_type)}")
        form = form_of(call.head.codec, call.head.accept)
        if result_documents:
            if call.marks is not None:  # within this process refs stay what they are
                call.reply_marks = marks_of(endpoint.result, result)
            else:
                result = await to_peer(endpoint.result, result)
                if form.raw and isinstance(result, Doc) and form.takes(result):
                    await _as_it_is(call, result)
                    return
        await call.send(_encoded(form, endpoint, result), form.codec.media_type)

    return handle


def _checked(annotation: Any) -> type | None:
    """The class that a reply must be of, where the annotation is one of ours."""
    return annotation if isinstance(annotation, type) and hasattr(annotation, "model_fields") else type(None) if annotation is None else None


def _name(kind: type) -> str:
    return "None" if kind is type(None) else kind.__name__


def _arguments(endpoint: Endpoint, call: Call, frame: bytes | None) -> dict[str, Any]:
    if frame is None:
        raise InvalidArgument(f"{endpoint.name} was called without a body")
    media_type = call.head.codec
    codec = _BY_MEDIA_TYPE.get(media_type) or _BY_MEDIA_TYPE.get(media_type.partition(";")[0].strip().lower())
    schema, marks = endpoint.arguments, call.marks
    if codec is not None:
        found = from_peer(schema, codec, frame) if marks is None else from_here(schema, codec, frame, marks)
        return found  # type: ignore[no-any-return]
    arriving.now = True
    try:
        return body.arguments_of(endpoint, media_type, frame)
    finally:
        arriving.now = False


def _encoded(form: Form, endpoint: Endpoint, result: Any) -> bytes:
    try:
        return form.codec.encode(endpoint.result, result)
    except InvalidArgument as error:  # the handler's mistake, not the caller's
        raise TypeError(f"{endpoint.owner}.{endpoint.name} returned what cannot be sent: {error}") from error


async def _as_it_is(call: Call, doc: Doc) -> None:
    content = doc.value
    media_type = doc.media_type or "application/octet-stream"
    if isinstance(content, str):
        await call.send(content.encode(), f"{media_type}; charset=utf-8")
    else:
        await call.send(content, media_type)
