"""The plan of a Flow: made anew when nodes are added, and of what the servers of remote nodes say of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from functools import partial
from math import inf
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

from xooai import forks
from xooai.binding import INPUT
from xooai.deadline import part_of
from xooai.endpoint import Endpoint
from xooai.errors import DeadlineExceeded, FlowError, XooaiError
from xooai.flow.attempts import Limits
from xooai.flow.inquiry import inquired, told
from xooai.flow.targets import Inner, Target
from xooai.graph import Graph, Node
from xooai.plan import Plan, planned

__all__ = ["AWAY", "Planning"]

T = TypeVar("T")

AWAY = 5.0  # seconds after which a server is asked again that could not be: about as long as one takes to start


class _Changes:
    """How often a plan was made or dropped in this process: while that is the same, what was looked at is as it was."""

    count = 0


class Planning:
    """Nodes with their targets, and the plan of them."""

    def __init__(self, name: str) -> None:
        self.graph = Graph()
        self.targets: dict[str, Target] = {}
        self.limits: dict[str, Limits] = {}
        self.away: Mapping[str, XooaiError] = {}
        """Optional nodes whose servers could not be asked what they take: the plan is without them."""
        self._name = name
        self._inner: dict[str, Endpoint] = {}  # of nodes that are Flows, which may change as well
        self._plan: Plan | None = None
        self._seen = -1  # the count of changes when the inner ones were looked at last
        self._forgotten = -1  # the count of changes when all was forgotten last
        self._until = inf
        self.renew()
        forks.renewed(self)

    def renew(self) -> None:
        """Forget who asks, in the child of a fork, where nobody does."""
        self._lock = Lock()
        self._running: Future[None] | None = None

    def add(self, node: Node, target: Target, limits: Limits) -> None:
        """Add a node. Raises FlowError, and then nothing was added."""
        known = target.known
        if known is not None:
            _check_retry(node.id, known, limits)
        self.graph.add(node, known)
        self.targets[node.id], self.limits[node.id] = target, limits
        self._drop()

    def known(self) -> Plan | None:
        """The plan, where nobody has to be asked for it. Raises FlowError."""
        changes = _Changes.count
        if self._plan is not None and self._inner and self._seen != changes:
            if self._is_current():
                self._seen = changes  # else Flows that hold one twice, which hold one twice, are looked at without end
            else:
                self._drop()
        if self._plan is None:
            known = {id: endpoint for id, target in self.targets.items() if (endpoint := target.known) is not None}
            if len(known) < len(self.targets):
                return None
            self._keep(planned(self.graph, known, self._name), {})
        return self._plan

    def ready(self) -> Plan | None:
        """The plan, where it is there and nobody is to be asked again. Raises FlowError."""
        plan = self.known()
        return plan if self._until == inf or monotonic() < self._until else None

    async def made(self, timeout: float | None, *, is_fresh: bool = False) -> tuple[Plan, float | None]:
        """The plan, servers being asked where that is needed, or `is_fresh`; and the seconds that are left. Raises XooaiError.

        One caller asks at a time. Meanwhile others go on by the plan that there was, or wait for the new one.
        """
        if is_fresh:
            _Changes.count += 1
            for target in self.targets.values():
                target.forget()
        while True:
            plan = None if is_fresh else self.known()
            if plan is not None and monotonic() < self._until:
                return plan, timeout
            with self._lock:
                running = self._running
                if running is None:
                    self._running = Future()
            if running is None:
                return await self._asked(timeout)
            if plan is not None:
                return plan, timeout
            _, timeout = await self._bounded(timeout, _ended, running)

    async def _asked(self, timeout: float | None) -> tuple[Plan, float | None]:
        """A new plan, of what the servers say now."""
        try:
            self.graph.check()  # before anybody is asked
            optional = {id for id, node in self.graph.nodes.items() if node.is_optional}
            inquiry = partial(inquired, self.targets, optional)
            (endpoints, away), timeout = await self._bounded(timeout, inquiry, timeout)
            self._refuse(endpoints, away)
            for id, endpoint in endpoints.items():
                _check_retry(id, endpoint, self.limits[id])
            plan = planned(self.graph, endpoints, self._name)
            self._keep(plan, away)
        finally:
            running, self._running = self._running, None
            if running is not None:  # None in the child of a fork
                running.set_result(None)
        return plan, timeout

    async def _bounded(
        self, timeout: float | None, function: Callable[[Any], Awaitable[T]], argument: Any
    ) -> tuple[T, float | None]:
        """As `part_of`. Raises DeadlineExceeded that names the nodes whose servers are asked."""
        try:
            return await part_of(timeout, function, argument)
        except DeadlineExceeded as error:
            asked = [told(id, target) for id, target in self.targets.items() if target.known is None]
            listed = ", ".join(asked[:10]) + (" ..." if len(asked) > 10 else "")
            raise DeadlineExceeded(f"{error.message} while servers were asked what they take: {listed}") from error

    def forget(self) -> None:
        """Ask all servers anew, the next time."""
        if self._forgotten == _Changes.count:  # just now: a Flow that holds this one twice comes twice
            return
        self._drop()
        for target in self.targets.values():
            target.forget()
        self._forgotten = _Changes.count

    def _is_current(self) -> bool:
        """Whether the nodes that are Flows are still what they were when the plan was made."""
        return all(self.targets[id].known is endpoint for id, endpoint in self._inner.items())

    def _drop(self) -> None:
        self._plan = None
        _Changes.count += 1

    def _keep(self, plan: Plan, away: Mapping[str, XooaiError]) -> None:
        self._plan, self.away = plan, away
        _Changes.count += 1
        self._inner = {
            id: plan.steps[id].endpoint
            for id, target in self.targets.items()
            if isinstance(target, Inner) and id not in away
        }
        self._until = monotonic() + AWAY if away else inf

    def _refuse(self, endpoints: Mapping[str, Endpoint], away: Mapping[str, XooaiError]) -> None:
        """Raise the error of a node that the Flow cannot do without: one that is not optional, or alone says what it takes."""
        nodes = self.graph.nodes
        roots = {id for id, node in nodes.items() if tuple(node.needs) in ((), (INPUT,))}
        for id, error in away.items():
            if (
                isinstance(error, FlowError)
                or not nodes[id].is_optional
                or (id in roots and not roots & endpoints.keys())
            ):
                raise error


async def _ended(running: Future[None]) -> None:
    await asyncio.wait([asyncio.wrap_future(running)])


def _check_retry(id: str, endpoint: Endpoint, limits: Limits) -> None:
    """Raise FlowError for a call that is to be made anew, and cannot be: a part of its stream is gone."""
    if endpoint.shape and limits.retry:
        raise FlowError(f"node {id!r}: retry= makes a call anew, and {endpoint.owner}.{endpoint.name} streams")
    if limits.hedge is not None and not endpoint.idempotent:
        raise FlowError(
            f"node {id!r}: hedge= makes a second call, and {endpoint.owner}.{endpoint.name} is not declared "
            "@post(idempotent=True)"
        )
