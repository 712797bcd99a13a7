"""Flow: a graph of endpoints, that is itself an endpoint."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

from xooai import sync
from xooai.call import Layer, checked_timeout, entered, remaining
from xooai.declare import checked_name, chosen, surroundings
from xooai.endpoint import Endpoint
from xooai.errors import FailedPrecondition, XooaiError
from xooai.flow.answering import CALL, Answering
from xooai.flow.layered import Layered
from xooai.flow.making import Made
from xooai.flow.manner import Manner
from xooai.flow.nesting import check_depth, check_inner
from xooai.flow.nodes import Used, flag_of, id_of, ids_of, limits_of, target_of, values_of, when_of
from xooai.flow.planning import Planning
from xooai.flow.reached import Reached
from xooai.flow.targets import Inner
from xooai.flow.trace import Run, Trace, Watch, watched
from xooai.forks import FreshLock
from xooai.graph import Node
from xooai.lazy import lazy
from xooai.local import Local
from xooai.payload import all_stand
from xooai.plan import Plan
from xooai.served import Served
from xooai.shared_stores import store_of
from xooai.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike
    from types import ModuleType

    from xooai import client as remotes
    from xooai.config import names
    from xooai.flow import as_file, drawing, explained, in_file, several
    from xooai.flow import svg as pictured
    from xooai.store import Store
    from xooai.streams import Stream
else:
    names = lazy("xooai.config.names")
    as_file = lazy("xooai.flow.as_file")
    in_file = lazy("xooai.flow.in_file")
    drawing = lazy("xooai.flow.drawing")
    pictured = lazy("xooai.flow.svg")
    explained = lazy("xooai.flow.explained")
    several = lazy("xooai.flow.several")

__all__ = ["Flow"]

FUNCTIONS = 32  # threads of all functions that are nodes of one Flow: they wait more than they compute


class Flow(Served):
    """A graph of endpoints that is itself an endpoint: it is posted to, served, and put into another Flow.

    `f.add(use=..., id=...)` adds a node; one without `needs=` gets the Flow's input. `f.post(doc=...)`, or `f(doc=...)`, gives
    the reply of the node that nobody needs; of several such nodes a dict by id.
    """

    _xooai_class_name = "flow"

    def __init__(
        self,
        *,
        name: str | None = None,
        gateway: str | None = None,
        store: str | Store | None = None,
        layers: Sequence[Layer] = (),
    ) -> None:
        """`gateway` is the URL under which nodes without a host are found; `store` and `layers` are as an Executor's."""
        self._xooai_keep(
            _xooai_name=None if name is None else checked_name(name),
            _xooai_gateway=gateway,
            _xooai_layers=tuple(layers),
            _xooai_stores=store_of(store),
        )
        self._planning = Planning(self.name)
        self._used: dict[str, Used] = {}
        self._at_several: dict[str, several.Several] = {}
        self._current: tuple[Answering, Local] | None = None
        self._layered = Layered(layers)
        self._lock = FreshLock()
        self._reached = Reached(self._xooai_stores)
        self._threads = Threads(FUNCTIONS)

    def add(  # noqa: PLR0913 - all that can be said of a node (design: the public face)
        self,
        use: Any,
        *,
        on: str | None = None,
        id: str | None = None,
        needs: str | Sequence[str] = (),
        args: Mapping[str, Any] | None = None,
        with_: Mapping[str, Any] | None = None,
        join: Callable[..., Any] | None = None,
        when: Callable[..., Any] | Mapping[str, Any] | None = None,
        timeout: float | None = None,
        retry: int = 0,
        hedge: float | None = None,
        optional: bool = False,
        each: bool = False,
        metadata: Mapping[str, str] | None = None,
        trust: str | None = None,
    ) -> Self:
        """Add a node; returns the Flow. Raises FlowError, and then nothing was added. No server is asked for anything.

        `use` is a class of executors (made with `with_`), an executor, another Flow, a URL, a list of URLs of one endpoint at
        several servers, a name under `gateway=`, or a function; `on` names the endpoint where there are several. `needs` are ids
        of nodes whose replies it gets, `input` among them; `args` constants. `join` makes one value of several replies, `when`
        decides whether the node is called: a function of the replies, or what has to be found in them, such as
        `{"ocr.score": {"ge": 0.5}}`. `timeout` is in seconds; `retry` says how many times a call may be made anew where the
        server is away or has too much to do, and `hedge` after how many seconds an `idempotent` endpoint is called a second time,
        whose first answer counts. Without an `optional` node that fails the Flow goes on. With `each` the node is called for each
        item of a list. `metadata` of all calls to a URL, such as a key, and `trust` are as `Executor.at` takes them.
        """
        if self._xooai_background is not None:
            raise FailedPrecondition(f"{self!r} serves already; stop() it first, or add all nodes before")
        frame = sys._getframe(1)
        manner = Manner.of(use, metadata, trust)
        server = self._reached.remote if manner is None else partial(self._reached.remote, manner=manner)
        target = target_of(use, on, with_, self._xooai_gateway, server, lambda: surroundings(frame), self._threads)
        if isinstance(target, Inner):
            check_inner(self, target.flow)
        node = Node(
            target.path if id is None else id_of(id),
            ids_of(needs),
            values_of(args, "args"),
            join,
            when_of(when),
            flag_of(optional, "optional"),
            flag_of(each, "each"),
            entered.get() is not None,
        )
        limits = limits_of(timeout, retry, hedge)
        self._planning.add(node, target, limits)
        self._used[node.id] = Used(use, on, with_, None if metadata is None else dict(metadata), trust)
        if isinstance(use, list | tuple) and isinstance(target, several.Several):
            self._at_several[node.id] = target
        return self

    def post(
        self,
        /,
        on: str | None = None,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        codec: str | None = None,
        **arguments: Any,
    ) -> Any:
        """Run the Flow and wait for its result. Raises XooaiError, which names the node that failed.

        `timeout` in seconds is for the whole of it: each node is given what is left.
        """
        sync.refuse_on_serving_loop("post()", "apost(...)")
        answering = self._ready_here() if remaining(timeout) is None else None
        run, began = sync.run if answering is None or not answering.may_run_here else sync.driven, perf_counter()
        try:
            return run(self.apost(on, timeout=timeout, metadata=metadata, codec=codec, **arguments))
        finally:
            if answering is not None:
                answering.took(perf_counter() - began)

    async def apost(
        self,
        /,
        on: str | None = None,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        codec: str | None = None,
        **arguments: Any,
    ) -> Any:
        """As `post`, for async code."""
        left, plan = remaining(None if timeout is None else checked_timeout(timeout)), self._planning.ready()
        if plan is None:
            plan, left = await self._planning.made(left)
        endpoint = plan.endpoint if on is None else chosen({CALL: plan.endpoint}, on, self.name)
        answering, own = self._own(plan)
        if not own.is_set_up:
            left = await answering.ready(own, left)
        if metadata is None and codec is None and answering.only_passes and not own.layers:
            endpoint.check(arguments)
            if all_stand(endpoint, arguments):
                return await own.hand(endpoint, answering.given(arguments), left)
        return await own.apost(endpoint, arguments, left, metadata, codec)

    def __call__(
        self,
        /,
        on: str | None = None,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        codec: str | None = None,
        **arguments: Any,
    ) -> Any:
        """As `post`; where the Flow streams, as `stream`."""
        sync.refuse_on_serving_loop("calling a Flow", "apost(...) or astream(...)")
        calls = self.stream if self._xooai_endpoint(on).shape else self.post
        return calls(on, timeout=timeout, metadata=metadata, codec=codec, **arguments)

    def run(self, /, *, timeout: float | None = None, **arguments: Any) -> Run:
        """Run the Flow as `post` does: the result, the reply of each node, and a trace, which prints as a waterfall."""
        sync.refuse_on_serving_loop("run()", "arun(...)")
        return sync.run(self.arun(timeout=timeout, **arguments))

    async def arun(self, /, *, timeout: float | None = None, **arguments: Any) -> Run:
        """As `run`, for async code."""
        trace = Trace(self.name)
        try:
            plan, left = await self._planning.made(remaining(None if timeout is None else checked_timeout(timeout)))
            answering, own = self._own(plan)
            left = await answering.ready(own, left)
            trace.restart()
            with watched(answering, trace):
                result = await own.apost(plan.endpoint, arguments, left, None, None)
        except XooaiError as error:
            error.trace = trace
            raise
        return Run(result, trace.replies, trace)

    def check(self, *, timeout: float | None = 60) -> list[str]:
        """Ask the servers of remote nodes what they take and give, and see that all types fit.

        Returns warnings, such as that a reply is ignored. Raises FlowError for a mistake, and what asking a server raises.
        """
        sync.refuse_on_serving_loop("check()", "acheck()")
        return sync.run(self.acheck(timeout=timeout))

    async def acheck(self, *, timeout: float | None = 60) -> list[str]:
        """As `check`, for async code."""
        plan, _ = await self._planning.made(timeout, is_fresh=True)
        check_depth(self)
        away = [f"{error.message}; the Flow goes on without it" for error in self._planning.away.values()]
        told = [
            f"node {id!r}: {warning}"
            for id, target in self._planning.targets.items()
            if isinstance(target, Made | several.Several if self._at_several else Made)
            for warning in target.warnings()
        ]
        return [*plan.warnings, *away, *told]

    def explain(self) -> str:
        """Where each node runs, what it takes from where, and what crosses a wire. Asks as `check` does."""
        warnings = self.check()
        return explained.explained(self.name, self._made(), self._planning.targets, warnings)

    @classmethod
    def load(cls, path: str | PathLike[str], *, modules: Iterable[str | ModuleType] = ()) -> Self:
        """The Flow that a YAML file tells of. Raises FlowError with the file and the line.

        `modules` are those whose classes and functions the file may name as `module:name`, each with those inside it. Nothing
        is asked of servers, and no executor is made.
        """
        return in_file.loaded(path, names.Modules(modules), cls)

    def dump(self) -> str:
        """The text of a YAML file that `load` makes such a Flow of. Raises FlowError, which names the node."""
        return as_file.as_file(self)

    def mermaid(self) -> str:
        """The graph in the language of Mermaid (https://mermaid.js.org)."""
        return drawing.mermaid(self.name, self._planning.graph)

    def svg(self) -> str:
        """The graph as SVG; a notebook shows a Flow so."""
        return pictured.svg(self.name, self._planning.graph)

    _repr_svg_ = svg

    def __str__(self) -> str:
        return drawing.drawn(self.name, self._planning.graph)

    def __repr__(self) -> str:
        return f"<Flow {self.name!r} of {len(self._planning.graph.nodes)} nodes>"

    # As an endpoint

    def close(self) -> None:
        """Close the executors that were made for the Flow alone, each once no call runs on it. Another post makes them anew."""
        with self._lock:
            self._forget_own()
        for target in self._planning.targets.values():
            target.close()

    def _xooai_end(self) -> None:
        for target in self._at_several.values():  # or one would open another connection when all are closed
            target.close()
        super()._xooai_end()

    def _xooai_local(self) -> Local:
        return self._own(self._made())[1]

    def _xooai_hosted(self) -> Local:
        plan = self._made()
        # what is described when it begins to serve is served as long as it does
        for error in self._planning.away.values():
            raise error
        return self._own(plan)[1]

    def _xooai_served(self) -> None:
        self.close()

    def _xooai_known(self) -> Mapping[str, Endpoint] | None:
        plan = self._planning.known()
        return None if plan is None else {CALL: plan.endpoint}

    def _xooai_endpoint(self, on: str | None) -> Endpoint:
        return chosen({CALL: self._made().endpoint}, on, self.name)

    async def _xooai_found(
        self, on: str | None, timeout: float | None
    ) -> tuple[remotes.Remote | None, str, Endpoint, float | None]:
        plan, left = await self._planning.made(remaining(None if timeout is None else checked_timeout(timeout)))
        return None, self.name, chosen({CALL: plan.endpoint}, on, self.name), left

    def _made(self) -> Plan:
        """The plan. Where servers have to be asked for it, this waits for them."""
        plan = self._planning.known()
        return sync.run(self._planning.made(None))[0] if plan is None else plan

    def _own(self, plan: Plan) -> tuple[Answering, Local]:
        """What answers calls by this plan."""
        found = self._current
        if found is not None and found[0].plan is plan:
            return found
        with self._lock:
            found = self._current
            if found is None or found[0].plan is not plan:
                self._forget_own()
                check_depth(self)
                answering = Answering(self.name, plan, self._planning.targets, self._planning.limits)
                own = Local(answering, answering, self._layered.layers, self._xooai_stores, has_setup=True)
                found = self._current = answering, own
                self._xooai_keep(_xooai_own=own)
            return found

    def _ready_here(self) -> Answering | None:
        """What answers calls now, where a call by it may be made in this thread: no loop runs here, and nothing is to be made."""
        if asyncio._get_running_loop() is not None or self._current is None:
            return None
        answering, own = self._current
        is_ready = own.is_set_up and not own.layers and answering.plan is self._planning.ready()
        return answering if is_ready else None

    def _xooai_remotes(self) -> list[remotes.Remote]:
        return self._reached.remotes()

    async def _set_up(self) -> None:
        """As a node of another Flow: make what has to be there before the first call."""
        plan, _ = await self._planning.made(None)
        await self._own(plan)[1].set_up()

    async def _warm(self, done: set[object]) -> None:
        """As a node of a Flow that is served: run the examples of its own nodes."""
        plan, _ = await self._planning.made(None)
        await self._own(plan)[0].warm_nodes(done)

    async def _pass_on(self, arguments: dict[str, Any], timeout: float | None, watch: Watch | None) -> Any:
        """As a node of another Flow: answer a call."""
        plan, left = await self._planning.made(remaining(timeout))
        answering, own = self._own(plan)
        left = await answering.ready(own, left)
        if watch is None:
            return await own.pass_on(plan.endpoint, arguments, left, None)
        watch.inside = Trace(self.name, watch.zero)
        with watched(answering, watch.inside):
            return await own.pass_on(plan.endpoint, arguments, left, watch)

    async def _open_on(self, arguments: dict[str, Any], timeout: float | None) -> Stream:
        """As a node of another Flow that streams: begin to answer a call."""
        plan, left = await self._planning.made(remaining(timeout))
        answering, own = self._own(plan)
        return await own.open_on(plan.endpoint, arguments, await answering.ready(own, left))

    def _forget(self) -> None:
        """As a node of another Flow: ask all servers anew."""
        self._planning.forget()

    def _forget_own(self) -> None:
        found, self._current = self._current, None
        if found is not None:
            answering, own = found
            self._xooai_keep(_xooai_own=None)
            own.close()
            answering.close()
