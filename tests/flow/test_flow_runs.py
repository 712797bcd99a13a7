"""Flows that run: results, branches, conditions, several at once, and the same answers wherever the nodes are."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from xooai import ComboDoc, Executor, Flow, FlowError, Image, Internal, InvalidArgument, NotFound, Text, current, post
from xooai.flow.attempts import EACH

Put = Callable[[Executor], dict[str, Any]]
PATIENCE = 20  # seconds: what waits longer fails its test instead of stopping the run


class Page(ComboDoc):
    title: Text
    lines: list[Text] = []


class Words(Executor):
    @post
    async def upper(self, doc: Text) -> Text:
        return Text(value=doc.read().upper())

    @post
    def lower(self, doc: Text, mark: str = "") -> Text:
        return Text(value=doc.read().lower() + mark)

    @post
    async def page(self, title: Text, lines: list[Text]) -> Page:
        return Page(title=title, lines=lines)

    @post
    async def join(self, docs: list[Text]) -> Text:
        return Text(value="+".join(doc.read() for doc in docs))

    @post
    async def lines(self, page: Page) -> list[Text]:
        return page.lines

    @post
    async def maybe(self, doc: Text) -> Text | None:
        return None if doc.read() == "nothing" else doc


def test_the_answers_are_the_same_in_every_place(put: Put) -> None:
    words = put(Words())
    f = (
        Flow()
        .add(**words, on="upper", id="up")
        .add(**words, on="lower", id="low", args={"mark": "!"})
        .add(**words, on="join", id="both", needs=("up", "low"))
        .add(**words, on="lower", id="last", needs="both")
    )

    with f:
        assert f.post(doc=Text(value="Hello")).read() == "hello+hello!"
        assert f(doc=Text(value="Hello")).read() == "hello+hello!"
        assert asyncio.run(f.apost(doc=Text(value="Hello"))).read() == "hello+hello!"


def test_a_client_of_any_driver_gives_what_the_class_gives(client_of: Callable[[Executor], Executor]) -> None:
    def flow(words: Any) -> Flow:
        f = Flow().add(use=words, on="upper", id="up").add(use=words, on="lower", id="low", args={"mark": "!"})
        return f.add(use=words, on="join", id="both", needs=("up", "low"))

    with flow(client_of(Words())) as there, flow(Words) as here:
        assert there.check() == here.check() == []
        assert there.post(doc=Text(value="Hello")) == here.post(doc=Text(value="Hello"))


def test_types_of_nodes_elsewhere_are_checked_when_their_servers_are_asked(put: Put) -> None:
    class Reads(Executor):
        @post
        async def read(self, doc: Image) -> Text:
            return Text(value="read")

    f = Flow().add(**put(Words()), on="upper", id="e1").add(**put(Reads()), on="read", id="e3", needs="e1")
    with f:
        for call in (f.check, lambda: f.post(doc=Text(value="a"))):
            with pytest.raises(
                FlowError, match=r"types do not fit: e1: words.upper -> Text, e3: reads.read\(doc: Image\)"
            ):
                call()


def test_models_of_ones_own_go_from_node_to_node(put: Put) -> None:
    words = put(Words())
    f = (
        Flow()
        .add(use=lambda doc: {"title": doc, "lines": [doc, doc]}, id="made")
        .add(**words, on="lines", id="lines", needs="made")
        .add(**words, on="join", id="joined", needs="lines")
    )

    with f:
        assert f.post(doc=Text(value="a")).read() == "a+a"


def test_several_leaves_give_a_dict_by_id(put: Put) -> None:
    words = put(Words())

    with Flow().add(**words, on="upper", id="a b").add(**words, on="lower", id="low/er") as f:
        found = f.post(doc=Text(value="Hi"))

    assert {id: text.read() for id, text in found.items()} == {"a b": "HI", "low/er": "hi"}


def test_branches_run_at_the_same_time_and_a_join_after_both(put: Put) -> None:
    meeting = threading.Barrier(2)

    class Meets(Executor):
        @post
        def meet(self, doc: Text) -> Text:
            meeting.wait(PATIENCE)  # each waits for the other
            ended.append(doc.read())
            return doc

        @post
        def after(self, doc: Text) -> int:
            return len(ended)

    ended: list[str] = []
    meets = put(Meets())
    f = Flow().add(**meets, on="meet", id="a").add(**meets, on="meet", id="b")

    with f.add(**meets, on="after", id="c", needs=("a", "b")):
        assert f.post(doc=Text(value="x")) == 2


def test_a_class_is_made_once_by_its_arguments_and_closed_with_the_flow() -> None:
    made: list[Any] = []

    class Model(Executor):
        def __init__(self, name: str) -> None:
            self.model = name
            made.append(name)

        async def setup(self) -> None:
            made.append("set up")

        @post
        def read(self, doc: Text) -> Text:
            return Text(value=f"{self.model}: {doc.read()}")

        def close(self) -> None:
            made.append("closed")

    with Flow().add(use=Model, with_={"name": "m"}) as f:
        assert made == []
        assert [f.post(doc=Text(value=str(number))).read() for number in range(2)] == ["m: 0", "m: 1"]
        assert made == ["m", "set up"]

    assert made == ["m", "set up", "closed"]


def test_an_instance_stays_its_owners() -> None:
    closed: list[int] = []

    class Mine(Executor):
        @post
        def echo(self, doc: Text) -> Text:
            return doc

        def close(self) -> None:
            closed.append(1)

    with Mine() as mine:
        with Flow().add(use=mine) as f:
            f.post(doc=Text(value="a"))
        assert closed == []


def test_a_client_is_a_node_with_its_class_and_without(serve: Callable[[Any], str]) -> None:
    url = serve(Words())

    with Words.at(url) as typed, Executor(url) as plain:
        f = Flow().add(use=typed, on="upper", id="a").add(use=plain, on="lower", id="b", needs="a")
        assert f.post(doc=Text(value="Hi")).read() == "hi"


def test_headless_names_are_found_under_the_gateway(serve: Callable[[Any], str]) -> None:
    gateway = serve(Words()).rpartition("/")[0]

    with Flow(gateway=gateway).add(use="words/upper", id="a").add(use="words", on="lower", id="b", needs="a") as f:
        assert f.post(doc=Text(value="Hi")).read() == "hi"


def test_an_executors_own_gateway_goes_before_that_of_the_flow(serve: Callable[[Any], str]) -> None:
    gateway = serve(Words()).rpartition("/")[0]

    with Executor(gateway=gateway) as own, Executor() as other:
        f = Flow(gateway="http://127.0.0.1:1").add(use=own, on="words/upper", id="a")
        with f:
            assert f.post(doc=Text(value="Hi")).read() == "HI"
        with Flow(gateway=gateway).add(use=other, on="words/lower") as f:
            assert f.post(doc=Text(value="Hi")).read() == "hi"
        with pytest.raises(FlowError, match="'words/upper' names no host, and this Flow has no gateway="):
            Flow().add(use=other, on="words/upper")


def test_functions_are_nodes_with_annotations_and_without() -> None:
    def shout(doc: Text) -> str:
        return doc.read().upper()

    async def length(text):  # type: ignore[no-untyped-def]
        return len(text)

    with Flow().add(use=shout).add(use=length, needs="shout") as f:
        assert f.post(doc=Text(value="abc")) == 3
        with pytest.raises(InvalidArgument):
            f.post(doc=Image(value=b"abc"))


# Conditions


def routed(words: dict[str, Any]) -> Flow:
    """Texts that are short go one way, others another."""
    return (
        Flow()
        .add(**words, on="lower", id="first")
        .add(**words, on="upper", id="short", needs="first", when=lambda first: len(first.read()) < 5)
        .add(**words, on="lower", id="long", needs="first", args={"mark": "..."}, when=lambda doc: len(doc.read()) >= 5)
        .add(**words, on="lower", id="last", needs=("short", "long"), args={"mark": "|"})
    )


def test_a_condition_decides_which_branch_runs_and_the_first_reply_that_is_there_goes_on(put: Put) -> None:
    with routed(put(Words())) as f:
        assert f.post(doc=Text(value="Ab")).read() == "ab|"
        assert f.post(doc=Text(value="Abcdef")).read() == "abcdef...|"
        assert f.run(doc=Text(value="Ab")).replies.keys() == {"first", "short", "last"}
        assert f.check() == []


def test_what_needs_a_branch_that_was_skipped_is_skipped_unless_it_can_do_without(put: Put) -> None:
    words = put(Words())

    class Takes(Executor):
        @post
        async def both(self, a: Text | None, b: Text) -> str:
            return f"{a and a.read()} {b.read()}"

    f = (
        Flow()
        .add(**words, on="upper", id="a", when=lambda doc: doc.read() != "no")
        .add(**words, on="lower", id="b")
        .add(**words, on="upper", id="after", needs="a")
        .add(use=Takes, id="both", needs=("a", "b"))
        .add(**words, on="join", id="list", needs=("a", "b"))
        .add(use=lambda text: text, id="joined", needs=("a", "b"), join=lambda a, b: "no a" if a is None else "a")
    )

    with f:
        yes, no = f.post(doc=Text(value="Yes")), f.post(doc=Text(value="no"))

    assert (yes["after"].read(), yes["both"], yes["list"].read(), yes["joined"]) == ("YES", "YES yes", "YES+yes", "a")
    assert (no["after"], no["both"], no["list"].read(), no["joined"]) == (None, "None no", "no", "no a")


def test_a_condition_may_look_at_the_input_and_may_be_async() -> None:
    async def is_short(doc: Text) -> bool:
        return len(await doc.aread()) < 3

    with Flow().add(use=lambda doc: doc, id="a", when=is_short) as f:
        assert f.post(doc=Text(value="ab")).read() == "ab"
        assert f.post(doc=Text(value="abc")) is None


def test_a_condition_on_the_input_sees_the_defaults_of_what_is_not_given() -> None:
    def cut(doc: Text, width: int = 10) -> str:
        return doc.read()[:width]

    with Flow().add(use=cut, when=lambda width: width > 5) as f:
        assert f.post(doc=Text(value="a")) == "a"
        assert f.post(doc=Text(value="a"), width=3) is None


def test_whatever_gives_an_awaitable_is_awaited() -> None:
    class Short:
        async def __call__(self, doc: Text) -> bool:
            return len(doc.read()) < 3

    def joined(a: Text) -> Any:
        async def later() -> str:
            return a.read() * 2

        return later()

    def later_short(doc: Text) -> Any:
        return Short()(doc)

    for when in (Short(), later_short):
        f = Flow().add(use=lambda doc: doc, id="a", when=when).add(use=lambda a: a, id="b", needs="a", join=joined)
        with f:
            assert f.post(doc=Text(value="ab")) == "abab"
            assert f.post(doc=Text(value="abc")) is None


def test_a_condition_may_narrow_what_a_node_may_return() -> None:
    f = Flow().add(use=Words, on="maybe", id="maybe")
    f.add(use=Words, on="upper", id="up", needs="maybe", when=lambda maybe: maybe is not None)

    with f:
        assert f.post(doc=Text(value="a")).read() == "A"
        assert f.post(doc=Text(value="nothing")) is None


# For each item of a list


def split(doc: Text) -> list[Text]:
    return [Text(value=word) for word in doc.read().split()]


def test_a_node_is_called_for_each_item_in_their_order(put: Put) -> None:
    words = put(Words())
    f = Flow().add(use=split).add(**words, on="lower", id="low", needs="split", each=True, args={"mark": "."})
    f.add(**words, on="join", needs="low")

    with f:
        for text, expected in [("A B C", "a.+b.+c."), ("A", "a."), ("", "")]:
            assert f.post(doc=Text(value=text)).read() == expected
        assert f.post(doc=Text(value=" ".join(map(str, range(500))))).read() == "+".join(f"{n}." for n in range(500))


def test_no_more_than_some_items_are_called_for_at_a_time(put: Put) -> None:
    class Counts(Executor):
        now = most = 0

        @post
        async def count(self, doc: Text) -> Text:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.005)
            self.now -= 1
            return doc

    counts = Counts()
    with Flow().add(use=split).add(**put(counts), on="count", id="n", needs="split", each=True) as f:
        assert len(f.post(doc=Text(value="word " * 100))) == 100

    assert 1 < counts.most <= EACH


def test_what_is_given_in_place_of_a_list_is_refused_by_name() -> None:
    f = Flow().add(use=lambda doc: doc, id="a").add(use=lambda doc: doc, id="b", needs="a", each=True)

    with f, pytest.raises(Internal, match=r"node 'b' .* given of 'a': each= takes a list for 'doc', and got Text"):
        f.post(doc=Text(value="a"))


def test_without_a_list_no_call_is_made() -> None:
    def fails(x: Text) -> list[Text]:
        raise NotFound("no list")

    def with_default(doc: Text = Text(value="default")) -> Text:
        return doc

    def with_none(doc: Text | None) -> str:
        return "none" if doc is None else "some"

    for node in (with_default, with_none):
        f = Flow().add(use=fails, id="doc", optional=True).add(use=node, id="each", needs="doc", each=True)
        with f.add(use=lambda docs: docs, id="last", needs="each") as f:
            assert f.post(x=Text(value="a")) is None
            assert f.run(x=Text(value="a")).replies == {}


def test_items_of_a_set_are_called_for_in_any_order() -> None:
    def letters(doc: Text) -> set[str]:
        return set(doc.read())

    with Flow().add(use=letters).add(use=lambda letter: letter * 2, needs="letters", each=True) as f:
        assert sorted(f.post(doc=Text(value="abca"))) == ["aa", "bb", "cc"]


# Many at once


def test_a_hundred_posts_at_once_never_mix(put: Put) -> None:
    words = put(Words())
    f = (
        Flow()
        .add(**words, on="upper", id="up")
        .add(**words, on="lower", id="low")
        .add(**words, on="join", id="join", needs=("up", "low"))
    )

    async def many() -> list[str]:
        found = await asyncio.gather(*(f.apost(doc=Text(value=f"Text{number}")) for number in range(50)))
        return [text.read() for text in found]

    with f, ThreadPoolExecutor(10) as threads:
        tasks = threads.submit(lambda: asyncio.run(many()))
        posts = list(threads.map(lambda number: f.post(doc=Text(value=f"Text{number}")).read(), range(50)))

        expected = [f"TEXT{number}+text{number}" for number in range(50)]
        assert posts == expected
        assert tasks.result() == expected


def test_a_node_knows_what_is_left_of_the_time(put: Put) -> None:
    class Left(Executor):
        @post
        async def left(self, doc: Text) -> float | None:
            await asyncio.sleep(0.1)
            return current().remaining

    left = put(Left())
    f = Flow().add(**left, on="left", id="a").add(use=lambda a: {"a": a, "b": current().remaining}, id="b", needs="a")

    with f:
        found = f.post(doc=Text(value="x"), timeout=30)

    assert 0 < found["b"] <= found["a"] < 30


# Traces


def test_a_run_tells_replies_and_when_each_node_ran() -> None:
    def slow(doc: Text) -> Text:
        time.sleep(0.05)
        return doc

    f = Flow().add(use=slow, id="slow").add(use=lambda doc: doc, id="fast")
    f.add(use=lambda docs: None, id="last", needs=("slow", "fast"), join=lambda slow, fast: [slow, fast])
    f.add(use=lambda doc: doc, id="never", when=lambda doc: False)

    with f:
        found = f.run(doc=Text(value="x"))

    spans = {span.id: span for span in found.trace.spans}
    assert found.result == {"last": None, "never": None}
    assert found.replies == {"slow": Text(value="x"), "fast": Text(value="x"), "last": None}
    assert spans["slow"].ended - spans["slow"].began >= 0.05
    assert spans["fast"].began < spans["slow"].ended <= spans["last"].began
    assert spans["never"].state.value == "skipped"
