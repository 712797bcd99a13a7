"""One run of a Flow: nodes begin when what they need is there, the first hard failure ends the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from xooai.binding import INPUT, Rule
from xooai.call import current
from xooai.codec import MSGPACK
from xooai.conditions import Condition
from xooai.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    XooaiError,
)
from xooai.flow.asking import asked
from xooai.flow.attempts import Limits, attempted, for_each
from xooai.flow.budget import AT_ONCE, Allowance, Budget
from xooai.flow.failure import Raised, cause_of, failed, is_for_others, misgiven
from xooai.flow.packing import Packing
from xooai.flow.targets import Target
from xooai.flow.trace import State, Trace
from xooai.flow.unread import Packed, Reply, Request, Seen, Unread, look, together
from xooai.graph import Step
from xooai.lazy import lazy
from xooai.on_replies import OnReplies
from xooai.plan import Plan
from xooai.threads import Threads
from xooai.tracing import tracing

if TYPE_CHECKING:
    from xooai.flow import per_item, streaming
    from xooai.layers import trace as traces
else:
    per_item = lazy("xooai.flow.per_item")
    streaming = lazy("xooai.flow.streaming")
    traces = lazy("xooai.layers.trace")

__all__ = ["Means", "run"]


class Means(msgspec.Struct, frozen=True):
    """What a Flow is run by: where each node's calls go, their limits, and the threads of `join=` and `when=`."""

    targets: Mapping[str, Target]
    limits: Mapping[str, Limits]
    threads: Threads
    packings: Mapping[str, Packing] = {}
    """Of the nodes elsewhere whose requests may be made of what is unread."""
    has_room: bool = False
    """Whether there are so few calls in a run that all may be made at once."""
    is_chain: bool = False
    """Whether there is never more than one node to be run: then all run in the task of the call."""


async def run(
    plan: Plan, means: Means, given: Mapping[str, Any] | Request, trace: Trace | None, wanted: str = ""
) -> Any:
    """Run a Flow on these arguments: the one leaf's reply, or those of several by id; of a leaf that gives a stream its items.

    Where the media type of the result is `wanted`, it may be unread. Raises XooaiError, never a group.
    """
    with Allowance() as calls:
        running = _Running(plan, means, given, trace, wanted, calls)
        replies = running.seen
        try:
            await running.run()
        finally:
            if trace is not None:
                whole = (id for id in replies if id != INPUT and not plan.steps[id].gives_stream)
                trace.replies.update((id, replies[id]) for id in whole)
    if plan.endpoint.gives_stream:
        last: streaming.Stage | None = replies.get(plan.leaves[0])
        return streaming.nothing() if last is None else last.items()
    if len(plan.leaves) == 1:
        return (running.replies if wanted else replies).get(plan.leaves[0])
    found = together({leaf: running.replies.get(leaf) for leaf in plan.leaves}, wanted) if wanted else None
    return found or {leaf: replies.get(leaf) for leaf in plan.leaves}


class _Input(Unread):
    """What the id `input` stands for."""

    def __init__(self, plan: Plan, request: Request) -> None:
        self._plan, self._request = plan, request

    def value(self) -> Any:
        return self._plan.input(self._request.value())


