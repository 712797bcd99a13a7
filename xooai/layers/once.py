"""Calls with an idempotency key: the first with a key runs, and those that come later are given its end."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from xooai.call import Call, Service
from xooai.deadline import within
from xooai.driver import Channel, Head
from xooai.errors import (
    AlreadyExists,
    Code,
    DeadlineExceeded,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
    XooaiError,
    error_from,
)
from xooai.layers.ledger import Ended, Ledger, Row
from xooai.log import logger
from xooai.metadata import IDEMPOTENCY_KEY, metadata_of
from xooai.tally import count
from xooai.timing import Timing

__all__ = ["FOLDER", "REPLAYED", "Once", "going_on"]

FOLDER = "XOOAI_IDEMPOTENCY"
"""The environment variable with a folder where the keys of calls are known to several processes, and after a crash."""
REPLAYED = "idempotent-replayed"
"""In the metadata of a reply that was given before."""

LONGEST = 255  # characters of a key: of those that are made up by rule, UUIDs have 36
HASHED = 1024 * 1024  # bytes of a request from which on it is hashed in a thread
LOOK, LONG = 0.05, 1.0  # seconds between two looks at a call that another process runs, doubled up to the second
DEAF = 1.0  # seconds for a call to end that is cancelled: what it cleans up takes less, or it does not hear
_GRANT = re.compile(rb"(store:[A-Za-z0-9._-]{1,100}/[a-z0-9]{1,20}:[0-9a-f]{64}\?g=)[A-Za-z0-9.]{1,200}")
"""A ref with a grant, which is another one each time that the same content is sent."""
_BOUNDARY = re.compile(r'^multipart/.*;\s*boundary="?([^";,\s]{1,70})', re.IGNORECASE)
"""What stands between the parts of a form, and is made up by chance for each."""
_NOT_NOTED = "a call with this key has begun, and how it ended was not noted: nobody knows whether it was done"
_HAS_NOT_RUN = (Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.UNIMPLEMENTED, Code.PERMISSION_DENIED, Code.UNAUTHENTICATED)
"""Errors of who looks at a call before it runs, where its handler has not begun."""

going_on: ContextVar[list[asyncio.Task[Row | None]] | None] = ContextVar("xooai_going_on", default=None)
"""Where whoever answers a call has a list, its run is put there once its caller has left and it goes on."""

T = TypeVar("T")
_log = logger("xooai")


class Once:
    """Of one server. What runs goes on where its caller leaves: he may come back for its end."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        """Raises FailedPrecondition where the folder that XOOAI_IDEMPOTENCY names cannot be used."""
        self._ledger = ledger or Ledger(os.environ.get(FOLDER) or None)
        self._running: dict[bytes, tuple[bytes, asyncio.Task[Row | None]]] = {}

    async def run(self, service: Service, call: Call) -> None:
        """Answer a call: by its service, or as an earlier one with the same key was answered. Raises XooaiError."""
        frame = await call.receive()
        place, fingerprint = await _asked(call, frame)
        pause = LOOK
        while True:
            known = self._running.get(place)
            if known is not None:
                _check(known[0], fingerprint)
                await asyncio.wait({known[1]})
                continue
            task = asyncio.create_task(self._lead(service, call, frame, place, fingerprint))
            self._running[place] = fingerprint, task
            task.add_done_callback(lambda _: self._running.pop(place, None))
            try:
                row = await asyncio.shield(task)
            except asyncio.CancelledError:
                task.add_done_callback(partial(_tell, call))
                going = going_on.get()
                if going is not None:
                    going.append(task)
                raise
            if row is None:
                return
            _check(row.print, fingerprint)
            if row.ended is not None:
                _give(call, row.ended)
                return
            if self._is_lost(row):
                raise AlreadyExists(_NOT_NOTED, details={"reason": "unknown"})
            await asyncio.sleep(pause)
            pause = min(LONG, 2 * pause)

    async def _lead(
        self, service: Service, call: Call, frame: bytes | None, place: bytes, fingerprint: bytes
    ) -> Row | None:
        """Run a call that nobody has begun before, and note how it ends; else what is known of it."""
        going_on.set(None)  # in this task's own context
        try:
            row = await self._done(self._ledger.begin, place, fingerprint)
            if row is not None and row.ended is None and call.endpoint.idempotent and self._is_lost(row):
                row = await self._done(self._ledger.begin, place, fingerprint, row.owner)
        except sqlite3.Error as error:
            _log.error("the keys of calls cannot be kept, and calls that have one are refused: %s", error)
            raise Unavailable(
                f"the server cannot note the keys of calls now; without {IDEMPOTENCY_KEY} it runs them"
            ) from None
        if row is not None:
            return row
        count("idempotency", "ran", *call.tally.names[:2])
        call.channel = _Read(call.channel, frame)
        if call.timing is None:
            call.timing = Timing()  # tells whether the handler has begun
        try:
            left = call.remaining
            await (service(call) if left is None else within(left, service, call))
        except XooaiError as error:
            ended = _failed(error, call)
            if ended is None:
                await self._note(self._ledger.forget, place)
            else:
                await self._note(self._ledger.end, place, ended)
            raise
        except BaseException as error:
            task = asyncio.current_task()
            if task is None or not task.cancelling():  # and this server goes on
                await self._note(self._ledger.end, place, _unknown(call))
            if isinstance(error, SystemExit | KeyboardInterrupt):  # by which a task ends its loop, and so the server
                raise RuntimeError(f"the handler raised {type(error).__name__}") from error
            raise
        await self._note(self._ledger.end, place, _answered(call))
        return None

    def _is_lost(self, row: Row) -> bool:
        """Whether nobody runs a call any more that has no end; asked by who would run it in this process."""
        return row.owner == self._ledger.owner or not self._ledger.is_alive(row.owner)

    async def _note(self, what: Callable[..., None], *given: Any) -> None:
        """Note how a call ended. Where that cannot be, its caller is answered all the same, and later ones are told."""
        try:
            await self._done(what, *given)
        except sqlite3.Error as error:
            _log.error("how a call with a key ended cannot be noted: %s", error)

    async def _done(self, what: Callable[..., T], *given: Any) -> T:
        """Ask the ledger; in a thread where it waits for the disk."""
        return await asyncio.to_thread(what, *given) if self._ledger.is_shared else what(*given)

    async def finish(self, seconds: float) -> int:
        """Let the calls that go on without their callers end, then cancel them; return how many that ended.

        What is noted of those is that they have begun. Waits no longer than this for those that hear no cancellation either.
        """
        left = {task for _, task in self._running.values()}
        if left and seconds > 0:
            _, left = await asyncio.wait(left, timeout=seconds)
        for task in left:
            task.cancel()
        return len((await asyncio.wait(left, timeout=DEAF))[0]) if left else 0

    async def aclose(self) -> None:
        """End the calls that go on without their callers."""
        await self.finish(0)
        self._ledger.close()


class _Read:
    """A channel whose one frame was read."""

    def __init__(self, channel: Channel, frame: bytes | None) -> None:
        self._channel, self._frame = channel, frame
        self.head = channel.head

    async def receive(self) -> bytes | None:
        frame, self._frame = self._frame, None
        return frame

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


async def _asked(call: Call, frame: bytes | None) -> tuple[bytes, bytes]:
    """Under what a call is known, which is of its caller and endpoint alone; and the fingerprint of its request."""
    head = call.head
    key = head.metadata.get(IDEMPOTENCY_KEY, "")
    if call.endpoint.shape:
        raise InvalidArgument(f"{IDEMPOTENCY_KEY} is for a call with one request and one reply, and this one streams")
    if not 0 < len(key) <= LONGEST:
        raise InvalidArgument(f"{IDEMPOTENCY_KEY} has {len(key)} characters; it takes 1 to {LONGEST}")
    place = sha256(f"{head.identity}\0{head.path}\0{key}".encode("utf-8", "surrogatepass")).digest()
    if frame is None or len(frame) < HASHED:
        return place, _fingerprint(head, frame or b"")
    return place, await asyncio.to_thread(_fingerprint, head, frame)


def _fingerprint(head: Head, content: bytes) -> bytes:
    """What is the same for the same request: without what is made up anew each time that it is sent."""
    codec = head.codec
    if (form := _BOUNDARY.match(codec)) is not None:
        codec, content = codec.replace(form[1], ""), content.replace(form[1].encode("utf-8", "surrogatepass"), b"")
    if b"?g=" in content:
        content = _GRANT.sub(rb"\1", content)
    found = sha256(f"{codec}\0{head.accept}\0".encode("utf-8", "surrogatepass"))
    found.update(content)
    return found.digest()


def _check(known: bytes, fingerprint: bytes) -> None:
    """Raise InvalidArgument for another request with the same key."""
    if known != fingerprint:
        raise InvalidArgument(
            f"another request was sent with this {IDEMPOTENCY_KEY}; each call that is to run has a key of its own",
            errors=[{"type": "idempotency_key", "loc": [IDEMPOTENCY_KEY], "msg": "The key belongs to another request"}],
        )


def _give(call: Call, ended: Ended) -> None:
    """End a call as an earlier one has ended."""
    count("idempotency", "answered", *call.tally.names[:2])
    if not ended.is_kept:
        raise AlreadyExists("a call with this key has ended; its reply is kept no longer", details={"reason": "ended"})
    if ended.code != Code.OK:
        error = error_from(ended.code, ended.message, ended.details, ended.id)
        error.remote = False
        raise error
    call.reply, call.reply_codec = ended.frame, ended.codec
    call.reply_metadata.update(ended.metadata)
    call.reply_metadata[REPLAYED] = "true"


def _answered(call: Call) -> Ended:
    """How a call ended that was answered."""
    try:
        metadata = metadata_of(call.reply_metadata) if call.has_reply_metadata else {}
    except InvalidArgument:  # with which nobody can be answered
        return _unknown(call)
    return Ended(Code.OK, call.reply, call.reply_codec, metadata)


def _failed(error: XooaiError, call: Call) -> Ended | None:
    """How a call ended that raised; None where it has not run, and is not to be known."""
    assert call.timing is not None
    call.timing.enter(None)
    took = call.timing.seconds
    if call.is_passed_on:
        if isinstance(error, Unavailable) and not error.remote:  # the process that had it has ended
            unknown = Ended(Code.ALREADY_EXISTS, message=_NOT_NOTED, details={"reason": "unknown"})
            return None if call.endpoint.idempotent else unknown
    elif not took["handle"]:
        if not took["decode"]:  # it waited for its turn
            return None
        if error.code in _HAS_NOT_RUN or isinstance(error, ResourceExhausted):
            return None
        if isinstance(error, DeadlineExceeded) and call.endpoint.batch is not None:  # it was in none yet
            return None
    if "retry_after" in error.details and not error._server:
        return None
    if error.code == Code.UNKNOWN or error._is_of_here:
        return _unknown(call)
    message, details = (error.message, error.details) if error._to_peers is None else error._to_peers
    try:
        plain = msgspec.json.decode(msgspec.json.encode(dict(details)))
    except (TypeError, ValueError):  # as whoever sends it will say
        plain = {}
    return Ended(error.code, message=message, details=plain, id=error.id)


def _unknown(call: Call) -> Ended:
    return Ended(Code.INTERNAL, message="the handler failed; the server's log tells more under this id", id=call.id)


def _tell(call: Call, task: asyncio.Task[Row | None]) -> None:
    """Tell the log of a failure that has no caller any more."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, XooaiError):
        _log.error("call %s to %s/%s failed", call.id, call.endpoint.owner, call.endpoint.name, exc_info=error)
