"""The server's side of calls: takes each, runs what answers it, and ends it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from math import inf
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from xooai import control, loading
from xooai.call import Call, Service, entered
from xooai.driver import METRICS, Channel, Head, Shape
from xooai.endpoint import Endpoint
from xooai.errors import Code, Unavailable, XooaiError
from xooai.layers import limit
from xooai.lazy import lazy
from xooai.memory import MemoryChannel
from xooai.outcomes import failure, is_for_others, success, unwritten
from xooai.routes import DESCRIBE, OWN, Away, Hosted, Lane, Route, Routes, Warming
from xooai.tally import OTHER, SAMPLED, calls
from xooai.threads import Threads
from xooai.tracing import API, tracing

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

__all__ = ["Site"]

_enter, _leave = entered.set, entered.reset  # found once: for each call, that would cost as much as counting it
_EARLY = 0.005  # seconds by which a loop's clock, which some read once a turn in milliseconds, may be ahead
_WARM_UP = "warm-up:"
_SETTING_UP = 1  # seconds after which a caller may ask again: nobody knows how long a setup takes, and asking is cheap


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
        self._routes = Routes(self.threads)
        self.contents = self._routes.contents
        self.admission = admission
        self._known = self._routes.known
        self._lanes: defaultdict[str, dict[str, Lane]] = defaultdict(dict)  # that calls have taken, by driver and path
        self._warming: dict[str, Route] = {}  # all that is open before all is set up
        self._is_open = False
        self._described: dict[str, bytes] = {}
        self._ones: once.Once | None = None
        self._ready = False
        self._cuts_from = inf  # monotonic seconds from which on calls are cut off
        self.cut = 0
        """How many calls were cut off."""
        self.watches: tuple[watching.Make, ...] = ()
        """What watches each call, beside those who trace."""
        self._away = [executor for executor in executors if isinstance(executor, Away)]
        for index, executor in enumerate(self.executors):
            if executor.name in self.names()[:index]:
                raise ValueError(f"two executors are called {executor.name!r}; give one of them another name=")
            self._routes.add(executor, admission)

    def names(self) -> list[str]:
        """The names of the executors."""
        return [executor.name for executor in self.executors]

    def endpoints(self) -> Mapping[str, Endpoint]:
        """The endpoints by path, without those of xooai itself."""
        return self._routes.endpoints()

    async def set_up(self) -> None:
        """Run the executors' `setup`; from then on the site is ready. Calls that come before are turned away."""
        self.contents.loop = asyncio.get_running_loop()
        if os.environ.get("XOOAI_IDEMPOTENCY"):
            self._ones = once.Once()  # now, since the folder may be one that cannot be used
        if logging.getLogger("xooai.calls").isEnabledFor(logging.INFO):
            self.watches = (calllog.CallLog,)
        for number, executor in enumerate(self.executors, 1):
            loading.here.at(f"{executor.name} is set up, {number} of {len(self.executors)}")
            await executor.set_up()
        warmed = [(path, route) for path, route in self._known.items() if route.endpoint.warmup]
        for number, (path, route) in enumerate(warmed, 1):
            loading.here.at(f"{path[1:]} is warmed up by its examples, {number} of {len(warmed)}")
            opened = _WARM_UP + path  # by which no call from elsewhere comes: its path begins with a slash
            self._warming[opened] = route
            await warmup.warm(opened, route.endpoint, partial(Site.accept, self))  # who is known or not
        here = [one for one in self.executors if isinstance(one, Warming)]
        done: set[object] = {(one, endpoint.name) for one in here for endpoint, _ in one.endpoints()}
        for executor in here:
            loading.here.at(f"the nodes of {executor.name} are warmed up by their examples")
            await executor.warm_nodes(done)
        loading.here.at("")
        self.open()

    def open(self) -> None:
        """Take calls; for executors that are set up by other means."""
        here = {path.removeprefix(_WARM_UP): lane for path, lane in self._lanes[""].items()}  # what they counted stays
        self._lanes.clear()
        self._lanes[""] = here
        self._is_open = self._ready = True
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
        return self._routes.shape(path)

    def handling(self, driver: str, path: str) -> float:
        """The seconds that a handler takes for calls by a driver, in the mean of those that were timed; inf where none was.

        What every server tells of itself takes none.
        """
        if path.startswith(OWN):
            return 0.0
        lane = self._lanes[driver].get(path)
        found = None if lane is None else lane.tally.stages.get("handle")
        return inf if found is None else found[1][0] / sum(found[0])

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
        return self._watched(channel, self.watches)

    def _watched(self, channel: Channel, watches: tuple[watching.Make, ...]) -> Coroutine[Any, Any, None]:
        """Answer one call while these watch it, and who traces."""
        tracer = tracing()
        if tracer is not None:
            watches = (partial(traces.CallSpan, tracer), *watches)
        return watching.watched(self._answer, channel, watches, self.shape(channel.head.path) is not None)

    def accepting(self, driver: str) -> Callable[[Channel], Coroutine[Any, Any, None]]:
        """What accepts the calls that come by a driver, and tells them so: one function for each call, where nobody watches."""
        site, accept, answer, modules = self, self.accept, self._answer, sys.modules

        def accepted(channel: Channel) -> Coroutine[Any, Any, None]:
            channel.head.driver = driver
            return accept(channel) if site.watches or API in modules else answer(channel, None)

        return accepted

    # One function, since each that it would call costs a call of nothing a hundredth of its time.
    async def _answer(self, channel: Channel, watch: watching.Watch | None) -> None:  # noqa: C901, PLR0915 - see above
        head = channel.head
        lane: Lane | None
        try:
            lane = self._lanes[head.driver][head.path]
        except KeyError:
            lane = self._lane(head)
        if lane is None or head.shape is not lane.endpoint.shape:
            await self._refuse(channel, self._unfit(head, lane), lane, watch)
            return
        call = lane.call(lane.endpoint, channel)
        call.tally = tally = lane.tally
        began = perf_counter()
        tally.begun += 1
        timing = _timing(call, began) if began >= tally.due or head.is_timed else None
        in_memory = channel if isinstance(channel, MemoryChannel) else None
        token = _enter(call)
        if in_memory is not None:
            call.marks, call.inline, call.outer = in_memory.marks, in_memory.inline, token.old_value
        if watch is not None:
            watch.began(call)
        try:
            gate = lane.gate
            if head.timeout is not None or head.is_keyed:
                await self._conditional(lane.service, call)
            elif gate is None or lane.gated is None or gate.running >= gate.limit:
                await lane.service(call)
            else:  # as the gate does for calls that wait, but for what its own coroutine would cost each call
                gate.running += 1
                try:
                    await lane.gated(call)
                finally:
                    gate.running -= 1
                    if gate.is_waited_for:
                        gate.left()
            reply, outcome = call.reply, success(call)
        except BaseException as error:
            if self._ends_more(error, call, in_memory, began):
                raise  # here: raised by a function, an error holds that function's frame, which holds it
            reply, outcome = None, failure(error, call, channel)
        finally:
            _leave(token)
        if in_memory is not None:
            in_memory.reply_marks = call.reply_marks
        try:
            await channel.end(reply, outcome)
        except Unavailable:  # the caller has left: nobody is to be told, and nothing went wrong here
            channel.abort()
        except Exception as error:  # noqa: BLE001 - what a handler put beside its reply, or into its error, cannot be written
            reply, outcome = None, unwritten(error, call, channel)
            await channel.end(None, outcome)
        finally:
            if timing is not None:
                tally.timed(timing)
            if reply is not None:
                tally.well.append(perf_counter() - began)
                tally.taken += call.taken
                tally.given += len(reply)
            else:  # it failed, or has streamed its replies
                tally.ended(outcome.code, perf_counter() - began, call.taken, call.given)
            if watch is not None:
                watch.ended(outcome, reply)

    async def _refuse(
        self, channel: Channel, error: XooaiError, lane: Lane | None = None, watch: watching.Watch | None = None
    ) -> None:
        """End a call that does not begin. A path that names nothing is no label: callers make them up."""
        tally = calls(OTHER, OTHER, channel.head.driver) if lane is None else lane.tally
        tally.refused(error.code)
        outcome = failure(error, None, channel)
        if watch is not None:
            watch.ended(outcome, None)
        await channel.end(None, outcome)

    async def _conditional(self, service: Service, call: Call) -> None:
        """Answer a call that ends in time, or does not run again where it has run before under its key."""
        head = call.head
        if head.is_keyed:
            if self._ones is None:
                self._ones = once.Once()
            service = partial(self._ones.run, service)
        if head.timeout is None:
            await service(call)
        else:
            await deadline.within(head.timeout, service, call)

    async def finish(self, seconds: float) -> None:
        """Let the calls end that go on without their callers; what takes longer is cancelled, and counted as cut off."""
        if self._ones is not None:
            self.cut += await self._ones.finish(seconds)

    async def aclose(self) -> None:
        """End what goes on without a caller."""
        if self._ones is not None:
            await self._ones.aclose()
            self._ones = None
        for executor in self._away:
            await executor.aclose()

    def _lane(self, head: Head) -> Lane | None:
        """The lane of calls that nobody has made before; None where there is none, or none yet."""
        path = head.path
        route = (self._known if self._is_open else self._warming).get(path)
        if route is None and self._is_open and path.startswith(OWN):  # what every site has
            route = self._routes.own(path, {DESCRIBE: self._describe, METRICS: self._report})
        if route is None:
            return None
        lane = self._lanes[head.driver][path] = route.over(head.driver)
        return lane

    def _unfit(self, head: Head, lane: Lane | None) -> XooaiError:
        """Why a call does not begin."""
        return self._unopened(head.path) if lane is None else lane.endpoint.misshapen(head.shape)

    def _unopened(self, path: str) -> XooaiError:
        if not self._is_open and self._routes.shape(path) is not None:
            return Unavailable("the server sets up and takes no calls yet", details={"retry_after": _SETTING_UP})
        return self._routes.unknown(path)

    def _ends_more(self, error: BaseException, call: Call, in_memory: MemoryChannel | None, began: float) -> bool:
        """Whether an error is no failure of the call. A call that is cut off by it is counted."""
        if not is_for_others(error, call, in_memory):
            return False
        if monotonic() >= self._cuts_from and not call.head.is_keyed:  # those go on, until `finish`
            self.cut += 1
        if call.timing is not None:
            call.tally.timed(call.timing)
        call.tally.ended(Code.CANCELLED, perf_counter() - began, call.taken, call.given)
        return True


def _timing(call: Call, began: float) -> timings.Timing | None:
    """What times the stages of a call: its caller asks, or it is the one among many that is looked at."""
    tally = call.tally
    if began >= tally.due:
        tally.add_up()
    tally.due = began + SAMPLED
    call.timing = timings.Timing()
    return call.timing


def _counted() -> bytes:
    return metrics.counted()
