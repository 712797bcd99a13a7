"""The nodes of one run, each by itself: what it is called with, its calls, and what its failure is told as."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from xooai.binding import INPUT, Rule
from xooai.codec import MSGPACK
from xooai.conditions import Condition
from xooai.errors import DeadlineExceeded, InvalidArgument, XooaiError
from xooai.flow.asking import Apart, asked
from xooai.flow.attempts import attempted, for_each
from xooai.flow.budget import AT_ONCE, Budget
from xooai.flow.failure import Raised, cause_of, failed, is_for_others, misgiven
from xooai.flow.lent import Lent
from xooai.flow.means import Means
from xooai.flow.plain import Plain
from xooai.flow.relay import Failed, taken
from xooai.flow.targets import Arguments, Target
from xooai.flow.trace import State, Trace
from xooai.flow.unread import Packed, Reply, Request, Seen, Unread, look
from xooai.graph import Step
from xooai.lazy import lazy
from xooai.on_replies import OnReplies
from xooai.origin import Fresh
from xooai.payload import all_stand
from xooai.plan import Plan
from xooai.tracing import tracing

if TYPE_CHECKING:
    from xooai import batching
    from xooai.flow import per_item, places, streaming
    from xooai.layers import trace as traces
else:
    batching = lazy("xooai.batching")
    per_item = lazy("xooai.flow.per_item")
    places = lazy("xooai.flow.places")
    streaming = lazy("xooai.flow.streaming")
    traces = lazy("xooai.layers.trace")

__all__ = ["Begun", "Calling"]

_FREE: AbstractAsyncContextManager[Any] = nullcontext()  # room for all calls that there are


class Begun(NamedTuple):
    """A call of a node that waits, or has failed."""

    arguments: Arguments
    work: Awaitable[Any]
    """What gives its reply."""
    context: Context
    """That of before the call, in which others may begin."""


class _Input(Unread):
    """What the id `input` stands for."""

    def __init__(self, plan: Plan, request: Request | Lent) -> None:
        self._plan, self._request = plan, request

    def value(self) -> Any:
        return self._plan.input(self._request.value())


class Calling:
    """Calls the nodes of a run of `plan`, whose replies it keeps."""

    _budget: Budget
    """Set as the run begins."""

    def __init__(
        self,
        plan: Plan,
        means: Means,
        given: Mapping[str, Any] | Request | Lent,
        trace: Trace | None,
        wanted: str,
    ) -> None:
        self._plan, self._means, self._given, self._trace, self._wanted = plan, means, given, trace, wanted
        self._room = _FREE if means.has_room else asyncio.Semaphore(AT_ONCE)
        self._replies: dict[str, Any] = {}
        if plan.followers[INPUT]:
            self._replies[INPUT] = _Input(plan, given) if isinstance(given, Unread) else plan.input(given)
        self._busy: dict[str, None] = {}
        """The nodes that have begun and not ended."""

    async def _plainly(
        self, plain: Plain, task: asyncio.Task[Any] | None, failed: Failed | None = None, begun: Begun | None = None
    ) -> None:
        """As `_node`. Where a call was `begun`, or was made and has failed, it goes on from there."""
        id, step = plain.id, plain.step
        self._busy[id] = None
        try:
            arguments = plain.arguments(self._replies, self._given) if begun is None else begun.arguments
            if arguments is not None:
                try:
                    if begun is not None:
                        reply = await begun.work
                    elif failed is None:
                        self._budget.take(1)
                        wanted = self._wanted if plain.is_last else ""
                        reply = await plain.target.call(step.endpoint, arguments, None, None, wanted)
                    else:
                        sent, why = failed
                        reply = taken(sent, step.endpoint, *await sent.again(why, step.endpoint))
                except InvalidArgument as error:
                    if error.errors or step.binding.rule is Rule.INPUT:
                        raise
                    raise self._wrong_before(step, arguments, error) from error
                if type(reply) is Reply:
                    reply.node = id
                self._replies[id] = reply
            del self._busy[id]
        except BaseException as error:
            if is_for_others(error, task):
                raise
            self._fail(step, plain.target, error)

    async def _node(self, step: Step, task: asyncio.Task[Any] | None) -> None:
        id, target = step.node.id, self._means.targets[step.node.id]
        trace = self._trace
        state: State | None = State.FAILED
        if trace is not None:
            trace.begin(id)
        self._busy[id] = None
        try:
            if step.is_streamed:
                state = await self._streamed(step, target)
            elif (arguments := await self._arguments(step, self._replies)) is None:
                state = State.SKIPPED
            else:
                if trace is not None:
                    trace.begin(id)
                if step.mapped:
                    self._replies[id] = await self._each(step, target, arguments)
                else:
                    self._budget.take(1)
                    self._replies[id] = self._kept(step, await self._called(step, target, arguments))
                state = State.DONE
            del self._busy[id]
        except BaseException as error:
            if is_for_others(error, task):
                state = State.CANCELLED
                raise
            self._fail(step, target, error)
        finally:
            if trace is not None and state is not None:
                trace.end(id, target, state)

    def _fail(self, step: Step, target: Target, error: BaseException) -> None:
        """Raise the error of a node, unless the Flow goes on without it."""
        del self._busy[step.node.id]
        if isinstance(error, InvalidArgument) and error.errors and step.binding.rule is not Rule.INPUT:
            error = misgiven(step.node.needs, error)
        told = failed(step.node.id, target, error)
        if not step.node.is_optional:
            raise told from cause_of(told, error)

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
            values = replies if step.node.needs else {**step.defaults, **self._input(step)}
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
        joined = None
        if step.join is not None:
            async with self._room:
                seen = Apart(replies, self._alone(step))
                joined = await asked(step.join, seen, self._means.threads, "its join=")
        found = binding.arguments(Seen(replies), joined)
        return None if found is None else {**found, **args}

    def _alone(self, step: Step) -> Collection[str]:
        """The needs of a node whose replies nobody else reads, nor it once more."""
        if self._trace is not None:
            return ()
        if step.is_streamed:
            return (step.source,)
        followers = self._plan.followers
        return [need for need in step.node.needs if need != INPUT and len(followers[need]) == 1]

    async def _holds(self, when: OnReplies | Condition, values: Mapping[str, Any]) -> bool:
        if isinstance(when, Condition):
            return when.holds(values, places.at)
        async with self._room:  # the node reads, or another one, what it looks at
            return bool(await asked(when, Apart(values), self._means.threads, "its when="))

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
        if isinstance(arguments, Fresh) and all_stand(step.endpoint, arguments):
            return error  # it was given the objects, of the right types: what is wrong with them now, it has changed itself
        try:
            for need in step.node.needs:
                look(self._replies.get(need))  # what has gone on unread may not be of the type that was promised
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
            batch = step.endpoint.batch
            ahead = per_item.AHEAD if batch is None else batching.under_way(batch)
            self._replies[node.id] = streaming.Stage(teller, partial(per_item.per_item, call, source, ahead))
            return None
        arguments = await self._arguments(step, self._replies)
        if arguments is None:
            return State.SKIPPED
        assert not isinstance(arguments, Packed)
        timeout = self._means.limits[node.id].timeout
        opening: streaming.Opening = partial(target.open, step.endpoint, arguments, timeout)
        if step.gives_stream:
            opening = opening if span is None else span.opening(opening)
            self._replies[node.id] = streaming.Stage(teller, partial(streaming.through, opening, source))
            return None
        assert source is not None
        self._replies[node.id] = await streaming.single(opening, source)
        return State.DONE

    def _source(self, step: Step) -> streaming.Source | None:
        """The stream that a node reads; None where there is none, or the node that would give it was not called."""
        if step.source == INPUT:
            return streaming.Incoming(look(self._given)[step.endpoint.incoming])
        return self._replies.get(step.source) if step.source else None

    async def _of_item(self, step: Step, target: Target, item: Any) -> Any:
        """The reply of a node to one item of a stream, LEFT_OUT where it is not called."""
        task = asyncio.current_task()
        try:
            arguments = await self._arguments(step, {**self._replies, step.source: item})
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
