"""What a type checker knows of a client: `mypy tests` fails here when a signature is lost."""

import asyncio
from collections.abc import Iterator
from typing import assert_type

import pytest

from xooai import Executor, Image, InvalidArgument, Text, post


class Reader(Executor):
    """Two endpoints, blocking and async."""

    @post
    def read(self, doc: Image, min_score: float = 0.5) -> Text:
        return Text(value=f"{len(doc.read())} bytes above {min_score}")

    @post(name="embedded")
    async def embed(self, doc: Text) -> list[float]:
        return [float(len(doc.read()))]


@pytest.fixture
def client() -> Iterator[Reader]:
    server = Reader()
    (url,) = server.start("http://127.0.0.1:0")
    with server, Reader.at(url) as reader:
        yield reader


def test_a_typed_client_has_the_signatures_of_its_class(client: Reader) -> None:
    assert_type(client, Reader)
    assert isinstance(client, Reader)
    answer = client.read(Image(value=b"abc"), min_score=0.25)
    assert_type(answer, Text)
    assert answer.value == "3 bytes above 0.25"


def test_the_typed_async_form_of_a_def_endpoint_is_call(client: Reader) -> None:
    async def ask() -> tuple[Text, list[float]]:
        text = await client.call(Reader.read, doc=Image(value=b"abcd"))
        assert_type(text, Text)
        numbers = await client.call(Reader.embed, doc=text)
        assert_type(numbers, list[float])
        again = await client.embed(doc=text)
        assert_type(again, list[float])
        return text, again

    text, numbers = asyncio.run(ask())
    assert text.value == "4 bytes above 0.5"
    assert numbers == [17.0]


def test_a_wrong_argument_is_an_error_to_the_checker_and_at_run_time(client: Reader) -> None:
    with pytest.raises(InvalidArgument, match="min_score"):
        client.read(doc=Image(value=b"abc"), min_score="high")  # type: ignore[arg-type]
