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
    from xooai.flow import inner
else:
    inner = lazy("xooai.flow.inner")
    streaming = lazy("xooai.stream_handler")

__all__ = ["Gate"]


class Gate(Serving):
    """Answers calls to a Flow by `run`, which is given the arguments by name, or a Request, and the wanted codec of the reply."""

    def __init__(self, run: Callable[[Any, str], Awaitable[Any]], who: object, name: str) -> None:
        """`who` is traced as the Flow of this name where a caller asks for times."""
        self._run, self._who, self._name = run, who, name

    async def __call__(self, **arguments: Any) -> Any:
        return await self._run(arguments, "")

    async def _read(self, call: Call, plain: Service) -> None:
        """Answer a call whose frame has to be read; where a peer asks for times, it is told of the nodes, too."""
        if call.marks is None and call.head.is_timed:
            await inner.telling(self._who, self._name, call, plain)
        else:
            await plain(call)

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
                found = await self._run(call.marks.value, "")
                if found is None:
                    await reply(call, found)
                    return
                call.reply_marks = Handed.of(
                    found
                )  # as it is: a node has answered it, so it was read by the Flow's type
                await call.send(b"", MSGPACK.media_type)
                return
            codec = codec_named(call.head.codec)
            if call.marks is not None or call.head.is_timed or codec is None:
                await self._read(call, plain)
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

        return handle
