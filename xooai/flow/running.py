"""One run of a Flow: nodes begin when what they need is there, the first hard failure ends the others."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import Any

import msgspec

from xooai.binding import INPUT, Rule
from xooai.call import current
from xooai.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
    XooaiError,
)
from xooai.flow.failure import failed
from xooai.flow.targets import Target
from xooai.flow.trace import State, Trace
from xooai.graph import Step
from xooai.on_replies import OnReplies
from xooai.plan import Plan
from xooai.threads import Threads

__all__ = ["EACH", "HOPS", "Limits", "Means", "run"]

HOPS = 16  # Flows that call each other over the network: more than anybody composes, and an end to a circle of them
EACH = 32  # calls of one node at a time: as many as a server batches, and few enough for one that is shared
_HOPS_HEADER = "xooai-hops"
_PAUSE = 0.1  # seconds before a node's second attempt, doubled each time


class Limits(msgspec.Struct, frozen=True):
    """Of one node: seconds for a call, and how many times it is made anew where its server is away or has too much to do."""

    timeout: float | None = None
    retry: int = 0

    @property
    def are_none(self) -> bool:
        return self.timeout is None and not self.retry


class Means(msgspec.Struct, frozen=True):
    """What a Flow is run by: where each node's calls go, their limits, and the threads of `join=` and `when=`."""

    targets: Mapping[str, Target]
    limits: Mapping[str, Limits]
    threads: Threads


async def run(plan: Plan, means: Means, given: Mapping[str, Any], trace: Trace | None) -> Any:
    """Run a Flow on these arguments: the one leaf's reply, or those of several by id. Raises XooaiError, never a group."""
    running = _Running(plan, means, given, trace)
    await running.run()
    replies = running.replies
    if trace is not None:
        trace.replies.update((id, reply) for id, reply in replies.items() if id != INPUT)
    if len(plan.leaves) == 1:
        return replies.get(plan.leaves[0])
    return {leaf: replies.get(leaf) for leaf in plan.leaves}


