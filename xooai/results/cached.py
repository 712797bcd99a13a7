"""A handler whose replies are kept: a call with the same arguments is answered by the reply of an earlier one.

The reply is kept as bytes: as they went out, for each form in which it was asked for, and as its value in msgpack, from which
other forms are written by the handler's own rules. Nobody holds what could be changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

from msgspec.structs import replace

from xooai import tally
from xooai.accept import Form, form_of
from xooai.call import Call, Service, entered
from xooai.codec import CODECS, MSGPACK
from xooai.doc import Doc, origin_of
from xooai.driver import EMPTY
from xooai.embedded.grants import LIFE
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument
from xooai.handler import goes, handler, read_arguments
from xooai.kept import Contents
from xooai.log import logger
from xooai.metadata import metadata_of
from xooai.origin import STRANGER
from xooai.payload import from_here, marks_of
from xooai.results.flights import Ended, Flights, leading
from xooai.results.key import Key, Unkeyed
from xooai.results.reach import are_there, may_read, named_in
from xooai.results.shelf import Kept, Results, Written
from xooai.store_ref import EMBEDDED, StoreRef
from xooai.threads import Threads
from xooai.walk import documents, has_ref
from xooai.way import leaves

__all__ = ["CACHED", "CachedCall", "cached"]

CACHED = "xooai-cached"
"""In the metadata of a reply that was kept: seconds since it was made."""

HASHED = (
    1024 * 1024
)  # bytes of a request from which on it is hashed in a thread: more would stop the loop for milliseconds
GRANTED = LIFE / 2  # seconds for which a reply is kept that permits its caller to read: he is to have time for that

_log = logger("xooai")
_BY_MEDIA_TYPE = {codec.media_type: codec for codec in CODECS.values()}


class CachedCall(Call):
    """A call whose arguments are looked at before its handler reads them. `value` is what the handler returned."""

    value: Any = None
    _frame: bytes | None = None

    async def receive(self) -> bytes | None:
        frame, self._frame = self._frame, None
        if frame is None:
            frame = await self.channel.receive()
        return frame

    async def look(self) -> bytes | None:
        """The frame of the request, which `receive` gives once more."""
        self._frame = await self.receive()
        self.taken = len(self._frame or b"")
        return self._frame


def cached(
    endpoint: Endpoint, function: Callable[..., Any], threads: Threads, contents: Contents, results: Results
) -> Service:
    """The service that answers calls to `endpoint` from `results`, else as `handler` does. It is for a `CachedCall`."""
    return _Cached(endpoint, function, threads, contents, results)


class _Cached:
    """One endpoint of one server."""

    def __init__(
        self, endpoint: Endpoint, function: Callable[..., Any], threads: Threads, contents: Contents, results: Results
    ) -> None:
        assert endpoint.cache is not None
        self._endpoint, self._seconds = endpoint, endpoint.cache
        self._has_documents = endpoint.result.facts.documents
        self._contents, self._results = contents, results
        self._flights = Flights()
        self._run = handler(endpoint, _noted(function, endpoint.is_async), threads, contents)
        self._write = handler(replace(endpoint, is_async=True), _value_of_call, threads, contents)
        self._defaults = dict(_defaults(endpoint))
        self._is_told = False

    async def __call__(self, call: Call) -> None:
        assert isinstance(call, CachedCall)
        if call.timing is not None:
            call.timing.enter("decode")
        key = await self._key(call)
        if key is None:
            _count(call, "passed")
            await self._run(call)
            return
        form = form_of(call.head.codec, call.head.accept)
        while not await self._found(call, key, form):
            waiter = self._flights.join(key, call.inline)
            if waiter is None:
                await self._lead(call, key, form)
                return
            if call.timing is not None:
                call.timing.enter("queue")
            kept = waiter.result() if call.inline else await asyncio.wrap_future(waiter)
            if kept is Ended.ALONE:
                _count(call, "misses")
                await self._run(call)
                self._keep(call, key, form)
                return
            if isinstance(kept, Kept) and await self._served(call, key, form, kept):
                break
        _count(call, "hits")

    async def _key(self, call: CachedCall) -> bytes | None:
        """The key of a call; None for one that is not to be kept. Raises InvalidArgument, as the handler would."""
        frame = await call.look()
        try:
            if call.inline or frame is None or len(frame) < HASHED:
                key = self._made(call, frame)
            else:
                key = await asyncio.to_thread(self._made, call, frame)
        except Unkeyed as error:
            if error.why is not None and not self._is_told:
                self._is_told = True
                owner, name = self._endpoint.owner, self._endpoint.name
                _log.warning("replies of %s/%s are not all kept: %s", owner, name, error.why)
            return None
        for ref in key.refs:
            if not await may_read(self._contents, call.head.identity, ref):
                return None
        return key.digest

    def _made(self, call: CachedCall, frame: bytes | None) -> Key:
        arguments = {**self._defaults, **read_arguments(self._endpoint, call, frame, self._contents)}
        return Key(call.head.path, call.identity or "", arguments, is_here=call.marks is not None)

    # A reply that is kept

    async def _found(self, call: CachedCall, key: bytes, form: Form) -> bool:
        """Answer with what is kept, if something is."""
        kept = self._results.get(key)
        if kept is not None and await self._served(call, key, form, kept):
            return True
        if not self._has_documents:
            return False
        place = _place(key, form)
        kept = self._results.get(place)
        return kept is not None and await self._served(call, place, form, kept)

    async def _served(self, call: CachedCall, key: bytes, form: Form, kept: Kept) -> bool:
        written = kept.written.get(form)
        refs = kept.refs if written is None else written.refs
        if refs and not await are_there(self._contents, call.head.identity, refs):
            self._results.drop(key, kept)
            return False
        if written is not None:
            if kept.is_marked and call.marks is not None:
                call.reply_marks = {None: call.marks.get(None, STRANGER)}
            await call.send(written.frame, written.media_type)
        elif not await self._rewritten(call, key, form, kept):
            return False
        metadata = call.reply_metadata
        metadata.update(kept.metadata)
        metadata[CACHED] = str(int(monotonic() - kept.made))
        return True

    async def _rewritten(self, call: CachedCall, key: bytes, form: Form, kept: Kept) -> bool:
        """Answer in a form that was not asked for before, if the value can be written anew."""
        if kept.canonical is None:
            return False
        marks = kept.marks
        if kept.is_marked and call.marks is not None:
            marks = {None: call.marks.get(None, STRANGER)}
        try:
            call.value = from_here(self._endpoint.result, MSGPACK, kept.canonical, marks)
        except InvalidArgument:  # a type of the user's that cannot read what it writes
            return False
        await self._write(call)
        written = self._as_written(call)
        if written is not None:
            self._results.add(key, kept, form, written)
        return True

    # A reply to keep

    async def _lead(self, call: CachedCall, key: bytes, form: Form) -> None:
        """Run the handler, for all who ask the same meanwhile."""
        ended: Kept | Ended = Ended.LEFT
        token = leading.set(leading.get() | {key})
        try:
            if await self._found(call, key, form):  # kept since we looked, by the one before
                _count(call, "hits")
                return
            _count(call, "misses")
            await self._run(call)
            ended = self._keep(call, key, form) or Ended.ALONE
        except Exception:
            ended = Ended.ALONE
            raise
        finally:
            leading.reset(token)
            self._flights.land(key, ended)

    def _keep(self, call: CachedCall, key: bytes, form: Form) -> Kept | None:
        """Keep the reply that a call has. None where it is for this caller alone."""
        is_for_all, written = self._is_for_all(call), self._as_written(call)
        if is_for_all is None or written is None:
            return None
        try:
            metadata = metadata_of(call.reply_metadata) if call.has_reply_metadata else EMPTY
        except InvalidArgument:  # as whoever sends it will say
            return None
        now = monotonic()
        kept = Kept(now, now + self._seconds, metadata)
        if any(ref.name == EMBEDDED for ref in written.refs):
            kept.ends = min(kept.ends, now + GRANTED)
        if is_for_all:
            self._generalize(kept, call, form, written.frame)
        kept.refs = written.refs
        kept.add(form, written)
        if call.reply_marks:
            kept.is_marked = True
        self._results.put(key if is_for_all else _place(key, form), kept)
        return kept

    def _is_for_all(self, call: CachedCall) -> bool | None:
        """Whether a reply can be written in every form; None where it is not to be kept: it names files of this machine, and
        nobody knows what they will hold.
        """
        if not self._has_documents:
            return True
        if has_ref(call.value):
            return None
        if call.marks is not None:
            return None if any(map(_is_elsewhere, documents(call.value))) else True
        return all(leaves(doc) for doc in documents(call.value))

    def _generalize(self, kept: Kept, call: CachedCall, form: Form, frame: bytes) -> None:
        """Add the value of a reply."""
        schema, is_msgpack = self._endpoint.result, form.codec is MSGPACK and not form.raw
        if is_msgpack and (not self._has_documents or call.marks is not None or goes(call.value)):
            kept.canonical = frame
            kept.size += len(frame)
        else:
            try:
                kept.canonical = MSGPACK.encode(schema, call.value)
            except InvalidArgument:  # it is what the handler makes of it that can be sent
                return
            kept.size += len(kept.canonical)
        if self._has_documents and call.marks is None:
            kept.marks = marks_of(schema, call.value)

    def _as_written(self, call: CachedCall) -> Written | None:
        """The reply of a call as it goes out; None where nobody knows what it names."""
        frame, media_type = call.reply, call.reply_codec
        if frame is None:
            return None
        refs: tuple[StoreRef, ...] = ()
        codec = _BY_MEDIA_TYPE.get(media_type)
        if self._has_documents and codec is not None and call.marks is None:
            try:
                refs = named_in(self._endpoint.result, codec, frame)
            except InvalidArgument:
                return None
        return Written(frame, media_type, refs)


def _count(call: Call, what: str) -> None:
    executor, endpoint, _ = call.tally.names
    tally.count("result_cache", what, executor, endpoint)


def _defaults(endpoint: Endpoint) -> Iterator[tuple[str, Any]]:
    """What parameters are that a caller leaves out, as far as it can be told from anything else."""
    for name, parameter in endpoint.parameters.items():
        if not parameter.required:
            try:
                Key("", "", {name: parameter.default}, is_here=True)
            except Unkeyed:
                continue
            yield name, parameter.default


def _is_elsewhere(doc: Doc) -> bool:
    """Whether a document is read, or might be, by its ref. Within the process it goes as it is."""
    return doc.ref is not None and (doc.value is None or origin_of(doc) is not None)


def _noted(function: Callable[..., Any], is_async: bool) -> Callable[..., Any]:
    """The function, which leaves its result with the call."""

    def noted(**arguments: Any) -> Any:
        return _left(function(**arguments))

    async def noted_async(**arguments: Any) -> Any:
        return _left(await function(**arguments))

    return noted_async if is_async else noted


def _left(result: Any) -> Any:
    call = entered.get()
    if isinstance(call, CachedCall):
        call.value = result
    return result


async def _value_of_call(**_: Any) -> Any:
    call = entered.get()
    assert isinstance(call, CachedCall)
    return call.value


def _place(key: bytes, form: Form) -> bytes:
    """Where a reply is kept that is in this form only."""
    return key + repr(form).encode()
