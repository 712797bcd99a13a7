"""A planned Flow as what answers calls to it: what a site hosts."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from functools import cached_property
from typing import Any

from xooai.binding import INPUT, Rule
from xooai.call import hops
from xooai.deadline import part_of
from xooai.endpoint import Endpoint
from xooai.errors import DeadlineExceeded, FailedPrecondition, FlowError, XooaiError, error_from
from xooai.flow.attempts import Limits
from xooai.flow.failure import Raised
from xooai.flow.gate import Gate
from xooai.flow.lent import Lent
from xooai.flow.means import Means
from xooai.flow.running import run
from xooai.flow.targets import Inner, Target, Warmed, runs_here
from xooai.flow.trace import Trace, watching
from xooai.flow.unread import Request
from xooai.local import Local
from xooai.log import one_line
from xooai.origin import Sure
from xooai.payload import all_stay
from xooai.plan import Plan
from xooai.threads import Threads

__all__ = ["CALL", "Answering"]

QUICK = 0.001  # seconds: the nodes of a run that takes less have nothing to do that one could be told to leave
QUICK_RUNS = 8  # that make up for what nobody knows of the nodes yet
SLOW_RUN = 30  # quick runs make up for one that was not: the machine may have had something else to do

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
        self._means = Means.of(plan, targets, limits, Threads())
        found = self._means.packings
        self._is_read = any(
            INPUT in (step.node.needs or (INPUT,)) and (id not in found or step.binding.rule is not Rule.INPUT)
            for id, step in plan.steps.items()
        )
        roots = [id for id, step in plan.steps.items() if INPUT in (step.node.needs or (INPUT,))]
        self.only_passes = all(id in self._means.plain and plan.steps[id].binding.rule is Rule.INPUT for id in roots)
        """Whether what the Flow is given goes to its nodes alone, and to each of them as soon as it begins."""
        self._is_read_at_once = len(roots) == 1 and not any(
            targets[id].host or isinstance(targets[id], Inner) for id in roots
        )
        self._quick = 0 if self._means.is_forked else QUICK_RUNS
        self._is_split = any(packing.splits for packing in found.values())
        self.gate = Gate(self.answer, self, name)

    @cached_property
    def _is_of_here(self) -> bool:
        """Whether no node waits for a loop, once it is set up."""
        steps, means = self.plan.steps, self._means
        return len(means.plain) == len(steps) and all(
            runs_here(step.endpoint, means.targets[id]) for id, step in steps.items()
        )

    @property
    def may_run_here(self) -> bool:
        """Whether a run may be made in its caller's own thread, where it could not be told that one node has failed while
        another runs: not where nodes run beside each other and have not all been quick lately.
        """
        return self._quick >= QUICK_RUNS and self._is_of_here

    def given(self, arguments: dict[str, Any]) -> dict[str, Any] | Lent:
        """What its nodes are given of arguments that their caller holds as well: as they are now, where those may change before
        the last node has read them.
        """
        if self._is_read_at_once or all_stay(arguments.values()):
            return arguments
        shares: dict[str, Sure] = {}
        for root in self._means.roots:
            share = root.sure({}, arguments)
            if share is None:
                break
            shares[root.id] = share
        else:
            if shares:
                return Lent.shared(self.plan.endpoint, shares)
        return Lent(self.plan.endpoint, arguments)

    def took(self, seconds: float) -> None:
        """A run took so long."""
        if self._means.is_forked:
            quick = self._quick + 1 if seconds < QUICK else self._quick - SLOW_RUN
            self._quick = max(0, min(quick, 2 * SLOW_RUN))

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

    async def warm_nodes(self, done: set[object]) -> None:
        """Run the examples of the nodes' endpoints in this process, each once: `done` are those that were run. Raises
        FailedPrecondition that names the node.
        """
        for id, target in self._means.targets.items():
            if isinstance(target, Warmed):
                try:
                    await target.warm(done)
                except FailedPrecondition as error:
                    raise FailedPrecondition(f"node {id!r}: {error.message}") from error

    def answer(self, given: Mapping[str, Any] | Request | Lent, wanted: str) -> Awaitable[Any]:
        """The result of a run, which may be unread where its media type is `wanted`. Raises what a run does."""
        hops()  # refuses a call that goes in a circle
        if isinstance(given, Request):  # what is wrong with it is told as of a whole, before any node begins
            if self._is_read:
                given.value()
            if self._is_split:
                given.parts()
        watch = watching.get()
        return (
            run(self.plan, self._means, given, None, wanted) if watch is None else self._watched(watch, given, wanted)
        )

    async def _watched(self, watch: tuple[Any, Trace], given: Mapping[str, Any] | Request | Lent, wanted: str) -> Any:
        trace = watch[1] if watch[0] is self else None
        token = watching.set(None)  # the Flows inside of this one are watched by nobody
        try:
            return await run(self.plan, self._means, given, trace, "" if trace is not None else wanted)
        finally:
            watching.reset(token)

    def close(self) -> None:
        """End the threads once they are done with what they are at; new work starts new ones."""
        self._means.threads.close()
        self._means.helpers.close()
