"""Graphs of endpoints: nodes and what they need, checked and ordered. Pure: nothing is called here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import msgspec
from msgspec.structs import replace

from xooai.binding import INPUT, Absent, Binding, Rule, bind
from xooai.chains import bind_stream, refuse_options, source_of
from xooai.codec import MSGPACK
from xooai.conditions import Condition, condition
from xooai.driver import Shape
from xooai.endpoint import Endpoint
from xooai.errors import FlowError, InvalidArgument
from xooai.hints import nearest
from xooai.on_replies import OnReplies, on_replies
from xooai.payload import refuse_hidden, typed
from xooai.untyped import ANYTHING

__all__ = ["NODES", "Graph", "Node", "Step"]

NODES = 20_000  # of one Flow: more than anybody composes, and checked within seconds


class Node(msgspec.Struct, frozen=True):
    """What is said of one node: what it needs, its constants, and when it runs."""

    id: str
    needs: Sequence[str] = ()
    args: Mapping[str, Any] = {}
    join: Callable[..., Any] | None = None
    when: Callable[..., Any] | Mapping[str, Any] | None = None
    is_optional: bool = False
    each: bool = False
    """Whether it is called for each item of a list."""
    is_of_call: bool = False
    """Whether it was added while a call was answered: plain data among its constants may be what a peer has sent."""

    def bound(self, endpoint: Endpoint, streams: Collection[str] = ()) -> Step:
        """The node, with its endpoint known; `streams` are the ids of nodes that give one. Raises FlowError."""
        where = f"node {self.id!r}"
        refuse_options(where, endpoint, self.each, self.is_optional, self.join, bool(self.when and self.needs))
        source = source_of(where, endpoint, self.needs, streams)
        constants = self._constants(endpoint)
        if endpoint.incoming:
            binding = bind_stream(where, self.id, endpoint, self.needs, self.args, source)
        else:
            binding = bind(self.id, endpoint, self.needs, self.args, self.join is not None)
            self._check_source(source, binding)
        join = None if self.join is None else on_replies(self.join, self.needs, f"{where}: join=")
        when = self._condition(self.needs or [name for name in endpoint.parameters if name not in self.args])
        mapped = ""
        if self.each:
            mapped, binding = self._mapped(endpoint, binding)
        return Step(self, endpoint, binding, constants, join, when, mapped, source=source)

    def _check_source(self, source: str, binding: Binding) -> None:
        """Raise FlowError where the node is called for each item of a stream, and could not be."""
        if source and self.each:
            raise FlowError(
                f"node {self.id!r}: {source} gives a stream: the node is called for each item without each="
            )
        if source and source not in binding.used(()):
            raise FlowError(
                f"node {self.id!r}: {source} gives a stream, which the node would only wait for; name it first in needs=, "
                "or give join= to use both"
            )

    def check_condition(self) -> None:
        """Raise FlowError for a condition that is wrong whatever the endpoint takes."""
        if isinstance(self.when, Mapping):
            condition(self.when, self.needs or None, f"node {self.id!r}: when=")

    def _condition(self, names: Sequence[str]) -> OnReplies | Condition | None:
        where = f"node {self.id!r}: when="
        if isinstance(self.when, Mapping):
            return condition(self.when, names, where)
        return None if self.when is None else on_replies(self.when, names, where)

    def _mapped(self, endpoint: Endpoint, binding: Binding) -> tuple[str, Binding]:
        """The parameter that takes the items of a list; without a list the node is not called. Raises FlowError."""
        one = binding.parameter if binding.rule in (Rule.JOIN, Rule.FIRST) else ""
        if binding.rule is Rule.NAMES and len(binding.needs) == 1:
            (one,) = binding.needs
            binding = replace(binding, places={one: replace(binding.places[one], absent=Absent.SKIP)})
        if not one:
            raise FlowError(
                f"node {self.id!r}: each= calls {endpoint.owner}.{endpoint.name} for each item of one list: "
                "the reply of one need, or what join= makes of several"
            )
        return one, binding

    def _constants(self, endpoint: Endpoint) -> dict[str, Any]:
        """Those that the endpoint takes. Raises FlowError."""
        found: dict[str, Any] = {}
        for name, value in self.args.items():
            parameter = endpoint.parameters.get(name)
            if parameter is None:
                continue  # told by who binds
            schema = endpoint.schema_of(parameter)
            try:
                MSGPACK.decode(schema, MSGPACK.encode(schema, value), True)
                if self.is_of_call:
                    refuse_hidden(schema, value)
                found[name] = typed(schema, value) if schema.facts.documents else value
            except (InvalidArgument, TypeError) as error:
                reason = error.message.removeprefix("the body: ") if isinstance(error, InvalidArgument) else error
                raise FlowError(f"node {self.id!r}: args={{{name!r}: ...}}: {reason}") from error
        return found


class Step(msgspec.Struct, frozen=True):
    """A node as it is run."""

    node: Node
    endpoint: Endpoint
    binding: Binding
    constants: Mapping[str, Any] = {}
    """Those of its arguments, with documents in place of the dicts that stand for them: they are this process's own."""
    join: OnReplies | None = None
    when: OnReplies | Condition | None = None
    mapped: str = ""
    """The parameter that takes the items of a list, one a call."""
    is_away: bool = False
    """Whether its server could not be asked what it takes, and it is not called."""
    source: str = ""
    """The need that is a stream, `input` for that of the Flow's caller; the node reads it, or is called for each item."""

    @property
    def is_streamed(self) -> bool:
        """Whether a stream goes through the node, or begins or ends in it."""
        return bool(self.source or self.endpoint.shape)

    @property
    def gives_stream(self) -> bool:
        return self.endpoint.gives_stream or (bool(self.source) and self.endpoint.shape is Shape.UNARY)

    @property
    def gives(self) -> Any:
        """The type of its reply."""
        one = self.endpoint.result.annotation
        return one if one is ANYTHING or not self.mapped else list[one]  # type: ignore[valid-type]

    @property
    def defaults(self) -> dict[str, Any]:
        """What those parameters are that nobody has to give."""
        parameters = self.endpoint.parameters
        return {name: one.default for name, one in parameters.items() if not one.required}

    @property
    def calls(self) -> str:
        return f"{self.endpoint.owner}.{self.endpoint.name}"


