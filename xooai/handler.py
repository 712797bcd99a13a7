"""Handlers: any method as a service. Reads the arguments, runs it on the loop or in a thread, writes the reply."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from xooai import replies
from xooai.accept import Form, form_of
from xooai.call import Call, Service
from xooai.codec import CODECS, JSON, MSGPACK, Codec
from xooai.copies import Copy, copier
from xooai.doc import Doc, arriving
from xooai.driver import MESSAGE_LIMIT
from xooai.endpoint import Endpoint
from xooai.errors import Internal, InvalidArgument, ResourceExhausted, XooaiError, too_large
from xooai.kept import Contents
from xooai.lazy import lazy
from xooai.origin import Handed, Marks
from xooai.payload import from_here, from_peer, hidden, marks_of_reply, to_peer
from xooai.plain import scalar
from xooai.redact import redact
from xooai.schema import Schema
from xooai.threads import Threads
from xooai.way import Way

if TYPE_CHECKING:
    from xooai import body
else:
    body = lazy("xooai.body")

__all__ = ["Serving", "codec_said", "goes", "handler", "read_arguments", "replying", "sendable"]

_BY_MEDIA_TYPE = {
    **CODECS,
    JSON.media_type: JSON,
    MSGPACK.media_type: MSGPACK,
    "application/x-msgpack": MSGPACK,
    "application/vnd.msgpack": MSGPACK,
}
_NOTHING = b"{}"  # no parameters at all
SURE = MESSAGE_LIMIT // 8  # of a content, or characters of a text, which a message takes however it is written


class Serving(ABC):
    """A function that answers calls by itself, as it may go on with what it is sent."""

    @abstractmethod
    def service(self, endpoint: Endpoint, threads: Threads, contents: Contents) -> Service:
        """The service that answers calls to `endpoint`."""


def handler(endpoint: Endpoint, function: Callable[..., Any], threads: Threads, contents: Contents) -> Service:
    """The service that answers calls to `endpoint` by calling `function` with the arguments by name."""
    is_async, has_documents = endpoint.is_async, endpoint.arguments.facts.documents
    reply = replying(endpoint, contents)

    async def handle(call: Call) -> None:
        timing = call.timing
        if timing is not None:
            timing.enter("decode")
        frame = await call.receive()
        if frame is not None:
            call.taken = len(frame)
        codec = _BY_MEDIA_TYPE.get(call.head.codec)
        try:
            arguments = (
                _arguments(endpoint, call, codec, frame, contents)
                if codec is None or frame is None or has_documents
                else codec.decode(endpoint.arguments, frame, call.marks is not None)
            )
        except InvalidArgument as error:
            raise endpoint.told(error) from error.__cause__
        if timing is not None:
            result = await timing.run(function, arguments, is_async, None if call.inline else threads)
        elif is_async:
            result = await function(**arguments)
        elif call.inline:
            result = function(**arguments)
        else:
            result = await threads.run(function, arguments)
        await reply(call, result)

    return handle


def replying(endpoint: Endpoint, contents: Contents) -> Callable[[Call, Any], Awaitable[None]]:
    """What gives the reply of calls to `endpoint`: a result, in the form that is wanted."""
    result_types = replies.classes_of(endpoint.result.annotation)
    check = replies.check(endpoint.result)
    result_schema, result_documents = endpoint.result, endpoint.result.facts.documents
    copied = copier(endpoint.result)
    goes_beside = result_documents or copied is not None

    def reply(call: Call, result: Any) -> Awaitable[None]:
        if result_types and not isinstance(result, result_types):
            result = _promised(endpoint, result, result_types)
        form = form_of(call.head.codec, call.head.accept)
        if goes_beside and call.marks is not None:  # within this process
            call.reply_marks = _marks(endpoint.result, result, call.marks, copied)
            if type(call.reply_marks) is Handed:
                return call.send(b"", form.codec.media_type)
        elif result_documents:
            if not goes(result):
                return place(call, form, result)
            if form.raw and form.takes(result):
                return call.send(*_as_it_is(result))
        try:
            # Within this process the caller reads it right away, and is told the same.
            frame = (
                form.codec.encode(result_schema, result)
                if check is None or call.marks is not None
                else check.written(form.codec, result)
            )
        except InvalidArgument as error:  # the handler's mistake, not the caller's
            raise _refused(endpoint, error) from error
        return call.send(frame, form.codec.media_type)

    async def place(call: Call, form: Form, result: Any) -> None:
        """Send a reply that may hold contents which do not go as they are."""
        way = contents.way(call.head.identity, is_raw=bool(form.raw), is_ours=form.codec is MSGPACK)
        result = await sendable(endpoint, result, way)
        if form.raw and isinstance(result, Doc) and form.takes(result):
            await call.send(*_as_it_is(result))
            return
        try:
            frame = form.codec.encode(result_schema, result) if check is None else check.written(form.codec, result)
        except InvalidArgument as error:
            raise _refused(endpoint, error) from error
        await call.send(frame, form.codec.media_type)

    return reply


def _marks(schema: Schema, result: Any, marks: Marks, copied: Copy | None) -> Marks:
    """The marks beside a reply: refs stay what they are, and what goes as an object is in them."""
    copy = copied(result) if copied is not None and type(marks) is Handed else None
    return marks_of_reply(schema, result, marks) if copy is None else Handed.of(copy)


def read_arguments(endpoint: Endpoint, call: Call, frame: bytes | None, contents: Contents) -> dict[str, Any]:
    """The arguments of a call by name, as its handler gets them. Raises InvalidArgument and Unimplemented."""
    return _arguments(endpoint, call, _BY_MEDIA_TYPE.get(call.head.codec), frame, contents)


def _arguments(
    endpoint: Endpoint, call: Call, codec: Codec | None, frame: bytes | None, contents: Contents
) -> dict[str, Any]:
    if frame is None:
        if type(call.marks) is Handed and call.marks.value is not None:
            return call.marks.value  # type: ignore[no-any-return]
        raise InvalidArgument(f"{endpoint.name} was called without a body")
    media_type = call.head.codec
    codec = codec or codec_said(media_type)
    schema, marks = endpoint.arguments, call.marks
    if not frame and not media_type:  # as `curl -X POST` asks
        codec, frame = JSON, _NOTHING
    if codec is not None:
        if marks is not None:
            return from_here(schema, codec, frame, marks)  # type: ignore[no-any-return]
        return from_peer(schema, codec, frame, contents.origin(call.head.identity))  # type: ignore[no-any-return]
    arriving.now = contents.origin(call.head.identity)
    try:
        return body.arguments_of(endpoint, media_type, frame)
    finally:
        arriving.now = None


def _promised(endpoint: Endpoint, result: Any, types: tuple[type, ...]) -> Any:
    """The scalar that a result stands for which is none of these types. Raises TypeError where that is none either."""
    result = scalar(result)
    if not isinstance(result, types):
        given = type(result).__name__
        raise TypeError(f"{endpoint.owner}.{endpoint.name} returned {given}, expected {replies.names_of(types)}")
    return result


def codec_said(media_type: str) -> Codec | None:
    """The codec of a frame that is said to be of this media type; None where it is a medium, a form, or nothing known."""
    return _BY_MEDIA_TYPE.get(media_type) or _BY_MEDIA_TYPE.get(media_type.partition(";")[0].strip().lower())


def goes(result: Any) -> bool:
    """Whether one look at a reply shows that it goes as it is: its content is here, and no other document can stand in it."""
    if not isinstance(result, Doc) or type(result)._own_fields:
        return False
    value = result.value
    return value is not None and len(value) <= SURE


async def sendable(endpoint: Endpoint, result: Any, way: Way) -> Any:
    """The reply as it may leave this process: contents of local refs inline, or where `way` puts them. Raises TypeError and
    ResourceExhausted.
    """
    ref = hidden(endpoint.result, result)
    if ref is not None:
        raise TypeError(
            f"{endpoint.owner}.{endpoint.name} returned a dict with the ref {redact(ref)!r} for a document; "
            "return the document: a file of this machine is only read for one"
        )
    try:
        return await to_peer(endpoint.result, result, way)
    except XooaiError as error:
        raise _unsendable(endpoint, error) from error


def _unsendable(endpoint: Endpoint, error: XooaiError) -> Exception:
    """About a document of the reply: names of files here are not for the peer."""
    if isinstance(error, ResourceExhausted) and error.reason != "size":
        text = "the contents of the reply cannot be kept now; come back later"
        return ResourceExhausted(text, reason=error.reason, retry_after=error.retry_after)
    if isinstance(error, ResourceExhausted):
        return too_large(None, MESSAGE_LIMIT, "a document of the reply")
    return TypeError(f"{endpoint.owner}.{endpoint.name} returned what cannot be sent: {error}")


def _refused(endpoint: Endpoint, error: InvalidArgument) -> Exception:
    """About a reply that is above a limit, which the peer is told, or not what the endpoint returns."""
    limit, message = error.details.get("limit"), error.message.replace("the value", "the reply", 1)
    if limit == "values":
        return ResourceExhausted(message, reason="size")
    if limit == "depth":
        return Internal(message)
    return TypeError(f"{endpoint.owner}.{endpoint.name} returned what cannot be sent: {error}")


def _as_it_is(doc: Doc) -> tuple[bytes, str]:
    """The content of a document, and its media type."""
    content = doc.value
    media_type = doc.media_type or "application/octet-stream"
    return (content.encode(), f"{media_type}; charset=utf-8") if isinstance(content, str) else (content, media_type)
