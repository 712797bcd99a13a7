"""The server's side of calls: routes them, runs their services, and turns what they raise into outcomes."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from math import inf
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import msgspec

from xooai import control
from xooai.call import Call, Layer, Service, StreamCall, composed, entered
from xooai.driver import EMPTY, METRICS, Channel, Head, Outcome, Shape
from xooai.endpoint import Endpoint, nearest
from xooai.errors import Code, InvalidArgument, NotFound, Unavailable, XooaiError
from xooai.handler import Serving, handler
from xooai.kept import SHAPES, Contents
from xooai.layers import limit
from xooai.lazy import lazy
from xooai.log import logger
from xooai.memory import MemoryChannel
from xooai.metadata import ID_HEADER, TIMES
from xooai.shared_stores import Stores
from xooai.tally import OTHER, SAMPLED, Calls, batches, calls
from xooai.threads import Threads
from xooai.tracing import tracing

if TYPE_CHECKING:
    from xooai import batch, deadline, describe, metrics, naming, results, warmup, watching
    from xooai import stream_handler as streaming
    from xooai import timing as timings
    from xooai.layers import log as calllog
    from xooai.layers import once
    from xooai.layers import trace as traces
else:
    batch = lazy("xooai.batch")  # few endpoints take them
    deadline = lazy("xooai.deadline")
    describe = lazy("xooai.describe")
    metrics = lazy("xooai.metrics")  # for who asks what was counted
    naming = lazy("xooai.naming")
    once = lazy("xooai.layers.once")  # few callers send keys
    results = lazy("xooai.results")  # few endpoints ask for it
    streaming = lazy("xooai.stream_handler")
    warmup = lazy("xooai.warmup")  # few endpoints have any
    timings = lazy("xooai.timing")
    calllog = lazy("xooai.layers.log")
    traces = lazy("xooai.layers.trace")
    watching = lazy("xooai.watching")

__all__ = ["Away", "Hosted", "Site"]

_log = logger("xooai")
_OK: dict[
    str, Outcome
] = {}  # outcomes are not changed: one for each codec; as many as there are media types of replies
_OK_LIMIT = 64
_EARLY = 0.005  # seconds by which a loop's clock, which some read once a turn in milliseconds, may be ahead
_OWN = "/xooai/"
_DESCRIBE = "/xooai/describe"
_PASSING = (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED)
"""Errors of servers behind this one: here the call has begun, and has been made anew there where that was right."""
_SETTING_UP = 1  # seconds after which a caller may ask again: nobody knows how long a setup takes, and asking is cheap


class Hosted(Protocol):
    """What a site serves: an executor's name, endpoints and functions."""

    layers: tuple[Layer, ...]
    stores: Stores

    @property
    def name(self) -> str: ...

    def endpoints(self) -> Iterable[tuple[Endpoint, Callable[..., Any]]]: ...

    async def set_up(self) -> None: ...


@runtime_checkable
class Away(Protocol):
    """What is hosted and answers by a process of its own: that one waits, counts and limits, and here calls pass through."""

    @property
    def is_up(self) -> bool:
        """Whether it takes calls."""

    async def aclose(self) -> None:
        """Let go of the way to it."""


class _Route(msgspec.Struct, frozen=True):
    executor: str
    endpoint: Endpoint
    service: Service
    call: type[Call]
    tallies: dict[str, Calls]
    """By the driver that calls come over."""

    def tally(self, driver: str) -> Calls:
        """Where its calls over a driver are counted."""
        found = self.tallies[driver] = calls(self.executor, self.endpoint.name, driver)
        return found


