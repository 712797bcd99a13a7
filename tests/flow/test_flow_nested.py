"""Flows inside of Flows that change after they were planned, and Flows over many servers."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from xooai import Executor, Flow, FlowError, Image, Text, post
from xooai.call import Call, Service

DOC = Text(value="Hi")
_numbers = itertools.count()


class Words(Executor):
    @post
    async def upper(self, doc: Text) -> Text:
        return Text(value=doc.read().upper())


class Pictures(Executor):
    def __init__(self) -> None:
        super().__init__(name="words")

    @post
    async def upper(self, doc: Text) -> Image:
        return Image(value=b"\x89PNG\r\n\x1a\n")


def _mark(doc: Text) -> Text:
    return Text(value=f"{doc.read()}!")


def one(x: int) -> int:
    return x


def two(a: int, b: int) -> int:
    return a + b


@pytest.mark.parametrize("is_async", [False, True])
def test_a_flow_inside_may_grow_by_a_node_elsewhere(is_async: bool) -> None:
    with Words() as words, Flow(name="inner").add(use=_mark, id="mark") as inner:
        (url,) = words.start(f"memory://{next(_numbers)}")
        with Flow().add(use=inner, id="inner") as outer:
            outer.check()
            assert outer.post(doc=DOC).read() == "Hi!"
            inner.add(use=f"{url}/words/upper", id="upper", needs="mark")
            found = asyncio.run(outer.apost(doc=DOC)) if is_async else outer.post(doc=DOC)

    assert found.read() == "HI!"


def test_check_asks_the_servers_of_a_flow_inside_anew() -> None:
    place = f"memory://{next(_numbers)}"
    words = Words()
    (url,) = words.start(place)
    inner = Flow(name="inner").add(use=f"{url}/words/upper", id="upper")
    outer = Flow().add(use=inner, id="inner").add(use=_mark, id="mark", needs="inner")
    with inner, outer, Pictures() as pictures:
        assert outer.check() == []
        words.stop()
        pictures.start(place)
        with pytest.raises(FlowError, match="types do not fit"):
            outer.check()


def test_a_flow_over_more_servers_than_an_executor_posts_to_dials_each_once() -> None:
    with Words() as words, Flow() as f:
        urls = words.start(*[f"memory://many-{number}" for number in range(70)])
        for number, url in enumerate(urls):
            f.add(use=f"{url}/words/upper", id=f"a{number}").add(use=f"{url}/words/upper", id=f"b{number}")
        f.post(doc=DOC)
        links = [remote._links.near for remote in f._xooai_remotes()]
        f.post(doc=DOC)

        assert len(links) == 70 and None not in links
        assert [remote._links.near for remote in f._xooai_remotes()] == links


@pytest.mark.parametrize("is_inside", [False, True])
def test_the_layers_of_a_flow_are_made_once_however_often_it_is_planned(is_inside: bool) -> None:
    made: list[str] = []
    called: list[str] = []

    def layer(service: Service) -> Service:
        made.append("made")

        async def answer(call: Call) -> None:
            called.append(call.endpoint.name)
            await service(call)

        return answer

    with Words() as words, Flow(name="inner", layers=[layer]).add(use=_mark, id="mark") as f:
        (url,) = words.start(f"memory://{next(_numbers)}")
        outer = Flow(layers=[layer]).add(use=f, id="inner") if is_inside else f
        with outer:
            assert outer.post(doc=DOC).read() == "Hi!"
            f.add(use=f"{url}/words/upper", id="upper", needs="mark")
            outer.check()
            assert outer.post(doc=DOC).read() == "HI!"

    assert made == ["made"] * (1 + is_inside)
    assert called == ["call"] * 2 * (1 + is_inside)


def test_flows_that_hold_the_next_one_twice_are_planned_once_each() -> None:
    f = Flow(name="f0").add(use=one)
    for depth in range(1, 29):
        f = Flow(name=f"f{depth}").add(use=f, id="a").add(use=f, id="b").add(use=two, id="c", needs=("a", "b"))

    assert f.check() == []
    assert f.check() == []
