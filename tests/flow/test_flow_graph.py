"""Graphs of Flows: what is wrong with one is told when a node is added, or by check, and not by the first call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from xooai import Executor, FailedPrecondition, Flow, FlowError, Image, Text, post
from xooai.flow.nesting import DEEPEST
from xooai.graph import NODES, Graph, Node


class Reader(Executor):
    def __init__(self, language: str = "en") -> None:
        self.language = language

    @post
    def read(self, doc: Image) -> Text:
        return Text(value=f"read in {self.language}")

    @post
    def draw(self, doc: Text) -> Image:
        return Image(value=doc.read().encode())


class Echo(Executor):
    @post
    def echo(self, doc: Text) -> Text:
        return doc


def echo(doc: Text) -> Text:
    return doc


def waits(timeout: float) -> float:
    return timeout


def lists(doc: Text) -> list[Text]:
    return [doc]


MISTAKES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "an id twice": (
        lambda f: f.add(use=Echo, id="a").add(use=Echo, id="a"),
        "there is a node 'a' already; give this one another id=",
    ),
    "an id twice by default": (lambda f: f.add(use=Echo).add(use=Echo), "there is a node 'echo/echo' already"),
    "the id of the input": (lambda f: f.add(use=Echo, id="input"), "'input' stands for the Flow's input"),
    "itself": (lambda f: f.add(use=Echo, id="a", needs="a"), "in a circle: a → a"),
    "a circle": (
        lambda f: f.add(use=Echo, id="a", needs="c").add(use=Echo, id="b", needs="a").add(use=Echo, id="c", needs="b"),
        "in a circle: a → b → c → a",
    ),
    "a need twice": (lambda f: f.add(use=Echo, id="a", needs=("b", "b")), "needs= names 'b' twice"),
    "no endpoint among several": (lambda f: f.add(use=Reader), "say which: on= one of read, draw"),
    "an endpoint that there is not": (
        lambda f: f.add(use=Reader, on="raed"),
        "no endpoint 'raed'; did you mean 'read'",
    ),
    "a method": (lambda f: f.add(use=Echo.echo), "use=Echo.echo is a method; give its class, and on='echo'"),
    "an endpoint of a function": (lambda f: f.add(use=echo, on="echo"), "a function has none"),
    "no gateway": (lambda f: f.add(use="echo/echo"), "'echo/echo' names no host, and this Flow has no gateway="),
    "a function with a name that calls have": (
        lambda f: f.add(use=waits),
        "use=waits cannot be a node: waits.waits: the parameter name 'timeout' is taken",
    ),
    "a URL without an endpoint": (lambda f: f.add(use="http://host:1"), "names no endpoint"),
    "a URL that is none": (lambda f: f.add(use="http://host:port/echo"), "is not a URL"),
    "something else": (lambda f: f.add(use=3), "use=3 is nothing that a node calls"),
    "arguments of a constructor that takes others": (
        lambda f: f.add(use=Reader, on="read", with_={"langauge": "de"}),
        "is not what Reader() takes: got an unexpected keyword argument 'langauge'",
    ),
    "arguments of a constructor for an instance": (
        lambda f: f.add(use=Echo(), with_={"name": "a"}),
        "with_= is for the constructor of a class",
    ),
    "a constant that there is not": (
        lambda f: f.add(use=Echo, args={"dco": 1}),
        "echo.echo has no such parameter; did you mean 'doc'?; it takes: 'doc'",
    ),
    "a constant of another type": (
        lambda f: f.add(use=Echo, id="a", args={"doc": 3}),
        "node 'a': args={'doc': ...}: Input should be",
    ),
    "an id that is none": (lambda f: f.add(use=Echo, id=3), "id=3 is no id"),
    "a need that nothing is left for": (
        lambda f: f.add(use=Echo, id="a", needs="b", args={"doc": Text(value="a")}),
        "no parameter left for a reply",
    ),
    "join without needs": (lambda f: f.add(use=Echo, join=lambda a: a), "join= is for the replies of needs="),
    "join of too many": (
        lambda f: f.add(use=Echo, id="c", needs=("a", "b"), join=lambda a, b, x: a),
        "node 'c': join= takes (a, b, x), and is to be called with 'a', 'b'",
    ),
    "join that is none": (lambda f: f.add(use=Echo, id="c", needs="a", join="a"), "and got str"),
    "a condition on something else": (lambda f: f.add(use=Echo, id="a", when=lambda x, y: True), "when= takes (x, y)"),
    "each of several": (
        lambda f: f.add(use=Reader, on="read", id="c", each=True),
        "each= calls reader.read for each item of one list",
    ),
    "needs that are none": (lambda f: f.add(use=Echo, needs=3), "needs=3 is no id"),
    "a timeout that is none": (lambda f: f.add(use=Echo, timeout="soon"), "timeout='soon' is no number of seconds"),
    "a timeout that leaves no time": (lambda f: f.add(use=Echo, timeout=0), "timeout=0 leaves a call no time"),
    "constants that have no names": (lambda f: f.add(use=Echo, args=[1]), "args=[1] is no mapping of names to values"),
    "arguments of a constructor without names": (
        lambda f: f.add(use=Reader, on="read", with_="de"),
        "with_='de' is no",
    ),
    "a word for a truth value": (lambda f: f.add(use=Echo, optional="no"), "optional='no' is neither True nor False"),
    "a number for a truth value": (lambda f: f.add(use=Echo, needs="a", each=2), "each=2 is neither True nor False"),
    "too many retries": (lambda f: f.add(use=Echo, retry=11), "0 to 10"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_when_it_is_made(mistake: str) -> None:
    make, complaint = MISTAKES[mistake]
    f = Flow()

    with pytest.raises(FlowError) as told:
        make(f)

    assert complaint in told.value.message


def test_a_node_that_was_refused_was_not_added() -> None:
    f = Flow().add(use=Echo, id="a")
    before = str(f)

    with pytest.raises(FlowError):
        f.add(use=Echo, id="b", args={"x": 1})

    assert str(f) == before


LATER: dict[str, tuple[Callable[[], Flow], str]] = {
    "nothing": (Flow, "the Flow has no nodes"),
    "each of what is no list": (
        lambda: Flow().add(use=Echo, id="a").add(use=Echo, id="b", needs="a", each=True),
        "types do not fit: a: echo.echo -> Text, b: echo.echo(doc: list[Text])",
    ),
    "the list that each gives": (
        lambda: Flow().add(use=lists, id="a").add(use=Echo, id="b", needs="a", each=True).add(use=Echo, needs="b"),
        "types do not fit: b: echo.echo -> list[Text], echo/echo: echo.echo(doc: Text)",
    ),
    "nobody who takes the input": (
        lambda: Flow().add(use=echo, needs="input", join=lambda doc: doc),
        "no node says what the Flow's input is",
    ),
    "an unknown need": (
        lambda: Flow().add(use=Echo, id="first").add(use=Echo, id="b", needs="frist"),
        "node 'b' needs 'frist', which there is not; did you mean 'first'?; there are: 'first', 'input'",
    ),
    "types": (
        lambda: Flow().add(use=Reader, on="read", id="e1").add(use=Reader, on="read", id="e3", needs="e1"),
        "types do not fit: e1: reader.read -> Text, e3: reader.read(doc: Image)",
    ),
    "the type of a join": (
        lambda: Flow().add(use=Echo, id="a").add(use=Reader, on="read", id="b", needs="a", join=echo),
        "types do not fit: b: join= -> Text, b: reader.read(doc: Image)",
    ),
    "two inputs of one name": (
        lambda: Flow().add(use=Echo, id="a").add(use=Reader, on="read", id="b"),
        "the Flow's input 'doc' is Text to a, and Image to b; equal names have equal types",
    ),
}


@pytest.mark.parametrize("mistake", LATER)
def test_what_only_the_whole_shows_is_told_by_check_and_by_the_first_post(mistake: str) -> None:
    make, complaint = LATER[mistake]

    for call in (Flow.check, Flow.post, Flow.explain, Flow.run, lambda f: f.start("http://127.0.0.1:0")):
        with pytest.raises(FlowError) as told:
            call(make())
        assert complaint in told.value.message


def test_a_flow_cannot_be_a_node_of_itself() -> None:
    inner, outer = Flow(name="inner").add(use=Echo), Flow(name="outer")
    outer.add(use=inner)

    for f, node in ((inner, outer), (inner, inner)):
        with pytest.raises(FlowError, match="a Flow cannot be a node of itself"):
            f.add(use=node)


def test_so_many_flows_stand_in_one_another_and_no_more() -> None:
    f = Flow().add(use=Echo)
    for _ in range(DEEPEST - 1):
        f = Flow().add(use=f, id="inner")

    assert f.check() == []
    assert f.post(doc=Text(value="x")).read() == "x"
    with pytest.raises(FlowError, match="is 30 Flows in one another"):
        Flow().add(use=f)


def test_needs_may_be_added_before_what_they_name() -> None:
    with Flow().add(use=Echo, id="b", needs=("a",)).add(use=Echo, id="a") as f:
        assert f.post(doc=Text(value="x")).read() == "x"


def test_adding_asks_no_server() -> None:
    f = Flow(gateway="http://127.0.0.1:1").add(use="http://127.0.0.1:1/a/b").add(use="c/d").add(use="e", on="f")

    assert "a/b" in str(f) and "c/d" in str(f) and "e/f" in str(f)


def test_nodes_are_not_added_to_a_flow_that_serves() -> None:
    pytest.importorskip("uvicorn", reason="serving needs uvicorn; it comes with: pip install -e '.[http]'")
    with Flow().add(use=Echo, id="a") as f:
        f.start("http://127.0.0.1:0")
        with pytest.raises(FailedPrecondition, match="serves already"):
            f.add(use=Echo, id="b")


def test_a_thousand_nodes_are_built_and_checked_in_no_time() -> None:
    e = Echo()
    began = time.process_time()
    f = Flow().add(use=e, id="0")
    for number in range(1, 1000):
        f.add(use=e, id=str(number), needs=str(number // 2 if number % 3 else number - 1), args={})
    f.check()

    assert time.process_time() - began < 1  # it takes a twentieth of a second, on a machine that does nothing else


def chained(e: Executor, wide: int, length: int) -> Flow:
    """As many nodes, each of which needs as many others before it."""
    f = Flow().add(use=e, on="echo", id="0")
    for number in range(1, length):
        needs = tuple(str(before) for before in range(max(number - wide, 0), number))
        f.add(use=e, on="echo", id=str(number), needs=needs)
    return f


class Quick(Executor):
    @post
    async def echo(self, doc: Text) -> Text:
        return doc


@pytest.mark.parametrize("wide", [1, 16])
def test_a_run_of_four_times_the_nodes_and_edges_costs_four_times_as_much(wide: int) -> None:
    def seconds(f: Flow) -> float:
        began = time.process_time()
        f.post(doc=Text(value="x"))
        return time.process_time() - began

    with Quick() as e, chained(e, wide, 400) as small, chained(e, wide, 1600) as large:
        seconds(small), seconds(large)  # made ready
        times = [(seconds(small), seconds(large)) for _ in range(3)]
    assert min(large for _, large in times) < 10 * min(small for small, _ in times)  # were it the square, 16 times


ORDERS: dict[str, Callable[[int], Iterator[tuple[int, tuple[int, ...]]]]] = {
    "from the front": lambda last: ((n, (n - 1,)) for n in range(1, last)),
    "from the end": lambda last: ((n, (n - 1,)) for n in reversed(range(1, last))),
    "the last one first": lambda last: iter(
        [(last, tuple(range(last))), *((n, (n - 1,)) for n in range(1, last)), (last + 1, (last,))]
    ),
}


@pytest.mark.parametrize("order", ORDERS)
def test_thousands_of_nodes_are_added_in_no_time_in_any_order(order: str) -> None:
    began = time.process_time()
    graph = Graph()
    for id, needs in ORDERS[order](5000):
        graph.add(Node(str(id), tuple(map(str, needs))), None)
    graph.add(Node("0"), None)
    graph.check()

    assert time.process_time() - began < 5  # a tenth of a second, and a quarter of a minute were it the square


def test_a_flow_has_so_many_nodes_and_no_more() -> None:
    graph = Graph()
    for number in range(NODES):
        graph.add(Node(str(number)), None)

    with pytest.raises(FlowError, match="a Flow has at most 20,000 nodes; put some of them into a Flow"):
        graph.add(Node("one more"), None)