class Site:
    """Several executors behind one set of listeners. Implements `xooai.driver.Site` and `Measuring`."""

    is_guarded = False
    """Whether it answers known callers only."""

    def __init__(
        self, executors: tuple[Hosted, ...], threads: Threads | None = None, admission: limit.Admission | None = None
    ) -> None:
        """With `admission`, calls wait for their turn at the executors' endpoints; those of xooai itself do not."""
        self.executors = executors
        self.threads = Threads() if threads is None else threads
        self.contents = Contents()
        self.admission = admission
        self._known: dict[str, _Route] = {}
        self._open: dict[str, _Route] = {}  # those that calls find: none before all is set up, then all that are known
        self._described: dict[str, bytes] = {}
        self._results: results.Results | None = None
        self._ones: once.Once | None = None
        self._ready = False
        self._cuts_from = inf  # monotonic seconds from which on calls are cut off
        self.cut = 0
        """How many calls were cut off."""
        self.watches: tuple[watching.Make, ...] = ()
        """What watches each call, beside those who trace."""
        self._away = [executor for executor in executors if isinstance(executor, Away)]
        for index, executor in enumerate(self.executors):
            name = executor.name
            if name in self.names()[:index]:
                raise ValueError(f"two executors are called {name!r}; give one of them another name=")
            self.contents.have(executor.stores)
            endpoints = list(executor.endpoints())
            if not endpoints:
                raise InvalidArgument(f"the executor {name!r} has no endpoints; @post makes a method one")
            for endpoint, function in endpoints:
                service, call = self._answering(endpoint, function, name)
                service, path = composed(executor.layers, service), f"/{name}/{endpoint.name}"
                if isinstance(executor, Away):
                    service = service if admission is None else admission.outer(service)
                elif admission is not None:
                    service = admission.around(path, endpoint, service)
                    if endpoint.limit and not endpoint.is_async:
                        self.threads.allow(endpoint.limit)
                self._known[path] = _Route(name, endpoint, service, call, {})

    def names(self) -> list[str]:
        """The names of the executors."""
        return [executor.name for executor in self.executors]

    def endpoints(self) -> Mapping[str, Endpoint]:
        """The endpoints by path, without those of xooai itself."""
        return {path: route.endpoint for path, route in self._known.items() if not path.startswith(_OWN)}

    async def set_up(self) -> None:
        """Run the executors' `setup`; from then on the site is ready. Calls that come before are turned away."""
        self.contents.loop = asyncio.get_running_loop()
        if os.environ.get("XOOAI_IDEMPOTENCY"):
            self._ones = once.Once()  # now, since the folder may be one that cannot be used
        if logging.getLogger("xooai.calls").isEnabledFor(logging.INFO):
            self.watches = (calllog.CallLog,)
        for executor in self.executors:
            await executor.set_up()
        for path, route in self._known.items():
            if route.endpoint.warmup:
                opened = f"warm-up:{path}"  # by which no call from elsewhere comes: its path begins with a slash
                self._open[opened] = route
                await warmup.warm(opened, route.endpoint, partial(Site.accept, self))  # who is known or not
        self.open()

    def open(self) -> None:
        """Take calls; for executors that are set up by other means."""
        self._open = self._known
        self._ready = True
        control.answer("metrics", _counted)

    def drain(self) -> None:
        """Say that calls are welcome no more; those under way go on."""
        self._ready = False

    def cut_after(self, seconds: float) -> None:
        """Count the calls that are cancelled so much later, since their listeners wait no longer."""
        self._cuts_from = monotonic() + seconds - _EARLY

    def ready(self) -> bool:
        """Whether there is somebody to answer: of executors with processes of their own, one is enough."""
        away = self._away
        return self._ready and (len(away) < len(self.executors) or not away or any(one.is_up for one in away))

    def shape(self, path: str) -> Shape | None:
        route = self._known.get(path)
        if route is None:
            return (
                Shape.UNARY if path in (_DESCRIBE, METRICS) else SHAPES.get(path)
            )  # which are made when they are first asked for
        return route.endpoint.shape

    def describe(self, form: Literal["openapi", "proto", "json"]) -> bytes:
        found = self._described.get(form)
        if found is None:
            found = self._described[form] = describe.document(form, self.executors)
        return found

    async def _describe(self) -> dict[str, Any]:
        return dict(msgspec.json.decode(self.describe("json")))

    async def measured(self, form: Literal["text", "openmetrics", "json"]) -> bytes:
        """All that was counted, see `xooai.driver.Measuring`."""
        return await metrics.measured(form, self.is_guarded)

    async def _report(self) -> dict[str, Any]:
        return dict(msgspec.json.decode(await self.measured("json")))

    def accept(self, channel: Channel) -> Coroutine[Any, Any, None]:
        """Answer one call, and end its channel whatever happens."""
        tracer = tracing()
        if tracer is None and not self.watches:
            return self._answer(channel, None)
        watches = self.watches
        if tracer is not None:
            watches = (partial(traces.CallSpan, tracer), *watches)
        return watching.watched(self._answer, channel, watches, self.shape(channel.head.path) is not None)

    async def _answer(self, channel: Channel, watch: watching.Watch | None) -> None:
        head = channel.head
        route = self._open.get(head.path) or self._own(head.path)
        if route is None or head.shape is not route.endpoint.shape:
            await self._refuse(channel, self._unfit(head, route), route, watch)
            return
        call = _begun(route, channel)
        in_memory = channel if isinstance(channel, MemoryChannel) else None
        token = entered.set(call)
        if in_memory is not None:
            call.marks, call.inline, call.outer = in_memory.marks, in_memory.inline, token.old_value
        if watch is not None:
            watch.began(call)
        try:
            timeout, service = head.timeout, self._once(route.service) if head.is_keyed else route.service
            if timeout is None:
                await service(call)
            else:
                await deadline.within(timeout, service, call)
            reply, outcome = call.reply, _success(call)
        except BaseException as error:
            if self._ends_more(error, call, in_memory):
                raise  # here: raised by a function, an error holds that function's frame, which holds it
            reply, outcome = None, self._failure(error, call, channel)
        finally:
            entered.reset(token)
        if in_memory is not None:
            in_memory.reply_marks = call.reply_marks
        try:
            await channel.end(reply, outcome)
        except Unavailable:  # the caller has left: nobody is to be told, and nothing went wrong here
            channel.abort()
        except Exception as error:  # noqa: BLE001 - what a handler put beside its reply, or into its error, cannot be written
            reply, outcome = None, self._unwritten(error, call, channel)
            await channel.end(None, outcome)
        finally:
            _ended(call, outcome.code, reply)
            if watch is not None:
                watch.ended(outcome, reply)

    async def _refuse(
        self, channel: Channel, error: XooaiError, route: _Route | None = None, watch: watching.Watch | None = None
    ) -> None:
        """End a call that does not begin. A path that names nothing is no label: callers make them up."""
        driver = channel.head.driver
        tally = calls(OTHER, OTHER, driver) if route is None else route.tally(driver)
        tally.refused(error.code)
        outcome = self._failure(error, None, channel)
        if watch is not None:
            watch.ended(outcome, None)
        await channel.end(None, outcome)

    def _once(self, service: Service) -> Service:
        """The service, which a call with a key does not run that has run before."""
        if self._ones is None:
            self._ones = once.Once()
        return partial(self._ones.run, service)

    async def aclose(self) -> None:
        """End what goes on without a caller."""
        if self._ones is not None:
            await self._ones.aclose()
            self._ones = None
        for executor in self._away:
            await executor.aclose()

    def _own(self, path: str) -> _Route | None:
        """The route to what every site has; made when it is first asked for."""
        if not path.startswith(_OWN) or self._open is not self._known:
            return None
        if path == _DESCRIBE:
            endpoint, function = describe.endpoint(), self._describe
        elif path == METRICS:
            endpoint, function = metrics.endpoint(), self._report
        elif path in SHAPES:
            made, function = self.contents.answers(path)
            endpoint = made()
        else:
            return None
        route = self._known[path] = _Route("xooai", endpoint, *self._answering(endpoint, function, "xooai"), {})
        return route

    def _answering(self, endpoint: Endpoint, function: Callable[..., Any], executor: str) -> tuple[Service, type[Call]]:
        """What answers the calls of an endpoint of an executor, and what these are."""
        if isinstance(function, Serving):
            return function.service(endpoint, self.threads, self.contents), StreamCall if endpoint.shape else Call
        if endpoint.shape:
            return streaming.stream_handler(endpoint, function, self.threads, self.contents), StreamCall
        if endpoint.batch is not None:
            tally = batches(executor, endpoint.name)
            made = batch.batched(endpoint, function, self.threads, self._handler, tally)
        else:
            made = self._handler(endpoint, function)
        return made, Call if endpoint.cache is None else results.CachedCall

    def _handler(self, endpoint: Endpoint, function: Callable[..., Any]) -> Service:
        """What answers the unary calls of an endpoint by a function."""
        if endpoint.cache is None:
            return handler(endpoint, function, self.threads, self.contents)
        if self._results is None:
            self._results = results.Results()
        return results.cached(endpoint, function, self.threads, self.contents, self._results)

    def _unfit(self, head: Head, route: _Route | None) -> XooaiError:
        """Why a call does not begin."""
        return self._unopened(head.path) if route is None else route.endpoint.misshapen(head.shape)

    def _unopened(self, path: str) -> XooaiError:
        if self._open is not self._known and (path in self._known or path in (_DESCRIBE, METRICS) or path in SHAPES):
            return Unavailable("the server sets up and takes no calls yet", details={"retry_after": _SETTING_UP})
        return self._unknown(path)

    def _unknown(self, path: str) -> NotFound:
        known = [name.removeprefix("/") for name in self.endpoints()]
        given = path.removeprefix("/")
        listed = ", ".join(known) if len(known) <= 50 else f"{', '.join(known[:50])} and {len(known) - 50} more"
        return NotFound(f"no endpoint {given[:200]!r}{nearest(given, known)}; there are: {listed}")

    def _ends_more(self, error: BaseException, call: Call, in_memory: MemoryChannel | None) -> bool:
        """Whether an error is no failure of the call. A call that is cut off by it is counted."""
        if not _is_for_others(error, call, in_memory):
            return False
        if monotonic() >= self._cuts_from:
            self.cut += 1
        _ended(call, Code.CANCELLED, None)
        return True

    def _unwritten(self, error: Exception, call: Call, channel: Channel) -> Outcome:
        """How a call ended whose end could not be written as it was."""
        failure = self._failure(RuntimeError(f"the reply cannot be written: {error}"), call, channel)
        return Outcome(failure.code, failure.message, id=failure.id)

    def _failure(self, error: BaseException, call: Call | None, channel: Channel) -> Outcome:
        """How a call ended that raised: our errors as they are; of anything else the peer learns an id, the log the rest.

        What went wrong when this process read a ref of its own is told to callers within it, and to no peer.
        """
        is_from_peer = True
        if isinstance(channel, MemoryChannel):
            channel.cause, is_from_peer = error, False
        metadata = _beside(call) if call is not None else EMPTY
        if isinstance(error, XooaiError) and error.code != Code.UNKNOWN and not (is_from_peer and error._is_of_here):
            message, details = error.message, error.details
            if is_from_peer and error._to_peers is not None:
                message, details = error._to_peers[0], dict(error._to_peers[1])
            if error._server and call is not None and error.code in _PASSING:
                details = {**details, "began": True}
            id = error.id or (naming.given_id(channel.head.metadata) or naming.new_id() if call is None else call.id)
            return Outcome(error.code, message, details, id, metadata=metadata)
        assert call is not None
        named = {"request_id": call.id, "trace_id": call.trace_id or ""}
        _log.error(
            "call %s to %s/%s failed", call.id, call.endpoint.owner, call.endpoint.name, exc_info=error, extra=named
        )
        return Outcome(
            Code.INTERNAL,
            "the handler failed; the server's log tells more under this id",
            id=call.id,
            metadata=metadata,
        )


