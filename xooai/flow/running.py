"""One run of a Flow: nodes begin when what they need is there, the first hard failure ends the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import Context, copy_context
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
from xooai.flow.branches import Branches, before_waiting
from xooai.flow.budget import AT_ONCE, Allowance, Budget
from xooai.flow.failure import Raised, cause_of, failed, is_for_others, misgiven
from xooai.flow.here import run_here
from xooai.flow.lent import Lent
from xooai.flow.packing import Packing
from xooai.flow.plain import Plain
from xooai.flow.relay import Failed, Relay, taken
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


_FREE: AbstractAsyncContextManager[Any] = nullcontext()  # room for all calls that there are


class Means(msgspec.Struct, frozen=True):
    """What a Flow is run by: where each node's calls go, their limits, and the threads of `join=` and `when=`."""

    targets: Mapping[str, Target]
    limits: Mapping[str, Limits]
    threads: Threads
    helpers: Threads
    """Those for nodes beside others, where no loop runs."""
    packings: Mapping[str, Packing] = {}
    """Of the nodes elsewhere whose requests may be made of what is unread."""
    has_room: bool = False
    """Whether there are so few calls in a run that all may be made at once."""
    plain: Mapping[str, Plain] = {}
    """The nodes of which nothing more is said than what they are called with."""
    needed: Mapping[str, int] = {}
    """How many replies each node waits for, that of the Flow's input left out."""
    first: Sequence[str] = ()
    """The nodes that wait for none."""
    relays: bool = False
    """Whether each node is a plain one at a server."""

    @classmethod
    def of(cls, plan: Plan, targets: Mapping[str, Target], limits: Mapping[str, Limits], threads: Threads) -> Means:
        """What a plan is run by."""
        steps = plan.steps
        packings = {id: Packing.of(step, plan.endpoint, targets[id]) for id, step in steps.items()}
        found = {id: packing for id, packing in packings.items() if packing is not None}
        has_room = len(steps) <= AT_ONCE and not any(step.mapped or step.source for step in steps.values())
        plain = {
            id: Plain.of(step, targets[id], limits[id], packings[id], plan.followers) for id, step in steps.items()
        }
        needed = {id: sum(need != INPUT for need in step.node.needs) for id, step in steps.items()}
        first = [id for id, step in steps.items() if not step.node.needs]
        first += [id for id in plan.followers[INPUT] if not needed[id]]
        kept = {id: one for id, one in plain.items() if one is not None} if has_room else {}
        relays = len(kept) == len(found) == len(steps) and all(packing.target.starts for packing in found.values())
        return cls(dict(targets), dict(limits), threads, Threads(), found, has_room, kept, needed, first, relays)


async def run(
    plan: Plan, means: Means, given: Mapping[str, Any] | Request | Lent, trace: Trace | None, wanted: str = ""
) -> Any:
    """Run a Flow on these arguments: the one leaf's reply, or those of several by id; of a leaf that gives a stream its items.

    Where the media type of the result is `wanted`, it may be unread. Raises XooaiError, never a group.
    """
    with Allowance() as calls:
        running = _Running(plan, means, given, trace, wanted, calls)
        try:
            await running.run()
        finally:
            if trace is not None:
                running.tell(trace)
    return running.result()


class _Input(Unread):
    """What the id `input` stands for."""

    def __init__(self, plan: Plan, request: Request | Lent) -> None:
        self._plan, self._request = plan, request

    def value(self) -> Any:
        return self._plan.input(self._request.value())


