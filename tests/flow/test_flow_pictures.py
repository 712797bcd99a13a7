"""Pictures of Flows: in text, in Mermaid's language, and in words."""

from __future__ import annotations

import re
import textwrap
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xooai import Executor, Flow, FlowError, Text, post


class Words(Executor):
    @post
    async def upper(self, doc: Text, mark: str = "") -> Text:
        return doc


def flow(edges: dict[str, tuple[str, ...]], name: str = "f") -> Flow:
    f = Flow(name=name)
    for id, needs in edges.items():
        f.add(use=Words, id=id, needs=needs)
    return f


PICTURES: dict[str, tuple[dict[str, tuple[str, ...]], str]] = {
    "two and a join": (
        {"e1": (), "e2": (), "e3": ("e1", "e2")},
        """
                      +------+
                  +-> |  e1  | --+
        +-----+   |   +------+   |   +------+    +-----+
        |  f  | --+              +-> |  e3  | -> |  f  |
        +-----+   |   +------+   |   +------+    +-----+
                  +-> |  e2  | --+
                      +------+
        """,
    ),
    "a chain": (
        {"a": (), "long": ("a",)},
        """
        +-----+    +-----+    +--------+    +-----+
        |  f  | -> |  a  | -> |  long  | -> |  f  |
        +-----+    +-----+    +--------+    +-----+
        """,
    ),
    "one that passes others by": (
        {"a": (), "b": ("a",), "c": ("a", "b")},
        """
                                 +-----+
                             +-> |  b  | --+
        +-----+    +-----+   |   +-----+   |   +-----+    +-----+
        |  f  | -> |  a  | --+             +-> |  c  | -> |  f  |
        +-----+    +-----+   |             |   +-----+    +-----+
                             +-------------+
        """,
    ),
    "several leaves": (
        {"a": (), "b": ()},
        """
                      +-----+
                  +-> |  a  | --+
        +-----+   |   +-----+   |   +-----+
        |  f  | --+             +-> |  f  |
        +-----+   |   +-----+   |   +-----+
                  +-> |  b  | --+
                      +-----+
        """,
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_flow_prints_as_its_graph(name: str) -> None:
    edges, picture = PICTURES[name]

    drawn = str(flow(edges))

    assert drawn.rstrip() == textwrap.dedent(picture).strip("\n").rstrip()


def test_an_empty_flow_and_one_that_is_too_large_for_a_picture_are_told_in_words() -> None:
    assert str(Flow(name="f")) == "f: no nodes"
    unclear = str(flow({"a": (), "b": (), "c": ("a",), "d": ("a", "b"), "e": ("b",)}))  # does a lead to e, or b to c?
    assert unclear == "f -> a\nf -> b\na -> c\na, b -> d\nb -> e\nc, d, e -> f"
    many = str(flow({"a": (), **{f"n{number}": ("a",) for number in range(60)}, "last": ("n1", "n2")}))
    assert many.splitlines()[:2] == ["f -> a", "a -> n0"]
    assert "n1, n2 -> last" in many.splitlines()


def test_what_an_id_holds_breaks_no_picture() -> None:
    f = flow({'"]; a\n--> b': (), "x" * 100: ()})

    assert "?" in str(f)
    assert "x" * 29 + "..." in str(f)
    assert len(ElementTree.fromstring(f.svg())) > 0
    assert 'n0["#34;#93;#59; a#10;--#62; b"]' in f.mermaid()


def test_letters_that_a_terminal_shows_wide_fit_their_boxes() -> None:
    picture = """
                      +--------+
                  +-> |  題名  | --+
        +-----+   |   +--------+   |   +-----+
        |  f  | --+                +-> |  f  |
        +-----+   |   +--------+   |   +-----+
                  +-> |  née   | --+
                      +--------+
    """

    assert str(flow({"題名": (), "née": ()})) == textwrap.dedent(picture).strip("\n")


edges = st.lists(st.sets(st.integers(0, 7), max_size=3), min_size=1, max_size=8).map(
    lambda needs: {
        f"<{number}>": tuple(f"<{need}>" for need in sorted(found) if need < number)
        for number, found in enumerate(needs)
    }
)


@given(edges=edges)
def test_every_graph_can_be_printed_and_shows_each_node_once(edges: dict[str, tuple[str, ...]]) -> None:
    f = flow(edges)

    drawn, chart = str(f), f.mermaid()

    if "|  f  |" in drawn:
        assert sorted(re.findall(r"<\d>", drawn)) == sorted(edges)
    picture = ElementTree.fromstring(f.svg())
    texts = [text.text or "" for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(texts) == sorted([*edges, "f", "f"])
    arrows = sum(max(1, len(needs)) for needs in edges.values())
    leaves = [id for id in edges if not any(id in needs for needs in edges.values())]
    assert chart.count("-->") == arrows + len(leaves)


def test_an_explanation_tells_where_each_node_runs_and_what_it_gets() -> None:
    def fits(a: Text) -> bool:
        return True

    f = (
        Flow(name="f")
        .add(use=Words, id="a", args={"mark": "!"})
        .add(use=Words, id="b", needs=("a", "input"), when=fits)
    )

    assert f.explain() == textwrap.dedent(
        """\
        f(doc: Text) -> Text | None
        a: words/upper in process
            gets the Flow's input: doc: Text
            constants: mark
            gives Text
        b: words/upper in process
            gets doc from a, after input
            gives Text
            only when its condition holds
        result: the reply of b
        warning: input's result is ignored: b takes a's as 'doc', and only waits for input; give join= to use both"""
    )


def test_a_notebook_shows_a_flow_as_a_picture_that_loads_nothing() -> None:
    f = flow({"a": (), "b": ("a",), "c": ("a", "b")})

    picture = f._repr_svg_()

    assert picture == f.svg()
    assert re.findall(r"href|src|url", picture) == []
    heads = picture.count("L") / 2  # two strokes each
    assert heads == 5  # of f to a, of a to b and to c, of b to c, and of c to f
    assert len(ElementTree.fromstring(Flow().svg())) > 0


def test_pictures_of_what_cannot_run_are_drawn_all_the_same() -> None:
    f = flow({"a": ("missing",)})

    assert "|  a  |" in str(f)
    assert "-->" in f.mermaid()
    with pytest.raises(FlowError):
        f.check()
