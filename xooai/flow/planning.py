"""The plan of a Flow: made anew when nodes are added, and of what the servers of remote nodes say of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from math import inf
from time import monotonic

from xooai.binding import INPUT
from xooai.deadline import part_of
from xooai.endpoint import Endpoint
from xooai.errors import XooaiError, error_from
from xooai.flow.running import Limits
from xooai.flow.targets import Target
from xooai.graph import Graph, Node
from xooai.plan import Plan, planned

__all__ = ["AWAY", "Planning"]

AWAY = 5.0  # seconds after which a server is asked again that could not be: about as long as one takes to start


class Planning:
    """Nodes with their targets, and the plan of them."""

    def __init__(self, name: str) -> None:
        self.graph = Graph()
        self.targets: dict[str, Target] = {}
        self.limits: dict[str, Limits] = {}
        self.away: Mapping[str, XooaiError] = {}
        """Optional nodes whose servers could not be asked what they take: the plan is without them."""
        self._name = name
        self._plan: Plan | None = None
        self._until = inf

    def add(self, node: Node, target: Target, limits: Limits) -> None:
        """Add a node. Raises FlowError, and then nothing was added."""
        self.graph.add(node, target.known)
        self.targets[node.id], self.limits[node.id] = target, limits
        self._plan = None

    def known(self) -> Plan | None:
        """The plan, where nobody has to be asked for it. Raises FlowError."""
        if self._plan is None:
            known = {id: endpoint for id, target in self.targets.items() if (endpoint := target.known) is not None}
            if len(known) < len(self.targets):
                return None
            self._keep(planned(self.graph, known, self._name), {})
        return self._plan

    async def made(self, timeout: float | None, *, is_fresh: bool = False) -> tuple[Plan, float | None]:
        """The plan, servers being asked where that is needed, or `is_fresh`; and the seconds that are left. Raises XooaiError."""
        if is_fresh:
            for target in self.targets.values():
                target.forget()
        plan = None if is_fresh or monotonic() >= self._until else self.known()
        if plan is None:
            self.graph.check()  # before anybody is asked
            (endpoints, away), timeout = await part_of(timeout, partial(_asked, self.targets), timeout)
            self._refuse(endpoints, away)
            plan = planned(self.graph, endpoints, self._name)
            self._keep(plan, away)
        return plan, timeout

    def _keep(self, plan: Plan, away: Mapping[str, XooaiError]) -> None:
        self._plan, self.away = plan, away
        self._until = monotonic() + AWAY if away else inf

    def _refuse(self, endpoints: Mapping[str, Endpoint], away: Mapping[str, XooaiError]) -> None:
        """Raise the error of a node that the Flow cannot do without: one that is not optional, or alone says what it takes."""
        nodes = self.graph.nodes
        roots = {id for id, node in nodes.items() if tuple(node.needs) in ((), (INPUT,))}
        for id, error in away.items():
            if not nodes[id].is_optional or (id in roots and not roots & endpoints.keys()):
                raise error


async def _asked(
    targets: Mapping[str, Target], timeout: float | None
) -> tuple[dict[str, Endpoint], dict[str, XooaiError]]:
    """The endpoints of nodes, all servers being asked at once; and the errors of those that could not be, naming the node."""
    found: dict[str, Endpoint] = {}
    failures: dict[str, XooaiError] = {}

    async def ask(id: str, target: Target) -> None:
        try:
            found[id] = target.known or await target.endpoint(timeout)
        except XooaiError as error:
            where = f"node {id!r} ({target.path}{f' at {target.host}' if target.host else ''})"
            failures[id] = error_from(error.code, f"{where}: {error.message}", error.details, error.id)
            failures[id].__cause__ = error

    async with asyncio.TaskGroup() as group:
        for id, target in targets.items():
            group.create_task(ask(id, target))
    return found, failures