class Graph:
    """Nodes by id. Every mistake that shows without the endpoints' types is told when a node is added, or by `check`."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._followers: dict[str, list[str]] = {}  # who needs each id, those of nodes that come later among them

    def add(self, node: Node, endpoint: Endpoint | None) -> None:
        """Add a node; the ids that it needs may come later, and its endpoint be known later, for None.

        Raises FlowError, and then nothing was added.
        """
        if node.id == INPUT:
            raise FlowError(f"the id {INPUT!r} stands for the Flow's input; give the node another id=")
        if node.id in self.nodes:
            raise FlowError(f"there is a node {node.id!r} already; give this one another id=")
        if len(self.nodes) >= NODES:
            raise FlowError(
                f"a Flow has at most {NODES:,} nodes; put some of them into a Flow that is a node of this one"
            )
        doubled = [need for need, count in Counter(node.needs).items() if count > 1]
        if doubled:
            raise FlowError(f"node {node.id!r}: needs= names {doubled[0]!r} twice")
        if node.join is not None and not node.needs:
            raise FlowError(f"node {node.id!r}: join= is for the replies of needs=, and there are none")
        if self._leads_back(node):
            self._refuse_cycle({**self.nodes, node.id: node})
        node.check_condition()
        taken = node.needs if endpoint is not None and endpoint.incoming else ()
        if endpoint is not None and len(taken) < 2:  # of several needs it shows later which gives the stream
            node.bound(endpoint, taken)
        self.nodes[node.id] = node
        for need in node.needs:
            self._followers.setdefault(need, []).append(node.id)

    def check(self) -> None:
        """Raise FlowError for a graph that is empty, or a need that there is not."""
        if not self.nodes:
            raise FlowError("the Flow has no nodes; add(use=...) adds one")
        for node in self.nodes.values():
            for need in node.needs:
                if need not in self.nodes and need != INPUT:
                    others = [id for id in (*self.nodes, INPUT) if id != node.id]
                    listed = ", ".join(map(repr, others[:50])) + (" ..." if len(others) > 50 else "")
                    raise FlowError(
                        f"node {node.id!r} needs {need!r}, which there is not{nearest(need, others)}; there are: {listed}"
                    )

    def order(self) -> Iterator[str]:
        """The ids, each after those that it needs."""
        return (id for id in _sorter(self.nodes).static_order() if id in self.nodes)

    def followers(self) -> dict[str, list[str]]:
        """Who needs each node."""
        known = self._followers
        return {id: list(known.get(id, ())) for id in (INPUT, *self.nodes, *known)}

    def leaves(self) -> list[str]:
        """The nodes that nobody needs, as they were added."""
        followers = self.followers()
        return [id for id in self.nodes if not followers[id]]

    def _leads_back(self, node: Node) -> bool:
        """Whether the needs of a new node lead back to it: looked for from both ends, so that the shorter way ends it."""
        if node.id in node.needs:
            return True
        nodes, followers = self.nodes, self._followers
        back = _walk(node.needs, lambda id: nodes[id].needs if id in nodes else ())
        forth = _walk(followers.get(node.id, ()), lambda id: followers.get(id, ()))
        needs = set(node.needs)
        return any(one == node.id or other in needs for one, other in zip(back, forth, strict=False))

    def _refuse_cycle(self, nodes: Mapping[str, Node]) -> None:
        try:
            _sorter(nodes).prepare()
        except CycleError as error:
            raise FlowError(f"the nodes need each other in a circle: {' → '.join(error.args[1])}") from None


def _walk(first: Iterable[str], following: Callable[[str], Iterable[str]]) -> Iterator[str]:
    """All that is reached from these, each once."""
    open, seen = list(first), set(first)
    while open:
        id = open.pop()
        yield id
        more = [one for one in following(id) if one not in seen]
        seen.update(more)
        open += more


def _sorter(nodes: Mapping[str, Node]) -> TopologicalSorter[str]:
    return TopologicalSorter({id: node.needs for id, node in nodes.items()})
