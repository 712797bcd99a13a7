"""A planned Flow as what answers calls to it: what a site hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xooai.binding import INPUT, Rule
from xooai.call import hops
from xooai.deadline import part_of
from xooai.endpoint import Endpoint
from xooai.errors import DeadlineExceeded, FlowError, XooaiError, error_from
from xooai.flow.attempts import Limits
from xooai.flow.budget import AT_ONCE
from xooai.flow.failure import Raised
from xooai.flow.gate import Gate
from xooai.flow.packing import Packing
from xooai.flow.running import Means, run
from xooai.flow.targets import Target
from xooai.flow.trace import watching
from xooai.flow.unread import Request, Unread
from xooai.lazy import lazy
from xooai.local import Local
from xooai.log import one_line
from xooai.payload import settled
from xooai.plan import Plan
from xooai.threads import Threads

if TYPE_CHECKING:
    from xooai.flow import streaming
else:
    streaming = lazy("xooai.flow.streaming")

__all__ = ["CALL", "Answering"]

CALL = "call"
"""The one endpoint of a Flow."""


class Answering:
    """One plan, with all that it takes to run it: a Flow to which nodes are added is another one."""

    attributes: Mapping[str, str] = {CALL: "gate"}
    is_at = "the Flow"
    """What is being set up."""

    def __init__(self, name: str, plan: Plan, targets: Mapping[str, Target], limits: Mapping[str, Limits]) -> None:
        self.name, self.plan = name, plan
        self.endpoints: Mapping[str, Endpoint] = {CALL: plan.endpoint}
        packings = {id: Packing.of(step, plan.endpoint, targets[id]) for id, step in plan.steps.items()}
        found = {id: packing for id, packing in packings.items() if packing is not None}
        has_room = len(plan.steps) <= AT_ONCE and not any(step.mapped or step.source for step in plan.steps.values())
        self._means = Means(dict(targets), dict(limits), Threads(), found, has_room, _is_chain(plan))
        self._is_read = any(
            INPUT in (step.node.needs or (INPUT,)) and (id not in found or step.binding.rule is not Rule.INPUT)
            for id, step in plan.steps.items()
        )
        self._is_split = any(packing.splits for packing in found.values())
        self.gate = Gate(self.answer)

    async def ready(self, own: Local, timeout: float | None) -> float | None:
        """Have it set up; the seconds that are left. Raises DeadlineExceeded that names the node."""
        if not own.is_set_up:
            try:
                _, timeout = await part_of(timeout, Local.set_up, own)
            except DeadlineExceeded as error:
                raise DeadlineExceeded(f"{error.message} while {self.is_at} was set up") from error
        return timeout

    async def setup(self) -> None:
        """Make what has to be there before the first call. Raises XooaiError that names the node."""
        # One after the other: a model that is loaded takes all the memory and cores that there are.
        for id, target in self._means.targets.items():
            self.is_at = f"node {id!r} ({target.path})"
            try:
                await target.set_up()
            except XooaiError as error:
                raise error_from(error.code, f"node {id!r} ({target.path}): {error.message}", error.details) from error
            except Exception as error:  # noqa: BLE001 - whatever a constructor raises: it is told by the node
                cause = error.__cause__ if isinstance(error, Raised) else error
                reason = one_line(f"{type(cause).__name__}: {cause}")
                raise FlowError(f"node {id!r} ({target.path}) cannot be set up: {reason}") from cause

    async def answer(self, given: Mapping[str, Any] | Request, wanted: str) -> Any:
        """The result of a run, which may be unread where its media type is `wanted`."""
        hops()  # refuses a call that goes in a circle
        if isinstance(given, Request):  # what is wrong with it is told as of a whole, before any node begins
            if self._is_read:
                given.value()
            if self._is_split:
                given.parts()
        watch = watching.get()
        trace = watch[1] if watch is not None and watch[0] is self else None
        token = watching.set(None)  # the Flows inside of this one are watched by nobody
        try:
            result = await run(self.plan, self._means, given, trace, "" if trace is not None else wanted)
            if isinstance(result, Unread):
                return result
            schema = self.plan.endpoint.result
            if not self.plan.endpoint.gives_stream:
                return settled(schema, result)
            return streaming.settling(schema, result) if schema.facts.documents else result
        finally:
            watching.reset(token)

    def close(self) -> None:
        """End the threads once they are done with what they are at; new work starts new ones."""
        self._means.threads.close()


def _is_chain(plan: Plan) -> bool:
    """Whether each node of a plan is run after the one before."""
    first = [id for id, step in plan.steps.items() if set(step.node.needs) <= {INPUT}]
    return len(first) == 1 and all(len(plan.followers[id]) <= 1 for id in plan.steps)
