"""Flows of any shape give what a model of them in plain Python gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xooai import Flow, FlowError, Internal


class Drawn(NamedTuple):
    """One node: what it needs, whether its condition holds, and whether it fails where it may."""

    needs: tuple[int, ...]
    runs: bool = True
    fails: bool = False


def _nodes(found: list[tuple[set[int], bool, bool]]) -> list[Drawn]:
    return [
        Drawn(tuple(sorted(need for need in needs if need < number)), runs, fails)
        for number, (needs, runs, fails) in enumerate(found)
    ]


mostly = st.sampled_from([True, True, True, False])
drawn = st.lists(
    st.tuples(st.sets(st.integers(0, 9), max_size=4), mostly, mostly.map(lambda one: not one)), min_size=1, max_size=10
)
graphs = drawn.map(_nodes)


def call(id: int, fails: bool, calls: list[int]) -> Callable[..., Any]:
    async def node(given: list[Any]) -> list[Any]:
        calls.append(id)
        if fails:
            raise ValueError(id)
        return [id, *given]

    return node


def flow(nodes: Sequence[Drawn], order: Sequence[int], calls: list[int]) -> Flow:
    f = Flow()
    for number in order:
        one = nodes[number]
        options: dict[str, Any] = {} if not one.needs else {"join": lambda *replies: list(replies)}
        if not one.runs:
            options["when"] = lambda *_: False
        f.add(
            use=call(number, one.fails, calls),
            id=str(number),
            needs=tuple(map(str, one.needs)),
            optional=one.fails,
            **options,
        )
    return f


def model(nodes: Sequence[Drawn]) -> tuple[dict[int, Any], set[int]]:
    """The replies, and who was called."""
    replies: dict[int, Any] = {}
    called = set()
    for number, one in enumerate(nodes):
        if not one.runs or (one.needs and not any(need in replies for need in one.needs)):
            continue
        called.add(number)
        if not one.fails:
            replies[number] = [number, *([replies.get(need) for need in one.needs] if one.needs else ["in"])]
    return replies, called


@given(nodes=graphs, data=st.data())
def test_any_graph_gives_what_its_model_gives(nodes: list[Drawn], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(nodes))))
    calls: list[int] = []
    replies, called = model(nodes)
    leaves = [number for number in order if not any(number in one.needs for one in nodes)]

    with flow(nodes, order, calls) as f:
        found = f.run(given=["in"])

    expected = {str(leaf): replies.get(leaf) for leaf in leaves}
    assert found.result == (expected[str(leaves[0])] if len(leaves) == 1 else expected)
    assert found.replies == {str(number): reply for number, reply in replies.items()}
    assert sorted(calls) == sorted(called)
    for number, one in enumerate(nodes):
        assert all(calls.index(need) < calls.index(number) for need in one.needs if {need, number} <= called)
    ended = [span.id for span in found.trace.spans]
    assert sorted(ended, key=int) == [str(number) for number in range(len(nodes))]


@given(nodes=graphs, failing=st.integers(0, 9))
def test_in_any_graph_a_node_that_must_not_fail_ends_the_run(nodes: list[Drawn], failing: int) -> None:
    nodes = [one._replace(fails=False, runs=True) for one in nodes]
    failing %= len(nodes)
    calls: list[int] = []
    f = Flow()
    for number, one in enumerate(nodes):
        join: dict[str, Any] = {"join": lambda *replies: list(replies)} if one.needs else {}
        f.add(use=call(number, number == failing, calls), id=str(number), needs=tuple(map(str, one.needs)), **join)

    with f, pytest.raises(Internal, match=f"node '{failing}'"):
        f.post(given=["in"])

    after = {failing}
    for number, one in enumerate(nodes):
        if after & {*one.needs}:
            after.add(number)
    assert not (after - {failing}) & {*calls}


@given(nodes=graphs, data=st.data())
def test_in_any_graph_a_circle_is_refused_with_its_path(nodes: list[Drawn], data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(nodes) - 1))
    below = {number}
    for follower, one in enumerate(nodes):
        if below & {*one.needs}:
            below.add(follower)
    last = data.draw(st.sampled_from(sorted(below)))
    order = data.draw(st.permutations(range(len(nodes))))
    nodes[number] = nodes[number]._replace(needs=(*nodes[number].needs, last))

    with pytest.raises(FlowError, match="in a circle") as told:
        flow(nodes, order, [])

    path = [int(id) for id in told.value.message.rpartition(": ")[2].split(" → ")]
    assert path[0] == path[-1]
    assert all(one in nodes[other].needs for one, other in pairwise(path))
