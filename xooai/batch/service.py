"""An endpoint that takes batches as a service: each call gives its items to the batcher, and waits for their replies."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any

import msgspec
from msgspec.structs import replace

from xooai import forks
from xooai.batch.batcher import Batcher, anew, weighed
from xooai.batch.items import NOTHING, Before, Item
from xooai.batching import Batch
from xooai.call import HOPS, Call, Service, batches, entered, hops
from xooai.codec import JSON, MSGPACK
from xooai.driver import EMPTY, Head
from xooai.endpoint import Endpoint
from xooai.errors import FailedPrecondition, XooaiError
from xooai.handler import codec_said
from xooai.memory import MemoryChannel
from xooai.metadata import HOPS_HEADER
from xooai.naming import BATCHES
from xooai.results.key import Key, Unkeyed
from xooai.tally import Batches
from xooai.threads import Threads
from xooai.walk import documents

__all__ = ["BatchCall", "batched"]

Make = Callable[[Endpoint, Callable[..., Any]], Service]
"""Makes the service that answers the calls of an endpoint by a function."""


class BatchCall(Call):
    """What `current()` is while a batch is handled: it is of several calls, and tells nothing of a single one."""

    def __init__(self, endpoint: Endpoint, deadline: float | None, before: Before) -> None:
        """`before` is what it comes from: the servers that one of the calls came through, at most, this one among them."""
        metadata = {HOPS_HEADER: str(before.hops - 1)} if before.hops > 1 else EMPTY  # so that a circle of servers ends
        super().__init__(
            endpoint, MemoryChannel(Head(f"/{endpoint.owner}/{endpoint.name}", "", metadata=metadata), b"")
        )
        self.deadline = deadline
        self.batches = ",".join(sorted(before.batches)[:BATCHES])
        self.depth = before.depth


def batched(endpoint: Endpoint, function: Callable[..., Any], threads: Threads, make: Make, tally: Batches) -> Service:
    """The service of an endpoint whose method takes batches; `make` makes those of one item, and of a list of items."""
    assert endpoint.batch is not None
    assert endpoint.many is not None
    batching = _Batching(endpoint, endpoint.batch, function, threads, tally)
    one = make(replace(endpoint, is_async=True), batching.one)
    many = make(replace(endpoint.many, is_async=True), batching.many)
    name = endpoint.batch.parameter

    async def serve(call: Call) -> None:
        frame = await call.receive()
        call.taken = len(frame or b"")
        call.receive = partial(_again, frame)  # type: ignore[method-assign]
        if frame is not None and _is_list(call.head.codec, frame, name):
            await many(call)
        else:
            await one(call)

    return serve


async def _again(frame: bytes | None) -> bytes | None:
    return frame


_PARTS: dict[str, Any] = {
    JSON.name: msgspec.json.Decoder(dict[str, msgspec.Raw]),
    MSGPACK.name: msgspec.msgpack.Decoder(dict[str, msgspec.Raw]),
}
_IN_JSON = frozenset(b"[")
_IN_MSGPACK = frozenset([*range(0x90, 0xA0), 0xDC, 0xDD])
"""The first byte of an array."""


def _is_list(media_type: str, frame: bytes, name: str) -> bool:
    """Whether the argument `name` is an array in this frame; what is no frame at all is for its reader to refuse."""
    codec = codec_said(media_type)
    if codec is None:
        return False
    try:
        found = bytes(memoryview(_PARTS[codec.name].decode(frame).get(name, b""))[:64]).lstrip()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return bool(found) and found[0] in (_IN_JSON if codec is JSON else _IN_MSGPACK)


class _Shared:
    """The batches that there are, by loop, and by whose method they are for."""

    def __init__(self) -> None:
        self.renew()
        forks.renewed(self)

    def renew(self) -> None:
        """Begin with nothing, in the child of a fork."""
        self._made: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, weakref.WeakValueDictionary[tuple[int, int], Batcher]
        ] = weakref.WeakKeyDictionary()
        self._lock = Lock()  # loops of several threads may come at once

    def of(
        self, loop: asyncio.AbstractEventLoop, method: tuple[object, object], make: Callable[[], Batcher]
    ) -> Batcher:
        """The batches of an owner's function on a loop, made where there are none. They keep both, and so their ids.

        By the function itself: what a decorator made has one name, whatever it was made of.
        """
        key = id(method[0]), id(method[1])
        with self._lock:
            made = self._made.setdefault(loop, weakref.WeakValueDictionary())
            found = made.get(key)
            if found is None:
                found = made[key] = make()
            return found


_shared = _Shared()


class _Batching:
    """Calls of one endpoint, each on its loop, and what runs the batches."""

    def __init__(
        self, endpoint: Endpoint, batch: Batch, function: Callable[..., Any], threads: Threads, tally: Batches
    ) -> None:
        self._endpoint, self._batch, self._function, self._threads = endpoint, batch, function, threads
        self._where = f"{endpoint.owner}.{endpoint.name}"
        self._tally = tally
        self.renew()
        forks.renewed(self)

    def renew(self) -> None:
        """Begin with nothing, in the child of a fork: what waited there waits in the parent."""
        self._batchers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Batcher] = weakref.WeakKeyDictionary()
        self._lock = Lock()

    async def one(self, **arguments: Any) -> Any:
        """The reply for one item."""
        item = arguments.pop(self._batch.parameter)
        _queue()
        weight = 1 if self._batch.weight is None else await self._weight(self._batch.weight, item)
        return await self._batcher().submit(
            self._run, item, weight, arguments, self._key(arguments), _deadline(), _before()
        )

    async def many(self, **arguments: Any) -> list[Any]:
        """The replies for a list of items, each of which is in a batch by itself. The first that fails ends the call."""
        items = arguments.pop(self._batch.parameter)
        _queue()
        batcher, key, deadline, before = self._batcher(), self._key(arguments), _deadline(), _before()
        weigh = self._batch.weight

        async def submit(item: Any) -> Any:
            weight = 1 if weigh is None else await self._weight(weigh, item)
            return await batcher.submit(self._run, item, weight, arguments, key, deadline, before)

        replies: list[Any] = []
        waiting: deque[asyncio.Task[Any]] = deque()
        try:
            for item in items:
                if len(waiting) >= batcher.ahead:
                    replies.append(await waiting[0])
                    waiting.popleft()
                waiting.append(asyncio.create_task(submit(item)))
            while waiting:
                replies.append(await waiting[0])
                waiting.popleft()
        except XooaiError as error:
            raise anew(error, f"item {len(replies)} of {len(items)}: {error.message}") from error
        finally:
            for task in waiting:
                task.cancel()
                task.add_done_callback(_looked_at)
        return replies

    async def _weight(self, weigh: Callable[[Any], float], item: Any) -> float:
        """What an item counts; in a thread where it is a document whose content may have to be fetched for that."""
        if any(doc.value is None for doc in documents(item)):
            return float(await self._threads.run(weighed, {"weigh": weigh, "value": item}))
        return weighed(weigh, item)

    def _key(self, arguments: Mapping[str, Any]) -> Hashable:
        """What calls share whose other arguments are alike, in bytes; what is like no other: a document may be of anybody."""
        if not arguments:
            return b""
        if any(True for _ in documents(arguments)):
            return object()
        try:
            return Key("", "", arguments, is_here=True).digest
        except Unkeyed:
            return object()

    def _batcher(self) -> Batcher:
        """The batches of the running loop: calls to a server of this executor, and those in its process, share them."""
        loop = asyncio.get_running_loop()
        found = self._batchers.get(loop)
        if found is None:
            with self._lock:  # loops of several threads may come at once
                for closed in [other for other in self._batchers if other.is_closed()]:  # what waited there holds them
                    del self._batchers[closed]
                function = self._function
                method = getattr(function, "__self__", None), getattr(function, "__func__", function)
                make = partial(Batcher, self._batch, self._tally, method, cancels=self._endpoint.is_async)
                found = self._batchers[loop] = _shared.of(loop, method, make)
        return found

    async def _run(self, items: Sequence[Item], arguments: Mapping[str, Any], before: Before) -> Sequence[Any]:
        """Call the handler with a batch. Raises what it raises, and TypeError where it does not give a reply for each item."""
        deadlines = [item.deadline for item in items]
        last = None if None in deadlines else max(filter(None, deadlines))
        for item in items:
            if item.timing is not None:
                item.timing.enter("handle")
        token = entered.set(BatchCall(self._endpoint, last, before))
        try:
            given = {self._batch.parameter: [item.value for item in items], **arguments}
            if self._endpoint.is_async:
                replies = await self._function(**given)
            else:
                replies = await self._threads.run(partial(self._unless_left, items), given)
        finally:
            entered.reset(token)
        if not isinstance(replies, list | tuple):
            raise TypeError(
                f"{self._where} returned {type(replies).__name__}, expected a list with a reply for each item"
            )
        if len(replies) != len(items):
            raise TypeError(f"{self._where} returned {len(replies)} replies for {len(items)} items")
        return replies

    def _unless_left(self, items: Sequence[Item], /, **given: Any) -> Any:
        """Called in a thread, which may have been waited for: not worth it where all callers have left meanwhile."""
        if all(item.future.cancelled() for item in items):
            return [None] * len(items)
        return self._function(**given)


def _before() -> Before:
    """What the call at hand comes from; of one hop too many the next server is told, not who came so far."""
    try:
        count = hops()
    except FailedPrecondition:
        count = HOPS + 1
    told = batches()
    if not told:
        return Before(count) if count else NOTHING
    call: Any = entered.get()
    while isinstance(call, Call) and call.marks is not None:
        call = call.outer
    depth = call.depth if isinstance(call, BatchCall) else 0
    return Before(count, frozenset(told.split(",")), depth)


def _deadline() -> float | None:
    """When the call at hand ends at the latest, in monotonic seconds."""
    call = entered.get()
    return None if call is None else call.deadline


def _queue() -> None:
    """The call at hand waits for its batch, as far as it is timed."""
    call = entered.get()
    if call is not None and call.timing is not None and call.endpoint.batch is not None:
        call.timing.enter("queue")
        call.timing.seconds["handle"] = 0.0  # by which others tell whether the method has begun


def _looked_at(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
