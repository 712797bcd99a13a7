"""A served Flow at its door: requests go on to nodes elsewhere as they came, and replies back, where nobody has to look."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from xooai.accept import form_of
from xooai.call import Call, Service
from xooai.codec import MSGPACK, codec_named
from xooai.endpoint import Endpoint
from xooai.flow.unread import Request, Written, is_bound
from xooai.handler import Serving, handler, read_arguments, replying
from xooai.kept import Contents
from xooai.lazy import lazy
from xooai.origin import Handed
from xooai.payload import settled
from xooai.threads import Threads

if TYPE_CHECKING:
    from xooai import stream_handler as streaming
else:
    streaming = lazy("xooai.stream_handler")

__all__ = ["Gate"]


class Gate(Serving):
    """Answers calls to a Flow by `run`, which is given the arguments by name, or a Request, and the wanted codec of the reply."""

    def __init__(self, run: Callable[[Any, str], Awaitable[Any]]) -> None:
        self._run = run

    async def __call__(self, **arguments: Any) -> Any:
        return await self._run(arguments, "")

    def service(self, endpoint: Endpoint, threads: Threads, contents: Contents) -> Service:
        """What answers calls as a server, or within the process."""
        if endpoint.shape:
            return streaming.stream_handler(endpoint, self, threads, contents)
        plain = handler(endpoint, self, threads, contents)
        reply = replying(endpoint, contents)

        async def handle(call: Call) -> None:
            if type(call.marks) is Handed and call.marks.value is not None:
                if call.timing is not None:
                    call.timing.enter("handle")
                await hand(call, await self._run(call.marks.value, ""))
                return
            codec = codec_named(call.head.codec)
            if call.marks is not None or call.head.is_timed or codec is None:
                await plain(call)
                return
            if call.timing is not None:
                call.timing.enter("handle")  # the nodes have stages of their own
            frame = await call.receive()
            call.taken = len(frame or b"")
            given: Any
            if frame is None or is_bound(frame):
                given = read_arguments(endpoint, call, frame, contents)
            else:
                given = Request(endpoint, codec, frame, contents.origin(call.head.identity))
            form = form_of(call.head.codec, call.head.accept)
            wanted = "" if form.raw else form.codec.media_type
            found = await self._run(given, wanted)
            if isinstance(found, Written):
                if found.codec is form.codec and not found.is_bound:
                    await call.send(found.frame, wanted)
                    return
                found = settled(endpoint.result, found.value())
            await reply(call, found)

        async def hand(call: Call, found: Any) -> None:
            """Give a result as it is: a node has answered it, so it was read by the type that the Flow gives."""
            if found is None:
                await reply(call, found)
                return
            call.reply_marks = Handed.of(found)
            await call.send(b"", MSGPACK.media_type)

        return handle