def _begun(route: _Route, channel: Channel) -> Call:
    """A call that begins, and is counted from now on; the stages of some are timed beside those whose callers ask."""
    head = channel.head
    call = route.call(route.endpoint, channel)
    call.tally = tally = route.tallies.get(head.driver) or route.tally(head.driver)
    call.began = began = perf_counter()
    tally.begun += 1
    if not head.shape and (began >= tally.due or head.is_timed):
        tally.due = began + SAMPLED
        call.timing = timings.Timing()
    return call


def _ended(call: Call, code: int, reply: bytes | None) -> None:
    """A call is over: count it."""
    tally = call.tally
    if call.timing is not None:
        tally.timed(call.timing)
    given = call.given if reply is None else call.given + len(reply)
    tally.ended(code, perf_counter() - call.began, call.taken, given)


def _counted() -> bytes:
    return metrics.counted()


def _is_for_others(error: BaseException, call: Call, in_memory: MemoryChannel | None) -> bool:
    """Whether this is no failure of the call, but stops whoever runs it: a handler may raise the same errors by itself."""
    if isinstance(error, asyncio.CancelledError):
        return _is_cancelled()
    if isinstance(error, GeneratorExit):  # Python closes, in any context, a coroutine that is waited for no more
        return entered.get() is not call
    # Ctrl-C comes to the main thread. Servers hear it as a signal, so there it is of whoever posts to himself.
    return (
        isinstance(error, KeyboardInterrupt)
        and in_memory is not None
        and threading.current_thread() is threading.main_thread()
    )