class _Running:
    def __init__(
        self,
        plan: Plan,
        means: Means,
        given: Mapping[str, Any] | Request | Lent,
        trace: Trace | None,
        wanted: str,
        budget: Budget,
    ) -> None:
        self._plan, self._means, self._given, self._trace, self._wanted = plan, means, given, trace, wanted
        self._budget = budget
        self._room = _FREE if means.has_room else asyncio.Semaphore(AT_ONCE)
        self._replies: dict[str, Any] = {INPUT: _Input(plan, given) if isinstance(given, Unread) else plan.input(given)}
        self._open = dict(means.needed)
        self._left = len(plan.steps)
        self._busy: dict[str, None] = {}
        self._branches = Branches()
        self._failure: XooaiError | None = None

    async def run(self) -> None:
        if asyncio._get_running_loop() is None:
            run_here(self._means.first, partial(self._calling, task=None), self._after, self._means.helpers)
            return
        try:
            async with self._branches:
                relay = self._relay()
                if relay is None:
                    await self._branch(list(self._means.first))
                else:
                    await relay.run(self._means.first[1:], self._beside)
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

    def result(self) -> Any:
        """What the Flow gives, once it has run."""
        plan, wanted, replies = self._plan, self._wanted, self._replies
        first = plan.leaves[0]
        if plan.endpoint.gives_stream:
            last: streaming.Stage | None = replies.get(first)
            return streaming.nothing() if last is None else last.items()
        if len(plan.leaves) == 1:
            return replies.get(first) if wanted else look(replies.get(first))
        found = together({leaf: replies.get(leaf) for leaf in plan.leaves}, wanted) if wanted else None
        return found or {leaf: look(replies.get(leaf)) for leaf in plan.leaves}

    def tell(self, trace: Trace) -> None:
        """Add the replies that there are."""
        steps = self._plan.steps
        trace.replies.update(
            (id, look(one)) for id, one in self._replies.items() if id != INPUT and not steps[id].gives_stream
        )

    def _relay(self) -> Relay | None:
        """What runs all nodes in this task, where the first one could be called so: it is called then."""
        means, given = self._means, self._given
        if not means.relays or self._trace is not None or type(given) is not Request or tracing() is not None:
            return None
        relay = Relay(means.plain, self._replies, given, self._wanted, self._busy, self._budget, self._after)
        return relay if relay.start(means.first[0]) else None

    def _beside(self, id: str, failed: Failed | None) -> None:
        """Run a node in a task of its own; where its call has failed, from there on."""
        self._branches.start(self._branch([id], failed), copy_context())

    async def _branch(self, ready: list[str], failed: Failed | None = None) -> None:
        """Run nodes that are ready, and those that they make ready, one by one; once one waits, others in tasks of their own."""
        task = asyncio.current_task()
        while ready and self._failure is None:  # a node that was told to end may have gone on, and given a reply
            id = ready.pop(0)
            node = self._calling(id, task, failed)
            failed = None
            try:
                if ready:
                    await before_waiting(node, partial(self._part, ready, copy_context()))
                else:
                    await node
            except XooaiError as error:
                self._failure = self._failure or error
                raise
            ready += self._after(id)

    def _calling(
        self, id: str, task: asyncio.Task[Any] | None, failed: Failed | None = None
    ) -> Coroutine[Any, Any, None]:
        """The run of one node, which begins once it is awaited."""
        if failed is not None:
            return self._plainly(self._means.plain[id], task, failed)
        step, tracer = self._plan.steps[id], tracing()
        plain = self._means.plain.get(id) if self._trace is None else None
        if tracer is not None and not _is_stage(step):
            return traces.node(tracer, self._plan.endpoint.owner, id, partial(self._node, step, task))
        return self._node(step, task) if plain is None else self._plainly(plain, task)

    def _part(self, ready: list[str], context: Context) -> None:
        """Run these from now on beside who runs, each in a task of its own. The context is that before a node was called."""
        for id in ready:
            self._branches.start(self._branch([id]), context.copy())
        ready.clear()

    def _after(self, id: str) -> list[str]:
        """As `_ended`, and one is left less."""
        self._left -= 1
        return self._ended(id)

    def _ended(self, id: str) -> list[str]:
        """The nodes that are ready now that this one has ended."""
        found = []
        for follower in self._plan.followers[id]:
            self._open[follower] -= 1
            if not self._open[follower]:
                found.append(follower)
        return found

    async def _plainly(self, plain: Plain, task: asyncio.Task[Any] | None, failed: Failed | None = None) -> None:
        """As `_node`. Where a call was made that has failed, it goes on from there."""
        id, step = plain.id, plain.step
        self._busy[id] = None
        try:
            arguments = plain.arguments(self._replies, self._given)
            if arguments is not None:
                try:
                    if failed is None:
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
            self._replies[node.id] = streaming.Stage(teller, partial(per_item.per_item, call, source))
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


def _is_stage(step: Step) -> bool:
    """Whether a node runs when somebody takes what it gives."""
    return step.is_streamed and (step.gives_stream or not step.endpoint.shape)