class _Running:
    def __init__(self, plan: Plan, means: Means, given: Mapping[str, Any], trace: Trace | None) -> None:
        self._plan, self._means, self._given, self._trace = plan, means, given, trace
        self._metadata = _one_hop_more()
        self.replies: dict[str, Any] = {INPUT: plan.input(given)}
        self._open = {id: len(step.node.needs) for id, step in plan.steps.items()}
        self._busy: dict[str, None] = {}
        self._failure: XooaiError | None = None

    async def run(self) -> None:
        first = [id for id, needs in self._open.items() if not needs]
        ready = [*first, *self._ended(INPUT)]
        try:
            async with asyncio.TaskGroup() as group:
                await self._branch(ready, group)
        except BaseExceptionGroup:
            if self._failure is None:
                raise
        except asyncio.CancelledError:
            if current().remaining != 0:  # somebody left
                raise
            self._failure = self._passed()
        if self._failure is not None:  # outside of the handler: the group is no part of it
            raise self._failure

    async def _branch(self, ready: list[str], group: asyncio.TaskGroup) -> None:
        """Run nodes that are ready, and what they make ready: one here, each other in a task of its own."""
        while ready:
            id, *others = ready
            for other in others:
                group.create_task(self._branch([other], group))
            try:
                await self._node(self._plan.steps[id])
            except XooaiError as error:
                self._failure = self._failure or error
                raise
            ready = self._ended(id)

    def _ended(self, id: str) -> list[str]:
        """The nodes that are ready now that this one has ended."""
        found = []
        for follower in self._plan.followers[id]:
            self._open[follower] -= 1
            if not self._open[follower]:
                found.append(follower)
        return found

    async def _node(self, step: Step) -> None:
        id, target = step.node.id, self._means.targets[step.node.id]
        began = monotonic()
        state = State.FAILED
        try:
            arguments = await self._arguments(step)
            if arguments is None:
                state = State.SKIPPED
                return
            began = monotonic()
            self._busy[id] = None
            calls = self._called if not step.mapped else self._each
            self.replies[id] = await calls(step, target, arguments)
            del self._busy[id]
            state = State.DONE
        except asyncio.CancelledError:
            state = State.CANCELLED
            raise
        except Exception as error:
            self._busy.pop(id, None)
            told = failed(id, target, error)
            if not step.node.is_optional:
                raise told from error
        finally:
            if self._trace is not None:
                self._trace.ended(id, target, state, began)

    async def _arguments(self, step: Step) -> dict[str, Any] | None:
        """The arguments of a node; None where it is not to be called."""
        args, binding = step.node.args, step.binding
        if step.when is not None:
            values = self.replies if step.node.needs else self._input(step)
            if not await self._asked(step.when, values):
                return None
        if binding.rule is Rule.INPUT:
            return {**self._input(step), **args}
        if binding.is_skipped([need for need in binding.needs if need in self.replies]):
            return None
        joined = None if step.join is None else await self._asked(step.join, self.replies)
        found = binding.arguments(self.replies, joined)
        return None if found is None else {**found, **args}

    def _input(self, step: Step) -> dict[str, Any]:
        """What a root is given of the Flow's input: what it names, and no constant fills."""
        args, given = step.node.args, self._given
        return {name: given[name] for name in step.endpoint.parameters if name in given and name not in args}

    async def _called(self, step: Step, target: Target, arguments: dict[str, Any]) -> Any:
        """Call a node; again, after a pause, where its server is away or has too much to do and `retry` allows it."""
        limits = self._means.limits[step.node.id]
        if limits.are_none:
            return await target.call(step.endpoint, arguments, None, self._metadata)
        end = None if limits.timeout is None else monotonic() + limits.timeout
        for attempt in range(limits.retry):
            try:
                return await target.call(step.endpoint, arguments, _left(end), self._metadata)
            except (Unavailable, ResourceExhausted) as error:
                pause = _pause(error, attempt)
                if pause is None or (end is not None and monotonic() + pause >= end):
                    raise
            await asyncio.sleep(pause)
        return await target.call(step.endpoint, arguments, _left(end), self._metadata)

    async def _each(self, step: Step, target: Target, arguments: dict[str, Any]) -> list[Any]:
        """Call a node for each item of a list, some at a time: the replies in their order. The first error ends all."""
        items = arguments[step.mapped]
        if not isinstance(items, list | tuple):
            raise InvalidArgument(f"each= takes a list for {step.mapped!r}, and got {type(items).__name__}")
        replies: list[Any] = [None] * len(items)
        waiting = iter(enumerate(items))
        failures: list[Exception] = []

        async def work() -> None:
            for place, item in waiting:
                try:
                    replies[place] = await self._called(step, target, {**arguments, step.mapped: item})
                except Exception as error:
                    failures.append(error)
                    raise

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(EACH, len(items))):
                    group.create_task(work())
        except BaseExceptionGroup:
            if not failures:
                raise
        if failures:
            raise failures[0]
        return replies

    async def _asked(self, function: OnReplies, values: Mapping[str, Any]) -> Any:
        """What a function of the user's makes of replies: a `def` may read documents, so it runs in a thread."""
        places, names = function.arguments(values)
        if inspect.iscoroutinefunction(function.function):
            return await function.function(*places, **names)
        return await self._means.threads.run(partial(function.function, *places), names)

    def _passed(self) -> DeadlineExceeded:
        """The error where the time for the whole is over: whoever reads it learns which nodes had not ended."""
        busy = ", ".join(map(repr, self._busy)) or "none"
        return DeadlineExceeded(
            f"the time allowed for the Flow has passed; nodes that were called and had not ended: {busy}"
        )


def _left(end: float | None) -> float | None:
    return None if end is None else end - monotonic()


def _pause(error: XooaiError, attempt: int) -> float | None:
    """Seconds until a call is worth making anew; None where it is not."""
    if isinstance(error, ResourceExhausted):
        if error.reason != "load":
            return None
        if error.retry_after is not None:
            return error.retry_after
    return float(_PAUSE * 2**attempt)


def _one_hop_more() -> dict[str, str]:
    """What goes beside calls to other servers. Raises FailedPrecondition where Flows call each other without an end."""
    given = current().metadata.get(_HOPS_HEADER, "0")
    hops = int(given) + 1 if given.isdecimal() and len(given) <= len(str(HOPS)) else HOPS + 1
    if hops > HOPS:
        raise FailedPrecondition(
            f"this call came through {HOPS} Flows already; does one of them lead back to this one?"
        )
    return {_HOPS_HEADER: str(hops)}