def _is_cancelled() -> bool:
    """Whether the task of the call was cancelled: by the driver, or by whoever calls in this process."""
    if asyncio._get_running_loop() is None:  # the call runs in its caller's thread, without a task
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _beside(call: Call) -> Mapping[str, str]:
    """What goes beside the reply of a call, or its error."""
    metadata: Mapping[str, str] = call.reply_metadata if call.has_reply_metadata else EMPTY
    if call.head.is_named:
        metadata = {ID_HEADER: call.id, **metadata}
    if call.timing is None or not call.head.is_timed:
        return dict(metadata) if metadata else EMPTY
    told, own = call.timing.told(), metadata.get(TIMES)
    return {**metadata, TIMES: f"{own}, {told}" if own else told}


def _success(call: Call) -> Outcome:
    """How a call ended that raised nothing. Raises RuntimeError where nobody answered it."""
    if call.reply is None and not call.endpoint.shape & Shape.SERVER:
        raise RuntimeError("a layer neither called the service nor answered")
    codec = call.reply_codec
    if call._reply_metadata or call.head.is_timed or call.head.is_named:
        return Outcome(codec=codec, metadata=_beside(call))
    found = _OK.get(codec)
    if found is None:
        found = Outcome(codec=codec)
        if len(_OK) < _OK_LIMIT:
            _OK[codec] = found
    return found
