"""What `@stream` makes of a method: the shape of its calls, read off the annotations when the class is made."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from typing import Any

import pytest
from talker import Talker

from xooai import Executor, InvalidArgument, Text, post, stream
from xooai.describe import plain
from xooai.driver import Shape
from xooai.server import Site


class Shapes(Executor):
    @stream
    async def server(self, n: int) -> AsyncIterator[int]:
        yield n

    @stream
    async def generator(self) -> AsyncGenerator[int, None]:
        yield 1

    @stream
    def blocking(self) -> Generator[int, None, None]:
        yield 1

    @stream
    def iterable(self) -> Iterable[int]:
        return [1]

    @stream
    def untold(self):  # type: ignore[no-untyped-def]
        yield Text(value="a")

    @stream
    async def client(self, xs: AsyncIterable[int], n: int = 1) -> int:
        return n

    @stream
    def client_in_thread(self, n: int, xs: Iterable[int]) -> int:
        return n + sum(xs)

    @stream
    async def both(self, xs: AsyncIterator[int]) -> AsyncIterator[int]:
        async for x in xs:
            yield x

    @stream(name="renamed")
    def both_in_thread(self, xs: Iterator[int]) -> Iterator[int]:
        yield from xs


def test_the_shape_is_read_off_the_annotations() -> None:
    found = {name: one.shape for name, one in Shapes._xooai_declared.endpoints.items()}

    assert found == {
        **dict.fromkeys(["server", "generator", "blocking", "iterable", "untold"], Shape.SERVER),
        **dict.fromkeys(["client", "client_in_thread"], Shape.CLIENT),
        **dict.fromkeys(["both", "renamed"], Shape.BIDI),
    }


def test_a_site_tells_drivers_the_shape_of_a_path() -> None:
    with Shapes() as e:
        site = Site((e._xooai_local(),))

        paths = ["/shapes/server", "/shapes/renamed", "/xooai/describe", "/shapes/none"]
        assert [site.shape(path) for path in paths] == [Shape.SERVER, Shape.BIDI, Shape.UNARY, None]


def test_endpoints_of_every_spelling_answer() -> None:
    with Shapes() as e:
        for name in ("generator", "blocking", "iterable"):
            assert list(e.stream(name)) == [1]
        assert list(e.stream("untold")) == [Text(value="a")]
        assert e.stream("client_in_thread", xs=[1, 2], n=3) == 6
        assert list(e.stream("renamed", xs=[1, 2])) == [1, 2]


def test_a_description_tells_shape_stream_and_item() -> None:
    with Shapes() as e:
        told = plain([e._xooai_local()])["executors"]["shapes"]

    assert told["server"]["shape"] == "SERVER"
    assert told["server"]["reply"]["type"] == "integer"
    assert "stream" not in told["server"]
    assert told["client"]["shape"] == "CLIENT"
    assert told["client"]["stream"] == "xs"
    assert told["client"]["item"]["type"] == "integer"
    assert list(told["client"]["body"]["properties"]) == ["n"]
    assert told["untold"]["reply"] is None


def _nothing_streams(self: Any, n: int) -> int:
    return n


def _two_streams(self: Any, xs: Iterator[int], ys: Iterator[int]) -> int:
    return 0


def _with_default(self: Any, xs: Iterator[int] = iter(())) -> int:
    return 0


def _async_in_def(self: Any, xs: AsyncIterator[int]) -> int:
    return 0


async def _blocking_in_async(self: Any, xs: Iterator[int]) -> int:
    return 0


def _async_from_def(self: Any) -> AsyncIterator[int]:
    raise NotImplementedError


async def _blocking_from_async(self: Any) -> Iterator[int]:
    raise NotImplementedError


def _yield_of_one(self: Any) -> int:  # type: ignore[misc]
    yield 1


def _generator_taken(self: Any, xs: Generator[int, None, None]) -> int:
    return 0


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (_nothing_streams, "nothing streams here"),
        (_two_streams, "'xs' and 'ys' are streams; a call has one stream each way"),
        (_with_default, "the stream 'xs' has a default"),
        (_async_in_def, r"a def takes an Iterator\[T\]"),
        (_blocking_in_async, r"an async def takes an AsyncIterator\[T\]"),
        (_async_from_def, r"a def gives an Iterator\[T\]"),
        (_blocking_from_async, r"an async def gives an AsyncIterator\[T\]"),
        (_yield_of_one, r"its annotation is not Iterator\[T\]"),
        (_generator_taken, r"'xs' is a generator.*Iterator\[T\]"),
    ],
)
def test_what_cannot_be_is_an_error_when_the_class_is_made(method: Any, says: str) -> None:
    with pytest.raises(TypeError, match=rf"wrong\.{method.__name__}: .*{says}"):
        type("Wrong", (Executor,), {method.__name__.removeprefix("_"): stream(method)})


def test_a_yield_under_post_is_an_error_that_names_stream() -> None:
    with pytest.raises(TypeError, match="mark it @stream"):

        class Wrong(Executor):
            @post
            def count(self) -> Iterator[int]:
                yield 1


def test_what_overrides_a_stream_is_one_without_a_mark() -> None:
    class Louder(Talker):
        async def count(self, n: int, start: int = 0) -> AsyncIterator[int]:
            async for number in super().count(n, start):
                yield -number

        def joined(self, xs: Iterator[Text], glue: str = "+") -> Text:
            return super().joined(xs, glue)

    with Louder() as e:
        assert list(e.stream("count", n=3)) == [0, -1, -2]
        assert e.stream("joined", xs=[Text(value="a"), Text(value="b")]) == Text(value="a+b")


def test_a_unary_endpoint_is_not_streamed() -> None:
    class One(Executor):
        @post
        def one(self) -> int:
            return 1

    with One() as e, pytest.raises(InvalidArgument, match=r"one request and gives one reply: use post\(\)"):
        e.stream("one")