class _Running:
    def __init__(
        self,
        plan: Plan,
        means: Means,
        given: Mapping[str, Any] | Request,
        trace: Trace | None,
        wanted: str,
        budget: Budget,
    ) -> None:
        self._plan, self._means, self._given, self._trace, self._wanted = plan, means, given, trace, wanted
        self._budget, self._room = budget, asyncio.Semaphore(AT_ONCE)
        self.replies: dict[str, Any] = {INPUT: _Input(plan, given) if isinstance(given, Request) else plan.input(given)}
        self.seen: Mapping[str, Any] = Seen(self.replies)
        self._open = {id: len(step.node.needs) for id, step in plan.steps.items()}
        self._left = len(plan.steps)
        self._busy: dict[str, None] = {}
        self._failure: XooaiError | None = None

    async def run(self) -> None:
        first = [id for id, needs in self._open.items() if not needs]
        ready = [*first, *self._ended(INPUT)]
        try:
            if self._means.is_chain:
                await self._branch(ready, None)
            else:
                async with asyncio.TaskGroup() as group:
                    await self._branch(ready, group)
        except (BaseExceptionGroup, XooaiError):
            if self._failure is None:
                raise
        except asyncio.CancelledError:
            if current().remaining != 0:  # somebody left
                raise
            self._failure = self._passed()
        else:
            if self._failure is None and self._left:  # the net below all nodes: none is lost in silence
                raise Internal(f"{self._left} of the Flow's nodes neither ended nor failed")
        if self._failure is not None:  # outside of the handler: the group is no part of it
            raise self._failure

    async def _branch(self, ready: list[str], group: asyncio.TaskGroup | None) -> None:
        """Run nodes that are ready, and what they make ready: one here, each other in a task of its own."""
        while ready and self._failure is None:  # a node that was told to end may have gone on, and given a reply
            id, *others = ready
            for other in others:
                assert group is not None  # there is one but for a chain
                group.create_task(self._branch([other], group))
            step, tracer = self._plan.steps[id], tracing()
            try:
                if tracer is None or _is_stage(step):
                    await self._node(step)
                else:
                    await traces.node(tracer, self._plan.endpoint.owner, id, partial(self._node, step))
            except XooaiError as error:
                self._failure = self._failure or error
                raise
            self._left -= 1
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
        task, trace = asyncio.current_task(), self._trace
        state: State | None = State.FAILED
        if trace is not None:
            trace.begin(id)
        self._busy[id] = None
        try:
            if step.is_streamed:
                state = await self._streamed(step, target)
            elif (arguments := await self._arguments(step, self.replies)) is None:
                state = State.SKIPPED
            else:
                if trace is not None:
                    trace.begin(id)
                if step.mapped:
                    self.replies[id] = await self._each(step, target, arguments)
                else:
                    self._budget.take(1)
                    self.replies[id] = self._kept(step, await self._called(step, target, arguments))
                state = State.DONE
            del self._busy[id]
        except BaseException as error:
            if is_for_others(error, task):
                state = State.CANCELLED
                raise
            del self._busy[id]
            if isinstance(error, InvalidArgument) and error.errors and step.binding.rule is not Rule.INPUT:
                error = misgiven(step.node.needs, error)
            told = failed(id, target, error)
            if not step.node.is_optional:
                raise told from cause_of(told, error)
        finally:
            if trace is not None and state is not None:
                trace.end(id, target, state)

    def _kept(self, step: Step, reply: Any) -> Any:
        """A reply, as it is kept. That of a node that may fail is looked at: whether it has failed is to be known."""
        if isinstance(reply, Reply):
            reply.node = step.node.id
            if step.node.is_optional:
                reply.value()
        return reply

    async def _arguments(self, step: Step, replies: Mapping[str, Any]) -> dict[str, Any] | Packed | None:
        """The arguments of a node; None where it is not to be called."""
        args, binding = step.constants, step.binding
        if step.is_away:
            return None
        if step.when is not None:
            values = Seen(replies) if step.node.needs else {**step.defaults, **self._input(step)}
            if not await self._holds(step.when, values):
                return None
        if binding.rule is not Rule.INPUT and binding.is_skipped([need for need in binding.needs if need in replies]):
            return None
        packing = self._means.packings.get(step.node.id)
        if packing is not None and self._trace is None:
            packed = packing.request(replies, self._given)
            if packed is not None:
                return packed
        if binding.rule is Rule.INPUT:
            return {**self._input(step), **args}
        seen, joined = Seen(replies), None
        if step.join is not None:
            async with self._room:
                joined = await asked(step.join, seen, self._means.threads, "its join=")
        found = binding.arguments(seen, joined)
        return None if found is None else {**found, **args}

    async def _holds(self, when: OnReplies | Condition, values: Mapping[str, Any]) -> bool:
        if isinstance(when, Condition):
            return when.holds(values)
        async with self._room:
            return bool(await asked(when, values, self._means.threads, "its when="))

    def _input(self, step: Step) -> dict[str, Any]:
        """What a root is given of the Flow's input: what it names, and no constant fills."""
        args, given = step.constants, look(self._given)
        return {name: given[name] for name in step.endpoint.parameters if name in given and name not in args}

    async def _called(self, step: Step, target: Target, arguments: dict[str, Any] | Packed) -> Any:
        """Call a node; again, after a pause, where its server is away or has too much to do and `retry` allows it."""
        limits = self._means.limits[step.node.id]
        call: Callable[..., Awaitable[Any]] = target.call
        # Calls for the items of a stream are not noted: there may be any number.
        if self._trace is not None and not step.source:
            call = self._trace.calling(step.node.id, target)
        elif self._wanted and not self._plan.followers[step.node.id]:
            call = partial(target.call, wanted=self._wanted)
        try:
            if limits.are_none and self._means.has_room:
                return await call(step.endpoint, arguments, None)
            return await attempted(partial(call, step.endpoint, arguments), limits, self._room, self._budget)
        except InvalidArgument as error:
            if error.errors or step.binding.rule is Rule.INPUT:
                raise
            raise self._wrong_before(step, arguments, error) from error

    def _wrong_before(self, step: Step, arguments: dict[str, Any] | Packed, error: InvalidArgument) -> XooaiError:
        """The error where a node refuses its arguments: of those who gave them, where they were none in any case."""
        try:
            for need in step.node.needs:
                look(self.replies.get(need))  # what has gone on unread may not be of the type that was promised
            if not isinstance(arguments, Packed):
                schema = step.endpoint.arguments
                MSGPACK.decode(schema, MSGPACK.encode(schema, arguments), True)
        except InvalidArgument as unsendable:
            return misgiven(step.node.needs, unsendable)
        except XooaiError as unfit:
            return unfit
        return error

    async def _each(self, step: Step, target: Target, arguments: dict[str, Any] | Packed) -> list[Any]:
        """Call a node for each item of a list, some at a time: the replies in their order. The first error ends all."""
        assert not isinstance(arguments, Packed)
        items = arguments[step.mapped]
        if not isinstance(items, list | tuple | set | frozenset):
            error = InvalidArgument(f"each= takes a list for {step.mapped!r}, and got {type(items).__name__}")
            raise error if step.binding.rule is Rule.INPUT else misgiven(step.node.needs, error)
        self._budget.take(len(items))

        async def call(item: Any) -> Any:
            return look(await self._called(step, target, {**arguments, step.mapped: item}))

        return await for_each(items, call)

    async def _streamed(self, step: Step, target: Target) -> State | None:
        """How a node ended that a stream goes through; None where that gives one itself, and so is still to be run."""
        node, source = step.node, self._source(step)
        if step.source and source is None:
            return State.SKIPPED
        late = self._passed if node.id in self._plan.leaves else None  # the others end with it
        is_given = step.binding.rule is not Rule.INPUT or step.source not in ("", INPUT)
        needs = node.needs if is_given else ()
        teller = streaming.Teller(node.id, target, needs, self._busy, self._trace, late)
        span = None if (tracer := tracing()) is None else traces.StageSpan(tracer, self._plan.endpoint.owner, node.id)
        teller.span = span
        if source is not None and not step.endpoint.shape:
            call: Callable[[Any], Awaitable[Any]] = partial(self._of_item, step, target)
            call = call if span is None else span.around(call)
            self.replies[node.id] = streaming.Stage(teller, partial(per_item.per_item, call, source))
            return None
        arguments = await self._arguments(step, self.replies)
        if arguments is None:
            return State.SKIPPED
        assert not isinstance(arguments, Packed)
        timeout = self._means.limits[node.id].timeout
        opening: streaming.Opening = partial(target.open, step.endpoint, arguments, timeout)
        if step.gives_stream:
            opening = opening if span is None else span.opening(opening)
            self.replies[node.id] = streaming.Stage(teller, partial(streaming.through, opening, source))
            return None
        assert source is not None
        self.replies[node.id] = await streaming.single(opening, source)
        return State.DONE

    def _source(self, step: Step) -> streaming.Source | None:
        """The stream that a node reads; None where there is none, or the node that would give it was not called."""
        if step.source == INPUT:
            return streaming.Incoming(look(self._given)[step.endpoint.incoming])
        return self.replies.get(step.source) if step.source else None

    async def _of_item(self, step: Step, target: Target, item: Any) -> Any:
        """The reply of a node to one item of a stream, LEFT_OUT where it is not called."""
        task = asyncio.current_task()
        try:
            arguments = await self._arguments(step, {**self.replies, step.source: item})
            return streaming.LEFT_OUT if arguments is None else look(await self._called(step, target, arguments))
        except BaseException as error:
            if is_for_others(error, task):
                raise
            if step.node.is_optional:
                return streaming.LEFT_OUT
            if isinstance(error, Exception):
                raise
            raise Raised("what calls it") from error

    def _passed(self) -> DeadlineExceeded:
        """The error where the time for the whole is over: whoever reads it learns which nodes had not ended."""
        busy = ", ".join(map(repr, self._busy)) or "none"
        return DeadlineExceeded(f"the time allowed for the Flow has passed; nodes that had begun and not ended: {busy}")


def _is_stage(step: Step) -> bool:
    """Whether a node runs when somebody takes what it gives."""
    return step.is_streamed and (step.gives_stream or not step.endpoint.shape)
