"""One run of a Flow: nodes begin when what they need is there, the first hard failure ends the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from xooai.binding import INPUT
from xooai.call import current
from xooai.done import DONE
from xooai.errors import Internal, XooaiError
from xooai.flow.branches import Branches, before_waiting, going_on
from xooai.flow.budget import Allowance
from xooai.flow.calling import Begun, Calling
from xooai.flow.here import Here, run_here, run_in_line
from xooai.flow.lent import Lent
from xooai.flow.means import Means
from xooai.flow.plain import Plain
from xooai.flow.relay import Failed, Relay
from xooai.flow.trace import Trace
from xooai.flow.unread import Request, Unread, look, together
from xooai.graph import Step
from xooai.lazy import lazy
from xooai.payload import settled
from xooai.plan import Plan
from xooai.sync import drive
from xooai.tracing import tracing

if TYPE_CHECKING:
    from xooai.flow import streaming
    from xooai.layers import trace as traces
else:
    streaming = lazy("xooai.flow.streaming")
    traces = lazy("xooai.layers.trace")

__all__ = ["run"]

_ENDED = Begun({}, DONE, Context())
"""Stands for the call of a node that has ended at once."""


def run(
    plan: Plan, means: Means, given: Mapping[str, Any] | Request | Lent, trace: Trace | None, wanted: str = ""
) -> Coroutine[Any, Any, Any]:
    """Run a Flow on these arguments: the one leaf's reply, or those of several by id; of a leaf that gives a stream its items.

    Where the media type of the result is `wanted`, it may be unread. Raises XooaiError, never a group.
    """
    return _Running(plan, means, given, trace, wanted).run()


class _Running(Calling):
    _failure: XooaiError | None = None

    async def run(self) -> Any:
        means = self._means
        self._open, self._left = dict(means.needed), len(self._plan.steps)
        self._branches = Branches()
        self._plain = means.plain if self._trace is None and tracing() is None else {}
        """The nodes that are run as plain ones: none where somebody watches."""
        with Allowance() as self._budget:
            try:
                if asyncio._get_running_loop() is None:
                    self._run_here()
                else:
                    async with self._branches:
                        await self._begun()
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
            finally:
                if self._trace is not None and self._trace.keeps:
                    self._tell(self._trace)
            if self._failure is not None:  # outside of the handler: the group is no part of it
                raise self._failure
        return self._settled(self._result())

    def _run_here(self) -> None:
        """Run all nodes, by the caller's thread and others."""
        means = self._means
        line = means.line
        if not line or not self._plain:
            run_here(means.first, partial(self._calling, task=None), self._after, means.helpers)
            return
        self._left = 0
        if means.is_forked:
            run_in_line(line, self._one_here, lambda at: self._ready(line[at:]), self._here, self._after)
            return
        for plain in line:
            self._one_here(plain)

    def _here(self) -> Here:
        return Here(partial(self._calling, task=None), self._after, self._means.helpers)

    def _one_here(self, plain: Plain) -> str:
        """Run a node in this thread, in a context of its own; its id."""
        context = copy_context()
        begun = self._begin(plain, context, is_apart=True)
        if begun is not _ENDED:
            context.run(drive, self._plainly(plain, None, None, begun))
        return plain.id

    def _begun(self) -> Awaitable[None]:
        """The nodes that wait for none begin; wait for this until the others have ended."""
        if self._means.line and self._plain:
            return self._in_line(self._means.line)
        relay, first = self._relay(), self._means.first
        return self._branch(list(first)) if relay is None else relay.run(first[1:], self._beside)

    def _result(self) -> Any:
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

    def _settled(self, result: Any) -> Any:
        """The result: documents that are made of plain data in it are a stranger's."""
        endpoint = self._plan.endpoint
        if not endpoint.result.facts.documents or isinstance(result, Unread):
            return result
        return (
            streaming.settling(endpoint.result, result) if endpoint.gives_stream else settled(endpoint.result, result)
        )

    def _tell(self, trace: Trace) -> None:
        """Add the replies that there are."""
        steps = self._plan.steps
        trace.replies.update(
            (id, look(one)) for id, one in self._replies.items() if id != INPUT and not steps[id].gives_stream
        )

    def _relay(self) -> Relay | None:
        """What runs all nodes in this task, where the first one could be called so: it is called then."""
        means, given = self._means, self._given
        if not means.hops or self._trace is not None or type(given) is not Request or tracing() is not None:
            return None
        relay = Relay(means.hops, self._replies, given, self._wanted, self._busy, self._budget, self._after)
        return relay if relay.start(means.first[0]) else None

    def _beside(self, id: str, failed: Failed | None) -> None:
        """Run a node in a task of its own; where its call has failed, from there on."""
        self._branches.start(self._branch([id], failed), copy_context())

    async def _in_line(self, line: Sequence[Plain]) -> None:
        """Run all nodes in this task, one after the other: as far as none waits, fails, or has to look at its arguments."""
        for at, plain in enumerate(line):
            begun = self._begin(plain, copy_context())
            if begun is not _ENDED:
                await self._branch(self._ready(line[at:]), None, begun)
                return
        self._left = 0

    def _begin(self, plain: Plain, context: Context, is_apart: bool = False) -> Begun | None:
        """Call a node: _ENDED, with its reply kept, where that was all, None where its arguments are to be looked at before.

        Where it `is_apart` it runs in the context, which else is that of before the call.
        """
        arguments = work = None
        try:
            arguments = plain.sure(self._replies, self._given)
            if arguments is None:
                return None
            self._budget.take(1)
            work = plain.target.call(plain.step.endpoint, arguments, None)
            waited = context.run(work.send, None) if is_apart else work.send(None)
        except StopIteration as ended:
            if work is None:  # a class of the user's raised it where it was read: it is told as what comes of that
                return None
            self._replies[plain.id] = ended.value
            return _ENDED
        except BaseException as error:
            if arguments is not None:
                return Begun(arguments, _raising(error), context)
            if not isinstance(error, Exception):  # Ctrl-C: nobody would meet it again
                raise
            return None
        return Begun(arguments, going_on(work, waited), context)

    def _ready(self, line: Sequence[Plain]) -> list[str]:
        """Which of these, that have not ended, wait for none of them, the first one to begin with."""
        needed, found, open = self._open, [], {plain.id for plain in line}
        self._left = len(line)
        for plain in line:
            left = needed[plain.id] = sum(need in open for need in plain.step.node.needs)
            if not left:
                found.append(plain.id)
        return found

    async def _branch(self, ready: list[str], failed: Failed | None = None, begun: Begun | None = None) -> None:
        """Run nodes that are ready, and those that they make ready, one by one; once one waits, others in tasks of their own."""
        task = asyncio.current_task()
        while ready and self._failure is None:  # a node that was told to end may have gone on, and given a reply
            id = ready.pop(0)
            plain = self._plain.get(id)
            node = self._calling(id, task) if plain is None else self._plainly(plain, task, failed, begun)
            context = copy_context() if begun is None else begun.context
            failed = begun = None
            try:
                if ready:
                    await before_waiting(node, partial(self._part, ready, context))
                else:
                    await node
            except XooaiError as error:
                self._failure = self._failure or error
                raise
            ready += self._after(id)

    def _calling(self, id: str, task: asyncio.Task[Any] | None) -> Coroutine[Any, Any, None]:
        """The run of one node, which begins once it is awaited."""
        plain = self._plain.get(id)
        if plain is not None:
            return self._plainly(plain, task)
        step, tracer = self._plan.steps[id], tracing()
        if tracer is not None and not _is_stage(step):
            return traces.node(tracer, self._plan.endpoint.owner, id, partial(self._node, step, task))
        return self._node(step, task)

    def _part(self, ready: list[str], context: Context) -> None:
        """Run these from now on beside who runs, each in a task of its own. The context is that before a node was called."""
        for id in ready:
            self._branches.start(self._branch([id]), context.copy())
        ready.clear()

    def _after(self, id: str) -> Sequence[str]:
        """The nodes that are ready now that this one has ended."""
        self._left -= 1
        followers, needed = self._plan.followers[id], self._open
        if not followers:
            return ()
        found = []
        for follower in followers:
            left = needed[follower] = needed[follower] - 1
            if not left:
                found.append(follower)
        return found


async def _raising(error: BaseException) -> NoReturn:
    """What a call gives that has failed."""
    try:
        raise error
    finally:
        del error  # which holds this frame


def _is_stage(step: Step) -> bool:
    """Whether a node runs when somebody takes what it gives."""
    return step.is_streamed and (step.gives_stream or not step.endpoint.shape)
